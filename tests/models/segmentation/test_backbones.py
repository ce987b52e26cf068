# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch

from staticdropout.errors import CheckpointMismatchError, OptionError
from staticdropout.models.segmentation.backbones import ResNetBackbone

NARROW: dict[str, Any] = {"channels": (8, 16, 32, 64)}


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        ("resnet18", (64, 128, 256, 512)),
        ("resnet34", (64, 128, 256, 512)),
        ("resnet50", (256, 512, 1024, 2048)),
        ("resnet101", (256, 512, 1024, 2048)),
        ("resnext50_32x4d", (256, 512, 1024, 2048)),
        ("resnet101.tv_in1k", (256, 512, 1024, 2048)),
    ],
)
def test_the_stated_channels_are_those_of_the_stages(name: str, channels: tuple[int, ...]) -> None:
    with torch.device("meta"):
        backbone = ResNetBackbone(name)
        x = backbone.stem(torch.empty(1, 3, 64, 96))
        shapes = []
        for stage in (2, 3, 4, 5):
            x = backbone.stage(stage, x)
            shapes.append(tuple(x.shape[1:]))
    assert backbone.channels == channels
    assert shapes == [(c, 64 // 2**s, 96 // 2**s) for c, s in zip(channels, (2, 3, 4, 5), strict=True)]


@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_stage_by_stage_it_is_timms_network(output_stride: int) -> None:
    torch.manual_seed(0)
    backbone = ResNetBackbone("resnet18", output_stride=output_stride, **NARROW).eval()
    network = timm.create_model("resnet18", features_only=True, output_stride=output_stride, **NARROW).eval()
    network.load_state_dict(backbone.state_dict())
    image = torch.randn(1, 3, 65, 96)
    with torch.inference_mode():
        official = network(image)[1:]
        x = backbone.stem(image)
        for stage, expected in zip((2, 3, 4, 5), official, strict=True):
            x = backbone.stage(stage, x)
            assert torch.equal(x, expected)
        assert torch.equal(backbone(image), official[-1])
    assert x.shape[3] == 96 // output_stride


def test_the_input_may_have_other_channels() -> None:
    backbone = ResNetBackbone("resnet18", in_channels=6, **NARROW)
    assert backbone.stem(torch.rand(1, 6, 32, 32)).shape == (1, 64, 8, 8)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet10l", "no backbone 'resnet10l' in timm"),
        ("mobilenetv3_small_050", "mobilenetv3_small_050 is not a plain ResNet"),
        ("resnet18d", "resnet18d is not a plain ResNet"),
    ],
)
def test_a_network_of_another_kind_is_refused(name: str, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        ResNetBackbone(name)


def test_an_option_that_timm_does_not_know_is_named() -> None:
    with pytest.raises(OptionError, match=r"resnet18 cannot be built by timm with the options.*'widht': 8"):
        ResNetBackbone("resnet18", widht=8)


def test_six_channels_repeat_the_weights_for_three_and_wrong_files_are_named(tmp_path: Path) -> None:
    three = timm.create_model("resnet18", channels=(8, 16, 32, 64))
    torch.save(three.state_dict(), tmp_path / "three.pth")
    backbone = ResNetBackbone("resnet18", in_channels=6, channels=(8, 16, 32, 64))
    backbone.load_pretrained(tmp_path / "three.pth")
    expected = three.get_parameter("conv1.weight").repeat(1, 2, 1, 1) / 2
    torch.testing.assert_close(backbone.conv1.weight, expected)
    torch.testing.assert_close(
        backbone.get_parameter("layer4.1.conv2.weight"), three.get_parameter("layer4.1.conv2.weight")
    )
    with pytest.raises(CheckpointMismatchError, match=r"do not fit resnet34: \d+ of \d+ tensors"):
        ResNetBackbone("resnet34").load_pretrained(tmp_path / "three.pth")

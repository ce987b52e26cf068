# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from staticdropout.errors import CheckpointMismatchError
from staticdropout.models.inflation import inflate_from_timm
from staticdropout.models.registry import create_model
from staticdropout.models.resnet3d import ResNet3d


def flat_network(name: str) -> nn.Module:
    """A 2-D network whose normalisation layers do something, as those of a trained one do."""
    torch.manual_seed(0)
    network: nn.Module = timm.create_model(name, pretrained=False)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1)
            nn.init.normal_(module.bias, std=0.1)
            module.running_mean = 0.1 * torch.randn_like(module.bias)
            module.running_var = torch.rand_like(module.bias) + 0.5
    return network.eval()


def video_network(name: str, **kwargs: Any) -> ResNet3d:
    model = create_model(name, num_classes=5, **kwargs)
    assert isinstance(model, ResNet3d)
    return model.eval()


def stages(model: ResNet3d, video: Tensor) -> list[Tensor]:
    outputs = [model.stem(video)]
    for stage in (model.res2, nn.Sequential(model.pool2, model.res3), model.res4, model.res5):
        outputs.append(stage(outputs[-1]))
    return outputs


def flat_stages(network: Any, image: Tensor) -> list[Tensor]:
    outputs = [network.maxpool(network.act1(network.bn1(network.conv1(image))))]
    for layer in (network.layer1, network.layer2, network.layer3, network.layer4):
        outputs.append(layer(outputs[-1]))
    return outputs


@torch.inference_mode()
def test_on_a_repeated_frame_every_frame_has_the_features_of_the_2d_network() -> None:
    network, model, image = flat_network("resnet50"), video_network("c2d_r50"), torch.randn(1, 3, 64, 64)
    inflate_from_timm(model, network)
    clip = image.unsqueeze(2).expand(-1, -1, 4, -1, -1)
    for ours, flat in zip(stages(model, clip), flat_stages(network, image), strict=True):
        torch.testing.assert_close(ours, flat.unsqueeze(2).expand_as(ours), rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_with_temporal_kernels_a_frame_far_from_the_clips_ends_has_them_too() -> None:
    # Four blocks that see three frames reach four frames far, so the middle of nine frames sees no padding.
    network, model = flat_network("resnet18"), video_network("slowonly_r18", block="basic")
    inflate_from_timm(model, network)
    image = torch.randn(1, 3, 64, 64)
    clip = image.unsqueeze(2).expand(-1, -1, 9, -1, -1)
    for ours, flat in zip(stages(model, clip), flat_stages(network, image), strict=True):
        torch.testing.assert_close(ours[:, :, 4], flat, rtol=1e-4, atol=1e-4)


def test_the_head_and_non_local_blocks_are_left_alone_and_reported() -> None:
    model = video_network("i3d_nln_r50")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    report = inflate_from_timm(model, flat_network("resnet50"))
    after = model.state_dict()
    assert all(name.startswith("head.") or ".nonlocal" in name for name in report.untouched)
    assert all(torch.equal(before[name], after[name]) for name in report.untouched)
    assert set(report.inflated) | set(report.untouched) == set(after)
    assert report.unused == ("fc.weight", "fc.bias")
    kernel = after["stem.conv.weight"]
    torch.testing.assert_close(kernel[:, :, 0], kernel[:, :, 4])


def test_weights_can_come_from_a_file_in_timms_naming(tmp_path: Path) -> None:
    network, model = flat_network("resnet18"), video_network("slowonly_r18", block="basic")
    torch.save({"state_dict": network.state_dict()}, tmp_path / "resnet18.pth")
    report = inflate_from_timm(model, "resnet18", pretrained=tmp_path / "resnet18.pth")
    assert "resnet18.pth" in report.backbone
    ours, flat = model.state_dict(), network.state_dict()
    assert torch.equal(ours["res2.block0.bn_a.bias"], flat["layer1.0.bn1.bias"])


@pytest.mark.parametrize(
    ("name", "kwargs", "backbone"),
    [
        ("slowonly_r50", {"width": 8}, "resnet50"),  # narrower
        ("slowonly_r18", {"block": "basic"}, "resnet34"),  # shallower
        ("slowonly_r18", {}, "resnet18"),  # another kind of block
        ("slowonly_r18", {"block": "basic", "in_channels": 2}, "resnet18"),  # other channels
        ("slowonly_r18", {"block": "basic"}, "resnet18d"),  # another stem
    ],
)
def test_networks_that_do_not_fit_are_refused_and_nothing_is_changed(
    name: str, kwargs: dict[str, Any], backbone: str
) -> None:
    model = video_network(name, **kwargs)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    with pytest.raises(CheckpointMismatchError, match=f"2-D network {backbone} does not fit"):
        inflate_from_timm(model, backbone, pretrained=False)
    assert all(torch.equal(before[key], tensor) for key, tensor in model.state_dict().items())

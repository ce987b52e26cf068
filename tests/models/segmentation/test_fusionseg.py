# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from staticdropout.errors import BatchError, OptionError
from staticdropout.models.features import list_layers
from staticdropout.models.segmentation import FusionSeg
from staticdropout.models.segmentation.deeplab_head import ASPP


def small(**options: Any) -> FusionSeg:
    torch.manual_seed(0)
    backbone = {"channels": (16, 32, 64, 128), "zero_init_last": False}
    return FusionSeg(**{"backbone": "resnet18", "backbone_args": backbone, "width": 16, "early_width": 8, **options})


def pictures(size: tuple[int, int] = (64, 96), batch: int = 2) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    image, flow = (torch.randn((batch, 3, *size), generator=generator) for _ in range(2))
    return image, flow


@pytest.mark.parametrize("fuse_early", [True, False])
@pytest.mark.parametrize("size", [(64, 96), (65, 97)])
def test_masks_and_classes_have_the_size_of_the_input(fuse_early: bool, size: tuple[int, int]) -> None:
    with torch.inference_mode():
        outputs = small(fuse_early=fuse_early).eval()(*pictures(size))
    assert outputs["mask"].shape == (2, 1, *size)
    assert outputs["classes"].shape == (2, 2, *size)


def test_the_sigmoid_of_the_mask_is_the_probability_of_the_foreground() -> None:
    with torch.inference_mode():
        outputs = small().eval()(*pictures())
    torch.testing.assert_close(outputs["mask"].sigmoid()[:, 0], outputs["classes"].softmax(1)[:, 1])


@pytest.mark.parametrize("output_stride", [8, 16])
def test_the_output_stride_sets_the_size_of_the_late_features_and_the_dilations(output_stride: int) -> None:
    model = small(output_stride=output_stride)
    layers = list_layers(model, *pictures())
    assert layers["encoder.connect2[appearance]"] == (2, 16, 16, 24)
    assert layers["encoder.fuse5"] == (2, 128, 64 // output_stride, 96 // output_stride)
    rates = [module.dilation[0] for module in model.aspp.modules() if isinstance(module, nn.Conv2d)]
    assert [rate for rate in rates if rate > 1] == [96 * n // output_stride for n in (1, 2, 3)]


def test_early_fusion_has_one_pyramid_and_late_fusion_one_for_each_stream() -> None:
    pyramids = {
        early: [name for name, module in small(fuse_early=early).named_modules() if isinstance(module, ASPP)]
        for early in (True, False)
    }
    assert pyramids[True] == ["aspp"]
    assert pyramids[False] == ["encoder.fuse5.appearance_aspp", "encoder.fuse5.motion_aspp"]


@pytest.mark.parametrize("fuse_early", [True, False])
def test_a_fusion_norm_follows_each_fusion(fuse_early: bool) -> None:
    def norms(model: FusionSeg) -> set[str]:
        return {name for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)}

    added = norms(small(fuse_early=fuse_early, fusion_norm=True)) - norms(small(fuse_early=fuse_early))
    late = "encoder.fuse5.norm" if fuse_early else "encoder.fuse5.fusion.norm"
    assert added == {"encoder.fuse2.norm", late}


def test_the_streams_are_not_connected() -> None:
    """Neither stream feels the other one's input anywhere before the fusion."""
    model, (image, flow) = small().eval(), pictures()
    with torch.inference_mode():
        before, after = model.encoder(image, flow), model.encoder(image, flow.flip(3))
    for stage in (2, 3, 4, 5):
        assert torch.equal(before[stage].appearance, after[stage].appearance)
        assert not torch.allclose(before[stage].motion, after[stage].motion)


@pytest.mark.parametrize("fuse_early", [True, False])
def test_gradients_reach_every_parameter(fuse_early: bool) -> None:
    model = small(fuse_early=fuse_early, fusion_norm=True)
    outputs = model(*pictures())
    outputs["classes"].square().mean().backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


def test_dropout_acts_in_training_alone() -> None:
    model = small(dropout=0.5)
    for module in model.modules():  # so that nothing else differs from pass to pass
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    torch.manual_seed(0)
    with torch.inference_mode():
        assert not torch.equal(model(*pictures())["mask"], model(*pictures())["mask"])
        model.eval()
        assert torch.equal(model(*pictures())["mask"], model(*pictures())["mask"])


def test_training_with_one_sample_is_answered_with_what_to_change() -> None:
    with pytest.raises(BatchError, match=r"batches of 2 or more; found 1.*drop_last=True"):
        small()(*pictures(batch=1))
    with torch.inference_mode():
        assert small().eval()(*pictures(batch=1))["mask"].shape == (1, 1, 64, 96)


def test_another_output_stride_is_refused() -> None:
    with pytest.raises(OptionError, match="output_stride is 16 or 8, not 32"):
        small(output_stride=32)

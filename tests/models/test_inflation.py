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
    with pytest.raises(CheckpointMismatchError, match=f"image network {backbone} does not fit"):
        inflate_from_timm(model, backbone, pretrained=False)
    assert all(torch.equal(before[key], tensor) for key, tensor in model.state_dict().items())


@torch.inference_mode()
def test_a_vision_transformer_is_what_each_frame_sees_where_time_adds_nothing() -> None:
    torch.manual_seed(0)
    options: dict[str, Any] = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2}
    network: Any = timm.models.VisionTransformer(**options, num_classes=7).eval()
    nn.init.normal_(network.pos_embed, std=0.5)
    model = create_model(
        "timesformer_divst_8x32", 5, crop_size=32, frames=4, patch=8, width=24, depth=2, heads=2
    ).eval()
    nn.init.zeros_(model.get_parameter("blocks.0.time_fc.weight"))
    nn.init.zeros_(model.get_parameter("positions.temporal"))
    report = inflate_from_timm(model, network)  # type: ignore[arg-type] # the registry tells modules alone
    assert report.unused == ("head.weight", "head.bias")
    assert set(report.untouched) == {
        "positions.temporal",
        *(f"blocks.{block}.time_fc.{kind}" for block in (0, 1) for kind in ("weight", "bias")),
        "head.fc.weight",
        "head.fc.bias",
    }
    image = torch.randn(1, 3, 32, 32)
    kept: list[Tensor] = []
    model.get_submodule("norm").register_forward_hook(lambda _module, _inputs, output: kept.append(output[:, 0]))
    model(image.unsqueeze(2).expand(-1, -1, 4, -1, -1))
    torch.testing.assert_close(kept[0], network.forward_features(image)[:, 0], rtol=1e-4, atol=1e-4)
    ours, theirs = model.state_dict(), network.state_dict()
    assert torch.equal(ours["blocks.1.time_attn.qkv.weight"], theirs["blocks.1.attn.qkv.weight"])
    assert torch.equal(ours["blocks.1.time_norm.bias"], theirs["blocks.1.norm1.bias"])


def test_positions_of_another_number_of_patches_are_resized_along_one_line_as_by_the_official_loader() -> None:
    options: dict[str, Any] = {"patch_size": 8, "embed_dim": 24, "depth": 1, "num_heads": 2}
    network: Any = timm.models.VisionTransformer(img_size=16, **options)
    model = create_model("timesformer_divst_8x32", 5, crop_size=32, patch=8, width=24, depth=1, heads=2)
    inflate_from_timm(model, network)  # type: ignore[arg-type] # the registry tells modules alone
    ours, theirs = model.get_parameter("positions.spatial")[0], network.pos_embed[0]
    assert torch.equal(ours[0], theirs[0])
    assert torch.equal(ours[1:], theirs[1:].repeat_interleave(4, dim=0))


def test_a_transformer_of_another_width_is_refused() -> None:
    model = create_model("timesformer_divst_8x32", 5, crop_size=32, patch=8, width=24, depth=1, heads=2)
    network = timm.models.VisionTransformer(img_size=32, patch_size=8, embed_dim=48, depth=1, num_heads=2)
    with pytest.raises(CheckpointMismatchError, match="Choose a vision transformer of the same depth, width and patch"):
        inflate_from_timm(model, network)  # type: ignore[arg-type] # the registry tells modules alone

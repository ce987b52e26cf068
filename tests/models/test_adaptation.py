# SPDX-License-Identifier: Apache-2.0
"""Weights of another size or form are fitted as by the official loaders; a model that cannot take them is as before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from small_models import small_model
from torch import Tensor, nn
from torch.nn import functional

from staticdropout.errors import CheckpointMismatchError
from staticdropout.models import load_checkpoint
from staticdropout.models.adaptation import Adaptable
from staticdropout.models.checkpoints import to_official_names
from staticdropout.models.mvit import MViT
from staticdropout.models.x3d import X3D

MVIT, TIMESFORMER = "mvit_b_16x4", "timesformer_divst_8x32"


def loaded(model: nn.Module, weights: dict[str, Tensor], folder: Path, **options: Any) -> Any:
    torch.save({"model_state": weights}, folder / "weights.pyth")
    return load_checkpoint(model, folder / "weights.pyth", **options)


def mvit(**options: Any) -> MViT:
    model = small_model(MVIT, **options)
    assert isinstance(model, MViT)
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            nn.init.normal_(module.weight)
    return model.eval()


def test_mvit_positions_are_resized_bicubically_in_space_and_linearly_in_time(tmp_path: Path) -> None:
    source, target = mvit(frames=8, crop_size=48), mvit(frames=4, crop_size=32)
    report = loaded(target, source.state_dict(), tmp_path, allow=())
    grid = source.positions.spatial.reshape(1, 12, 12, -1).permute(0, 3, 1, 2)
    expected = functional.interpolate(grid, size=(8, 8), mode="bicubic").flatten(2).transpose(1, 2)
    assert torch.equal(target.positions.spatial, expected)
    times = functional.interpolate(source.positions.temporal.transpose(1, 2), size=2, mode="linear").transpose(1, 2)
    assert torch.equal(target.positions.temporal, times)
    assert torch.equal(target.positions.class_token, source.positions.class_token)
    assert [note.partition(" was resized ")[2] for note in report.notes] == [
        "from 12x12 to 8x8 places.",
        "from 4 to 2 frames.",
    ]


@torch.inference_mode()
def test_mvit_gives_the_same_for_a_size_whether_positions_are_resized_in_loading_or_on_the_way(tmp_path: Path) -> None:
    source, target = mvit(frames=4, crop_size=32), mvit(frames=8, crop_size=48)
    loaded(target, source.state_dict(), tmp_path)
    clip = torch.randn(1, 3, 8, 48, 48)
    torch.testing.assert_close(target(clip), source(clip))


@pytest.mark.parametrize("pooled", [True, False])
@torch.inference_mode()
def test_mvit_takes_the_form_of_its_last_blocks_from_the_weights(pooled: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    source, target = mvit(last_key_pooling=pooled), mvit(last_key_pooling=not pooled)
    state = torch.random.get_rng_state()
    report = loaded(target, source.state_dict(), tmp_path, allow=())
    assert torch.equal(torch.random.get_rng_state(), state)
    assert target.form == {"last_key_pooling": pooled}
    assert list(target.state_dict()) == list(source.state_dict())
    clip = torch.randn(1, 3, 4, 32, 32)
    assert torch.equal(target(clip), source(clip))
    assert ("with pooling" if pooled else "without pooling") in report.notes[0]


@torch.inference_mode()
def test_a_file_that_does_not_fit_leaves_mvit_as_it_was(tmp_path: Path) -> None:
    source, target = mvit(last_key_pooling=False), mvit()
    weights = {**source.state_dict(), "more.weight": torch.ones(1)}
    clip, before = torch.randn(1, 3, 4, 32, 32), {k: v.clone() for k, v in target.state_dict().items()}
    logits = target(clip)
    with pytest.raises(CheckpointMismatchError, match=r"not in the model: more.weight"):
        loaded(target, weights, tmp_path)
    after = target.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[key], value) for key, value in before.items())
    assert torch.equal(target(clip), logits)
    assert target.form == {"last_key_pooling": True}
    loaded(target, source.state_dict(), tmp_path)  # and it can still take the form
    assert torch.equal(target(clip), source(clip))


def test_timesformer_positions_are_resized_to_the_nearest_along_one_line(tmp_path: Path) -> None:
    source, target = small_model(TIMESFORMER, crop_size=64, frames=8), small_model(TIMESFORMER, crop_size=32, frames=4)
    report = loaded(target, source.state_dict(), tmp_path, allow=())
    old, new = (model.get_parameter("positions.spatial")[0] for model in (source, target))
    assert torch.equal(new[0], old[0])
    assert torch.equal(new[1:], old[1::4])
    times = [model.get_parameter("positions.temporal")[0] for model in (source, target)]
    assert torch.equal(times[1], times[0][::2])
    assert len(report.notes) == 2


@torch.inference_mode()
def test_timesformer_resizes_positions_as_a_grid_for_other_clips() -> None:
    model = small_model(TIMESFORMER, crop_size=32, frames=4)
    positions = model.get_submodule("positions")
    tokens = torch.zeros(1, 1 + 2 * 4, 24)
    got = positions.in_picture(tokens, (2, 4))[0, 1:].view(2, 4, 24)  # type: ignore[operator] # a submodule of ours
    own = model.get_parameter("positions.spatial")[0, 1:].view(2, 2, 24)
    assert torch.equal(got, own.repeat_interleave(2, dim=1))


@torch.inference_mode()
def test_the_normalisation_that_a_pytorchvideo_x3d_lacks_is_the_identity(tmp_path: Path) -> None:
    torch.manual_seed(0)
    source, target = (
        small_model("x3d_s", shortcut_norm=norm, zero_init_last_bn=False).eval() for norm in (False, True)
    )
    report = loaded(target, source.state_dict(), tmp_path, allow=())
    clip = torch.randn(1, 3, 4, 32, 32)
    assert torch.equal(target(clip), source(clip))
    assert "res2.block0.shortcut.bn" in report.notes[0]
    assert isinstance(target, X3D)
    same = target.adapt_to(dict(target.state_dict()))
    assert same.notes == ()


def test_weights_of_another_width_are_left_to_the_comparison_of_shapes(tmp_path: Path) -> None:
    for name, wide in ((MVIT, {"width": 48}), (TIMESFORMER, {"width": 48})):
        target, source = small_model(name), small_model(name, **wide)
        assert isinstance(target, Adaptable)
        with pytest.raises(CheckpointMismatchError, match="of another shape"):
            loaded(target, source.state_dict(), tmp_path)


def test_a_slowfast_file_without_that_normalisation_is_incomplete(tmp_path: Path) -> None:
    weights = to_official_names(small_model("x3d_s").state_dict(), "slowfast")
    truncated = {name: tensor for name, tensor in weights.items() if "s2.pathway0_res0.branch1_bn" not in name}
    assert len(truncated) < len(weights)
    with pytest.raises(CheckpointMismatchError, match=r"missing in the file: res2\.block0\.shortcut\.bn"):
        loaded(small_model("x3d_s"), truncated, tmp_path)


def test_the_identity_is_exact_also_for_half_precision_weights() -> None:
    model = small_model("x3d_s")
    assert isinstance(model, X3D)
    half = {name: tensor.half() for name, tensor in small_model("x3d_s", shortcut_norm=False).state_dict().items()}
    filled = model.adapt_to(half).weights["res2.block0.shortcut.bn.running_var"]
    assert filled.dtype == torch.float32
    assert torch.equal(filled, torch.full_like(filled, 1 - 1e-5))


def test_layers_that_a_frozen_model_gets_are_frozen() -> None:
    model = mvit(last_key_pooling=False).requires_grad_(False)
    model.adapt_to(dict(mvit().state_dict()))
    assert model.form == {"last_key_pooling": True}
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_a_compiled_model_is_loaded_as_the_one_inside(tmp_path: Path) -> None:
    source, target = small_model("x3d_s"), small_model("x3d_s")
    compiled: Any = torch.compile(target, backend="eager")
    loaded(compiled, source.state_dict(), tmp_path)
    assert all(torch.equal(value, target.state_dict()[name]) for name, value in source.state_dict().items())


def test_a_space_only_timesformer_without_head_is_known(tmp_path: Path) -> None:
    source = small_model(TIMESFORMER, attention="space_only")
    official = to_official_names(source.state_dict(), "timesformer")
    trunk = {name: tensor for name, tensor in official.items() if "head." not in name}
    target = small_model(TIMESFORMER, attention="space_only")
    report = loaded(target, trunk, tmp_path, allow=("head.*",))
    assert report.layout == "TimeSformer"
    assert report.left_out == ("head.fc.weight", "head.fc.bias")

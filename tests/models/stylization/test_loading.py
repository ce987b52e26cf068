# SPDX-License-Identifier: Apache-2.0
"""Generators come out of every kind of file as they went in."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from staticdropout.errors import CheckpointError, CheckpointMismatchError, UnsafeCheckpointError
from staticdropout.models import create_model
from staticdropout.models.stylization import PatchDiscriminator, PatchGenerator, load_generator

FORMS: list[dict[str, Any]] = [
    {},
    {"in_channels": 9, "blocks": 4},
    {"smoothers": False},
    {"tanh": False, "blocks": 0},
    {"filters": (3, 5, 6, 6, 7, 4), "in_channels": 6},
]


def write_state_dict(generator: PatchGenerator, path: Path) -> None:
    torch.save(generator.state_dict(), path)


def write_half_under_a_key(generator: PatchGenerator, path: Path) -> None:
    torch.save({"epoch": 3, "model": {f"module.{k}": v.half() for k, v in generator.state_dict().items()}}, path)


def write_compiled_training(generator: PatchGenerator, path: Path) -> None:
    state = {f"generator._orig_mod.{key}": value for key, value in generator.state_dict().items()}
    torch.save({"pytorch-lightning_version": "2.6.0", "state_dict": state}, path)


def write_whole(generator: PatchGenerator, path: Path, legacy: bool = False) -> None:
    """As the authors write theirs: a module of a class ``models.GeneratorJ``."""
    package = ModuleType("models")
    package.GeneratorJ = type("GeneratorJ", (nn.Module,), {"__module__": "models"})  # type: ignore[attr-defined]
    official = package.GeneratorJ()
    for name, child in generator.named_children():
        official.add_module(name, child)
    sys.modules["models"] = package
    try:
        torch.save(official, path, _use_new_zipfile_serialization=not legacy)
    finally:
        del sys.modules["models"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("write", [write_state_dict, write_whole, write_compiled_training])
def test_the_form_is_read_off_the_weights(
    write: Callable[[PatchGenerator, Path], None],
    form: dict[str, Any],
    small_generator: Callable[..., PatchGenerator],
    tmp_path: Path,
) -> None:
    generator = small_generator(**form)
    write(generator, tmp_path / "file")
    loaded = load_generator(tmp_path / "file")
    assert repr(loaded) == repr(generator)
    assert not loaded.training
    assert not any(weight.requires_grad for weight in loaded.parameters())
    picture = torch.rand(1, generator.in_channels, 12, 12)
    assert torch.equal(loaded(picture), generator(picture))


@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code:UserWarning")
def test_files_of_the_older_format_and_a_training_load_too(
    small_generator: Callable[..., PatchGenerator], lightning_file: Callable[..., Path], tmp_path: Path
) -> None:
    generator = small_generator()
    write_whole(generator, tmp_path / "old.pth", legacy=True)
    picture = torch.rand(1, 3, 12, 12)
    for path in (tmp_path / "old.pth", lightning_file(generator)):
        assert torch.equal(load_generator(path)(picture), generator(picture))
    write_half_under_a_key(generator, tmp_path / "half.pth")
    half = load_generator(tmp_path / "half.pth")
    assert all(w.dtype == torch.float32 for w in half.parameters())
    assert torch.allclose(half(picture), generator(picture), atol=0.05)


def test_loading_draws_nothing(small_generator: Callable[..., PatchGenerator], tmp_path: Path) -> None:
    write_state_dict(small_generator(), tmp_path / "file")
    before = torch.get_rng_state()
    load_generator(tmp_path / "file")
    assert torch.equal(torch.get_rng_state(), before)


OTHERS: dict[str, tuple[Callable[[], Any], str]] = {
    "SlowFast": (
        lambda: create_model("slowfast_r50_4x16", num_classes=3, width=8).state_dict(),
        r"no convolution conv0\.conv\.weight.*SlowFast.*styles train",
    ),
    "discriminator": (lambda: PatchDiscriminator().state_dict(), "Found a discriminator of few-shot stylization"),
    "linear layer": (lambda: nn.Linear(2, 2).state_dict(), r"2 tensors \(weight, bias"),
    "another whole module": (lambda: nn.Sequential(nn.Linear(2, 2)), r"0\.weight"),
    "half a generator": (
        lambda: {k: v for k, v in PatchGenerator(blocks=1).state_dict().items() if "upconv1" not in k},
        r"upconv1\.1\.weight",
    ),
    "blocks with a gap": (
        lambda: {k: v for k, v in PatchGenerator(blocks=3).state_dict().items() if "resnets.1" not in k},
        r"resnets\.1",
    ),
    "twelve more channels that are no guides": (
        lambda: PatchGenerator(blocks=0).state_dict() | {"conv0.conv.weight": torch.zeros(32, 4, 7, 7)},
        "in_channels is 3 for the picture",
    ),
    "a vector for a kernel": (
        lambda: PatchGenerator(blocks=0).state_dict() | {"conv0.conv.weight": torch.zeros(32)},
        r"no convolution conv0\.conv\.weight",
    ),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_a_checkpoint_of_something_else_says_what_was_found_and_expected(kind: str, tmp_path: Path) -> None:
    make, message = OTHERS[kind]
    torch.save(make(), tmp_path / "other.pth")
    with pytest.raises(CheckpointMismatchError, match=message) as caught:
        load_generator(tmp_path / "other.pth")
    assert "other.pth" in str(caught.value)
    assert "expected the weights of PatchGenerator" in str(caught.value)


def test_hostile_damaged_and_missing_files_keep_their_errors(
    small_generator: Callable[..., PatchGenerator], tmp_path: Path
) -> None:
    class Touch:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "it ran",)

    for path, content in ((tmp_path / "a.pth", Touch()), (tmp_path / "b.pth", {"state_dict": Touch()})):
        torch.save(content, path)
        with pytest.raises(UnsafeCheckpointError, match="nothing of it was run"):
            load_generator(path)
    assert not (tmp_path / "it ran").exists()
    write_whole(small_generator(), tmp_path / "c.pth")
    (tmp_path / "c.pth").write_bytes((tmp_path / "c.pth").read_bytes()[:5000])
    with pytest.raises(CheckpointError, match="damaged or breaks off"):
        load_generator(tmp_path / "c.pth")
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        load_generator(tmp_path / "absent.pth")

# SPDX-License-Identifier: Apache-2.0
"""What data sets of actions share: their options, their place in the command line, and sources of one's own."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
from action_data import SMALL, frame_numbers, kinetics, write_clip

from staticdropout import cli
from staticdropout.datamodules import (
    ActivityNetDataModule,
    Diving48DataModule,
    Entry,
    KineticsDataModule,
    MovingShapesDataModule,
    SomethingElseDataModule,
    Span,
    SSv2DataModule,
    VideoDataModule,
    VideoSource,
)
from staticdropout.datamodules.video_source import Split
from staticdropout.errors import AnnotationError

MODULES = (
    ActivityNetDataModule,
    Diving48DataModule,
    KineticsDataModule,
    MovingShapesDataModule,
    SSv2DataModule,
    SomethingElseDataModule,
)
SHARED = [name for name in inspect.signature(VideoDataModule.__init__).parameters if name != "self"]


@pytest.mark.parametrize("module", MODULES)
def test_the_help_of_every_data_set_explains_every_option(
    module: type[VideoDataModule], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        cli.main(["fit", "--data.help", module.__name__])
    shown = capsys.readouterr().out
    own = [name for name in inspect.signature(module.__init__).parameters if name not in ("self", "kwargs")]
    for name in {*SHARED, *own}:
        found = re.search(rf"^ +--data\.{name}\b[^\n]*?(?:\n +|  +)(\(type|[\w`])", shown, re.MULTILINE)
        assert found, name
        assert found[1] != "(type", f"{name} has no explanation"


@pytest.mark.parametrize("module", MODULES)
def test_all_options_are_kept_in_checkpoints_with_the_defaults_of_the_data_set(module: type[VideoDataModule]) -> None:
    hparams = dict(module(root="x", batch_size=3).hparams)
    assert hparams["batch_size"] == 3
    assert set(SHARED) <= set(hparams)
    own = {name: p.default for name, p in inspect.signature(module.__init__).parameters.items()}
    assert all(hparams[name] == own[name] for name in ("sampling", "stride", "flip", "target_fps") if name in own)


def test_the_base_has_no_data(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="abstract"):
        VideoDataModule(str(tmp_path))  # type: ignore[abstract]


class Halves(VideoSource):
    """Two halves of one video."""

    title = "Halves"

    def class_names(self) -> tuple[str, ...]:
        return "first", "second"

    def splits(self) -> tuple[Split, ...]:
        return "train", "validation"

    def entries(self, split: Split) -> list[Entry]:
        spans = [Span(0, 12, "frames"), Span(12, 24, "frames")] if split == "validation" else []
        return [Entry(f"one/{label}", self.root / "one.mp4", label, span) for label, span in enumerate(spans)]


class HalvesData(VideoDataModule):
    """A data set of one's own."""

    def source(self, reader: str) -> VideoSource:
        return Halves(self.root, reader)


def test_a_data_set_of_ones_own_takes_a_source_and_nothing_else(tmp_path: Path) -> None:
    write_clip(tmp_path / "one.mp4")
    module = HalvesData(str(tmp_path), **SMALL)
    module.setup("validate")
    assert module.num_classes == 2
    (batch,) = module.val_dataloader()
    first, second = (frame_numbers(clip) for clip in batch["video"])
    assert max(first) < 12 <= min(second)
    with pytest.raises(AnnotationError, match=r"The train split of .* has no entries"):
        module.setup("fit")


def test_setup_reads_what_a_stage_needs_and_nothing_else(tmp_path: Path) -> None:
    root = kinetics(tmp_path)
    for stage, roles in {
        "fit": {"train", "val"},
        "validate": {"val"},
        "test": {"test"},
        "predict": {"predict"},
        None: {"train", "val", "test", "predict"},
    }.items():
        module = KineticsDataModule(str(root), **SMALL)
        module.setup(stage)
        assert set(module._datasets) == roles

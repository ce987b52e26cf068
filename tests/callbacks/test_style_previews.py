# SPDX-License-Identifier: Apache-2.0
"""StylePreviews: every validation shows frames as they are, as they are painted, and as they were painted by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn
from toys import loader_of, make_trainer

from staticdropout.callbacks import style_previews
from staticdropout.callbacks.style_previews import StylePreviews
from staticdropout.errors import BatchError, OptionError
from staticdropout.visualization.picture_table import GAP, HEAD, LABELS

LEVELS = {"input": -1.0, "styled": 0.0, "target": 1.0}
"""Pixels of the three pictures of a row: black, grey, white."""


def frames(channels: int, keyframe: bool, count: int = 1) -> dict[str, Any]:
    found: dict[str, Any] = {"id": ["a"] * count, "input": torch.full((count, channels, 10, 12), LEVELS["input"])}
    return found | ({"target": torch.full((count, 3, 10, 12), LEVELS["target"])} if keyframe else {})


class Painter(LightningModule):
    """Paints everything grey."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        loss: Tensor = self.layer(batch).sum()
        return loss

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> Any:
        return batch | {"styled": torch.full_like(batch["input"][:, :3], LEVELS["styled"])}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(folder: Path, callback: StylePreviews, module: LightningModule | None = None, **options: Any) -> None:
    shown = [frames(3, keyframe=True), frames(9, keyframe=False, count=2)]
    trainer = make_trainer(folder, [callback], **options)
    trainer.fit(module or Painter(), loader_of([torch.rand(1, 1)] * 2, None), loader_of(shown, None))


def pictures_of(sheet: np.ndarray) -> list[list[int]]:
    """The grey level of each picture of a sheet, row by row; 255 where there is none. They are 96x80 pixels then."""
    rows, columns = (sheet.shape[0] - 2 * HEAD) // (80 + GAP), (sheet.shape[1] - LABELS) // (96 + GAP)
    places = [(2 * HEAD + row * (80 + GAP) + 40, row) for row in range(rows)]
    return [[int(sheet[y, LABELS + column * (96 + GAP) + 48, 0]) for column in range(columns)] for y, _ in places]


def test_a_column_is_a_frame_as_it_is_as_the_network_paints_it_and_as_it_was_painted(tmp_path: Path) -> None:
    fit(tmp_path, StylePreviews(), max_epochs=2)
    files = sorted((tmp_path / "previews").iterdir())
    assert [file.name for file in files] == ["step_0000002.png", "step_0000004.png"]
    for file in files:
        sheet = np.asarray(Image.open(file))
        assert pictures_of(sheet) == [[0, 0, 0], [128, 128, 128], [255, 255, 255]]
        assert (sheet[: 2 * HEAD, LABELS:] < 128).any(), "the columns have names"
        assert (sheet[:, :LABELS] < 128).any(), "the rows have names"


def test_no_more_frames_are_shown_than_asked_for(tmp_path: Path) -> None:
    fit(tmp_path, StylePreviews(tmp_path / "there", num_shown=2), max_epochs=1)
    rows = pictures_of(np.asarray(Image.open(tmp_path / "there" / "step_0000002.png")))
    assert [len(row) for row in rows] == [2, 2, 2]


def test_the_sheet_goes_to_tensorboard_and_beside_its_files(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path, name="run", version="one")
    fit(tmp_path, StylePreviews(), max_epochs=2, logger=logger)
    events = EventAccumulator(str(tmp_path / "run" / "one"))
    events.Reload()
    assert [event.step for event in events.Images("style/previews")] == [2, 4]
    assert (tmp_path / "run" / "one" / "previews" / "step_0000004.png").is_file()


def test_the_sanity_check_and_a_fast_run_leave_no_file(tmp_path: Path) -> None:
    fit(tmp_path, StylePreviews(), fast_dev_run=True)
    fit(tmp_path, StylePreviews(), max_steps=1, val_check_interval=1.0, limit_val_batches=2)
    assert not (tmp_path / "previews").exists()


def test_a_full_disk_does_not_stop_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(style_previews, "write_whole", full)
    with pytest.warns(UserWarning, match=r"No space left on device.*Training goes on"):
        fit(tmp_path, StylePreviews(), max_epochs=1)


class Silent(Painter):
    """Returns nothing from its validation step."""

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> Any:
        return None


def test_a_module_that_returns_no_pictures_is_told_what_is_needed(tmp_path: Path) -> None:
    with pytest.raises(BatchError, match=r"validation steps that return.*found NoneType"):
        fit(tmp_path, StylePreviews(), Silent(), max_epochs=1)


def test_no_rows_at_all_are_refused() -> None:
    with pytest.raises(OptionError, match="num_shown=0"):
        StylePreviews(num_shown=0)

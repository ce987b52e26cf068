# SPDX-License-Identifier: Apache-2.0
"""Videos that were skipped are counted and listed."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader
from toys import Clips, ToyClassifier, make_trainer

from staticdropout.callbacks import SkippedVideos


def with_skipped(skipped: list[tuple[str, str]]) -> DataLoader[Any]:
    def collate(items: list[dict[str, Any]]) -> dict[str, Any]:
        batch: dict[str, Any] = torch.utils.data.default_collate(items)
        return batch | ({"skipped": skipped} if skipped else {})

    return DataLoader(Clips(8), 4, collate_fn=collate)


def test_they_are_listed_once_at_the_end_of_the_epoch_and_logged(tmp_path: Path) -> None:
    callback = SkippedVideos(most=2)
    broken = [(f"clip{number}", "no key frame") for number in range(3)]
    trainer = make_trainer(tmp_path, [callback], logger=CSVLogger(tmp_path, name="", version=""))
    with pytest.warns(UserWarning, match="could not be read") as caught:
        trainer.fit(ToyClassifier(), with_skipped(broken), with_skipped([]))
    messages = [str(w.message) for w in caught if "could not be read" in str(w.message)]
    assert len(messages) == 1  # two epochs, the same three videos
    assert messages[0].startswith("3 train videos could not be read and were skipped:\n  clip0: no key frame")
    assert "… and 1 more" in messages[0]
    assert "staticdropout data check" in messages[0]
    assert callback.skipped["train"] == dict(broken)
    assert "skipped_videos/train" in (tmp_path / "metrics.csv").read_text()


def test_without_broken_videos_nothing_is_said(tmp_path: Path) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        make_trainer(tmp_path, [SkippedVideos()]).fit(ToyClassifier(), with_skipped([]), with_skipped([]))
    assert not [w for w in caught if "could not be read" in str(w.message)]

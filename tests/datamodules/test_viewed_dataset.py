# SPDX-License-Identifier: Apache-2.0
"""Views beside a centred clip: of the same videos, and left out together where a video cannot be read."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from action_data import SMALL, kinetics

from staticdropout.datamodules import KineticsDataModule


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return kinetics(tmp_path / "k400")


def batch(root: Path, stage: str = "validate", **options: Any) -> dict[str, Any]:
    module = KineticsDataModule(str(root), **{**SMALL, "test_clips": 2, "test_crops": 3, **options})
    module.setup(stage)
    loader = module.val_dataloader() if stage == "validate" else module.test_dataloader()
    found: dict[str, Any] = next(iter(loader))
    return found


def test_a_batch_has_the_clip_of_validation_and_the_views_of_testing(root: Path) -> None:
    both = batch(root, val_views=True)
    assert torch.equal(both["video"], batch(root)["video"])
    assert both["views"].shape == (2, 6, 3, 4, 16, 16)
    tested = batch(root, "test")
    assert torch.equal(both["views"], tested["video"])
    assert both["id"] == tested["id"]


def test_without_views_or_with_a_single_one_a_batch_has_the_clip_alone(root: Path) -> None:
    assert "views" not in batch(root)
    assert "views" not in batch(root, val_views=True, test_clips=1, test_crops=1)


def test_a_video_that_cannot_be_read_has_neither_clip_nor_views(root: Path) -> None:
    files = sorted((root / "val").iterdir())
    files[0].write_bytes(b"no video")
    one = batch(root, val_views=True)
    assert len(one["video"]) == len(one["views"]) == len(one["id"]) == len(one["skipped"]) == 1
    shutil.copy(files[1], files[0])
    assert len(batch(root, val_views=True)["views"]) == 2

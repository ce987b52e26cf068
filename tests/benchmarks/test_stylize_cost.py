# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import argparse
from pathlib import Path

import pytest
import stylize
from parts.common import seconds

from staticdropout.datamodules import write_moving_shapes


def test_rates_count_what_comes_in_and_what_comes_out_and_shares_are_of_neighbours() -> None:
    times = {stylize.WHOLE: [4.0, 8.0, 2.0], "reading": [1.0, 1.0, 1.0], "writing": [2.0, 2.0, 2.0]}
    whole, reading, writing = stylize.rows_of(times, frames=40, styles=4, file_kb=12.34)
    assert (whole["frames_per_s"], whole["styled_per_s"], whole["share"]) == (10, 40, 1)
    assert (reading["frames_per_s"], reading["styled_per_s"], reading["file_kb"]) == (40, "", "")
    assert (reading["share"], reading["lowest"], reading["highest"]) == (0.25, 0.125, 0.5)
    assert (writing["styled_per_s"], writing["file_kb"]) == (80, 12.3)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_every_part_is_timed_over_the_same_frames(shapes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        stylize, "in_turns", lambda ways, repeats, device: {name: [seconds(way)] for name, way in ways.items()}
    )
    options = argparse.Namespace(
        data=shapes, limit=2, quality=90, workers=0, threads=1, repeats=1, device="cpu", output=None
    )
    rows, about = stylize.measure(options)
    assert [row["part"] for row in rows] == [stylize.WHOLE, "reading", "styling", "writing"]
    assert all(row["frames_per_s"] > 0 for row in rows)
    assert about["input"] == "shapes: 2 videos, 6 frames, the first 32x32"


@pytest.fixture
def shapes(tmp_path: Path) -> Path:
    return write_moving_shapes(
        tmp_path / "shapes", 1, 2, 1, num_classes=2, num_frames=3, height=32, width=32, num_workers=1, progress=False
    )

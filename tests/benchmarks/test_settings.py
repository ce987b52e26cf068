# SPDX-License-Identifier: Apache-2.0
"""Every timing says in its CSV which clock it was taken with, and how often."""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import cost_growth
import flow
import loading
import pytest
import segmentation
import styles
import torch
import triplets
from matplotlib.figure import Figure
from segmentation import Task

from staticdropout.datamodules.flow import DisFlow

Run = Callable[..., dict[str, str]]


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Call a command and read the first row of one of its CSVs."""

    def run(module: ModuleType, *options: str, part: str = "") -> dict[str, str]:
        monkeypatch.setattr(sys, "argv", [module.__name__, "--output", str(tmp_path / "a.csv"), *options])
        module.main()
        with (tmp_path / f"a{part}.csv").open(newline="") as file:
            return next(csv.DictReader(file))

    return run


def rows(*_: object) -> list[dict[str, Any]]:
    return [{"ms": 1}]


def test_the_costs_of_triplets_and_styles_name_their_clock(written: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triplets, "measure", rows)
    row = written(triplets, "--repeats", "3")
    assert (row["clock"], row["repeats"]) == ("wall", "3")
    monkeypatch.setattr(styles, "measure", lambda *_: [{"style": "chalk"}])
    monkeypatch.setattr(styles, "speeds", lambda *_: {"chalk": {"fps_8": 1.0}})
    row = written(styles, "--generated", "--repeats", "4")
    assert (row["clock"], row["repeats"]) == ("wall", "4")


def test_loading_names_the_clock_of_each_column(written: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "set_num_threads", lambda number: None)
    monkeypatch.setattr(loading, "videos", lambda *_: {"original": Path(), "jpeg": Path()})
    monkeypatch.setattr(loading, "data_module", lambda *_: None)
    for name in ("measure_loading", "measure_parts", "measure_training"):
        monkeypatch.setattr(loading, name, rows)
    options = ("--repeats", "3", "--steps", "2")
    row = written(loading, *options)
    assert "wall for clips a second" in row["clock"]
    assert "processor for CPU ms" in row["clock"]
    assert row["repeats"] == "3"
    parts = written(loading, *options, part="_parts")
    assert (parts["clock"], parts["repeats"]) == ("processor", "3")
    training = written(loading, *options, part="_training")
    assert (training["clock"], training["steps"]) == ("wall", "2")
    assert "repeats" not in training


def test_the_host_has_written_the_files_of_a_measurement(
    written: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """So that a row of what no GPU does never has the name of one."""
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"name of {device}")
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    ways = {cost_growth.INTERVALS: lambda: None, cost_growth.WRITE: lambda: None}
    monkeypatch.setattr(cost_growth, "AXES", {"layers": (lambda *_: ways, (1,))})
    monkeypatch.setattr(cost_growth, "draw", lambda rows: Figure())
    written(cost_growth, "--device", "cuda:1", "--image", str(tmp_path / "a.png"))
    with (tmp_path / "a.csv").open(newline="") as file:
        assert [row["device"] for row in csv.DictReader(file)] == ["name of cuda:1", "cpu"]


def test_flow_is_timed_by_the_pair_and_beside_the_first_number_of_workers(tmp_path: Path) -> None:
    options = argparse.Namespace(workers=[1, 2], repeats=2, device="cpu")
    one, two = flow.measure(DisFlow(), flow.moving(3, 48, 64), tmp_path, "png", options)
    assert (one["size"], one["pairs"], one["workers"], two["workers"]) == ("64x48", 2, "1", "2")
    assert (one["ratio"], one["lowest"], one["highest"]) == (1, 1, 1)
    assert two["lowest"] <= two["ratio"] <= two["highest"]
    assert min(one["pair_ms"], one["estimator_ms"], one["file_kb"], one["picture_ms"], one["pixels_ms"]) > 0
    assert len(list(tmp_path.rglob("*.png"))) == 2 * (1 + 2) * 2  # ways, rounds with the first, pairs
    assert one["device"] == "cpu"


def test_both_sides_of_a_segmentation_network_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    monkeypatch.setattr(segmentation, "make_pass", lambda task, side: lambda: calls.append(side))
    found = segmentation.measure_time(Task("matnet", "inference", (8, 8), ["", "theirs"], 2, "cpu"))
    assert calls == ["", "theirs"] * 3  # the first pass of each is counted, not timed
    assert [len(times) for times in found["seconds"]] == [2, 2]
    assert found["gmacs"] == [0, 0]

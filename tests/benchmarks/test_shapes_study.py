# SPDX-License-Identifier: Apache-2.0
"""The study's task is what it claims to be, its runs are pairs, and its tables say what the runs say."""

from __future__ import annotations

import csv
import json
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from shapes_arms import ARMS, BASELINES, CANDIDATES, FAMILIES
from shapes_paired import paired
from shapes_report import MEASURES, reference_of, write_report
from shapes_study import finalists, read_runs, run_file
from shapes_task import Task, draw, load
from shapes_training import Schedule, calibration_error, train_one

TINY = Task(num_train=48, num_val=40, num_frames=4, size=16)
SHORT = Schedule(epochs=3, width=4, batch_size=16, measured_clips=20)


def test_looks_are_a_shortcut_in_training_and_random_in_validation() -> None:
    task = Task(num_train=800, num_val=800, num_frames=2, size=16)
    train, val = draw(task, 0, train=True), draw(task, 0, train=False)
    assert abs(float((train.looks == train.label).double().mean()) - (0.8 + 0.2 / 8)) < 0.04
    assert abs(float((val.looks == val.label).double().mean()) - 1 / 8) < 0.04
    assert torch.equal(val.label.bincount(), torch.full((8,), 100))
    counts = train.label.bincount()
    assert (abs(counts[0::2] - 160) <= 1).all()
    assert (abs(counts[1::2] - 40) <= 1).all()


def test_a_seed_draws_the_same_clips_again_also_from_the_cache(tmp_path: Path) -> None:
    first, again = (load(TINY, 3, True, tmp_path) for _ in range(2))
    assert torch.equal(first.video, draw(TINY, 3, train=True).video)
    assert torch.equal(first.video, again.video)
    assert not torch.equal(first.video, draw(TINY, 4, train=True).video)


def test_arms_of_one_seed_are_pairs_and_the_same_arm_gives_the_same_figures(tmp_path: Path) -> None:
    found = {
        name: train_one(TINY, SHORT, ARMS[arm], 5, tmp_path)
        for name, arm in {"none": "none", "again": "none", "both": "confusion-1.0-static-0.5"}.items()
    }
    timeless = {name: {k: v for k, v in run.items() if "seconds" not in k} for name, run in found.items()}
    assert timeless["none"] == timeless["again"]
    assert timeless["none"]["loss"] != timeless["both"]["loss"]
    assert set(MEASURES) - set(found["none"]) == {"relative_shuffled", "dynamic_of_specialised"}
    assert found["none"]["tilt"] == []
    assert found["both"]["tilt"][0]["inclusion_ratio"] >= 1


def test_every_arm_can_be_built() -> None:
    assert set(BASELINES) | set(CANDIDATES) == set(ARMS)
    assert sorted(name for members in FAMILIES.values() for name in members) == sorted(CANDIDATES)
    for arm in ARMS.values():
        assert len(arm.callbacks()) == len(arm.static_dropout) + bool(arm.confusion)
    for name in ARMS:
        assert reference_of(name) in ARMS


def test_the_interval_of_a_paired_difference_is_that_of_the_t_test() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 12))
    runs = [{"arm": "a", "seed": i, "x": v} for i, v in enumerate(a)]
    runs += [{"arm": "b", "seed": i, "x": v} for i, v in reversed(list(enumerate(b)))]
    runs.append({"arm": "a", "seed": 99, "x": 1e6})  # without a partner
    found = paired(runs, "a", "b", "x")
    interval = stats.ttest_rel(a, b).confidence_interval()
    assert found.pairs == 12
    assert (found.mean - found.interval, found.mean + found.interval) == pytest.approx(tuple(interval), rel=1e-5)


def test_finalists_are_the_most_accurate_of_each_family_over_the_seeds_of_the_selection() -> None:
    accuracies = {"zscore": (50, 60), "minus": (70, 30), "topk": (40, 41), "confusion-0.3": (10, 10)}
    runs = [{"arm": arm, "accuracy": value} for arm, values in accuracies.items() for value in values]
    assert finalists(runs, FAMILIES) == ["zscore", "minus", "confusion-0.3"]


def test_the_calibration_error_is_the_mean_gap_of_confidence_and_accuracy() -> None:
    rng = np.random.default_rng(1)
    probabilities = rng.dirichlet(np.ones(4), size=200)
    right = rng.random(200) < 0.5
    confidence = probabilities.max(1)
    bins = np.minimum((confidence * 15).astype(int), 14)
    gaps = [abs(confidence[bins == k].mean() - right[bins == k].mean()) * (bins == k).mean() for k in set(bins)]
    found = calibration_error(torch.from_numpy(probabilities).float(), torch.from_numpy(right))
    assert found == pytest.approx(100 * sum(gaps), abs=1e-3)


def test_the_report_holds_every_run_and_its_paired_differences(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    for arm in ("none", "channel-0.5", "static-0.5"):
        for seed in range(3):
            figures: dict[str, Any] = {measure: float(rng.uniform(10, 60)) for measure in MEASURES}
            tilt = [{"step": 0.0, "inclusion_ratio": 2.0, "dropped_score_excess": 0.1}] if arm != "none" else []
            file = run_file(tmp_path, arm, seed)
            file.parent.mkdir(exist_ok=True)
            file.write_text(json.dumps({"arm": arm, "seed": seed, "tilt": tilt, **figures}))
    runs = read_runs(tmp_path, ARMS, range(5))
    assert len(runs) == 9
    write_report([], runs, Namespace(output=tmp_path / "csv", figures=tmp_path / "png", device="cpu", page=None))
    with (tmp_path / "csv" / "shapes_study_arms.csv").open() as stream:
        rows = {row["arm"]: row for row in csv.DictReader(stream)}
    assert rows["static-0.5"]["rule_reference"] == "channel-0.5"
    expected = paired(runs, "static-0.5", "channel-0.5", "accuracy")
    assert float(rows["static-0.5"]["accuracy - rule"]) == pytest.approx(expected.mean, abs=1e-4)
    assert {file.name for file in (tmp_path / "png").iterdir()} == {
        "study_doses.png", "study_confirmation.png", "study_tilt.png",
    }  # fmt: skip

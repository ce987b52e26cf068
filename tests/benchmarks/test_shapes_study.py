# SPDX-License-Identifier: Apache-2.0
"""The study's task is what it claims to be, its runs are pairs, and its tables say what the runs say."""

from __future__ import annotations

import csv
import json
import math
import re
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pages import DOCS
from parts.shapes_arms import ARMS, BASELINES, CANDIDATES, FAMILIES, TWINS, UNIFORM
from parts.shapes_paired import holm, paired
from parts.shapes_report import MEASURES, write_report
from parts.shapes_task import Task, draw, load
from parts.shapes_training import Schedule, calibration_error, train_one
from scipy import stats
from shapes_study import SELECTION_SEEDS, finalists, read_runs, run_file, spec_of

from staticdropout.files import write_whole

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
    assert (abs(draw(task, 1, train=True).label.bincount()[1::2] - 160) <= 1).all()  # the other half for odd seeds


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
    timeless = {name: {k: v for k, v in run.items() if "milliseconds" not in k} for name, run in found.items()}
    assert timeless["none"] == timeless["again"]
    assert timeless["none"]["loss"] != timeless["both"]["loss"]
    assert set(MEASURES) - set(found["none"]) == {"relative_shuffled", "dynamic_of_specialised"}
    assert found["none"]["tilt"] == []
    assert found["both"]["tilt"][0]["inclusion_ratio"] >= 1


def test_every_arm_can_be_built() -> None:
    twins = {name for name in ARMS if name.endswith("-twin")}
    assert set(BASELINES) | set(CANDIDATES) | twins == set(ARMS)
    assert sorted(name for members in FAMILIES.values() for name in members) == sorted(CANDIDATES)
    for arm in ARMS.values():
        assert len(arm.callbacks()) == len(arm.static_dropout) + bool(arm.confusion)


def test_a_twin_differs_in_the_rule_alone() -> None:
    assert TWINS["static-0.3"] == "channel-0.3"
    assert TWINS["sharp"] == TWINS["topk"] == "channel-0.5"
    assert not {"none", "channel-0.5", "dropout-0.5", "confusion-1.0"} & set(TWINS)
    for arm, twin in TWINS.items():
        for mine, plain in zip(ARMS[arm].static_dropout, ARMS[twin].static_dropout, strict=True):
            assert plain["temperature"] == UNIFORM
            for option in ("rate", "layer", "rescale", "per_sample"):
                assert mine.get(option) == plain.get(option)
        assert ARMS[arm].confusion == ARMS[twin].confusion


def test_the_interval_of_a_paired_difference_is_that_of_the_t_test() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 12))
    runs = [{"arm": "a", "seed": i, "x": v} for i, v in enumerate(a)]
    runs += [{"arm": "b", "seed": i, "x": v} for i, v in reversed(list(enumerate(b)))]
    runs.append({"arm": "a", "seed": 99, "x": 1e6})  # without a partner
    found = paired(runs, "a", "b", "x")
    interval = stats.ttest_rel(a, b).confidence_interval()
    assert found.pairs == 12
    assert found.p == pytest.approx(stats.ttest_rel(a, b).pvalue)
    assert (found.mean - found.interval, found.mean + found.interval) == pytest.approx(tuple(interval), rel=1e-5)


def test_runs_without_a_value_are_left_out() -> None:
    runs = [{"arm": arm, "seed": seed, "x": x} for arm, seed, x in (("a", 0, 1.0), ("a", 1, math.nan), ("b", 0, 0.5))]
    assert paired([*runs, {"arm": "b", "seed": 1, "x": 2.0}], "a", "b", "x")[::3] == (0.5, 1)
    assert str(paired(runs, "a", "c", "x")) == "none"


def test_adjusted_p_values_are_those_of_holm() -> None:
    # Holm (1979): the smallest times their number, the next times one less, never falling.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_finalists_are_the_most_accurate_of_each_family_with_their_controls() -> None:
    best = {"minus": 70, "no-rescale": 60, "confusion-0.3": 50, "confusion-1.0": 55, "confusion-1.0-static-0.5": 65}
    runs = [{"arm": arm, "accuracy": best.get(arm, 10)} for arm in CANDIDATES for _ in SELECTION_SEEDS]
    found = finalists(runs)
    assert found[:5] == ["minus", "no-rescale", "confusion-1.0", "confusion-0.3", "confusion-1.0-static-0.5"]
    assert {"channel-0.5", "no-rescale-twin", "confusion-1.0-static-0.5-twin"} <= set(found)
    with pytest.raises(SystemExit, match="minus"):
        finalists(runs[: CANDIDATES.index("minus") * len(SELECTION_SEEDS)])


def test_the_calibration_error_is_the_mean_gap_of_confidence_and_accuracy() -> None:
    rng = np.random.default_rng(1)
    probabilities = rng.dirichlet(np.ones(4), size=200)
    right = rng.random(200) < 0.5
    confidence = probabilities.max(1)
    bins = np.minimum((confidence * 15).astype(int), 14)
    gaps = [abs(confidence[bins == k].mean() - right[bins == k].mean()) * (bins == k).mean() for k in set(bins)]
    found = calibration_error(torch.from_numpy(probabilities).float(), torch.from_numpy(right))
    assert found == pytest.approx(100 * sum(gaps), abs=1e-3)


def written(folder: Path, arm: str, seed: int, rng: np.random.Generator) -> None:
    figures: dict[str, Any] = {measure: float(rng.uniform(10, 60)) for measure in MEASURES}
    estimate = {"step": 0.0, "inclusion_ratio": 2.0, "dropped_ratio": 1.5, "dropped_score_excess": 0.1}
    content = {"arm": arm, "seed": seed, "tilt": [estimate] * 2 if arm != "none" else [], "about": {"torch": "2"}}
    write_whole(run_file(folder, arm, seed), json.dumps(content | figures | {"spec": spec_of(arm)}))


def test_the_report_holds_every_run_and_its_paired_differences(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    for arm in BASELINES:
        for seed in range(3):
            written(tmp_path, arm, seed, rng)
    runs = read_runs(tmp_path, ARMS, range(5))
    assert len(runs) == 3 * len(BASELINES)
    write_report([], runs, [], Namespace(output=tmp_path / "csv", figures=tmp_path / "png", page=None))

    def rows(name: str) -> list[dict[str, str]]:
        with (tmp_path / "csv" / name).open() as stream:
            return list(csv.DictReader(stream))

    assert len(rows("shapes_study.csv")) == len(runs)
    expected = paired(runs, "static-0.5", "channel-0.5", "accuracy")
    found = [
        row for row in rows("shapes_study_differences.csv")
        if (row["arm"], row["reference"], row["measure"]) == ("static-0.5", "channel-0.5", "accuracy")
    ]  # fmt: skip
    assert float(found[0]["mean"]) == pytest.approx(expected.mean, abs=1e-4)
    primary = rows("shapes_study_primary.csv")
    assert {(row["arm"], row["reference"]) for row in primary} >= {
        ("static-0.1", "channel-0.1"),
        ("static-0.1", "none"),
    }
    assert all(float(row["p_holm"]) >= float(row["p"]) for row in primary)
    assert {file.name for file in (tmp_path / "png").iterdir()} == {"study_doses.png", "study_confirmation.png"}


def test_the_page_gets_every_table_with_the_means_and_differences_of_the_runs(tmp_path: Path) -> None:
    rng, chosen = np.random.default_rng(4), ["minus", "confusion-1.0", TWINS["minus"]]
    for arm in dict.fromkeys([*BASELINES, *chosen]):
        for seed in (0, 1, 100, 101):
            written(tmp_path, arm, seed, rng)
    selection, confirmation = (read_runs(tmp_path, ARMS, seeds) for seeds in ((100, 101), (0, 1)))
    page = tmp_path / "study.md"
    page.write_text((DOCS / "study.md").read_text())
    write_report(
        selection, confirmation, chosen, Namespace(output=tmp_path / "csv", figures=tmp_path / "png", page=page)
    )
    found = dict(re.findall(r"<!-- table: (\S+) -->(.*?)<!-- end -->", page.read_text(), re.DOTALL))
    rows = {name: [line for line in text.splitlines() if line.startswith("| ")] for name, text in found.items()}
    lines = {name: {line.split(" | ")[0][2:]: line for line in table} for name, table in rows.items()}
    assert str(paired(confirmation, "static-0.3", "channel-0.3", "accuracy")) in lines["rules"]["0.3"]
    for name, runs in {"selection": selection, "confirmation": confirmation}.items():
        accuracies = [run["accuracy"] for run in runs if run["arm"] == "confusion-1.0"]
        about = ARMS["confusion-1.0"].about
        assert f"| {np.mean(accuracies):.1f} |" in lines[f"{name}_means"][about]
        assert str(paired(runs, "confusion-1.0", "none", "accuracy")) in lines[name][about]
    assert str(paired(confirmation, "confusion-1.0", "none", "follows_looks")) in found["primary"]


def test_runs_of_two_devices_are_refused(tmp_path: Path) -> None:
    for seed, device in enumerate(("cpu", "NVIDIA H200")):
        written(tmp_path, "none", seed, np.random.default_rng(5))
        file = run_file(tmp_path, "none", seed)
        file.write_text(file.read_text().replace('"torch": "2"', f'"device": "{device}"'))
    with pytest.raises(SystemExit, match="NVIDIA H200 and cpu are no pairs"):
        read_runs(tmp_path, ["none"], [0, 1])


def test_runs_of_other_settings_are_refused(tmp_path: Path) -> None:
    written(tmp_path, "none", 0, np.random.default_rng(3))
    file = run_file(tmp_path, "none", 0)
    file.write_text(file.read_text().replace('"epochs": 16', '"epochs": 17'))
    with pytest.raises(SystemExit, match="another task, schedule or arm"):
        read_runs(tmp_path, ["none"], [0])

# SPDX-License-Identifier: Apache-2.0
"""What the recovery benchmark restates or counts itself."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from pages import DOCS, PLACE, filled
from parts.recovery_layers import layer, style_pairs, weights_of
from parts.recovery_page import condensed, tables
from parts.recovery_pairs import within_pairs
from parts.recovery_rows import Case, summary
from recovery import by_distance, cases, measure

from staticdropout.metrics import pair_moments

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"


@pytest.mark.parametrize("kind", ["spread", "noisy", "style", "clear", "static", "crowd 0.6", "at λ"])
def test_weights_are_shares_of_a_variance_and_do_not_change(kind: str) -> None:
    weights = weights_of(kind, 12)
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(0), torch.ones(12))
    assert torch.equal(weights, weights_of(kind, 12))


def test_kinds_of_layers_hold_the_units_that_their_names_say() -> None:
    assert layer("clear", 8).units(0.5).tolist() == [25, 25, 25, 25]
    assert layer("crowd 0.6", 8).units(0.5).tolist() == [0, 100, 0, 0]
    assert layer("crowd 0.6", 8).units(0.7).tolist() == [0, 0, 0, 100]
    assert float(layer("noisy", 500).scores().max()) <= 0.5
    assert float(layer("style", 500).scores()[1].min()) < -0.1
    with pytest.raises(ValueError, match="no kind of layer"):
        layer("unknown", 8)


def test_the_two_styles_of_a_clip_differ_and_all_pairs_occur() -> None:
    pairs = style_pairs(2000, torch.Generator().manual_seed(0))
    assert (pairs[:, 0] != pairs[:, 1]).all()
    assert len(set(map(tuple, pairs.tolist()))) == 12


def test_clips_of_one_video_are_alike_and_clips_of_two_are_not() -> None:
    truth = layer("static", 400, cluster=5, likeness=0.8, shared=0.0)
    anchor = truth.draw(10, torch.Generator().manual_seed(0))[0] / truth.scale
    alike = torch.corrcoef(anchor)
    assert float(alike[0, 4]) == pytest.approx(0.8, abs=0.1)
    assert float(alike[4, 5]) == pytest.approx(0.0, abs=0.2)


def test_correlation_within_pairs_is_that_of_values_about_the_means_of_their_pair() -> None:
    generator = torch.Generator().manual_seed(0)
    pair = torch.arange(60) % 3
    a, b = (torch.randn(60, 2, generator=generator) + torch.tensor([0.0, 5.0, -9.0])[pair, None] for _ in range(2))
    moments = torch.stack([pair_moments(a, x, pair, 3) for x in (a, b)], dim=1)
    centred = [np.concatenate([(x[pair == p] - x[pair == p].mean(0)).numpy() for p in range(3)]) for x in (a, b)]
    expected = [np.corrcoef(centred[0][:, unit], centred[1][:, unit])[0, 1] for unit in range(2)]
    np.testing.assert_allclose(within_pairs(moments), [[1.0, 1.0], expected], atol=1e-6)


def test_a_summary_counts_intervals_that_hold_the_truth() -> None:
    values = torch.tensor([[10.0, 1.0, 5.0], [12.0, 1.0, 5.0], [14.0, 3.0, 5.0], [9.0, 2.0, 0.5]], dtype=torch.float64)
    row = summary("x", torch.tensor(11.0), values)
    assert (row["bias"], row["coverage"], row["jackknife_coverage"]) == (0.25, 100.0, 75.0)
    assert row["rmse"] == pytest.approx(np.sqrt((1 + 1 + 9 + 4) / 4), abs=1e-3)
    unknown = summary("x", torch.tensor(11.0), torch.tensor([[11.0, torch.nan], [11.0, 1.0]]))
    assert unknown["coverage"] == 50  # an unknown interval holds nothing


def test_scores_are_counted_by_their_distance_from_the_threshold() -> None:
    case = Case("clips", "spread", 2, 30)
    rows = by_distance(case, torch.tensor([[0.01, 0.3], [0.015, 0.07]]), torch.tensor([[0.5, 1.0], [0.7, 0.9]]))
    assert [(row["from"], row["scores"], row["right"]) for row in rows] == [
        (0.0, 2, 60.0), (0.05, 1, 90.0), (0.2, 1, 100.0)
    ]  # fmt: skip


def test_a_case_is_measured_around_its_truth_by_both_estimators() -> None:
    case = Case("clips", "spread", 16, 200, groups=5, estimators=("paper", "released"))
    rows, sides = measure(case, repetitions=4)
    found = {row["quantity"]: row for row in rows}
    assert len(found) == 3 + 3 + 4 + 1
    for factor in ("static", "dynamic", "identical"):
        assert abs(found[f"{factor} share, paper"]["bias"]) < 1
        assert abs(found[f"{factor} share, released"]["bias"]) < 10  # a unit is 6.25 %
    assert sum(found[f"{name} units"]["mean"] for name in ("dynamic", "static", "joint", "residual")) == pytest.approx(
        100, abs=0.01
    )
    assert sum(row["scores"] for row in sides) == 2 * 16


def test_every_study_has_cases_and_none_twice() -> None:
    studies = ("clips", "layer", "groups", "threshold", "videos")
    everything = cases(studies)
    assert {case.study for case in everything} == set(studies)
    assert len({str(case) for case in everything}) == len(everything)


def test_the_committed_page_shows_the_committed_results() -> None:
    page = (DOCS / "measure.md").read_text(encoding="utf-8")
    made = tables(RESULTS)
    assert {name for _, name, *_ in PLACE.findall(page)} == set(made)
    assert filled(page, made) == page


def test_a_condensed_case_shows_the_worst_of_its_factors() -> None:
    numbers = {"bias": "-0.5", "rmse": "1", "half_width": "2", "coverage": "95", "jackknife_coverage": "90"}
    worse = numbers | {"bias": "0.7", "coverage": "89.6"}
    case = {f"{name} units": numbers for name in ("dynamic", "static", "joint")} | {"residual units": worse}
    case |= {"static share, paper": numbers, "units in the right class": {"mean": "80"}}
    found = condensed(case)
    assert (found["units_bias"], found["units_coverage"], found["share_coverage"]) == ("+0.7", "90", "95")


def test_the_results_name_their_machine() -> None:
    with (RESULTS / "recovery.csv").open(newline="") as file:
        row = next(csv.DictReader(file))
    assert row["machine"]
    assert row["torch"]

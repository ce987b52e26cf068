# SPDX-License-Identifier: Apache-2.0
"""Jackknife and redrawn intervals against independent statements, and where they have to be wide."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats
from torch import Tensor

from staticdropout.metrics import StaticDynamicBias
from staticdropout.metrics.bias import layer_bias, unit_scores
from staticdropout.metrics.correlation import correlation, pair_moments
from staticdropout.metrics.intervals import (
    encoding_interval,
    jackknife_bias,
    jackknife_interval,
    leave_one_out,
    t_quantile,
)


def layer_of(scores: Tensor, clips: int = 200, groups: int = 20, shared: float = 0.0, seed: int = 0) -> Tensor:
    """Moments by group of normal units whose static population scores are ``scores`` and dynamic ones 0."""
    generator = torch.Generator().manual_seed(seed)

    def normal() -> Tensor:
        own, common = torch.randn(clips, len(scores), generator=generator), torch.randn(clips, 1, generator=generator)
        return math.sqrt(1 - shared) * own + math.sqrt(shared) * common

    content, *noise = (normal() for _ in range(4))
    anchor, same_static = (scores.sqrt() * content + (1 - scores).sqrt() * noise[k] for k in (0, 1))
    index = torch.arange(clips) % groups
    return torch.stack([pair_moments(anchor, side, index, groups) for side in (same_static, noise[2])], dim=1)


def units_interval(moments: Tensor, threshold: float = 0.5) -> Tensor:
    return encoding_interval(unit_scores(leave_one_out(moments)).score, threshold)


@pytest.mark.parametrize(("degrees", "tolerance"), [(1, 1e-9), (2, 1e-9), (3, 0.02), *((d, 0.01) for d in (4, 9, 49))])
def test_t_quantile_is_right(degrees: int, tolerance: float) -> None:
    assert t_quantile(degrees) == pytest.approx(stats.t.ppf(0.975, degrees), rel=tolerance)


def test_leaving_out_a_group_gives_the_moments_of_the_other_clips() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b, c = 5 + torch.randn(3, 47, 3, generator=generator).double()
    index = torch.arange(47) % 4 * 2  # groups 1, 3, 5, 7 and 8 stay empty
    found = leave_one_out(torch.stack([pair_moments(a, side, index, 9) for side in (b, c)], dim=1))
    everyone = torch.ones(47, dtype=torch.bool)
    expected = [everyone, *(index != group for group in (0, 2, 4, 6))]
    assert len(found) == 5
    for row, kept in zip(found, expected, strict=True):
        direct = torch.stack([pair_moments(a[kept], side[kept])[0] for side in (b, c)])
        torch.testing.assert_close(row, direct, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("groups", [1, 5])
def test_without_two_groups_of_clips_nothing_can_be_left_out_and_intervals_are_unknown(groups: int) -> None:
    a, b, c = torch.randn(3, 20, 4, generator=torch.Generator().manual_seed(0))
    index = torch.zeros(20, dtype=torch.long)
    moments = torch.stack([pair_moments(a, side, index, groups) for side in (b, c)], dim=1)
    assert len(leave_one_out(moments)) == 1
    for estimator in ("paper", "released"):
        bias = layer_bias(moments, estimator)
        assert bias.shares_interval.isnan().all()
        assert bias.units_interval.isnan().all()


def test_jackknife_of_a_mean_is_the_classical_interval_and_has_no_bias() -> None:
    values = torch.randn(12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    without = (values.sum() - values) / 11
    expected = stats.t.ppf(0.975, 11) * values.std() / math.sqrt(12)
    assert float(jackknife_interval(without)) == pytest.approx(float(expected), rel=1e-3)
    assert float(jackknife_bias(values.mean(), without)) == pytest.approx(0, abs=1e-12)


def test_jackknife_finds_the_bias_of_correlations() -> None:
    a, b, noise = torch.randn(3, 40, 20_000, generator=torch.Generator().manual_seed(0)).double()
    moments = pair_moments(a + b, a + noise, torch.arange(40) % 10, 10)
    scores = correlation(leave_one_out(torch.stack([moments, moments], dim=1))).score[:, 0].mean(-1)
    in_theory = -0.5 * (1 - 0.5**2) / (2 * 40)  # of the correlation of normal variables (Fisher 1915)
    assert float(jackknife_bias(scores[0], scores[1:])) == pytest.approx(in_theory, rel=0.15)
    assert float(scores[0]) - 0.5 == pytest.approx(in_theory, abs=0.002)


def test_the_interval_of_shares_holds_the_bias_where_noise_has_averaged_out() -> None:
    truth = 100 * math.exp(0.85) / (math.exp(0.85) + 1 + math.e)
    bias = layer_bias(layer_of(torch.full((4000,), 0.85), clips=30, groups=10))
    assert abs(float(bias.shares[0]) - truth) > 0.07  # points: 30 clips give smaller correlations
    assert abs(float(bias.shares[0]) - truth) < float(bias.shares_interval[0]) < 0.3


def test_whole_units_of_the_released_estimator_have_intervals_of_whole_units() -> None:
    moments = layer_of(torch.full((16,), 0.6), clips=60)
    paper, released = (layer_bias(moments, estimator) for estimator in ("paper", "released"))
    units = 16 * released.shares_interval / 100
    torch.testing.assert_close(units, units.round())
    assert (units >= 1).all()
    assert (released.shares_interval >= 0.5 * paper.shares_interval).all()


def test_units_far_from_the_threshold_need_no_interval() -> None:
    scores = torch.tensor([0.0, 0.9]).repeat(20)
    assert units_interval(layer_of(scores, clips=1000)).tolist() == [0, 0, 0, 0]


def test_one_unit_at_the_threshold_widens_the_interval_by_one_unit_or_more() -> None:
    scores = torch.tensor([0.0] * 10 + [0.9] * 9 + [0.5])
    interval = units_interval(layer_of(scores, clips=1000))
    assert interval[0] == interval[2] == 0  # nobody is near dynamic or joint
    assert (interval[[1, 3]] >= 5 - 1e-9).all()
    assert (interval[[1, 3]] < 25).all()


def test_a_layer_that_looks_static_throughout_has_an_interval_if_its_units_are_not_far_from_the_threshold() -> None:
    moments = layer_of(torch.full((20,), 0.8), clips=60, seed=1)
    bias = layer_bias(moments)
    assert float(bias.units[1]) == 100
    assert 1 < float(bias.units_interval[1]) < 50


def test_units_that_crowd_at_the_threshold_get_the_worst_case() -> None:
    bias = layer_bias(layer_of(torch.full((200,), 0.6), clips=60))
    assert 75 < float(bias.units[1]) < 95  # noise drives many under the threshold, all on the same side in truth
    assert float(bias.units[1] + bias.units_interval[1]) >= 100
    assert float(bias.units[3] - bias.units_interval[3]) <= 0


def test_units_that_err_together_have_wider_intervals() -> None:
    scores = torch.linspace(0, 1, 200)
    alone, together = (units_interval(layer_of(scores, shared=shared)) for shared in (0.0, 0.9))
    assert float(together[1]) > 1.5 * float(alone[1])


def test_sixteen_times_the_clips_give_narrower_intervals() -> None:
    scores = torch.linspace(0, 1, 100)
    few, many = (units_interval(layer_of(scores, clips=clips))[1] for clips in (100, 1600))
    assert 1.5 * float(many) < float(few)


def test_the_same_moments_give_the_same_interval_and_the_global_state_is_left_alone() -> None:
    moments = layer_of(torch.linspace(0, 1, 50))
    state = torch.get_rng_state()
    first = units_interval(moments)
    assert torch.equal(first, units_interval(moments))
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("threshold", [-0.5, 0.0, 0.3, 0.9])
def test_any_threshold_has_an_interval(threshold: float) -> None:
    scores = unit_scores(leave_one_out(layer_of(torch.linspace(0, 1, 30)))).score
    interval = encoding_interval(scores, threshold)
    assert interval.isfinite().all()
    assert (interval >= 0).all()


def test_perfect_and_undefined_units_break_nothing() -> None:
    a = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
    a[:, 1] = 1.0
    index = torch.arange(60) % 10
    bias = layer_bias(torch.stack([pair_moments(a, side, index, 10) for side in (a, -a)], dim=1))
    assert bias.units_interval.tolist() == [0, 0, 0, 0]
    assert bias.shares_interval.isfinite().all()


def test_a_very_wide_layer_is_redrawn_in_parts() -> None:
    scores = torch.rand(4, 2, 5000, generator=torch.Generator().manual_seed(0)).double()
    repeated = encoding_interval(scores.repeat(1, 1, 2), 0.5)  # twice the units, the same percentages
    torch.testing.assert_close(repeated, encoding_interval(scores, 0.5))


@pytest.mark.parametrize("clips", [4, 6, 12, 40])
def test_no_interval_is_wider_than_what_a_percentage_can_be(clips: int) -> None:
    for seed in range(5):
        anchor, same, other = torch.randn(3, clips, 3, generator=torch.Generator().manual_seed(seed))
        metric = StaticDynamicBias(3, num_groups=2)
        metric.update(anchor, anchor + same, anchor + other)
        bias = metric.compute()
        assert (bias.units_interval <= torch.maximum(bias.units, 100 - bias.units)).all()

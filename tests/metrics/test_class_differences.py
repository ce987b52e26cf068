# SPDX-License-Identifier: Apache-2.0
"""Mean differences over rare and common classes, and the intervals around them."""

from __future__ import annotations

import itertools
import math
import statistics

import numpy as np
import pytest
from scipy import stats

from staticdropout.errors import OptionError
from staticdropout.metrics import (
    clip_mean,
    difference_by_frequency,
    frequency_bands,
    mean_with_interval,
    rank_by_frequency,
)


def some(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Differences and frequencies of classes, none equally frequent."""
    generator = np.random.default_rng(seed)
    return generator.normal(1, 8, count), generator.permutation(count) * 3.0 + 2


def reference(difference: np.ndarray, train_clips: np.ndarray, k: int) -> tuple[float, float]:
    """As a reader of the paper would do it with a list, for frequencies that all differ."""
    pairs = sorted(zip(train_clips.tolist(), difference.tolist(), strict=True))
    return statistics.fmean(d for _, d in pairs[:k]), statistics.fmean(d for _, d in pairs[::-1][:k])


@pytest.mark.parametrize("count", [1, 2, 9, 60, 174])
def test_means_are_those_of_the_k_first_and_the_k_last_of_a_sorted_list(count: int) -> None:
    difference, train_clips = some(count)
    sizes = list(range(1, count + 1))
    for result in difference_by_frequency(difference, train_clips, sizes):
        assert (result.least, result.most) == pytest.approx(reference(difference, train_clips, result.k))
        assert result.contrast == pytest.approx(result.least - result.most)
        ordered = np.sort(train_clips)
        assert (result.least_up_to, result.most_from) == (ordered[result.k - 1], ordered[count - result.k])
        assert not result.tied


def test_over_all_classes_both_sides_are_the_class_mean() -> None:
    difference, train_clips = some(30)
    (result,) = difference_by_frequency(difference, train_clips, [30])
    assert result.least == pytest.approx(difference.mean())
    assert result.most == pytest.approx(difference.mean())
    assert math.isnan(result.contrast_interval)


@pytest.mark.parametrize("count", [2, 3, 5, 10, 50])
def test_intervals_are_those_of_students_t(count: int) -> None:
    values, _ = some(count)
    low, high = stats.t.interval(0.95, count - 1, values.mean(), stats.sem(values))
    mean, half = mean_with_interval(values)
    assert mean == pytest.approx(values.mean())
    assert half == pytest.approx((high - low) / 2, rel=0.02)


def test_one_class_has_a_difference_and_no_interval() -> None:
    assert mean_with_interval(np.array([7.0]))[0] == 7
    assert math.isnan(mean_with_interval(np.array([7.0]))[1])
    (result,) = difference_by_frequency(*some(8), [1])
    assert math.isnan(result.least_interval)
    assert math.isnan(result.contrast_interval)


@pytest.mark.parametrize("k", [2, 5, 20])
def test_the_contrast_has_the_interval_of_welch(k: int) -> None:
    difference, train_clips = some(60)
    difference[np.argsort(train_clips)[:k]] *= 3  # rare classes scatter more
    order = np.argsort(train_clips)
    expected = stats.ttest_ind(difference[order[:k]], difference[order[-k:]], equal_var=False).confidence_interval()
    (result,) = difference_by_frequency(difference, train_clips, [k])
    exact = (expected.high - expected.low) / 2
    # Degrees of freedom are rounded down: never narrower than t's approximation allows, and not much wider.
    assert 0.98 * exact <= result.contrast_interval <= (1.15 if k > 2 else 3) * exact


def test_two_equal_models_differ_by_nothing_and_that_is_certain() -> None:
    (result,) = difference_by_frequency(np.zeros(20), np.arange(20.0), [5])
    assert result[1:7] == (0, 0, 0, 0, 0, 0)


def test_no_interval_is_wider_than_what_is_possible() -> None:
    for mean, half in (mean_with_interval(np.array([-90.0, 100.0])), clip_mean(np.array([-90.0, 100.0]), np.ones(2))):
        assert (mean, half) == (5, 105)


def test_the_mean_over_clips_is_the_difference_in_top1_and_with_equal_clips_the_class_mean() -> None:
    values, clips = some(25)
    mean, half = clip_mean(values, clips)
    assert mean == pytest.approx(np.repeat(values, clips.astype(int)).mean())
    assert half > 0
    equal = np.full(25, 4.0)
    assert clip_mean(values, equal) == pytest.approx(mean_with_interval(values, equal))
    assert all(map(math.isnan, clip_mean(values, np.full(25, math.nan))))
    assert math.isnan(clip_mean(values[:1], clips[:1])[1])


def test_equally_frequent_classes_keep_their_order_and_no_class_is_both_rare_and_common() -> None:
    train_clips = np.array([4.0, 4, 1, 4, 4, 9])
    assert rank_by_frequency(train_clips).tolist() == [2, 0, 1, 3, 4, 5]
    difference = np.array([1.0, 2, 4, 8, 16, 32])
    three = difference_by_frequency(difference, train_clips, [1, 2, 3, 6])
    assert [3 * three[2].least, 3 * three[2].most] == [4 + 1 + 2, 8 + 16 + 32]
    # One rare class and one common class are so for good; of two or three, which of the fours they are is by order.
    assert [result.tied for result in three] == [False, True, True, False]


@pytest.mark.parametrize("sizes", [[0], [5, 41], [-1]])
def test_sizes_out_of_range_are_refused(sizes: list[int]) -> None:
    with pytest.raises(OptionError, match=r"k=(0|41|-1) must be between 1 and the number of classes to compare, 40"):
        difference_by_frequency(*some(40), sizes)


@pytest.mark.parametrize(("count", "expected"), [(174, list(range(5, 51, 5))), (40, [5, 10, 15, 20]), (5, [1, 2])])
def test_by_default_the_sizes_are_those_of_the_paper_and_never_overlap(count: int, expected: list[int]) -> None:
    assert [result.k for result in difference_by_frequency(*some(count))] == expected


@pytest.mark.parametrize("count", [1, 4, 5, 13, 174])
def test_bands_hold_every_class_once_from_rare_to_common_in_equal_numbers(count: int) -> None:
    _, train_clips = some(count)
    bands = frequency_bands(train_clips, 5)
    assert sorted(np.concatenate(bands).tolist()) == list(range(count))
    assert max(map(len, bands)) - min(map(len, bands)) <= 1
    assert all(train_clips[a].max() < train_clips[b].min() for a, b in itertools.pairwise(bands))


@pytest.mark.parametrize(
    ("k", "clips", "apart"), [(5, 30, 0.1), (10, 4, 0.06), (5, 2, 0.1), (30, 10, 0.2), (5, [1, 1, 2, 2, 9], 0.1)]
)
def test_intervals_hold_the_true_mean_also_where_the_models_agree_on_nearly_all_clips(
    k: int, clips: int | list[int], apart: float
) -> None:
    # Both answer the same clips: the first alone is right on (apart + gain) / 2, the second on (apart - gain) / 2.
    generator = np.random.default_rng(0)
    held: list[bool] = []
    blind: list[bool] = []
    counts = np.broadcast_to(np.array(clips, float), k)
    for _ in range(400):
        gain = generator.normal(0.03, 0.03, k)  # classes are drawn as well: the truth is that of all such classes
        first, second = (np.clip((apart + sign * gain) / 2, 0, 1) for sign in (1, -1))
        won = generator.multinomial(counts.astype(int), np.stack([first, second, 1 - first - second], 1))
        values = 100 * (won[:, 0] - won[:, 1]) / counts
        for found, known in ((held, counts), (blind, None)):
            mean, half = mean_with_interval(values, known)
            found.append(abs(mean - 3.0) <= half)
    assert np.mean(held) >= 0.93
    assert np.mean(held) >= np.mean(blind)
    if counts.sum() < 50:
        assert np.mean(blind) < 0.9  # the spread over classes alone would promise too much


def test_one_clip_more_matters_for_few_clips_alone() -> None:
    values, _ = some(20)
    for count, most in ((2.0, 2.5), (200.0, 1.001)):
        (mean, half), (same, spread) = mean_with_interval(values, np.full(20, count)), mean_with_interval(values)
        assert mean == same
        assert spread < half < most * spread


def test_the_contrast_knows_of_the_clips_on_both_sides() -> None:
    clips = np.repeat([2.0, 50.0], 10)
    (result,) = difference_by_frequency(np.zeros(20), np.arange(20.0), [10], clips)
    assert result.least_interval > 10 * result.most_interval > 0
    assert result.contrast_interval >= math.hypot(result.least_interval, result.most_interval) * 0.99

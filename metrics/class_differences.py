# SPDX-License-Identifier: Apache-2.0
"""Difference of two models on common and on rare classes (Kowal et al., Fig. 14 bottom)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import OptionError
from .intervals import t_quantile

__all__ = (
    "FrequencyDifference",
    "clip_mean",
    "default_sizes",
    "difference_by_frequency",
    "frequency_bands",
    "mean_with_interval",
    "rank_by_frequency",
)

Numbers = NDArray[np.float64]


class FrequencyDifference(NamedTuple):
    """Mean difference of the accuracies of two models, over the k least and the k most common classes.

    Attributes:
        k: number of classes on either side.
        least: mean over the k least common classes, in percentage points.
        least_interval: half-width of its 95 % interval; NaN for one class.
        most: mean over the k most common classes.
        most_interval: half-width of its 95 % interval; NaN for one class.
        contrast: ``least - most``: how much more the first model gains on rare classes.
        contrast_interval: half-width of its 95 % interval (Welch); NaN where the two sides share classes.
        least_up_to: training clips of the most common of the least common classes.
        most_from: training clips of the least common of the most common classes.
        tied: whether either side ends among equally frequent classes, so that their order in the table decides.
    """

    k: int
    least: float
    least_interval: float
    most: float
    most_interval: float
    contrast: float
    contrast_interval: float
    least_up_to: float
    most_from: float
    tied: bool


def mean_with_interval(values: Numbers, clips: Numbers | None = None) -> tuple[float, float]:
    """Mean over classes of the difference of two models, and half-width of its 95 % interval (Student's t).

    The interval is about other classes of the same kind and other clips of them. The differences of single classes
    bear the chance of their few clips, the same ones for both models, and that chance shows in their spread. Where
    there are few clips it may not show: the two models may happen to agree on all of them. So the variance of one more
    clip that they answer differently is added, which hardly matters for hundreds of clips. The interval says nothing
    about other trainings of the same two recipes.

    Args:
        values: ``(N,)`` differences in percentage points, one a class, N at least 1.
        clips: ``(N,)`` evaluated clips of each, at least 1; without them, or with unknown ones (NaN), nothing is added.

    Returns:
        Both in percentage points; the half-width is NaN for one class.

    Example:
        >>> mean_with_interval(np.array([1.0, 2.0, 3.0]))[0]
        2.0
        >>> [round(mean_with_interval(np.zeros(9), np.full(9, count))[1], 1) for count in (2.0, 200.0)]
        [12.8, 0.1]
    """
    count = len(values)
    if count < 2:
        return float(values.mean()), math.nan
    variance = float(values.var(ddof=1)) / count + _one_clip(clips, count)
    return _within_reach(float(values.mean()), t_quantile(count - 1) * math.sqrt(variance))


def _within_reach(mean: float, half: float) -> tuple[float, float]:
    """Not wider than what differences of percentages can be, as few classes would have it."""
    return mean, min(half, 100 + abs(mean))


def _one_clip(clips: Numbers | None, count: int) -> float:
    """Expected square of what one clip, any of all, moves the mean over classes by; in squared percentage points."""
    if clips is None or np.isnan(clips).any():
        return 0.0
    return (100 / count) ** 2 * float((1 / clips).sum() / clips.sum())


def clip_mean(values: Numbers, clips: Numbers) -> tuple[float, float]:
    """Mean over clips of numbers of their classes, for instance the difference in top-1, with its 95 % interval.

    Classes with many clips weigh more. The interval is from the spread over classes, as that of
    :func:`mean_with_interval`, which it equals where all classes have the same number of clips.

    Args:
        values: ``(N,)`` percentages or differences of them, one a class.
        clips: ``(N,)`` clips of each.

    Returns:
        Mean and half-width; both NaN where the numbers of clips are not known, the half-width for one class.

    Example:
        >>> clip_mean(np.array([10.0, 0.0]), np.array([3.0, 1.0]))[0]
        7.5
    """
    total = float(clips.sum())
    if math.isnan(total) or not total:
        return math.nan, math.nan
    mean, count = float((values * clips).sum() / total), len(values)
    if count < 2:
        return mean, math.nan
    squares = count / (count - 1) * float((clips**2 * (values - mean) ** 2).sum())
    return _within_reach(mean, t_quantile(count - 1) * math.sqrt(squares + 100**2) / total)


def _contrast(least: Numbers, most: Numbers, one_clip: float) -> tuple[float, float]:
    """Difference of two means over different classes, with its interval of unequal variances (Welch)."""
    difference, count = float(least.mean() - most.mean()), len(least)
    if count < 2:
        return difference, math.nan
    first, second = (float(values.var(ddof=1)) / count for values in (least, most))
    # Rounded down, which widens the interval; at least that of one of the two sides.
    both = first**2 + second**2
    degrees = int((first + second) ** 2 * (count - 1) / both) if both else 0
    return difference, t_quantile(max(degrees, count - 1)) * math.sqrt(first + second + one_clip)


def rank_by_frequency(train_clips: Numbers) -> NDArray[np.int64]:
    """Indices of the classes from the least to the most common; equally frequent ones in the order given.

    One order serves both ends: the k first and the k last share no class as long as there are 2 k.

    Example:
        >>> rank_by_frequency(np.array([5.0, 1.0, 5.0, 9.0]))
        array([1, 0, 2, 3])
    """
    return np.argsort(train_clips, kind="stable")


def default_sizes(count: int) -> list[int]:
    """Numbers k of classes to look at: 5, 10 … 50 as in the paper, as far as half of the classes go.

    With fewer than 20 classes every k up to half of them.

    Example:
        >>> default_sizes(174), default_sizes(40), default_sizes(7)
        ([5, 10, 15, 20, 25, 30, 35, 40, 45, 50], [5, 10, 15, 20], [1, 2, 3])
    """
    half = max(1, count // 2)
    return list(range(1, half + 1)) if count < 20 else list(range(5, min(50, half) + 1, 5))


def difference_by_frequency(
    difference: Numbers, train_clips: Numbers, sizes: Sequence[int] | None = None, clips: Numbers | None = None
) -> list[FrequencyDifference]:
    """Average the difference of two models over the k least and the k most common classes.

    Intervals are those of :func:`mean_with_interval`, each for its own k: the sets for growing k contain one another,
    so neighbouring means move together, and one of twenty intervals misses by chance.

    Args:
        difference: ``(N,)`` accuracy of the first model minus that of the second, in percentage points, finite.
        train_clips: ``(N,)`` training clips of each class, finite.
        sizes: numbers k; :func:`default_sizes` by default.
        clips: ``(N,)`` evaluated clips of each class, for the intervals.

    Returns:
        One result for each k.

    Raises:
        OptionError: if a k is below 1 or above N.

    Source:
        Kowal et al., "Quantifying and Learning Static vs. Dynamic Information in Deep Spatiotemporal Networks",
        Sec. 5.2 and Fig. 14 bottom; there without intervals.

    Example:
        >>> result = difference_by_frequency(np.array([4.0, 2.0, -1.0, -1.0]), np.array([1.0, 2, 30, 40]), [2])[0]
        >>> result.least, result.most, result.contrast
        (3.0, -1.0, 4.0)
    """
    count = len(difference)
    if outside := [k for k in sizes or () if not 1 <= k <= count]:
        raise OptionError(f"k={outside[0]} must be between 1 and the number of classes to compare, {count}.")
    order = rank_by_frequency(train_clips)
    values, frequency = difference[order], train_clips[order]
    evaluated = np.full(count, math.nan) if clips is None else clips[order]
    results = []
    for k in sizes or default_sizes(count):
        rare, common = slice(k), slice(count - k, count)
        one_clip = _one_clip(evaluated[rare], k) + _one_clip(evaluated[common], k)
        contrast, interval = _contrast(values[rare], values[common], one_clip)
        last, first = frequency[k - 1], frequency[count - k]
        tied = k < count and bool(last == frequency[k] or first == frequency[count - k - 1])
        results.append(
            FrequencyDifference(
                k,
                *mean_with_interval(values[rare], evaluated[rare]),
                *mean_with_interval(values[common], evaluated[common]),
                contrast,
                interval if 2 * k <= count else math.nan,
                float(last),
                float(first),
                tied,
            )
        )
    return results


def frequency_bands(train_clips: Numbers, count: int = 5) -> list[NDArray[np.int64]]:
    """Divide the classes into bands of equally many, from the least to the most common.

    Args:
        train_clips: ``(N,)`` training clips of each class, finite.
        count: number of bands; fewer where there are fewer classes. Sizes differ by one at most.

    Returns:
        Indices of the classes of each band. Equally frequent classes may be parted, in the order given.

    Example:
        >>> frequency_bands(np.array([7.0, 1.0, 9.0, 3.0]), 2)
        [array([1, 3]), array([0, 2])]
    """
    return np.array_split(rank_by_frequency(train_clips), max(1, min(count, len(train_clips))))

# SPDX-License-Identifier: Apache-2.0
"""Whether counts are what a distribution lets one expect: wide bounds, met by all but one in 100,000 fair samples."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

_DEVIATIONS = 4.3


def is_uniform(values: Sequence[int], count: int) -> bool:
    """Whether whole numbers from 0 to ``count - 1`` are equally frequent, by the chi-square of their counts."""
    counts = np.bincount(np.asarray(values), minlength=count)
    assert len(counts) == count, "a value lies out of range"
    expected = len(values) / count
    assert expected >= 5, "too few values for a chi-square"
    chi_square = ((counts - expected) ** 2 / expected).sum()
    freedom = count - 1
    # Wilson and Hilferty: the cube root of chi-square over its degrees of freedom is nearly normal
    spread = 2 / (9 * freedom)
    bound = freedom * (1 - spread + _DEVIATIONS * math.sqrt(spread)) ** 3
    return bool(chi_square < bound)


def is_half(hits: int, trials: int) -> bool:
    """Whether so many hits are what a fair coin lets one expect."""
    return abs(hits - trials / 2) < _DEVIATIONS * math.sqrt(trials) / 2

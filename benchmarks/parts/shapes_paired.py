# SPDX-License-Identifier: Apache-2.0
"""Paired differences: two arms on the same seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

Run = Mapping[str, Any]


class Difference(NamedTuple):
    """Mean of paired differences, half-width of its 95 % interval, p-value of the paired t test, number of pairs."""

    mean: float
    interval: float
    p: float
    pairs: int

    def __str__(self) -> str:
        if not self.pairs:
            return "none"
        return f"{self.mean:+.1f} ± {self.interval:.1f}" if self.pairs > 1 else f"{self.mean:+.1f}"


def paired(runs: Sequence[Run], arm: str, reference: str, measure: str) -> Difference:
    """Arm less reference over the seeds where both have a value."""
    values: dict[str, dict[int, float]] = {arm: {}, reference: {}}
    for run in runs:
        if run["arm"] in values and not math.isnan(run[measure]):
            values[run["arm"]][run["seed"]] = float(run[measure])
    seeds = sorted(values[arm].keys() & values[reference].keys())
    differences = np.array([values[arm][seed] - values[reference][seed] for seed in seeds])
    if len(differences) < 2 or not differences.any():
        mean = float(differences.mean()) if len(differences) else math.nan
        return Difference(mean, 0.0 if len(differences) > 1 else math.nan, math.nan, len(differences))
    test = stats.ttest_1samp(differences, 0)
    low, high = test.confidence_interval()
    return Difference(float(differences.mean()), float(high - low) / 2, float(test.pvalue), len(differences))


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for their number by the rule of Holm, in the order given."""
    order = np.argsort(p_values)
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted

# SPDX-License-Identifier: Apache-2.0
"""Paired differences: two arms on the same seeds."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from staticdropout.metrics.intervals import t_quantile

Run = Mapping[str, Any]


class Difference(NamedTuple):
    """Mean of paired differences, half-width of its 95 % interval, and the pairs."""

    mean: float
    interval: float
    pairs: int

    def __str__(self) -> str:
        return f"{self.mean:+.1f} ± {self.interval:.1f}"


def paired(runs: Sequence[Run], arm: str, reference: str, measure: str) -> Difference:
    """Arm less reference over the seeds that both have."""
    values: dict[str, dict[int, float]] = {arm: {}, reference: {}}
    for run in runs:
        if run["arm"] in values:
            values[run["arm"]][run["seed"]] = float(run[measure])
    seeds = sorted(values[arm].keys() & values[reference].keys())
    differences = [values[arm][seed] - values[reference][seed] for seed in seeds]
    if len(differences) < 2:
        return Difference(differences[0] if differences else float("nan"), float("nan"), len(differences))
    half = t_quantile(len(differences) - 1) * statistics.stdev(differences) / len(differences) ** 0.5
    return Difference(statistics.mean(differences), half, len(differences))

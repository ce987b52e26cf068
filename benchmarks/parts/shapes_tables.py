# SPDX-License-Identifier: Apache-2.0
"""The tables of ``docs/study.md``."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from pages import table
from parts.shapes_arms import ARMS, RATES
from parts.shapes_paired import paired

Run = Mapping[str, Any]
COLUMNS = {
    "accuracy": "accuracy",
    "follows_looks": "follows looks",
    "accuracy_rare": "rare classes",
    "accuracy_common": "common classes",
    "accuracy_shuffled": "shuffled",
    "relative_shuffled": "shuffled, relative",
    "plain_static_units": "static units, no styles",
    "res5/static": "static share",
    "res5/dynamic": "dynamic share",
    "dynamic_of_specialised": "dynamic units, of specialised",
    "calibration_error": "calibration error",
}
"""Measures of the long tables, all in percent."""


def means(runs: Sequence[Run], arms: Sequence[str]) -> str:
    """Mean of every measure over the seeds where it is defined, one row an arm."""
    measures = COLUMNS | {"accuracy_training": "training accuracy", "step_milliseconds": "step (ms)"}
    lines = []
    for arm in arms:
        line = [ARMS[arm].about]
        for measure in measures:
            values = [run[measure] for run in runs if run["arm"] == arm and not math.isnan(run[measure])]
            line.append(f"{statistics.mean(values):.1f}" if values else "none")
        lines.append(line)
    return table(["arm", *measures.values()], lines)


def differences(runs: Sequence[Run], arms: Sequence[str], reference: str) -> str:
    """Mean paired difference of every measure to a reference, with its 95 % interval, one row an arm."""
    lines = [[ARMS[arm].about, *(str(paired(runs, arm, reference, m)) for m in COLUMNS)] for arm in arms]
    return table(["arm", *COLUMNS.values()], lines)


def rules(runs: Sequence[Run]) -> str:
    """StaticDropout less channel dropout of the same rate: what the preference for static channels does by itself."""
    lines = []
    for rate in RATES:
        found = (paired(runs, f"static-{rate}", f"channel-{rate}", measure) for measure in COLUMNS)
        lines.append([f"{rate}", *map(str, found)])
    return table(["rate", *COLUMNS.values()], lines)


def comparisons(rows: Sequence[Mapping[str, Any]]) -> str:
    """The comparisons named beforehand."""
    lines = [
        [row["about"], ARMS[row["reference"]].about, COLUMNS[row["measure"]],
         f"{row['mean']:+.1f} ± {row['half_width']:.1f}", f"{row['p']:.2g}", f"{row['p_holm']:.2g}"]
        for row in rows
    ]  # fmt: skip
    return table(["arm", "less", "measure", "difference", "p", "p, Holm"], lines)


def tables(
    selection: Sequence[Run], confirmation: Sequence[Run], primary: Sequence[Mapping[str, Any]]
) -> dict[str, str]:
    """All tables, by their names in the page."""
    parts = {"selection": selection, "confirmation": confirmation}
    made = {"rules": rules(confirmation), "primary": comparisons(primary)}
    for part, runs in parts.items():
        arms = list(dict.fromkeys(run["arm"] for run in runs))
        made[part] = differences(runs, [arm for arm in arms if arm != "none"], "none")
        made[f"{part}_means"] = means(runs, arms)
    return made

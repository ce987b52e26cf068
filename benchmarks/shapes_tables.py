# SPDX-License-Identifier: Apache-2.0
"""The tables of ``docs/study.md``: means of every arm, with paired differences to no dropout."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from pages import table
from shapes_arms import ARMS, RATES
from shapes_paired import paired

Run = Mapping[str, Any]
COLUMNS = {
    "accuracy": "accuracy",
    "accuracy_rare": "rare classes",
    "relative_shuffled": "shuffled, relative",
    "follows_looks": "follows looks",
    "plain_static_units": "static units, no styles",
    "res5/static": "static share",
    "res5/dynamic": "dynamic share",
    "dynamic_of_specialised": "dynamic units, of specialised",
    "calibration_error": "calibration error",
}
"""Measures of the long tables, all in percent."""


def means(runs: Sequence[Run], arms: Sequence[str]) -> str:
    """Mean of every measure over the seeds, and of the time of a step, one row an arm."""
    measures = COLUMNS | {"step_milliseconds": "step (ms)"}
    lines = []
    for arm in arms:
        mine = [run for run in runs if run["arm"] == arm]
        lines.append([ARMS[arm].about, *(f"{statistics.mean(run[m] for run in mine):.1f}" for m in measures)])
    return table(["arm", *measures.values()], lines)


def differences(runs: Sequence[Run], arms: Sequence[str], reference: str) -> str:
    """Mean paired difference of every measure to a reference, with its 95 % interval, one row an arm."""
    lines = [[ARMS[arm].about, *(str(paired(runs, arm, reference, m)) for m in COLUMNS)] for arm in arms]
    return table(["arm", *COLUMNS.values()], lines)


def rules(runs: Sequence[Run]) -> str:
    """StaticDropout less channel dropout of the same rate: what the preference for static channels does by itself."""
    lines = [
        [f"{rate}", *(str(paired(runs, f"static-{rate}", f"channel-{rate}", m)) for m in COLUMNS)] for rate in RATES
    ]
    return table(["rate", *COLUMNS.values()], lines)


def tables(selection: Sequence[Run], confirmation: Sequence[Run]) -> dict[str, str]:
    """All tables, by their names in the page."""
    parts = {"selection": selection, "confirmation": confirmation}
    arms = {part: list(dict.fromkeys(run["arm"] for run in runs)) for part, runs in parts.items()}
    made = {}
    for part, runs in parts.items():
        others = [arm for arm in arms[part] if arm != "none"]
        made[part] = differences(runs, others, "none")
        made[f"{part}_means"] = means(runs, arms[part])
    return made | {"rules": rules(confirmation)}

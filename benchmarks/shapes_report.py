# SPDX-License-Identifier: Apache-2.0
"""Tables and figures of the study: means over seeds, and means of paired differences with 95 % intervals."""

from __future__ import annotations

import argparse
import csv
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common import environment
from pages import fill_page
from shapes_arms import ARMS, UNIFORM
from shapes_figures import draw_figures
from shapes_paired import paired
from shapes_tables import tables

Run = Mapping[str, Any]


def with_ratios(run: Run) -> dict[str, Any]:
    """The run with the figures that the paper shows: relative accuracy on shuffled frames, share of dynamic units."""
    dynamic, static = run["res5/units_dynamic"], run["res5/units_static"]
    return {
        **run,
        "relative_shuffled": 100 * run["accuracy_shuffled"] / max(run["accuracy"], 1e-9),
        "dynamic_of_specialised": 100 * dynamic / max(dynamic + static, 1e-9),
    }


def reference_of(arm: str) -> str:
    """The arm that differs in the rule alone: channel dropout of the same rate, where there is one."""
    options = ARMS[arm].static_dropout
    if len(options) != 1 or options[0].get("temperature") == UNIFORM or options[0].get("layer"):
        return "none"
    name = f"channel-{options[0]['rate']}"
    if not ARMS[arm].confusion:
        return name
    alone = f"confusion-{ARMS[arm].confusion['weight']}"
    return f"{alone}-{name}" if f"{alone}-{name}" in ARMS else alone


MEASURES = (
    "accuracy", "accuracy_shuffled", "relative_shuffled", "accuracy_common", "accuracy_rare", "follows_looks", "loss",
    "calibration_error", "confidence", "confidence_shuffled", "plain_static_score", "plain_static_units",
    "res5/score_static", "res5/score_dynamic", "res5/static", "res5/dynamic", "res5/units_static",
    "res5/units_dynamic", "res5/units_joint", "res5/units_residual", "dynamic_of_specialised", "step_milliseconds",
)  # fmt: skip


def arm_rows(runs: Sequence[Run], seeds: str) -> list[dict[str, Any]]:
    """One row for every arm: means, differences to no dropout and to the arm that differs in the rule alone."""
    rows = []
    for arm in dict.fromkeys(run["arm"] for run in runs):
        mine = [run for run in runs if run["arm"] == arm]
        row: dict[str, Any] = {"seeds": seeds, "arm": arm, "about": ARMS[arm].about, "runs": len(mine)}
        for measure in MEASURES:
            row[measure] = round(statistics.mean(run[measure] for run in mine), 4)
        references = {"none": "none", "rule": reference_of(arm)}
        for short, reference in references.items():
            row[f"{short}_reference"] = reference
            for measure in MEASURES:
                difference = paired(runs, arm, reference, measure)
                row[f"{measure} - {short}"] = round(difference.mean, 4)
                row[f"{measure} - {short} ±"] = round(difference.interval, 4)
        rows.append(row)
    return rows


def tilt_rows(runs: Sequence[Run], seeds: str) -> list[dict[str, Any]]:
    """How unequal the channels' chances were at every estimate, averaged over the seeds."""
    rows = []
    for arm in dict.fromkeys(run["arm"] for run in runs if run["tilt"]):
        mine = [run["tilt"] for run in runs if run["arm"] == arm]
        for estimates in zip(*mine, strict=True):
            means = {key: round(statistics.mean(e[key] for e in estimates), 5) for key in estimates[0]}
            rows.append({"seeds": seeds, "arm": arm, "runs": len(mine), **means})
    return rows


def write_csv(file: Path, rows: Sequence[Mapping[str, Any]], about: Mapping[str, Any]) -> None:
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=[*rows[0], *about], lineterminator="\n")
        writer.writeheader()
        writer.writerows({**row, **about} for row in rows)
    print(f"written: {file}")


def write_report(selection: Sequence[Run], confirmation: Sequence[Run], options: argparse.Namespace) -> None:
    """Write the CSVs and the figures of the runs that are there."""
    about = environment(options.device, precision="float32", layout="BCTHW")
    parts = {
        "selection": [with_ratios(run) for run in selection],
        "confirmation": [with_ratios(r) for r in confirmation],
    }
    options.output.mkdir(parents=True, exist_ok=True)
    runs = [
        {"seeds": part, "arm": run["arm"], "seed": run["seed"], **{m: round(run[m], 4) for m in MEASURES}}
        for part, members in parts.items()
        for run in members
    ]
    write_csv(options.output / "shapes_study.csv", runs, about)
    rows = [row for part, members in parts.items() for row in arm_rows(members, part)]
    write_csv(options.output / "shapes_study_arms.csv", rows, about)
    tilt = [row for part, members in parts.items() for row in tilt_rows(members, part)]
    write_csv(options.output / "shapes_study_tilt.csv", tilt, about)
    draw_figures(parts, tilt, options.figures)
    if selection and confirmation and options.page:
        fill_page(options.page, tables(parts["selection"], parts["confirmation"]))

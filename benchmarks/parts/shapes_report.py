# SPDX-License-Identifier: Apache-2.0
"""CSVs, figures and page of the study."""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pages import fill_page
from parts.common import write_rows
from parts.shapes_arms import ARMS, RATES, TWINS
from parts.shapes_figures import draw_figures
from parts.shapes_paired import holm, paired
from parts.shapes_tables import tables

Run = Mapping[str, Any]

MEASURES = (
    "accuracy", "follows_looks", "accuracy_common", "accuracy_rare", "accuracy_training", "accuracy_shuffled",
    "relative_shuffled", "loss", "calibration_error", "confidence", "confidence_shuffled", "plain_static_score",
    "plain_static_units", "res5/score_static", "res5/score_dynamic", "res5/static", "res5/dynamic",
    "res5/units_static", "res5/units_dynamic", "res5/units_joint", "res5/units_residual", "dynamic_of_specialised",
    "step_milliseconds",
)  # fmt: skip
PRIMARY = ("accuracy", "follows_looks")
"""What conclusions rest on; everything else describes."""


def with_ratios(run: Run) -> dict[str, Any]:
    """The run with the figures that the paper shows; NaN where there is no unit that is static or dynamic alone."""
    dynamic, static = run["res5/units_dynamic"], run["res5/units_static"]
    return {
        **run,
        "relative_shuffled": 100 * run["accuracy_shuffled"] / run["accuracy"],
        "dynamic_of_specialised": 100 * dynamic / (dynamic + static) if dynamic + static else math.nan,
    }


def references(arm: str) -> list[str]:
    """What an arm is compared with: no dropout, and its control."""
    return [name for name in ("none", TWINS.get(arm)) if name and name != arm]


def differences(runs: Sequence[Run], seeds: str) -> list[dict[str, Any]]:
    """Means of paired differences, one row for every arm, reference and measure."""
    present = list(dict.fromkeys(run["arm"] for run in runs))
    rows = []
    for arm in present:
        for reference in references(arm):
            for measure in MEASURES if reference in present else ():
                found = paired(runs, arm, reference, measure)
                row = {"seeds": seeds, "arm": arm, "about": ARMS[arm].about, "reference": reference, "measure": measure}
                row |= {"mean": round(found.mean, 4), "half_width": round(found.interval, 4), "p": found.p}
                rows.append(row | {"pairs": found.pairs})
    return rows


def primary(runs: Sequence[Run], chosen: Sequence[str]) -> list[dict[str, Any]]:
    """The comparisons that were named before the runs, with p-values adjusted for their number (Holm)."""
    rules = [f"static-{rate}" for rate in RATES]
    pairs = [(arm, TWINS[arm]) for arm in [*rules, *(arm for arm in chosen if arm in TWINS)]]
    pairs += [(arm, "none") for arm in [*rules, *(arm for arm in chosen if arm not in TWINS.values())]]
    rows: list[dict[str, Any]] = []
    for measure in PRIMARY:
        for arm, reference in dict.fromkeys(pairs):
            found = paired(runs, arm, reference, measure)
            row = {"arm": arm, "about": ARMS[arm].about, "reference": reference, "measure": measure}
            rows.append(row | {"mean": round(found.mean, 4), "half_width": round(found.interval, 4), "p": found.p})
    adjusted = holm([1.0 if math.isnan(row["p"]) else row["p"] for row in rows])
    return [row | {"p_holm": p} for row, p in zip(rows, adjusted, strict=True)]


def tilt_rows(runs: Sequence[Run], seeds: str) -> list[dict[str, Any]]:
    """How unequal the channels' chances were at every estimate: medians over the seeds."""
    rows = []
    for arm in dict.fromkeys(run["arm"] for run in runs if run["tilt"]):
        mine = [run["tilt"] for run in runs if run["arm"] == arm]
        for estimates in zip(*mine, strict=True):
            medians = {key: float(f"{statistics.median(e[key] for e in estimates):.5g}") for key in estimates[0]}
            rows.append({"seeds": seeds, "arm": arm, "runs": len(mine), **medians})
    return rows


def write_csv(file: Path, rows: Sequence[Mapping[str, Any]], about: Mapping[str, Any]) -> None:
    """Rows with what they were measured on; nothing where there are no rows."""
    if not rows:
        return
    write_rows(file, [{**row, **about} for row in rows])
    print(f"written: {file}")


def write_report(
    selection: Sequence[Run], confirmation: Sequence[Run], chosen: Sequence[str], options: argparse.Namespace
) -> None:
    """Write CSVs, figures and the tables of the page from the runs that are there."""
    given = {"selection": selection, "confirmation": confirmation}
    parts = {part: [with_ratios(run) for run in runs] for part, runs in given.items()}
    every = [(part, run) for part, runs in parts.items() for run in runs]
    rows = [
        {
            "seeds": part,
            "arm": run["arm"],
            "seed": run["seed"],
            **{m: round(run[m], 4) for m in MEASURES},
            **run["about"],
        }
        for part, run in every
    ]
    about = every[0][1]["about"] if every else {}
    write_csv(options.output / "shapes_study.csv", rows, {})
    found = [row for part, members in parts.items() for row in differences(members, part)]
    write_csv(options.output / "shapes_study_differences.csv", found, about)
    tilt = [row for part, members in parts.items() for row in tilt_rows(members, part)]
    write_csv(options.output / "shapes_study_tilt.csv", tilt, about)
    comparisons = primary(parts["confirmation"], chosen) if confirmation else []
    write_csv(options.output / "shapes_study_primary.csv", comparisons, about)
    draw_figures(parts, tilt, options.figures)
    if selection and confirmation and options.page:
        fill_page(options.page, tables(parts["selection"], parts["confirmation"], comparisons))

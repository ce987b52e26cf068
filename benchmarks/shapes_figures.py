# SPDX-License-Identifier: Apache-2.0
"""Figures of the study, drawn from its runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from shapes_arms import ARMS, RATES, UNIFORM
from shapes_paired import paired

from staticdropout.visualization import COLORS

Run = Mapping[str, Any]
INK, LIGHT = "#262624", "#e6e6e2"
RULES = {
    "dropout": ("nn.Dropout", "#999933", "s"),
    "channel": ("channel dropout", "#666666", "^"),
    "static": ("StaticDropout", "#882255", "o"),
}
"""Rules of equal rate: name, colour, marker. None of the colours of static and dynamic."""


def _axes(figure: Figure, rows: int, columns: int, position: int, title: str, x: str, y: str) -> Axes:
    ax = figure.add_subplot(rows, columns, position)
    ax.set_title(title, fontsize=9.5, color=INK, loc="left")
    ax.set_xlabel(x, fontsize=8.5, color=INK)
    ax.set_ylabel(y, fontsize=8.5, color=INK)
    ax.tick_params(labelsize=8, colors=INK)
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(color=LIGHT, linewidth=0.8)
    ax.set_axisbelow(True)
    return ax


def doses(runs: Sequence[Run]) -> Figure:
    """Paired differences to no dropout against the rate: the quantities of Fig. 13 and 14 of Kowal et al."""
    panels = {
        "accuracy": ("Accuracy, looks random", "points"),
        "relative_shuffled": ("Accuracy on shuffled frames, of that in order", "points"),
        "dynamic_of_specialised": ("Dynamic units, of dynamic and static ones", "points"),
        "plain_static_units": ("Units of static score above 0.5, no styles", "points"),
        "res5/static": ("Static share of res5 (Eq. 1)", "points"),
        "accuracy_rare": ("Accuracy on rare classes", "points"),
    }
    figure = Figure(figsize=(10, 5.6), layout="constrained", facecolor="white")
    for position, (measure, (title, unit)) in enumerate(panels.items()):
        ax = _axes(figure, 2, 3, position + 1, title, "rate r", f"less no dropout ({unit})")
        ax.axhline(0, color=INK, linewidth=0.8)
        for shift, (rule, (label, colour, marker)) in enumerate(RULES.items()):
            found = [paired(runs, f"{rule}-{rate}", "none", measure) for rate in RATES]
            x = [rate + 0.012 * (shift - 1) for rate in RATES]
            ax.errorbar(
                x, [d.mean for d in found], [d.interval for d in found], color=colour, marker=marker, markersize=5,
                linewidth=1.4, elinewidth=1, capsize=2.5, label=label,
            )  # fmt: skip
        ax.set_xticks(RATES)
        if position == 0:
            ax.legend(frameon=False, fontsize=8)
    return figure


def finalists(runs: Sequence[Run], title: str) -> Figure:
    """Paired differences of every arm to no dropout, one row an arm."""
    arms = [arm for arm in dict.fromkeys(run["arm"] for run in runs) if arm != "none"]
    panels = {
        "accuracy": "accuracy",
        "accuracy_rare": "accuracy, rare classes",
        "relative_shuffled": "relative accuracy, shuffled",
        "follows_looks": "follows the looks",
        "plain_static_units": "units of static score > 0.5",
        "calibration_error": "calibration error",
    }
    figure = Figure(figsize=(12.5, 1.3 + 0.27 * len(arms)), layout="constrained", facecolor="white")
    for position, (measure, name) in enumerate(panels.items()):
        ax = _axes(figure, 1, len(panels), position + 1, name, "points", "")
        ax.axvline(0, color=INK, linewidth=0.8)
        for row, arm in enumerate(arms):
            d = paired(runs, arm, "none", measure)
            colour = COLORS["dynamic"] if ARMS[arm].confusion else RULES["static"][1]
            plain = not ARMS[arm].confusion and all(o.get("temperature") == UNIFORM for o in ARMS[arm].static_dropout)
            ax.errorbar(d.mean, -row, xerr=d.interval, fmt="o", markersize=4.5, elinewidth=1.2, capsize=2,
                        color="#666666" if plain else colour)  # fmt: skip
        ax.set_ylim(-len(arms) + 0.4, 0.6)
        ax.set_yticks([-row for row in range(len(arms))], [ARMS[arm].about for arm in arms] if position == 0 else [])
    figure.suptitle(title, fontsize=9.5, color=INK)
    return figure


def tilt(rows: Sequence[Run], arms: Sequence[str]) -> Figure:
    """How unequal the channels' chances to be dropped were over training."""
    panels = {
        "inclusion_ratio": ("Largest over smallest probability to be dropped", "ratio", True),
        "dropped_score_excess": ("Score of what was dropped, less that of all", "score", False),
    }
    figure = Figure(figsize=(9, 3.6), layout="constrained", facecolor="white")
    colours = ("#882255", "#cc6677", "#999933", "#117733", "#44aa99", "#332288", "#666666", "#aa4499")
    for position, (key, (title, unit, log)) in enumerate(panels.items()):
        ax = _axes(figure, 1, 2, position + 1, title, "optimizer step", unit)
        for arm, colour in zip(arms, colours, strict=False):
            mine = [row for row in rows if row["arm"] == arm]
            ax.plot(
                [r["step"] for r in mine], [r[key] for r in mine], color=colour, label=ARMS[arm].about, linewidth=1.6
            )
        if log:
            ax.set_yscale("log")
            ax.set_yticks([1, 2, 5, 10, 100, 1000], ["1", "2", "5", "10", "100", "1000"])
            ax.minorticks_off()
        else:
            ax.legend(frameon=False, fontsize=7.5)
    return figure


def draw_figures(parts: Mapping[str, Sequence[Run]], tilts: Sequence[Run], folder: Path) -> None:
    """Write the figures of the parts that have runs."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = {}
    title = "Less no dropout: mean of paired differences and 95 % interval"
    if parts["confirmation"]:
        drawn["study_doses"] = doses(parts["confirmation"])
        count = len({run["seed"] for run in parts["confirmation"]})
        drawn["study_confirmation"] = finalists(parts["confirmation"], f"{title}, {count} fresh seeds")
    if parts["selection"]:
        count = len({run["seed"] for run in parts["selection"]})
        drawn["study_selection"] = finalists(parts["selection"], f"{title}, {count} seeds of the selection")
    shown = ("static-0.5", "channel-0.5", "sharp-0.2", "sharp-0.05", "zscore", "zscore-0.3", "rank-0.2", "minus")
    found = {row["arm"] for row in tilts}
    if found:
        drawn["study_tilt"] = tilt(tilts, [arm for arm in shown if arm in found])
    for name, figure in drawn.items():
        figure.savefig(folder / f"{name}.png", dpi=130)
        print(f"written: {folder / name}.png")

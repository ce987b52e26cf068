# SPDX-License-Identifier: Apache-2.0
"""Figures of the study, drawn from its runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from parts.figures import INK, axes
from parts.shapes_arms import ARMS, RATES, UNIFORM
from parts.shapes_paired import paired

Run = Mapping[str, Any]
RULES = {
    "dropout": ("nn.Dropout", "#999933", "s"),
    "channel": ("channel dropout", "#666666", "^"),
    "static": ("StaticDropout", "#882255", "o"),
}
"""Rules of equal rate: name, colour, marker. None of the colours of static and dynamic."""


def _axes(figure: Figure, rows: int, columns: int, position: int, title: str, x: str, y: str) -> Axes:
    return axes(figure, (rows, columns, position), title, x, y, size=9.5, ticks=INK)


def doses(runs: Sequence[Run]) -> Figure:
    """Paired differences to no dropout against the rate: the quantities of Fig. 13 and 14 of Kowal et al."""
    panels = {
        "accuracy": "Accuracy, looks random",
        "follows_looks": "Taken for the class of its looks",
        "accuracy_rare": "Accuracy on rare classes",
        "relative_shuffled": "Accuracy on shuffled frames, relative",
        "dynamic_of_specialised": "Dynamic units, of dynamic and static",
        "res5/static": "Static share of res5 (Eq. 1)",
    }
    figure = Figure(figsize=(10, 5.8), layout="constrained", facecolor="white")
    for position, (measure, title) in enumerate(panels.items()):
        ax = _axes(figure, 2, 3, position + 1, title, "rate r", "less no dropout (points)")
        ax.axhline(0, color=INK, linewidth=0.8)
        hoped = paired(runs, "no-shortcut", "none", measure)
        ax.axhline(hoped.mean, color=INK, linewidth=1, linestyle=":", label="trained without the shortcut")
        for shift, (rule, (label, colour, marker)) in enumerate(RULES.items()):
            found = [paired(runs, f"{rule}-{rate}", "none", measure) for rate in RATES]
            x = [rate + 0.012 * (shift - 1) for rate in RATES]
            ax.errorbar(
                x, [d.mean for d in found], [d.interval for d in found], color=colour, marker=marker, markersize=5,
                linewidth=1.4, elinewidth=1, capsize=2.5, label=label,
            )  # fmt: skip
        ax.set_xticks(RATES)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=8.5)
    return figure


def _kind(arm: str) -> str:
    """What an arm is coloured by."""
    if ARMS[arm].confusion:
        return "confusion"
    uniform = all(options.get("temperature") == UNIFORM for options in ARMS[arm].static_dropout)
    return "without a rule" if uniform else "StaticDropout"


KINDS = {"without a rule": "#666666", "StaticDropout": "#882255", "confusion": "#117733"}


def arms_figure(runs: Sequence[Run], title: str) -> Figure:
    """Paired differences of every arm to no dropout, one row an arm."""
    arms = [arm for arm in dict.fromkeys(run["arm"] for run in runs) if arm not in ("none", "no-shortcut")]
    panels = {
        "accuracy": "accuracy",
        "follows_looks": "follows looks",
        "accuracy_rare": "rare classes",
        "accuracy_shuffled": "shuffled",
        "plain_static_units": "static units,\nno styles",
        "calibration_error": "calibration\nerror",
    }
    figure = Figure(figsize=(12.5, 1.6 + 0.27 * len(arms)), layout="constrained", facecolor="white")
    for position, (measure, name) in enumerate(panels.items()):
        ax = _axes(figure, 1, len(panels), position + 1, name, "points", "")
        ax.axvline(0, color=INK, linewidth=0.8)
        ax.axvline(paired(runs, "no-shortcut", "none", measure).mean, color=INK, linewidth=1, linestyle=":")
        for row, arm in enumerate(arms):
            d = paired(runs, arm, "none", measure)
            ax.errorbar(
                d.mean, -row, xerr=d.interval, fmt="o", markersize=4.5, elinewidth=1.2, capsize=2,
                color=KINDS[_kind(arm)],
            )  # fmt: skip
        ax.set_ylim(-len(arms) + 0.4, 0.6)
        ax.set_yticks([-row for row in range(len(arms))], [ARMS[arm].about for arm in arms] if position == 0 else [])
    handles = [Line2D([], [], marker="o", linestyle="", color=colour) for colour in KINDS.values()]
    handles.append(Line2D([], [], color=INK, linestyle=":"))
    labels = [*KINDS, "trained without the shortcut"]
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=8.5)
    figure.suptitle(title, fontsize=9.5, color=INK)
    return figure


def tilt(rows: Sequence[Run], arms: Sequence[str]) -> Figure:
    """How unequal the channels' chances to be dropped were over training: medians over the seeds."""
    panels = {
        "inclusion_ratio": ("Largest over smallest probability\nto be dropped", "ratio", True),
        "dropped_ratio": ("Most static tenth over least static tenth:\nhow often dropped", "ratio", True),
        "dropped_score_excess": ("Score of what was dropped,\nless that of all channels", "score", False),
    }
    figure = Figure(figsize=(11, 3.9), layout="constrained", facecolor="white")
    colours = ("#882255", "#666666", "#999933", "#117733", "#44aa99", "#332288", "#cc6677", "#aa4499")
    for position, (key, (title, unit, log)) in enumerate(panels.items()):
        ax = _axes(figure, 1, len(panels), position + 1, title, "optimizer step", unit)
        for arm, colour in zip(arms, colours, strict=False):
            # At the first estimate nothing has been dropped yet.
            mine = [row for row in rows if row["arm"] == arm][1:]
            x, y = ([row[name] for row in mine] for name in ("step", key))
            ax.plot(x, y, color=colour, label=ARMS[arm].about if arm in ARMS else arm, linewidth=1.6)
        if log:
            ax.set_yscale("log")
            ax.set_ylim(0.8, 1e4)
            ax.set_yticks([1, 2, 5, 10, 100, 1000, 10000], ["1", "2", "5", "10", "100", "1000", "10000"])
            ax.minorticks_off()
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return figure


def draw_figures(parts: Mapping[str, Sequence[Run]], tilts: Sequence[Run], folder: Path) -> None:
    """Write the figures of the parts that have runs."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = {}
    title = "Less no dropout: mean of paired differences and 95 % interval"
    if parts["confirmation"]:
        drawn["study_doses"] = doses(parts["confirmation"])
        count = len({run["seed"] for run in parts["confirmation"]})
        drawn["study_confirmation"] = arms_figure(parts["confirmation"], f"{title}, {count} fresh seeds")
    if parts["selection"]:
        count = len({run["seed"] for run in parts["selection"]})
        drawn["study_selection"] = arms_figure(parts["selection"], f"{title}, {count} seeds of the selection")
    shown = ("static-0.5", "channel-0.5", "temperature-0.2", "zscore", "sharp", "rank-0.2", "minus", "last-batch")
    tried = [row for row in tilts if row["seeds"] == "selection"]
    if tried:
        drawn["study_tilt"] = tilt(tried, shown)
    for name, figure in drawn.items():
        figure.savefig(folder / f"{name}.png", dpi=130)
        print(f"written: {folder / name}.png")

# SPDX-License-Identifier: Apache-2.0
"""Figures and tables of ``docs/measure.md`` from ``recovery.csv`` and ``recovery_sides.csv``."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullLocator
from pages import table
from parts.figures import GRID, INK, axes

from staticdropout.metrics import ENCODINGS
from staticdropout.visualization import COLORS

Row = dict[str, str]
KEYS = ("study", "kind", "options", "units", "clips", "groups", "grouping", "threshold")
CLIPS = (30, 100, 300, 1000, 3000)


def read(path: Path) -> list[Row]:
    """Rows of a CSV."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def by_case(rows: Sequence[Row], study: str) -> dict[tuple[str, ...], dict[str, Row]]:
    """``{case: {quantity: row}}`` of a study."""
    found: dict[tuple[str, ...], dict[str, Row]] = {}
    for row in rows:
        if row["study"] == study:
            found.setdefault(tuple(row[key] for key in KEYS), {})[row["quantity"]] = row
    return found


def condensed(case: dict[str, Row], estimator: str = "paper") -> dict[str, str]:
    """What the tables say about a case: the worst of its shares, and the worst of its percentages of units."""
    shares = [row for name, row in case.items() if name.endswith(f"share, {estimator}")]
    units = [case[f"{name} units"] for name in ENCODINGS]

    def largest(rows: Sequence[Row], column: str) -> float:
        return max((float(row[column]) for row in rows), key=abs)

    def lowest(rows: Sequence[Row], column: str) -> str:
        return f"{min(float(row[column]) for row in rows):.0f}" if rows and rows[0].get(column) else ""

    return {
        "share_bias": f"{largest(shares, 'bias'):+.2f}",
        "share_rmse": f"{largest(shares, 'rmse'):.2f}",
        "share_half": f"{largest(shares, 'half_width'):.2f}",
        "share_coverage": lowest(shares, "coverage"),
        "units_bias": f"{largest(units, 'bias'):+.1f}",
        "units_rmse": f"{largest(units, 'rmse'):.1f}",
        "units_half": f"{largest(units, 'half_width'):.1f}",
        "units_coverage": lowest(units, "coverage"),
        "jackknife": lowest(units, "jackknife_coverage"),
        "right": f"{float(case['units in the right class']['mean']):.0f}",
    }


WORST = {
    "share_half": "share ±",
    "share_bias": "bias",
    "share_coverage": "covered %",
    "units_half": "units ±",
    "units_bias": "bias",
    "units_coverage": "covered %",
    "jackknife": "jackknife alone %",
    "right": "right class %",
}


def study_table(
    study: str, names: Sequence[str], label: Callable[[tuple[str, ...]], Sequence[str]], columns: Sequence[str] = ()
) -> Callable[[Path], str]:
    """A table of all cases of a study."""

    def make(results: Path) -> str:
        chosen = list(columns or WORST)
        lines = []
        for key, case in by_case(read(results / "recovery.csv"), study).items():
            numbers = condensed(case)
            lines.append([*label(key), *(numbers[column] for column in chosen)])
        return table([*names, *(WORST[column] for column in chosen)], lines)

    return make


def _released(results: Path) -> str:
    lines = []
    for key, case in by_case(read(results / "recovery.csv"), "clips").items():
        paper, released = condensed(case), condensed(case, "released")
        numbers = [way[name] for way in (paper, released) for name in ("share_rmse", "share_half", "share_coverage")]
        lines.append([*_sizes(key), *numbers])
    names = [f"{way}: {name}" for way in ("paper", "released") for name in ("error", "±", "covered %")]
    return table(["clips", "units", "shared", *names], lines)


def _sides(results: Path) -> str:
    rows = [row for row in read(results / "recovery_sides.csv") if row["units"] == "512"]
    ranges = list(dict.fromkeys((row["from"], row["to"]) for row in rows))
    at = {(row["from"], row["clips"]): f"{float(row['right']):.0f}" for row in rows}
    lines = [
        [f"{low} to {high}" if high != "1.0" else f"over {low}", *(at[low, str(clips)] for clips in CLIPS)]
        for low, high in ranges
    ]
    return table(["distance from λ", *(f"{clips} clips" for clips in CLIPS)], lines)


def _pairs(results: Path) -> str:
    lines = []
    for key, case in by_case(read(results / "recovery.csv"), "pairs").items():
        for name in ("static share", "dynamic share", "dynamic units"):
            ways = (case[f"{name}, {way}"] for way in ("plain", "within"))
            numbers = [f"{float(row[column]):.2f}" for row in ways for column in ("truth", "bias", "rmse")]
            lines.append([key[4], name, *numbers])
    names = [f"{way}: {name}" for way in ("all pairs", "within pairs") for name in ("truth", "bias", "error")]
    return table(["clips", "quantity", *names], lines)


def _network(results: Path) -> str:
    (case,) = by_case(read(results / "recovery.csv"), "network").values()
    columns = ("truth", "mean", "rmse", "half_width", "coverage")
    lines = [
        [name, *(f"{float(row[column]):.{0 if column == 'coverage' else 1}f}" for column in columns)]
        for name, row in case.items()
        if row["truth"]
    ]
    return table(["quantity (%)", "truth", "mean", "error", "±", "covered %"], lines)


def _sizes(key: tuple[str, ...]) -> list[str]:
    return [key[4], key[3], key[2].removeprefix("shared ") or "0.1"]


def _answers(key: tuple[str, ...]) -> list[str]:
    return [f"{key[1]}{', ' if key[2] else ''}{key[2]}", key[4]]


TABLES: dict[str, Callable[[Path], str]] = {
    "clips": study_table("clips", ["clips", "units", "shared"], _sizes),
    "estimators": _released,
    "sides": _sides,
    "layer": study_table("layer", ["layer", "clips"], _answers),
    "groups": study_table("groups", ["layer", "groups"], lambda key: [key[1], key[5]], list(WORST)[:-1]),
    "threshold": study_table("threshold", ["λ", "clips"], lambda key: [key[7], key[4]], list(WORST)[3:]),
    "videos": study_table("videos", ["groups of", "clips"], lambda key: [f"{key[6]}s", key[4]], list(WORST)[:-1]),
    "pairs": _pairs,
    "network": _network,
}


def tables(results: Path) -> dict[str, str]:
    """All tables of the page by name."""
    return {name: make(results) for name, make in TABLES.items()}


def _new(width: float, height: float) -> Figure:
    return Figure(figsize=(width, height), dpi=150, layout="constrained", facecolor="white")


def draw_figures(results: Path, folder: Path) -> None:
    """Draw ``measure_recovery.png`` and ``measure_clips.png``."""
    rows = read(results / "recovery.csv")
    _recovery(rows).savefig(folder / "measure_recovery.png")
    _clips(rows).savefig(folder / "measure_clips.png")


def _recovery(rows: Sequence[Row]) -> Figure:
    """Estimate against truth, of all kinds of layers."""
    figure = _new(8.4, 4.3)
    cases = [case for key, case in by_case(rows, "layer").items() if key[4] == "100"]
    shares = axes(figure, (1, 2, 1), "Shares of the layer (Eq. 1)", "truth (%)", "measured (%)")
    units = axes(figure, (1, 2, 2), "Units by encoding (Eq. 3)", "truth (%)", "measured (%)")
    for ax, names, limits in (
        (shares, [f"{name} share, paper" for name in ("static", "dynamic")], (14, 41)),
        (units, [f"{name} units" for name in ENCODINGS], (-4, 104)),
    ):
        ax.plot(limits, limits, color=INK, linewidth=0.8, linestyle=":")
        for place, name in enumerate(names):
            found = [case[name] for case in cases]
            color = COLORS[name.split()[0]]
            mean, half = ([float(row[column]) for row in found] for column in ("mean", "half_width"))
            # Beside each other where the truth is the same, and within what a percentage can be.
            aside = (place - (len(names) - 1) / 2) * (limits[1] - limits[0]) / 80
            ax.errorbar(
                [float(row["truth"]) + aside for row in found],
                mean,
                [
                    [min(m, h) for m, h in zip(mean, half, strict=True)],
                    [min(100 - m, h) for m, h in zip(mean, half, strict=True)],
                ],
                fmt="o", markersize=4, color=color, ecolor=color, elinewidth=1.1, alpha=0.85, label=name.split()[0],
            )  # fmt: skip
        ax.set_xlim(limits)
        ax.set_ylim(limits)
        ax.set_aspect("equal")
        ax.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0.55, 0))
    title = "14 kinds of layers, 100 clips: mean estimate and mean 95 % interval (colours moved apart)"
    figure.suptitle(title, fontsize=10, color=INK)
    return figure


def _clips(rows: Sequence[Row]) -> Figure:
    """Error, half-width and coverage against the number of clips."""
    figure = _new(10.2, 3.9)
    cases = {(key[4], key[3]): case for key, case in by_case(rows, "clips").items()}
    ticks = [str(clips) for clips in CLIPS]
    panels = [
        axes(figure, (1, 3, 1), "Shares of the layer", "clips", "percentage points"),
        axes(figure, (1, 3, 2), "Units by encoding", "clips", "percentage points"),
        axes(figure, (1, 3, 3), "Intervals that hold the truth", "clips", "%"),
    ]
    kinds = ([f"{name} share, paper" for name in ("static", "dynamic")], [f"{name} units" for name in ENCODINGS])
    for ax, names in zip(panels[:2], kinds, strict=True):
        for name in names:
            found = [cases[clips, "512"][name] for clips in ticks]
            color = COLORS[name.split()[0]]
            width, error = ([float(row[column]) for row in found] for column in ("half_width", "rmse"))
            ax.plot(CLIPS, width, color=color, marker="o", markersize=4, label=f"{name.split()[0]} ±")
            ax.plot(CLIPS, error, color=color, marker="x", markersize=4, linestyle="--")
        ax.plot([], [], color=INK, marker="x", markersize=4, linestyle="--", label="error (rms)")
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_major_formatter(FormatStrFormatter("%g"))
        ax.yaxis.set_minor_locator(NullLocator())
        ax.legend(frameon=False, fontsize=8)
    panels[2].axhspan(92, 98, color=GRID, zorder=0)
    panels[2].axhline(95, color=INK, linewidth=0.8, linestyle=":")
    for number, (units, style) in enumerate((("16", ":"), ("512", "-"), ("2048", "--"))):
        for names, color in zip(kinds, (INK, "#8a8a85"), strict=True):
            covered = [
                sum(float(cases[clips, units][name]["coverage"]) for name in names) / len(names) for clips in ticks
            ]
            label = f"{'shares' if color == INK else 'units'}, {units} channels"
            panels[2].plot(
                CLIPS, covered, color=color, linestyle=style, marker="o^s"[number], markersize=4, label=label
            )
    panels[2].set_ylim(84, 101)
    panels[2].legend(frameon=False, fontsize=8, loc="lower right", title="mean of all factors", title_fontsize=8)
    for ax in panels:
        ax.set_xscale("log")
        ax.set_xticks(CLIPS, ticks)
        ax.minorticks_off()
    figure.suptitle(
        "Mean half-width of the 95 % interval (solid) and error (dashed), 512 units; coverage by number of units",
        fontsize=10, color=INK,
    )  # fmt: skip
    return figure

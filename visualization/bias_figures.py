# SPDX-License-Identifier: Apache-2.0
"""Figures of static and dynamic bias, from plain numbers.

Every function returns a :class:`matplotlib.figure.Figure` that belongs to nobody: no pyplot, no global state, safe
in a training run. A measurement is ``{layer: numbers}`` with the numbers of :func:`staticdropout.metrics.summarize`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

__all__ = ("COLORS", "bias_curves", "encoding_bars", "triplet_figure", "unit_scatter")

Measurement = Mapping[str, Mapping[str, float]]

COLORS = {
    "static": "#c8473c",
    "dynamic": "#2f6db3",
    "joint": "#7d5ba6",
    "residual": "#b9b9b4",
    "identical": "#8a8a85",
}
"""Static red and dynamic blue, as in the paper's figures."""

INK, GRID = "#30302e", "#e4e4e0"


def _grid(count: int, width: float, height: float, columns: int) -> tuple[Figure, list[Axes]]:
    """A figure with ``count`` axes in at most ``columns`` columns."""
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained", facecolor="white")
    axes = [figure.add_subplot(rows, columns, position + 1) for position in range(count)]
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.spines[["left", "bottom"]].set_color(INK)
        ax.tick_params(colors=INK, labelsize=8)
        ax.grid(color=GRID, linewidth=0.8)
        ax.set_axisbelow(True)
    return figure, axes


def bias_curves(steps: Sequence[int], measurements: Sequence[Measurement], title: str = "") -> Figure:
    """Static and dynamic share of every layer over training, with 95 % intervals (as Fig. 10 of Kowal et al.).

    Args:
        steps: optimizer step of each measurement, ``(M,)``.
        measurements: M measurements.
        title: a line above the figure, for instance the style set and the number of clips.

    Returns:
        One panel a layer.

    Example:
        >>> numbers = {"static": 40.0, "static_interval": 1.0, "dynamic": 30.0, "dynamic_interval": 1.0}
        >>> len(bias_curves([0, 100], [{"res5": numbers}, {"res5": numbers}]).axes)
        1
    """
    layers = list(measurements[-1])
    figure, axes = _grid(len(layers), 3.4, 2.6, columns=3)
    for ax, layer in zip(axes, layers, strict=True):
        known = [(step, m[layer]) for step, m in zip(steps, measurements, strict=True) if layer in m]
        x = np.array([step for step, _ in known], dtype=float)
        for factor in ("static", "dynamic"):
            y = np.array([numbers[factor] for _, numbers in known])
            half = np.nan_to_num([numbers[f"{factor}_interval"] for _, numbers in known])
            ax.fill_between(x, y - half, y + half, color=COLORS[factor], alpha=0.18, linewidth=0)
            ax.plot(x, y, color=COLORS[factor], marker="o", markersize=3, linewidth=1.6, label=factor)
        ax.set_title(layer, fontsize=9, color=INK)
        ax.set_xlabel("optimizer step", fontsize=8, color=INK)
        ax.set_ylabel("share of the layer (%)", fontsize=8, color=INK)
    # One scale for all panels: comparing layers is the point.
    limits = [limit for ax in axes for limit in ax.get_ylim()]
    for ax in axes:
        ax.set_ylim(max(0.0, min(limits)), max(limits))
    axes[0].legend(frameon=False, fontsize=8)
    if title:
        figure.suptitle(title, fontsize=8, color=INK)
    return figure


def encoding_bars(measurement: Measurement, title: str = "") -> Figure:
    """Stacked bars of the units by encoding, one bar a layer (as Fig. 3, right, of Kowal et al.).

    Args:
        measurement: ``{layer: numbers}``.
        title: a line above the bars.

    Returns:
        The figure; a share is written into its bar with its interval where there is room.
    """
    layers = list(measurement)
    figure, (ax,) = _grid(1, 7.2, 0.75 + 0.42 * len(layers), columns=1)
    left = np.zeros(len(layers))
    positions = np.arange(len(layers))[::-1]
    for encoding in ("dynamic", "static", "joint", "residual"):
        width = np.array([measurement[layer][f"units_{encoding}"] for layer in layers])
        half = np.array([measurement[layer][f"units_{encoding}_interval"] for layer in layers])
        ax.barh(positions, width, left=left, height=0.72, color=COLORS[encoding], label=encoding, edgecolor="white")
        for y, start, value, interval in zip(positions, left, width, half, strict=True):
            if value >= 12:
                text = f"{value:.0f}" if math.isnan(interval) else f"{value:.0f} ± {interval:.0f}"
                color = INK if encoding == "residual" else "white"
                ax.text(start + value / 2, y, text, ha="center", va="center", color=color, fontsize=7.5)
        left += width
    ax.set_yticks(positions, layers)
    ax.set_xlim(0, 100)
    ax.set_xlabel("units (%)", fontsize=8, color=INK)
    ax.grid(visible=False)
    ax.legend(frameon=False, fontsize=8, ncols=4, loc="lower left", bbox_to_anchor=(0, 1.0), borderaxespad=0.1)
    if title:
        figure.suptitle(title, fontsize=8, color=INK)
    return figure


def unit_scatter(scores: Mapping[str, NDArray[np.floating]], threshold: float = 0.5, title: str = "") -> Figure:
    """Static against dynamic score of every unit, with the lines of λ that separate the four encodings.

    Args:
        scores: ``{layer: (2, C)}``, static then dynamic scores (Eq. 2).
        threshold: λ.
        title: a line above the figure.

    Returns:
        One panel a layer.
    """
    figure, axes = _grid(len(scores), 2.6, 2.6, columns=4)
    for ax, (layer, (static, dynamic)) in zip(axes, scores.items(), strict=True):
        above = (static > threshold, dynamic > threshold)
        groups = {
            "dynamic": ~above[0] & above[1],
            "static": above[0] & ~above[1],
            "joint": above[0] & above[1],
            "residual": ~above[0] & ~above[1],
        }
        for encoding, mask in groups.items():
            ax.scatter(static[mask], dynamic[mask], s=7, color=COLORS[encoding], alpha=0.55, linewidth=0)
        ax.axvline(threshold, color=INK, linewidth=0.7, linestyle=":")
        ax.axhline(threshold, color=INK, linewidth=0.7, linestyle=":")
        ax.set_xlim(-1.05, 1.05)
        ax.set_ylim(-1.05, 1.05)
        ax.set_aspect("equal")
        counts = " / ".join(str(int(mask.sum())) for mask in groups.values())
        ax.set_title(f"{layer}\n{counts}", fontsize=8, color=INK)
        ax.set_xlabel("static score", fontsize=8, color=INK)
        ax.set_ylabel("dynamic score", fontsize=8, color=INK)
    handles = [Line2D([], [], marker="o", linestyle="", color=COLORS[e], markersize=4) for e in groups]
    figure.legend(
        handles, list(groups), loc="outside lower center", ncols=4, frameon=False, fontsize=8,
        title="units: dynamic / static / joint / residual", title_fontsize=8,
    )  # fmt: skip
    if title:
        figure.suptitle(title, fontsize=8, color=INK)
    return figure


def triplet_figure(rows: Mapping[str, NDArray[np.floating]], num_frames: int = 8, title: str = "") -> Figure:
    """The three inputs of a triplet frame by frame, to see what was compared.

    Args:
        rows: ``{name: (T, H, W, 3)}`` pixels in [0, 1], for instance anchor, same static, same dynamic.
        num_frames: at most so many frames, evenly spread.
        title: a line above the figure.

    Returns:
        One row of frames for each entry.
    """
    length = min(len(clip) for clip in rows.values())
    chosen = np.linspace(0, length - 1, min(num_frames, length)).round().astype(int)
    aspect = next(iter(rows.values())).shape[1] / next(iter(rows.values())).shape[2]
    cell = max(1.25, 5.6 / len(chosen))  # inches; a few pictures are drawn larger, so that the title fits
    size = (cell * len(chosen) + 0.9, cell * aspect * len(rows) + (0.35 if title else 0.05))
    figure = Figure(figsize=size, layout="constrained", facecolor="white")
    for row, (name, clip) in enumerate(rows.items()):
        for column, frame in enumerate(chosen):
            ax = figure.add_subplot(len(rows), len(chosen), row * len(chosen) + column + 1)
            ax.imshow(np.clip(clip[frame], 0, 1), interpolation="nearest")
            ax.set_xticks([])
            ax.set_yticks([])
            ax.spines[:].set_visible(False)
            if column == 0:
                ax.set_ylabel(name, fontsize=8, color=INK, rotation=0, ha="right", va="center")
    if title:
        figure.suptitle(title, fontsize=8, color=INK)
    return figure

# SPDX-License-Identifier: Apache-2.0
"""The layers of one measurement side by side: their shares, and what their units encode."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .style import COLORS, ENCODINGS, INK, MUTED, dress, finish, new_figure, shorten
from .training_figures import BOTH, NEITHER, reference_text

__all__ = ("encoding_bars", "layer_shares_figure")

Measurement = Mapping[str, Mapping[str, float]]


def _rows(layers: list[str], height: float) -> tuple[Figure, Axes, np.ndarray]:
    """Axes with one row a layer, the first on top."""
    figure = new_figure(1.2 + height * max(2, len(layers)))
    ax = figure.add_subplot()
    dress(ax)
    positions = np.arange(len(layers))[::-1]
    ax.set_yticks(positions, list(shorten(layers, 25).values()))
    ax.set_ylim(-0.6, len(layers) - 0.4)
    ax.grid(visible=False, axis="y")
    ax.tick_params(axis="y", length=0)
    return figure, ax, positions


def layer_shares_figure(
    measurement: Measurement,
    before: Measurement | None = None,
    caption: str = "",
    label: str = "first",
    intervals: str = "95 % intervals",
) -> Figure:
    """Static and dynamic share of every layer with intervals, one row a layer.

    Args:
        measurement: ``{layer: numbers}``.
        before: an earlier measurement, drawn as hollow marks.
        caption: how it was measured.
        label: what the earlier measurement is called.
        intervals: what the bars are.

    Example:
        >>> numbers = {"static": 40.0, "static_interval": 1.0, "dynamic": 30.0, "dynamic_interval": 1.0}
        >>> layer_shares_figure({"res5": numbers}).axes[0].get_yticklabels()[0].get_text()
        'res5'
    """
    layers = list(measurement)
    figure, ax, positions = _rows(layers, 0.38)
    for factor, offset in (("static", 0.13), ("dynamic", -0.13)):
        y, color = positions + offset, COLORS[factor]
        x = np.array([measurement[layer][factor] for layer in layers])
        half = np.nan_to_num([measurement[layer][f"{factor}_interval"] for layer in layers])
        if before is not None:
            was = np.array([before.get(layer, {}).get(factor, math.nan) for layer in layers])
            ax.hlines(y, was, x, color=color, linewidth=0.8, alpha=0.5)
            ax.plot(was, y, "o", markersize=4.5, markerfacecolor="white", markeredgecolor=color, markeredgewidth=0.9)
        ax.errorbar(x, y, xerr=half, fmt="o", color=color, markersize=5.5, linewidth=1.6, capsize=2.5)
    for level in (BOTH, NEITHER):
        ax.axvline(level, color=MUTED, linewidth=0.9, linestyle=":", zorder=0.9)
    ax.set_xlim(0, 50)
    ax.set_xlabel("share of the layer (%)", fontsize=8, color=INK)
    handles = [Line2D([], [], linestyle="", color=COLORS[name], marker="o") for name in ("static", "dynamic")]
    names = ["static", "dynamic"]
    if before is not None:
        handles.append(Line2D([], [], linestyle="", marker="o", markerfacecolor="white", markeredgecolor=MUTED))
        names.append(label)
    text = f"Bars: {intervals}. {reference_text()}"
    return finish(figure, "Static and dynamic share of each layer", f"{text}\n{caption}", names, handles)


def encoding_bars(measurement: Measurement, caption: str = "") -> Figure:
    """Stacked bars of the units by encoding, one bar a layer (as Fig. 3, right, of Kowal et al.).

    Args:
        measurement: ``{layer: numbers}``.
        caption: how it was measured.

    Returns:
        The figure; a share is written into its bar with its interval where there is room.
    """
    layers = list(measurement)
    figure, ax, positions = _rows(layers, 0.3)
    left = np.zeros(len(layers))
    for encoding in ENCODINGS:
        width = np.array([measurement[layer][f"units_{encoding}"] for layer in layers])
        half = np.array([measurement[layer][f"units_{encoding}_interval"] for layer in layers])
        ax.barh(positions, width, left=left, height=0.76, color=COLORS[encoding], label=encoding, edgecolor="white")
        for y, start, value, interval in zip(positions, left, width, half, strict=True):
            text = f"{value:.0f}" if math.isnan(interval) or value < 22 else f"{value:.0f} ± {interval:.0f}"
            if value >= 8:
                color = "white" if encoding in ("static", "dynamic") else INK
                ax.text(start + value / 2, y, text, ha="center", va="center", color=color, fontsize=8)
        left += width
    ax.set_xlim(0, 100)
    ax.set_xlabel("units of the layer (%)", fontsize=8, color=INK)
    ax.grid(visible=False)
    return finish(figure, "What the units of each layer encode", caption, ENCODINGS)

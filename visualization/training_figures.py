# SPDX-License-Identifier: Apache-2.0
"""Static and dynamic bias over training, one panel a layer.

Every function of this room returns a :class:`matplotlib.figure.Figure` that belongs to nobody: no pyplot, no global
state, safe in a training run. A measurement is ``{layer: numbers}`` with the numbers of
:func:`staticdropout.metrics.summarize`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .style import COLORS, ENCODINGS, INK, MUTED, finish, panels, shorten, step_axis

__all__ = ("BOTH", "NEITHER", "bias_curves", "encoding_curves", "reference_text")

Measurement = Mapping[str, Mapping[str, float]]

BOTH, NEITHER = 100 / 3, 100 / (2 + np.e)
"""Share of either factor (Eq. 1) in a layer whose units have the score 1 for both factors, and 0 for both."""

MARKED = 15  # more measurements than that are a line without marks


def reference_text() -> str:
    """What the dotted lines are."""
    both, neither = (f"{level:.1f}\N{NO-BREAK SPACE}%" for level in (BOTH, NEITHER))
    return f"Dotted: {both} (units answer to both), {neither} (to neither)."


def _known(
    steps: Sequence[int], measurements: Sequence[Measurement], layer: str
) -> tuple[list[int], list[Mapping[str, float]]]:
    """Steps and numbers of the measurements that have the layer, in the order of steps, the last one of each step.

    A checkpoint that is validated after a training adds a measurement at its own, earlier step.
    """
    known = {step: m[layer] for step, m in zip(steps, measurements, strict=True) if layer in m}
    ordered = sorted(known)
    return ordered, [known[step] for step in ordered]


def _entitle(axes: Sequence[Axes], layers: Sequence[str]) -> None:
    for ax, name in zip(axes, shorten(layers, 25 if len(layers) > 1 else 55).values(), strict=True):
        ax.set_title(name, fontsize=8.5, color=INK, loc="left", pad=4)


def bias_curves(
    steps: Sequence[int],
    measurements: Sequence[Measurement],
    caption: str = "",
    intervals: str = "95 % intervals",
) -> Figure:
    """Static and dynamic share of every layer over training, with intervals (as Fig. 10 of Kowal et al.).

    Args:
        steps: optimizer step of each measurement, ``(M,)``.
        measurements: M measurements.
        caption: how it was measured, for instance the style set and the number of clips.
        intervals: what the bands are.

    Returns:
        One panel a layer of the last measurement, from 0 to 50 %, which no share can leave.

    Example:
        >>> numbers = {"static": 40.0, "static_interval": 1.0, "dynamic": 30.0, "dynamic_interval": 1.0}
        >>> len(bias_curves([0, 100], [{"res5": numbers}, {"res5": numbers}]).axes)
        1
    """
    layers = list(measurements[-1])
    figure, axes = panels(len(layers), 1.4 if len(layers) > 1 else 2.2, "optimizer step", "share of the layer (%)")
    for ax, layer in zip(axes, layers, strict=True):
        x, known = _known(steps, measurements, layer)
        for factor in ("static", "dynamic"):
            y = np.array([numbers[factor] for numbers in known])
            half = np.nan_to_num([numbers[f"{factor}_interval"] for numbers in known])
            color, mark = COLORS[factor], "o" if len(x) <= MARKED else ""
            ax.plot(x, y, color=color, marker=mark, markersize=3, linewidth=1.6)
            if len(x) > 1:
                ax.fill_between(x, y - half, y + half, color=color, alpha=0.2, linewidth=0)
            else:
                ax.errorbar(x, y, half, color=color, linewidth=1.6, capsize=3)
        for level in (BOTH, NEITHER):
            ax.axhline(level, color=MUTED, linewidth=0.9, linestyle=":", zorder=0.9)
    _entitle(axes, layers)
    axes[0].set_ylim(0, 50)
    axes[0].set_yticks(range(0, 51, 10))
    step_axis(axes[0], steps)
    handles = [Line2D([], [], color=COLORS[factor], marker="o", markersize=3) for factor in ("static", "dynamic")]
    text = f"Bands: {intervals}. {reference_text()}"
    names = ("static", "dynamic")
    return finish(figure, "Static and dynamic share over training", f"{text}\n{caption}", names, handles)


def encoding_curves(steps: Sequence[int], measurements: Sequence[Measurement], caption: str = "") -> Figure:
    """Units by encoding over training, stacked to 100 %.

    Args:
        steps: optimizer step of each measurement, ``(M,)``.
        measurements: M measurements.
        caption: how it was measured.

    Returns:
        One panel a layer of the last measurement.
    """
    layers = list(measurements[-1])
    figure, axes = panels(len(layers), 1.3 if len(layers) > 1 else 2.2, "optimizer step", "units of the layer (%)")
    for ax, layer in zip(axes, layers, strict=True):
        x, known = _known(steps, measurements, layer)
        shares = np.array([[numbers[f"units_{encoding}"] for numbers in known] for encoding in ENCODINGS])
        colors = [COLORS[encoding] for encoding in ENCODINGS]
        if len(x) > 1:
            ax.stackplot(x, shares, colors=colors, linewidth=0.4, edgecolor="white")
        else:
            ax.bar(x, shares[:, 0], bottom=np.cumsum(shares[:, 0]) - shares[:, 0], color=colors, width=0.5)
    _entitle(axes, layers)
    axes[0].set_ylim(0, 100)
    axes[0].set_yticks(range(0, 101, 25))
    step_axis(axes[0], steps)
    if len(set(steps)) > 1:
        axes[0].set_xlim(min(steps), max(steps))
    return finish(figure, "What the units encode, over training", caption, ENCODINGS)

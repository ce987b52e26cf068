# SPDX-License-Identifier: Apache-2.0
"""What styles change and keep, as a picture: a frame in each style, its measures, and how alike the styles are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from .style import COLORS, INK, MUTED, finish, new_figure, shorten

__all__ = ("Measure", "style_figure")

NAME = 12  # characters of a style's name
ROW, CELL = 0.52, 0.34  # inches


class Measure(NamedTuple):
    """A column of bars.

    Attributes:
        title: what it is, in a few words.
        values: by style; NaN has no bar.
        limit: where the line is drawn; infinite: there is none.
        above: whether it is a fault to lie above the limit, or below it.
    """

    title: str
    values: Mapping[str, float]
    limit: float
    above: bool = True

    def crosses(self, name: str) -> bool:
        """Whether a style is on the wrong side of the limit."""
        value = self.values.get(name, math.nan)
        return value > self.limit if self.above else value < self.limit


def style_figure(
    pictures: Mapping[str, NDArray[np.uint8]],
    measures: Sequence[Measure],
    correlations: Mapping[tuple[str, str], float],
    limit: float = math.inf,
    title: str = "Styles",
    caption: str = "",
) -> Figure:
    """Draw a row a style with its picture and its measures as bars, and the correlations of all pairs below.

    Args:
        pictures: ``(H, W, 3)`` of the same frame in each style, by name; the first is the source.
        measures: what the bars show; the source has none.
        correlations: of pairs of names, in either order.
        limit: correlations above it are set in bold.
        title: what is to be seen.
        caption: how it was measured.

    Example:
        >>> pictures = {name: np.zeros((8, 8, 3), np.uint8) for name in ("source", "paint")}
        >>> figure = style_figure(pictures, [Measure("flicker", {"paint": 1.2}, 3.0)], {("source", "paint"): 0.2})
        >>> len(figure.axes)
        5
    """
    names = list(pictures)
    short = shorten(names, NAME)
    above, below = ROW * len(names) + 0.35, CELL * (len(names) - 1) + 0.55
    figure = new_figure(above + below + 0.75)
    upper, lower = figure.subfigures(2, 1, squeeze=False, height_ratios=[above, below])[:, 0]
    widths = [0.5, *[1.0] * len(measures)]
    axes = upper.subplots(len(names), 1 + len(measures), width_ratios=widths, squeeze=False)
    for row, (name, picture) in zip(axes, pictures.items(), strict=True):
        _show(row[0], picture, short[name])
        for ax, measure in zip(row[1:], measures, strict=True):
            _bar(ax, measure, name)
    for ax, measure in zip(axes[0][1:], measures, strict=True):
        ax.set_title(measure.title, fontsize=7.5, color=INK, pad=4)
    _triangle(lower.subplots(), names, short, correlations, limit)
    handles = [Patch(color=COLORS[name]) for name in ("dynamic", "static")]
    return finish(figure, title, caption, ["fit", "beyond the limit (dashed)"], handles)


def _show(ax: Axes, picture: NDArray[np.uint8], name: str) -> None:
    ax.imshow(picture)
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    ax.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8, color=INK, labelpad=4)


def _bar(ax: Axes, measure: Measure, name: str) -> None:
    """One bar with its number; all bars of a column have the same scale, in which the limit is in the same place."""
    known = [value for value in measure.values.values() if not math.isnan(value)]
    longest = max([measure.limit * 1.15, *known]) if math.isfinite(measure.limit) else max([1.0, *known])
    ax.set(xlim=(0, longest * 1.35), ylim=(-1, 1), xticks=[], yticks=[])
    ax.spines[["top", "right", "bottom"]].set_visible(False)
    ax.spines["left"].set_color(MUTED)
    if math.isfinite(measure.limit):
        ax.axvline(measure.limit, color=MUTED, linewidth=0.9, linestyle=(0, (3, 2)), zorder=1)
    value = measure.values.get(name, math.nan)
    if math.isnan(value):
        return
    crossed = measure.crosses(name)
    ax.barh(0, value, height=0.8, color=COLORS["static" if crossed else "dynamic"], zorder=2)
    ax.text(
        value + 0.03 * longest, 0, f"{value:.2f}{' !' if crossed else ''}", va="center", fontsize=7, color=INK,
        fontweight="bold" if crossed else "normal", zorder=3, bbox={"facecolor": "white", "linewidth": 0, "pad": 0.6},
    )  # fmt: skip


def _triangle(
    ax: Axes,
    names: Sequence[str],
    short: Mapping[str, str],
    correlations: Mapping[tuple[str, str], float],
    limit: float,
) -> None:
    grid = np.full((len(names) - 1, len(names) - 1), np.nan)
    for row, name in enumerate(names[1:]):
        for column, other in enumerate(names[: row + 1]):
            grid[row, column] = correlations.get((other, name), correlations.get((name, other), math.nan))
    ax.imshow(grid, cmap="YlOrRd", vmin=0, vmax=1.3, aspect="auto")
    for (row, column), value in np.ndenumerate(grid):
        if not math.isnan(value):
            crossed = value > limit
            ax.text(
                column, row, f"{value:.2f}{' !' if crossed else ''}", ha="center", va="center", fontsize=7.5, color=INK,
                fontweight="bold" if crossed else "normal",
            )  # fmt: skip
    ax.set_xticks(range(len(names) - 1), [short[name] for name in names[:-1]])
    ax.set_yticks(range(len(names) - 1), [short[name] for name in names[1:]])
    ax.tick_params(length=0, labelsize=8, colors=INK)
    ax.spines[:].set_visible(False)
    ax.set_title("correlation r between styles, over stills", fontsize=7.5, color=INK, pad=4)

# SPDX-License-Identifier: Apache-2.0
"""What the figures of the pages have in common."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, GRID = "#262624", "#e6e6e2"


def axes(
    figure: Figure, place: tuple[int, int, int], title: str, x: str, y: str, size: float = 10, ticks: str = "black"
) -> Axes:
    """Add a panel with a title, names of its axes, a grid behind everything, and no box.

    Args:
        figure: that it is added to.
        place: rows, columns, and number of the panel among them, from 1.
        title: above it, at the left.
        x: name of the horizontal axis.
        y: name of the vertical axis.
        size: of the title, in points; the names of the axes are one smaller.
        ticks: colour of the ticks and their numbers.
    """
    panel: Axes = figure.add_subplot(*place)
    panel.set_title(title, fontsize=size, color=INK, loc="left")
    panel.set_xlabel(x, fontsize=size - 1, color=INK)
    panel.set_ylabel(y, fontsize=size - 1, color=INK)
    panel.spines[["top", "right"]].set_visible(False)
    panel.tick_params(labelsize=8, colors=ticks)
    panel.grid(color=GRID, linewidth=0.8)
    panel.set_axisbelow(True)
    return panel

# SPDX-License-Identifier: Apache-2.0
"""What all figures share: colours, one width, a title above and how it was measured below."""

from __future__ import annotations

import math
import os
import textwrap
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import EngFormatter, MaxNLocator

__all__ = ("COLORS", "ENCODINGS", "INK", "MUTED", "WIDTH", "finish", "new_figure", "panels", "shorten", "step_axis")

COLORS = {"static": "#cc3311", "dynamic": "#0077bb", "joint": "#f0b429", "residual": "#bbbbbb"}
"""Static red and dynamic blue, as in the paper's figures. Of those, the red and the blue that TensorBoard gives to the
runs ``static`` and ``dynamic``. All four stay apart for eyes without red, green or blue cones; a test measures it."""

ENCODINGS = ("dynamic", "static", "joint", "residual")
INK, MUTED, GRID = "#262624", "#5a5a55", "#e6e6e2"
WIDTH = 4.2  # inches
DPI = 700 / WIDTH  # TensorBoard shows every picture 350 pixels wide, by leaving pixels out: here every other


def shorten(names: Sequence[str], length: int) -> dict[str, str]:
    """Names of at most ``length`` characters that can still be told apart, where that is possible.

    What all names begin with goes first, then the middle of those that are still too long; the end, where layers of one
    model differ, gets the more room the more it takes to tell them apart.

    Args:
        names: all that stand together.
        length: characters, at least 3.

    Returns:
        ``{name: short name}``.

    Example:
        >>> list(shorten(["backbone.layer1.0.conv1", "backbone.layer2.0.conv1"], 16).values())
        ['…layer1.0.conv1', '…layer2.0.conv1']
        >>> list(shorten(["backbone.layer1.0.conv1", "head"], 16).values())
        ['backbo…1.0.conv1', 'head']
    """
    short = dict(zip(names, names, strict=True))
    if max(map(len, names), default=0) <= length:
        return short
    common = os.path.commonprefix(list(names))  # noqa: RUF071 - of names, not of paths
    common = common[: common.rfind(".") + 1] if len(names) > 1 else ""
    if len(common) > 1:
        short = {name: f"…{name[len(common) :]}" for name in names}
    for part in (0.6, 0.7, 0.8, 0.9, 1.0):
        tail = int(part * (length - 1))
        cut = {
            name: text if len(text) <= length else f"{text[: length - 1 - tail]}…{text[len(text) - tail :]}"
            for name, text in short.items()
        }
        if len(set(cut.values())) == len(names):
            break
    return cut


def new_figure(height: float) -> Figure:
    """An empty light card of the common width; legible on a light and on a dark page."""
    return Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained", facecolor="white")


def panels(count: int, height: float, x: str, y: str) -> tuple[Figure, list[Axes]]:
    """A figure of ``count`` panels in two columns, with common axes, named at the left and below alone.

    Args:
        count: of panels.
        height: of one, in inches.
        x: name and unit of the x axis.
        y: of the y axis.
    """
    columns = min(2, count)
    rows = math.ceil(count / columns)
    figure = new_figure(1.1 + height * rows)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    axes = list(grid.flat)
    for ax in axes[count:]:
        ax.remove()
    for ax in axes[:count]:
        dress(ax)
    for ax in axes[max(0, count - columns) : count]:  # the lowest of each column
        ax.tick_params(labelbottom=True)
        ax.set_xlabel(x, fontsize=8, color=INK)
    figure.supylabel(y, fontsize=8, color=INK)
    return figure, axes[:count]


def dress(ax: Axes) -> None:
    """Plain axes on a light grid."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(MUTED)
    ax.tick_params(colors=INK, labelsize=8, length=2.5)
    ax.grid(color=GRID, linewidth=0.8)
    ax.set_axisbelow(True)


def step_axis(ax: Axes, steps: Sequence[float]) -> None:
    """Optimizer steps, with few ticks: 20k rather than 20000."""
    ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    if max(steps) >= 10_000:
        ax.xaxis.set_major_formatter(EngFormatter(sep=""))
    if min(steps) == max(steps):  # one measurement
        ax.set_xlim(steps[0] - 1, steps[0] + 1)
        ax.set_xticks([steps[0]])


def finish(
    figure: Figure,
    title: str,
    caption: str,
    names: Sequence[str] = (),
    handles: Sequence[Line2D | Patch] = (),
) -> Figure:
    """Put the title and the legend above the panels, and how it was measured below.

    Args:
        figure: with its panels.
        title: what is to be seen.
        caption: how it was measured, and how to read it; lines are broken.
        names: of colours, for a legend.
        handles: what stands for each name; patches of the colours by default.
    """
    # The blank second line keeps the legend's place free.
    figure.suptitle(f"{title}\n", x=0.012, ha="left", fontsize=10.5, fontweight="bold", color=INK, linespacing=1.5)
    if names:
        figure.legend(
            handles=list(handles) or [Patch(color=COLORS[name]) for name in names], labels=list(names),
            loc="upper left", bbox_to_anchor=(0.0, 1 - 0.24 / figure.get_figheight()), ncols=len(names),
            frameon=False, fontsize=8.5, labelcolor=INK, handlelength=1.2, columnspacing=1.2, borderaxespad=0.1,
        )  # fmt: skip
    lines = [line for part in caption.splitlines() for line in textwrap.wrap(part, 86)]
    if lines:
        figure.supxlabel("\n".join(lines), x=0.012, ha="left", fontsize=6.7, color=MUTED)
    return figure

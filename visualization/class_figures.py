# SPDX-License-Identifier: Apache-2.0
"""Two models compared class by class, against how common the classes are (Kowal et al., Fig. 14 bottom)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter
from numpy.typing import NDArray

from .style import INK, MUTED, dress, finish, new_figure, shorten

__all__ = ("RUN_COLORS", "class_frequency_figure", "frequency_difference_figure")

RUN_COLORS = ("#542788", "#d9730d")
"""The two models: violet and orange, told apart by all kinds of colour-blind eyes; a test measures it. Their marks
differ as well."""

RUN_MARKS = ("o", "s")
MARKED = 12  # more values of k than that are a line with a band
NAME = 22  # characters of a model's name in the legend and at the axes

Numbers = NDArray[np.floating]


def frequency_difference_figure(
    sizes: Sequence[int], least: Numbers, most: Numbers, names: tuple[str, str] = ("A", "B"), caption: str = ""
) -> Figure:
    """Mean difference of accuracy over the k least and the k most common classes, against k.

    Args:
        sizes: the numbers k, ``(M,)``.
        least: ``(M, 2)`` mean over the k least common classes, first model minus second, in percentage points, and the
            half-width of its interval (NaN if unknown).
        most: the same of the k most common classes.
        names: of the two models.
        caption: how it was measured.

    Returns:
        One panel with both curves and their intervals around the line of no difference.

    Example:
        >>> values = np.array([[2.0, 1.0], [1.5, 0.5]])
        >>> len(frequency_difference_figure([5, 10], values, values).axes)
        1
    """
    figure = new_figure(3.3)
    ax = figure.subplots()
    dress(ax)
    ax.axhline(0, color=INK, linewidth=0.9, zorder=1.5)
    sides = ((least, INK, "o", "white"), (most, MUTED, "D", MUTED))
    shift = 0.06 * min(np.diff(sizes), default=1)  # so that neither curve hides the other's intervals
    few = len(sizes) <= MARKED
    for (values, color, mark, face), move in zip(sides, (-shift, shift), strict=True):
        mean, half = np.asarray(values)[:, 0], np.nan_to_num(np.asarray(values)[:, 1])
        line = "-" if mark == "o" else "--"
        if few:
            ax.errorbar(
                np.asarray(sizes) + move, mean, half, color=color, marker=mark, markersize=4.5, markerfacecolor=face,
                linewidth=1.6, linestyle=line, elinewidth=1.1, capsize=2.5,
            )  # fmt: skip
        else:
            ax.plot(sizes, mean, color=color, linewidth=1.6, linestyle=line)
            ax.fill_between(sizes, mean - half, mean + half, color=color, alpha=0.2, linewidth=0)
    if few:
        ax.set_xticks(list(sizes))
    else:
        ax.xaxis.set_major_locator(MaxNLocator(10, integer=True, steps=[1, 2, 5, 10]))
    if len(sizes) == 1:
        ax.set_xlim(sizes[0] - 1, sizes[0] + 1)
    ax.set_xlabel("k: number of classes", fontsize=8, color=INK)
    _difference_axis(ax, names)
    handles = [
        Line2D([], [], color=INK, marker="o", markersize=4.5, markerfacecolor="white"),
        Line2D([], [], color=MUTED, marker="D", markersize=4.5, linestyle="--"),
    ]
    text = f"{'Bars' if few else 'Bands'}: 95 % intervals over classes; sets for growing k contain one another."
    legend = ("k least common classes", "k most common classes")
    return finish(figure, "Difference on rare and on common classes", f"{text}\n{caption}", legend, handles)


def class_frequency_figure(
    train_clips: Numbers,
    accuracy: Numbers,
    bands: Sequence[NDArray[np.int64]],
    band_differences: Numbers,
    names: tuple[str, str] = ("A", "B"),
    caption: str = "",
) -> Figure:
    """Accuracy of every class against its number of training clips, of both models, and their difference.

    Args:
        train_clips: ``(N,)`` training clips of each class.
        accuracy: ``(2, N)`` accuracy of each class by both models, in percent.
        bands: indices of the classes of each band of frequency, see
            :func:`staticdropout.metrics.frequency_bands`.
        band_differences: ``(bands, 2)`` mean difference of each band and the half-width of its interval.
        names: of the two models.
        caption: how it was measured.

    Returns:
        Two panels with a common logarithmic x axis: accuracies with the mean of each band as a line, and differences
        with the mean of each band and its interval.

    Example:
        >>> clips, bands = np.array([3.0, 40.0]), [np.array([0]), np.array([1])]
        >>> len(class_frequency_figure(clips, np.array([[20.0, 50], [10.0, 55]]), bands, np.zeros((2, 2))).axes)
        2
    """
    figure = new_figure(4.9)
    upper, lower = figure.subplots(2, 1, sharex=True)
    clips, values = np.asarray(train_clips), np.asarray(accuracy)
    alpha = 0.75 if len(clips) <= 60 else 0.45
    for ax in (upper, lower):
        dress(ax)
    if len(clips) <= 60:
        upper.vlines(clips, values.min(0), values.max(0), color=MUTED, linewidth=0.6, alpha=0.6)
    for row, color, mark in zip(values, RUN_COLORS, RUN_MARKS, strict=True):
        upper.scatter(clips, row, s=13, color=color, marker=mark, alpha=alpha, linewidth=0, zorder=2)
        width = 3.4 if color == RUN_COLORS[0] else 1.5  # both are to be seen where they coincide
        for band in bands:
            ends, mean = _span(clips[band]), [row[band].mean()] * 2
            upper.plot(ends, mean, color="white", linewidth=5, zorder=3)
            upper.plot(ends, mean, color=color, linewidth=width, zorder=4)
    lower.axhline(0, color=INK, linewidth=0.9, zorder=1.5)
    lower.scatter(clips, values[0] - values[1], s=11, color=MUTED, alpha=alpha, linewidth=0, zorder=2)
    for band, (mean, half) in zip(bands, np.asarray(band_differences), strict=True):
        left, right = _span(clips[band])
        lower.plot([left, right], [mean, mean], color=INK, linewidth=2.2, zorder=3)
        middle = np.sqrt(max(left, 0.5) * right)
        lower.errorbar(middle, mean, np.nan_to_num(half), color=INK, linewidth=1.4, capsize=3, zorder=3)
    upper.set_ylim(-4, 104)
    upper.set_ylabel("accuracy (%)", fontsize=8, color=INK)
    _difference_axis(lower, names)
    lower.set_xlabel("training clips of the class", fontsize=8, color=INK)
    _frequency_axis(lower, clips)
    handles = [
        Line2D([], [], color=color, marker=mark, markersize=4, linewidth=2.2)
        for color, mark in zip(RUN_COLORS, RUN_MARKS, strict=True)
    ]
    text = "A mark a class. Lines: means of bands of equally many classes; bars: 95 % intervals over their classes."
    title = "Accuracy by class and its frequency"
    return finish(figure, title, f"{text}\n{caption}", list(shorten(names, NAME).values()), handles)


def _difference_axis(ax: Axes, names: tuple[str, str]) -> None:
    """Percentage points around 0, which is always to be seen, and which side is whose."""
    low, high = ax.get_ylim()
    reach = max(high - low, 1.0)
    ax.set_ylim(min(low, -0.15 * reach) - 0.1 * reach, max(high, 0.15 * reach) + 0.1 * reach)  # with room for the names
    ax.set_ylabel("difference (points)", fontsize=8, color=INK)
    first, second = shorten(names, NAME + 8).values()
    for y, side, name in ((0.97, "top", first), (0.03, "bottom", second)):
        ax.text(
            0.985, y, f"{name} better", transform=ax.transAxes, ha="right", va=side, fontsize=7.5, color=MUTED,
            fontstyle="italic", zorder=5, bbox={"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 1},
        )  # fmt: skip


def _frequency_axis(ax: Axes, clips: Numbers) -> None:
    """Logarithmic, also where a class has no training clip at all; plain numbers, and enough of them."""
    lowest, highest = float(clips.min()), float(clips.max())
    if lowest < 1:
        ax.set_xscale("symlog", linthresh=1)
    else:
        ax.set_xscale("log")
    ax.set_xlim(-0.3 if lowest < 1 else lowest / 1.15, max(highest, 1.0) * 1.15)
    ticks = [base * 10**power for power in range(8) for base in (1, 2, 5)]
    inside = [tick for tick in ticks if lowest / 1.1 <= tick <= 1.1 * highest]
    if len(inside) > 8:
        inside = [tick for tick in inside if str(tick)[0] == "1"]
    ax.set_xticks(([0] if lowest < 1 else []) + (inside or [int(lowest)]))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}".replace(",", " ")))
    ax.xaxis.set_minor_formatter(NullFormatter())


def _span(clips: Numbers) -> tuple[float, float]:
    """From the rarest to the most common class of a band, and a little more, so that one frequency is a line too."""
    return float(clips.min()) / 1.04, float(clips.max()) * 1.04

# SPDX-License-Identifier: Apache-2.0
"""Tables and the figure of styles: the numbers that were given, faults marked, nothing cut off."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
from legibility import check_texts
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from rich.console import Console
from rich.table import Table

from staticdropout.visualization import COLORS, rendered
from staticdropout.visualization.style_figures import Measure, style_figure
from staticdropout.visualization.style_table import correlation_table, style_table

NAMES = ["source", "paint", "chalk", "my_own_network_of_last_week", "my_own_network_of_this_week"]


def text_of(table: Table, width: int = 100) -> list[list[str]]:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(table)
    return [line.split() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]


def test_a_row_a_style_with_faults_marked_and_unknown_numbers_as_dashes() -> None:
    rows = {"source": {"error": 0.2}, "paint": {"error": 0.241, "fps": 90.4}, "canvas": {"error": 2.3, "fps": math.nan}}
    lines = text_of(style_table(rows, {"error": 2, "fps": 0}, {"canvas": {"error"}}))
    assert ["source", "0.20", "-"] in lines
    assert ["paint", "0.24", "90"] in lines
    assert ["canvas", "!", "2.30", "-"] in lines


def test_names_that_look_like_markup_are_shown_as_they_are() -> None:
    assert ["[red]", "0.20"] in text_of(style_table({"[red]": {"e": 0.2}}, {"e": 2}))


def test_pairs_are_a_triangle_whatever_their_order() -> None:
    pairs = {("a", "b"): 0.1, ("c", "a"): 0.62, ("b", "c"): math.nan}
    lines = text_of(correlation_table(["a", "b", "c"], pairs, limit=0.5))
    assert ["b", "0.10"] in lines
    assert ["c", "!", "0.62", "-"] in lines


def figure_of(count: int, limit: float = 2.0) -> Figure:
    names = NAMES[:count]
    pictures = {name: np.full((16, 16, 3), 40 * i, np.uint8) for i, name in enumerate(names)}
    measures = [
        Measure("colour distance", dict.fromkeys(names[1:], 0.9), 0.5, above=False),
        Measure("flow error, times\nthe source's", {name: 0.8 + i for i, name in enumerate(names[1:])}, limit),
        Measure("flicker", dict.fromkeys(names[1:], math.nan), 3.0),
    ]
    pairs = {(one, other): 0.1 * i for i, one in enumerate(names) for other in names[:i]}
    return style_figure(pictures, measures, pairs, 0.35, "What the styles change", "Measured on 16 clips. " * 8)


@pytest.mark.parametrize("count", [2, 5])
@pytest.mark.parametrize("limit", [2.0, math.inf])
def test_the_figure_is_legible(count: int, limit: float) -> None:
    figure = figure_of(count, limit)
    check_texts(figure)
    assert rendered(figure).shape[1] == 700


def test_bars_show_the_numbers_and_those_beyond_the_limit_have_another_colour_and_a_mark() -> None:
    figure = figure_of(4)
    bars = [patch for ax in figure.axes for patch in ax.patches if isinstance(patch, Rectangle)]
    flow = [bar for bar in bars if bar.get_width() in (0.8, 1.8, 2.8)]
    assert [bar.get_width() for bar in flow] == [0.8, 1.8, 2.8]
    colours = [to_hex(bar.get_facecolor()) for bar in flow]
    assert colours == [COLORS["dynamic"], COLORS["dynamic"], COLORS["static"]]
    shown = [text.get_text() for ax in figure.axes for text in ax.texts]
    assert "2.80 !" in shown
    assert "0.10" in shown

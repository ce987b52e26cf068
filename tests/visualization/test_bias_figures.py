# SPDX-License-Identifier: Apache-2.0
"""Figures and tables show the numbers that they were given."""

from __future__ import annotations

import io
import math

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from rich.console import Console

from staticdropout.visualization import COLORS, bias_curves, bias_table, encoding_bars, triplet_figure, unit_scatter


def numbers(static: float = 40.0, undefined: float = 0.0, interval: float = 2.0) -> dict[str, float]:
    values = {"static": static, "dynamic": 25.0, "identical": 75.0 - static}
    units = {"units_dynamic": 10.0, "units_static": 50.0, "units_joint": 30.0, "units_residual": 10.0}
    intervals = {f"{name}_interval": interval for name in (*values, *units)}
    return values | units | intervals | {"num_units": 512.0, "undefined": undefined, "num_clips": 100.0}


MEASUREMENT = {"model.res4": numbers(), "model.res5": numbers(30.0)}


def drawn(figure: Figure) -> np.ndarray:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return np.asarray(Image.open(buffer))


def test_curves_have_a_panel_a_layer_with_static_red_and_dynamic_blue() -> None:
    figure = bias_curves([0, 10, 20], [MEASUREMENT] * 3, "title")
    assert [ax.get_title() for ax in figure.axes] == list(MEASUREMENT)
    static, dynamic = figure.axes[1].lines
    assert static.get_color() == COLORS["static"]
    assert dynamic.get_color() == COLORS["dynamic"]
    np.testing.assert_array_equal(static.get_xdata(), [0, 10, 20])
    np.testing.assert_array_equal(static.get_ydata(), [30, 30, 30])
    assert drawn(figure).std() > 0


def test_curves_skip_measurements_that_lack_a_layer_and_bear_unknown_intervals() -> None:
    unknown = {"model.res4": numbers(interval=math.nan)}
    figure = bias_curves([0, 10], [unknown, MEASUREMENT])
    assert len(figure.axes[0].lines[0].get_xdata()) == 2  # type: ignore[arg-type]
    assert len(figure.axes[1].lines[0].get_xdata()) == 1  # type: ignore[arg-type]


def test_bars_add_up_to_a_hundred_percent() -> None:
    figure = encoding_bars(MEASUREMENT)
    widths = np.array([[patch.get_width() for patch in container] for container in figure.axes[0].containers])
    np.testing.assert_allclose(widths.sum(0), 100)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == list(MEASUREMENT)
    assert "50 ± 2" in [text.get_text() for text in figure.axes[0].texts]


def test_the_scatter_colours_units_by_encoding_and_counts_them() -> None:
    scores = np.array([[0.9, 0.1, 0.9, 0.1, 0.5], [0.1, 0.9, 0.9, 0.1, 0.9]])
    figure = unit_scatter({"res5": scores}, threshold=0.5)
    assert figure.axes[0].get_title() == "res5\n2 / 1 / 1 / 1"
    assert drawn(figure).std() > 0


def test_the_triplet_shows_its_three_rows() -> None:
    rows = {name: np.random.default_rng(0).random((16, 8, 10, 3)) for name in ("anchor", "same static", "same dynamic")}
    figure = triplet_figure(rows, num_frames=4)
    assert len(figure.axes) == 12
    assert [figure.axes[i].get_ylabel() for i in (0, 4, 8)] == list(rows)


def test_no_figure_is_left_with_pyplot() -> None:
    import matplotlib.pyplot as plt

    before, backend = plt.get_fignums(), mpl.get_backend()
    drawn(bias_curves([0], [MEASUREMENT]))
    assert plt.get_fignums() == before
    assert mpl.get_backend() == backend


@pytest.mark.parametrize("undefined", [0.0, 3.0])
def test_the_table_names_layers_with_brackets_and_undefined_units_only_where_there_are_any(undefined: float) -> None:
    console = Console(width=120, file=io.StringIO())
    console.print(bias_table({"head.fc[input]": numbers(undefined=undefined)}, "title", "caption"))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    for part in ("title", "caption", "head.fc[input]", "40.0 ± 2.0", "25.0 ± 2.0", "50 ± 2", "512"):
        assert part in text
    assert ("undefined" in text) == bool(undefined)

# SPDX-License-Identifier: Apache-2.0
"""Figures show the numbers that they were given, and nothing in them is cut off or overlaps."""

from __future__ import annotations

import io
import itertools
import math

import matplotlib as mpl
import numpy as np
import pytest
from legibility import check_texts
from matplotlib.figure import Figure
from PIL import Image
from toy_numbers import LONG_NAMES, MEASUREMENT, measurement, numbers

from staticdropout.metrics import layer_shares
from staticdropout.visualization import (
    COLORS,
    bias_curves,
    encoding_bars,
    encoding_curves,
    layer_shares_figure,
    triplet_figure,
    unit_scatter,
)
from staticdropout.visualization.training_figures import BOTH, NEITHER

CAPTION = "step 97, 1000 clips, paint+chalk+neon+relief, estimator paper, λ=0.5, ± 95 % intervals"  # just fits


def rgb(color: str) -> tuple[int, ...]:
    return tuple(int(color[start : start + 2], 16) for start in (1, 3, 5))


def drawn(figure: Figure) -> np.ndarray:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return np.asarray(Image.open(buffer).convert("RGB"))


def scores(layers: list[str], units: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    return {name: generator.uniform(-1, 1, (2, units)) for name in layers}


def test_curves_have_a_panel_a_layer_with_static_red_and_dynamic_blue() -> None:
    figure = bias_curves([0, 10, 20], [MEASUREMENT] * 3, CAPTION)
    assert [ax.get_title(loc="left") for ax in figure.axes] == list(MEASUREMENT)
    static, dynamic = figure.axes[1].lines[:2]
    assert static.get_color() == COLORS["static"]
    assert dynamic.get_color() == COLORS["dynamic"]
    np.testing.assert_array_equal(static.get_xdata(), [0, 10, 20])
    np.testing.assert_array_equal(static.get_ydata(), [30, 30, 30])
    picture = drawn(figure)
    for factor in ("static", "dynamic"):
        assert (picture == rgb(COLORS[factor])).all(-1).sum() > 100


def test_curves_skip_measurements_that_lack_a_layer_and_bear_unknown_intervals() -> None:
    unknown = {"model.res4": numbers(interval=math.nan)}
    figure = bias_curves([0, 10], [unknown, MEASUREMENT])
    assert len(figure.axes[0].lines[0].get_xdata()) == 2  # type: ignore[arg-type]
    assert len(figure.axes[1].lines[0].get_xdata()) == 1  # type: ignore[arg-type]


def test_a_checkpoint_measured_again_takes_its_place_among_the_steps() -> None:
    again = measurement(["model.res4"], static=20.0)
    history, steps = (
        [*[measurement(["model.res4"], static=static) for static in (44.0, 40.0, 30.0)], again],
        [0, 6, 12, 6],
    )
    (line, *_) = bias_curves(steps, history).axes[0].lines
    np.testing.assert_array_equal(line.get_xdata(), [0, 6, 12])
    np.testing.assert_array_equal(line.get_ydata(), [44, 20, 30])
    stack = encoding_curves(steps, history).axes[0].collections[0].get_paths()[0].vertices
    assert set(np.asarray(stack)[:, 0]) == {0, 6, 12}


def test_the_dotted_lines_are_the_shares_of_eq_1() -> None:
    import torch

    both, neither = (layer_shares(torch.tensor([score, score], dtype=torch.float64), 1)[0] for score in (1.0, 0.0))
    assert both.item() == pytest.approx(BOTH)
    assert neither.item() == pytest.approx(NEITHER)
    extreme = [layer_shares(torch.tensor(pair), 1)[:2] for pair in itertools.product([-1.0, 1.0], repeat=2)]
    low, high = bias_curves([0], [MEASUREMENT]).axes[0].get_ylim()
    assert low <= min(float(share.min()) for share in extreme)
    assert high >= max(float(share.max()) for share in extreme)


def test_the_layers_are_compared_with_an_earlier_measurement() -> None:
    figure = layer_shares_figure(MEASUREMENT, measurement(["model.res4"], static=44.0), CAPTION, "at step 0")
    (ax,) = figure.axes
    assert [label.get_text() for label in ax.get_yticklabels()] == list(MEASUREMENT)
    was, now = ax.lines[0].get_xdata(), ax.lines[1].get_xdata()
    np.testing.assert_array_equal(was, [44, math.nan])
    np.testing.assert_array_equal(now, [40, 30])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["static", "dynamic", "at step 0"]


def test_bars_add_up_to_a_hundred_percent() -> None:
    figure = encoding_bars(MEASUREMENT)
    widths = np.array([[patch.get_width() for patch in container] for container in figure.axes[0].containers])
    np.testing.assert_allclose(widths.sum(0), 100)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == list(MEASUREMENT)
    assert "50 ± 2" in [text.get_text() for text in figure.axes[0].texts]


@pytest.mark.parametrize("count", [1, 3])
def test_encodings_are_stacked_to_a_hundred_percent_over_training(count: int) -> None:
    figure = encoding_curves(list(range(count)), [MEASUREMENT] * count, CAPTION)
    assert figure.axes[0].get_ylim() == (0, 100)
    shades = {tuple(color) for color in drawn(figure).reshape(-1, 3)}
    assert {rgb(color) for color in COLORS.values()} <= shades


@pytest.mark.parametrize("copies", [1, 100])
def test_the_scatter_tells_the_share_of_every_encoding_also_where_there_are_many_units(copies: int) -> None:
    # A score equal to λ counts as not above it.
    values = np.array([[0.9, 0.1, 0.9, 0.1, 0.5], [0.1, 0.9, 0.9, 0.1, 0.9]]).repeat(copies, 1)
    figure = unit_scatter({"res5": values}, threshold=0.5)
    assert figure.axes[0].get_title(loc="left") == f"res5\n{5 * copies} units"
    assert [text.get_text() for text in figure.axes[0].texts] == ["40 %", "20 %", "20 %", "20 %"]
    assert bool(figure.axes[0].images) == (copies == 100)


@pytest.mark.parametrize("threshold", [0.5, 0.33, -0.2])
def test_a_cell_has_the_colour_of_the_units_in_it(threshold: float) -> None:
    for encoding, score in {
        "static": (threshold + 0.01, threshold - 0.01),
        "dynamic": (threshold, threshold + 0.01),
        "joint": (1.0, 1.0),
    }.items():
        figure = unit_scatter({"res5": np.tile(np.array(score)[:, None], 300)}, threshold)
        cells = np.asarray(figure.axes[0].images[0].get_array())
        (color,) = cells[cells[..., 3] > 0]
        np.testing.assert_allclose(255 * color[:3], rgb(COLORS[encoding]))


def test_the_triplet_shows_its_three_rows() -> None:
    rows = {name: np.random.default_rng(0).random((16, 8, 10, 3)) for name in ("anchor", "same static", "same dynamic")}
    figure = triplet_figure(rows, num_frames=4)
    assert [ax.get_title(loc="left") for ax in figure.axes] == list(rows)
    strip = np.asarray(figure.axes[0].images[0].get_array())
    np.testing.assert_allclose(strip[:, :10], rows["anchor"][0], atol=1e-6)
    np.testing.assert_allclose(strip[:, -10:], rows["anchor"][-1], atol=1e-6)


LAYERS = {"one": ["fc[input]"], "three": LONG_NAMES[:3], "eight": LONG_NAMES}


OVER_TRAINING, OF_ONE = ("curves", "encoding_curves"), ("layers", "encodings", "units")
CASES = [
    *itertools.product(OVER_TRAINING, LAYERS, (1, 40)),
    *itertools.product(OF_ONE, LAYERS, (1,)),
    ("triplets", "one", 1),
]


@pytest.mark.parametrize(("kind", "layers", "steps"), CASES)
def test_no_text_is_cut_off_or_overlaps_another(kind: str, layers: str, steps: int) -> None:
    names = LAYERS[layers]
    at, history = list(range(0, 2500 * steps, 2500)), [measurement(names)] * steps
    figure = {
        "curves": lambda: bias_curves(at, history, CAPTION),
        "layers": lambda: layer_shares_figure(history[-1], history[0], CAPTION, "at step 0"),
        "encodings": lambda: encoding_bars(history[-1], CAPTION),
        "encoding_curves": lambda: encoding_curves(at, history, CAPTION),
        "units": lambda: unit_scatter(scores(names, 2048), 0.5, CAPTION),
        "triplets": lambda: triplet_figure({name: np.zeros((8, 9, 16, 3)) for name in "abc"}, caption=CAPTION),
    }[kind]()
    check_texts(figure)


@pytest.mark.parametrize("units", [16, 2048])
def test_every_figure_is_twice_as_wide_as_tensorboard_shows_it(units: int) -> None:
    # It leaves every other pixel out then; of other widths it leaves out thin strokes.
    for figure in (bias_curves([0], [MEASUREMENT]), unit_scatter(scores(["a", "b"], units))):
        assert drawn(figure).shape[1] == 700


def test_no_figure_is_left_with_pyplot() -> None:
    import matplotlib.pyplot as plt

    before, backend = plt.get_fignums(), mpl.get_backend()
    drawn(bias_curves([0], [MEASUREMENT]))
    assert plt.get_fignums() == before
    assert mpl.get_backend() == backend

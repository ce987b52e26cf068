# SPDX-License-Identifier: Apache-2.0
"""Figures of two runs by class frequency: the numbers that were given, legible, in colours that can be told apart."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
from legibility import EYES, check_texts, distance, seen
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from rich.console import Console

from staticdropout.visualization import RUN_COLORS, class_frequency_figure, frequency_difference_figure, rendered
from staticdropout.visualization.comparison_table import comparison_table, signed

LONG = ("ssv2_slowfast_r50_8x8_staticdropout_r0.3_seed1", "ssv2_slowfast_r50_8x8_dropout_r0.5_seed1")
SIZES = list(range(5, 51, 5))


def differences(sizes: list[int], scale: float = 5.0) -> tuple[np.ndarray, np.ndarray]:
    least = np.stack([scale + np.arange(len(sizes)), np.linspace(4, 1, len(sizes))], 1)
    return least, least * [-0.5, 0.5]


def by_frequency(count: int, rarest: float = 3.0, names: tuple[str, str] = ("A", "B"), seed: int = 0) -> Figure:
    generator = np.random.default_rng(seed)
    clips = np.sort(np.round(np.exp(generator.normal(5, 1.2, count)))) + 3
    clips[0] = rarest
    accuracy = generator.uniform(0, 100, (2, count))
    bands = np.array_split(np.arange(count), min(5, count))
    return class_frequency_figure(
        clips, accuracy, bands, np.array([[1.0, math.nan]] * len(bands)), names, "174 classes"
    )


def test_curves_show_both_sides_with_their_intervals_around_zero() -> None:
    least, most = differences(SIZES)
    (ax,) = frequency_difference_figure(SIZES, least, most, ("A", "B")).axes
    for container, values in zip(ax.containers, (least, most), strict=True):
        line, _, (bars,) = container.lines  # type: ignore[attr-defined]
        np.testing.assert_allclose(line.get_ydata(), values[:, 0])
        np.testing.assert_allclose(np.round(line.get_xdata()), SIZES)
        ends = np.array([segment[:, 1] for segment in bars.get_segments()])
        np.testing.assert_allclose(ends, values[:, :1] + values[:, 1:] * [-1, 1])
    low, high = ax.get_ylim()
    assert low < 0 < high
    assert [text.get_text() for text in ax.texts] == ["A better", "B better"]
    assert ax.texts[0].get_position()[1] > ax.texts[1].get_position()[1]  # A's side is above: the difference is A - B


@pytest.mark.parametrize("sign", [1, -1])
def test_no_difference_is_always_to_be_seen(sign: int) -> None:
    values = np.array([[sign * 30.0, math.nan], [sign * 31.0, 0.5]])
    low, high = frequency_difference_figure([1, 2], values, values).axes[0].get_ylim()
    assert low < 0 < high


def test_every_class_has_a_mark_for_each_run_and_one_for_the_difference() -> None:
    generator = np.random.default_rng(0)
    clips, accuracy = np.array([3.0, 9, 20, 500]), generator.uniform(0, 100, (2, 4))
    bands = [np.array([0, 1]), np.array([2, 3])]
    means = np.array([[-7.0, 2.0], [4.0, 1.0]])
    upper, lower = class_frequency_figure(clips, accuracy, bands, means).axes
    marks = [np.asarray(part.get_offsets()) for part in upper.collections if isinstance(part, PathCollection)]
    for found, row in zip(marks, accuracy, strict=True):
        np.testing.assert_allclose(found, np.stack([clips, row], 1))
    (dots,) = [np.asarray(part.get_offsets()) for part in lower.collections if isinstance(part, PathCollection)]
    np.testing.assert_allclose(dots, np.stack([clips, accuracy[0] - accuracy[1]], 1))
    drawn_means = {round(float(np.asarray(line.get_ydata())[0]), 6) for line in upper.lines}
    assert drawn_means == {round(float(row[band].mean()), 6) for row in accuracy for band in bands}
    levels = [np.asarray(line.get_ydata()) for line in lower.lines]
    assert all(any(len(level) == 2 and set(level) == {mean} for level in levels) for mean in means[:, 0])


def test_a_class_without_training_clips_is_on_the_axis() -> None:
    ax = by_frequency(20, rarest=0).axes[1]
    figure = ax.figure
    figure.draw_without_rendering()  # type: ignore[union-attr]
    low, high = ax.get_xlim()
    assert low < 0 < high
    assert ax.get_xticklabels()[0].get_text() == "0"


@pytest.mark.parametrize("eyes", EYES)
def test_the_two_runs_are_told_apart_by_all_eyes(eyes: str) -> None:
    assert distance(*RUN_COLORS, eyes) > 60


def test_the_two_runs_are_legible_on_white() -> None:
    for color in RUN_COLORS:
        luminance = ((seen(color, "all cones")[0] + 16) / 116) ** 3
        assert 1.05 / (luminance + 0.05) > 3


FIGURES = {
    "ten sizes": lambda: frequency_difference_figure(SIZES, *differences(SIZES), LONG, "174 classes"),
    "one size": lambda: frequency_difference_figure([1], *differences([1]), LONG),
    "many sizes": lambda: frequency_difference_figure(list(range(1, 88)), *differences(list(range(1, 88))), LONG),
    "174 classes": lambda: by_frequency(174, names=LONG),
    "two classes": lambda: by_frequency(2, names=LONG),
    "none in training": lambda: by_frequency(40, rarest=0, names=LONG),
}


@pytest.mark.parametrize("name", FIGURES)
def test_no_text_is_cut_off_or_overlaps_another(name: str) -> None:
    check_texts(FIGURES[name]())


def test_figures_have_the_width_of_all_others() -> None:
    assert rendered(by_frequency(10)).shape[1] == 700


def test_differences_have_a_sign_and_unknown_ones_a_dash() -> None:
    assert [signed(3.04), signed(-3.06, 1.25), signed(-0.04), signed(math.nan, 1)] == [
        "+3.0",
        "-3.1 ± 1.2",
        "+0.0",
        "-",
    ]


@pytest.mark.parametrize("width", [60, 120])
def test_names_are_shown_as_they_are_and_numbers_whole(width: int) -> None:
    name = "Putting [something] onto [/x] so that it falls over"
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(comparison_table("[bold] words", ["class", "A", "B"], [[name, math.nan, 12.34]], "[red] end"))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    for part in ("[bold] words", "[red] end", "12.3", *name.split()):
        assert part in text

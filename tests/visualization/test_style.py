# SPDX-License-Identifier: Apache-2.0
"""Colours that colour-blind eyes tell apart, and short names that can still be told apart."""

from __future__ import annotations

import itertools

import pytest
from legibility import EYES, distance, seen
from toy_numbers import LONG_NAMES

from staticdropout.visualization import COLORS
from staticdropout.visualization.style import shorten


def test_the_simulation_knows_what_is_hard_to_tell_apart() -> None:
    assert distance("#ffffff", "#000000", "all cones") == pytest.approx(100, abs=0.1)
    blue, purple = "#2f6db3", "#7d5ba6"
    assert distance(blue, purple, "no red cones") < 10 < 25 < distance(blue, purple, "all cones")


@pytest.mark.parametrize("eyes", EYES)
def test_colours_are_told_apart_by_all_eyes(eyes: str) -> None:
    for one, other in itertools.combinations(COLORS, 2):
        assert distance(COLORS[one], COLORS[other], eyes) > (80 if {one, other} == {"static", "dynamic"} else 25)


@pytest.mark.parametrize("factor", ["static", "dynamic"])
def test_the_two_colours_are_legible_on_light_and_on_dark(factor: str) -> None:
    lightness = seen(COLORS[factor], "all cones")[0]
    luminance = ((lightness + 16) / 116) ** 3
    assert (luminance + 0.05) / 0.05 > 3.5
    assert 1.05 / (luminance + 0.05) > 3.5


@pytest.mark.parametrize("length", [20, 30, 50])
def test_short_names_fit_and_can_be_told_apart(length: int) -> None:
    short = shorten(LONG_NAMES, length)
    assert list(short) == LONG_NAMES
    assert max(map(len, short.values())) <= length
    assert len(set(short.values())) == len(LONG_NAMES)


def test_names_stay_whole_where_there_is_room() -> None:
    assert shorten(LONG_NAMES, 50) == {name: name for name in LONG_NAMES}
    assert shorten([], 5) == {}
    assert shorten(["a" * 30], 11) == {"a" * 30: "aaaa…aaaaaa"}

# SPDX-License-Identifier: Apache-2.0
"""Colours that colour-blind eyes tell apart, and short names that can still be told apart."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from toy_numbers import LONG_NAMES

from staticdropout.visualization import COLORS
from staticdropout.visualization.style import shorten

# Machado, Oliveira, Fernandes (2009), severity 1, on linear RGB.
EYES = {
    "all cones": np.eye(3),
    "no red cones": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "no green cones": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "no blue cones": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}
TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.072175], [0.0193339, 0.119192, 0.9503041]]
)
WHITE = np.array([0.95047, 1, 1.08883])


def seen(color: str, eyes: str) -> np.ndarray:
    """A colour as CIE L*a*b*, as these eyes see it."""
    encoded = np.array([int(color[start : start + 2], 16) for start in (1, 3, 5)]) / 255
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    ratio = TO_XYZ @ np.clip(np.array(EYES[eyes]) @ linear, 0, 1) / WHITE
    x, y, z = np.where(ratio > 216 / 24389, np.cbrt(ratio), (24389 / 27 * ratio + 16) / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def distance(one: str, other: str, eyes: str) -> float:
    return float(np.linalg.norm(seen(one, eyes) - seen(other, eyes)))


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

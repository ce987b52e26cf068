# SPDX-License-Identifier: Apache-2.0
"""Colours of the built-in styles, as plain numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = ("Colour", "hex_colour", "palette", "seed_turns", "turn_hue")

Colour = tuple[float, float, float]


def hex_colour(code: str) -> Colour:
    """Return the RGB colour in [0, 1] of six hexadecimal digits.

    Example:
        >>> hex_colour("ff0033")
        (1.0, 0.0, 0.2)
    """
    red, green, blue = (int(code[i : i + 2], 16) / 255 for i in (0, 2, 4))
    return red, green, blue


def turn_hue(colour: Sequence[float], turns: float) -> Colour:
    """Turn a colour about the grey axis; the mean of its channels stays, and the result is not clamped.

    Args:
        colour: RGB, or an RGB difference.
        turns: the angle in full turns; a third of a turn takes red to green.

    Example:
        >>> [round(value) for value in turn_hue((1.0, 0.0, 0.0), 1 / 3)]
        [0, 1, 0]
    """
    angle = 2 * math.pi * turns
    same = (1 + 2 * math.cos(angle)) / 3
    behind = (1 - math.cos(angle)) / 3 + math.sin(angle) / math.sqrt(3)
    ahead = (1 - math.cos(angle)) / 3 - math.sin(angle) / math.sqrt(3)
    red, green, blue = colour
    return (
        same * red + ahead * green + behind * blue,
        behind * red + same * green + ahead * blue,
        ahead * red + behind * green + same * blue,
    )


def seed_turns(seed: int) -> float:
    """Return the turn of hue of a seed: none for 0, then steps of the golden ratio, which stay far from each other.

    Example:
        >>> seed_turns(0), round(seed_turns(1), 3)
        (0.0, 0.618)
    """
    return seed * ((math.sqrt(5) - 1) / 2) % 1.0


def palette(codes: Sequence[str], seed: int) -> list[Colour]:
    """Return the colours of hexadecimal codes, turned by the seed and brought back into [0, 1].

    Example:
        >>> palette(["ff0000", "000000"], seed=0)
        [(1.0, 0.0, 0.0), (0.0, 0.0, 0.0)]
    """
    colours = []
    for code in codes:
        red, green, blue = (min(max(value, 0.0), 1.0) for value in turn_hue(hex_colour(code), seed_turns(seed)))
        colours.append((red, green, blue))
    return colours

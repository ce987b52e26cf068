# SPDX-License-Identifier: Apache-2.0
"""Pictures in rows and columns with names, to be looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

__all__ = ("GAP", "HEAD", "LABELS", "WIDTHS", "picture_table")

LABELS, HEAD, GAP = 96, 24, 4
"""Pixels of the names of the rows, of those of the columns, and between pictures."""
WIDTHS = (96, 320)
"""The smallest and largest width of a picture; others are scaled to it."""

_FONT_SIZE, _INK, _PAPER = 14, (30, 30, 30), (255, 255, 255)


def picture_table(
    columns: Sequence[tuple[str, Mapping[str, NDArray[np.uint8]]]], rows: Sequence[str], title: str = ""
) -> NDArray[np.uint8]:
    """Draw a table of pictures.

    Args:
        columns: for each the name and its pictures ``(H, W, 3)`` uint8 by the name of the row; a missing one is left
            white. All are drawn at the width of the first one, which is kept between ``WIDTHS``.
        rows: names of the rows, from above; those without any picture are left out.
        title: a line above all.

    Returns:
        ``(height, width, 3)`` uint8.

    Example:
        >>> grey = np.full((60, 100, 3), 128, np.uint8)
        >>> picture_table([("frame 0", {"source": grey, "styled": grey}), ("frame 9", {"source": grey})],
        ...               ["source", "styled", "painted"]).shape
        (156, 304, 3)
    """
    used = [row for row in rows if any(row in pictures for _, pictures in columns)]
    first = next(iter(columns[0][1].values()))
    width = min(max(first.shape[1], WIDTHS[0]), WIDTHS[1])
    height = max(1, round(first.shape[0] * width / first.shape[1]))
    top = HEAD * (2 if title else 1)
    size = (LABELS + len(columns) * (width + GAP), top + len(used) * (height + GAP) + GAP)
    table, font = Image.new("RGB", size, _PAPER), ImageFont.load_default(_FONT_SIZE)
    draw = ImageDraw.Draw(table)
    draw.text((GAP, HEAD / 2), title, _INK, font, anchor="lm")
    for number, (name, pictures) in enumerate(columns):
        left = LABELS + number * (width + GAP)
        draw.text((left, top - HEAD / 2), name, _INK, font, anchor="lm")
        for place, row in enumerate(used):
            if row in pictures:
                picture = Image.fromarray(pictures[row]).resize((width, height), Image.Resampling.LANCZOS)
                table.paste(picture, (left, top + place * (height + GAP)))
    for place, row in enumerate(used):
        draw.text((GAP, top + place * (height + GAP) + height / 2), row, _INK, font, anchor="lm")
    return np.asarray(table)

# SPDX-License-Identifier: Apache-2.0
"""From a figure to pixels and a PNG, once for loggers and files alike."""

from __future__ import annotations

import io

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

__all__ = ("png_bytes", "rendered")


def rendered(figure: Figure) -> NDArray[np.uint8]:
    """Pixels ``(H, W, 3)`` of a figure, in its own resolution.

    Example:
        >>> rendered(Figure(figsize=(2, 1), dpi=50)).shape
        (50, 100, 3)
    """
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    pixels: NDArray[np.uint8] = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    return pixels[..., :3].copy()


def png_bytes(pixels: NDArray[np.uint8]) -> bytes:
    """A PNG file of pixels ``(H, W, 3)``.

    Example:
        >>> png_bytes(np.zeros((4, 4, 3), np.uint8))[1:4]
        b'PNG'
    """
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    return buffer.getvalue()

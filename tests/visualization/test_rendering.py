# SPDX-License-Identifier: Apache-2.0
"""Figures as pixels and as PNG."""

from __future__ import annotations

import io

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from staticdropout.visualization import png_bytes, rendered


def test_pixels_are_what_matplotlib_writes_and_the_png_holds_just_them() -> None:
    figure = Figure(figsize=(2, 1.5), dpi=80, facecolor="white")
    figure.add_subplot().plot([0, 1], [1, 0], color="#cc3311")
    pixels = rendered(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    assert pixels.shape == (120, 160, 3)
    assert np.array_equal(pixels, np.asarray(Image.open(buffer).convert("RGB")))
    assert np.array_equal(pixels, np.asarray(Image.open(io.BytesIO(png_bytes(pixels)))))

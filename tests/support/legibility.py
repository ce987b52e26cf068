# SPDX-License-Identifier: Apache-2.0
"""Whether a figure can be read: colours as colour-blind eyes see them, and texts that nothing cuts off."""

from __future__ import annotations

import itertools

import numpy as np
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

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
    """How far apart two colours are for these eyes; black and white are 100 apart."""
    return float(np.linalg.norm(seen(one, eyes) - seen(other, eyes)))


def check_texts(figure: Figure) -> None:
    """Assert that no text of a figure is cut off, and that none lies on another."""
    figure.draw_without_rendering()
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    boxes = [(text.get_text(), inked(text)) for text in texts]
    boxes = [(name, box) for name, box in boxes if box.width and shown(figure, name, box)]
    assert boxes
    for name, box in boxes:
        assert box.x0 >= -1, name
        assert box.y0 >= -1, name
        assert box.x1 <= figure.bbox.width + 1, name
        assert box.y1 <= figure.bbox.height + 1, name
    for (one, box), (other, second) in itertools.combinations(boxes, 2):
        wide = min(box.x1, second.x1) - max(box.x0, second.x0)
        high = min(box.y1, second.y1) - max(box.y0, second.y0)
        assert wide < 2 or high < 2, f"{one!r} overlaps {other!r}"


def inked(text: Text) -> Bbox:
    """Where a text is; the title's second line is blank, for the legend."""
    box = text.get_window_extent()
    middle = (box.y0 + box.y1) / 2
    return Bbox.from_extents(box.x0, middle if text.get_text().endswith("\n") else box.y0, box.x1, box.y1)


def shown(figure: Figure, name: str, box: Bbox) -> bool:
    """Tick labels exist also where they are not drawn: outside their axes' limits, or inside of shared axes."""
    for ax in figure.axes:
        for axis, low, high in ((ax.xaxis, ax.bbox.x0, ax.bbox.x1), (ax.yaxis, ax.bbox.y0, ax.bbox.y1)):
            for label in axis.get_ticklabels():
                extent = label.get_window_extent()
                if label.get_text() == name and np.allclose(extent.extents, box.extents):
                    middle = (box.x0 + box.x1) / 2 if axis is ax.xaxis else (box.y0 + box.y1) / 2
                    return bool(ax.axison and low - 2 <= middle <= high + 2)
    return True

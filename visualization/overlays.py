# SPDX-License-Identifier: Apache-2.0
"""A predicted mask drawn over its picture, with the contour of the true one."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ("overlay", "overlay_sheet")

MASK_COLOUR = (236, 72, 60)
TRUTH_COLOUR = (60, 230, 90)


def overlay(
    image: NDArray[np.uint8],
    prediction: NDArray[np.float32],
    truth: NDArray[np.uint8] | None = None,
    threshold: float = 0.5,
    opacity: float = 0.5,
) -> NDArray[np.uint8]:
    """Tint the predicted object red and draw the contour of the true one in green.

    Args:
        image: ``(H, W, 3)`` RGB.
        prediction: ``(h, w)`` probabilities or mask; resized to the picture.
        truth: ``(h, w)`` in {0, 1}, if it is known; resized to the picture.
        threshold: a pixel above it is tinted.
        opacity: of the tint, in [0, 1].

    Returns:
        ``(H, W, 3)`` RGB.

    Example:
        >>> grey = np.full((4, 4, 3), 100, np.uint8)
        >>> overlay(grey, np.eye(4, dtype=np.float32))[0, :2].tolist()
        [[168, 86, 80], [100, 100, 100]]
    """
    height, width = image.shape[:2]
    drawn = image.astype(np.float32, order="C")  # as OpenCV wants it
    shown = cv2.resize(prediction.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR) > threshold
    drawn[shown] = (1 - opacity) * drawn[shown] + opacity * np.asarray(MASK_COLOUR, np.float32)
    pixels = drawn.clip(0, 255).astype(np.uint8)
    if truth is not None:
        true = cv2.resize(truth.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
        contours, _ = cv2.findContours(true, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(pixels, contours, -1, TRUTH_COLOUR, 1 if height < 240 else 2)
    return pixels


def overlay_sheet(rows: list[list[NDArray[np.uint8]]], gap: int = 4) -> NDArray[np.uint8]:
    """Lay pictures of one size out in rows, with white gaps.

    Args:
        rows: pictures ``(H, W, 3)``; a row may be shorter than the others.
        gap: pixels between two pictures.

    Example:
        >>> overlay_sheet([[np.zeros((2, 3, 3), np.uint8)] * 2], gap=1).shape
        (4, 9, 3)
    """
    height, width = rows[0][0].shape[:2]
    columns = max(len(row) for row in rows)
    sheet = np.full((gap + len(rows) * (height + gap), gap + columns * (width + gap), 3), 255, np.uint8)
    for y, row in enumerate(rows):
        for x, picture in enumerate(row):
            top, left = gap + y * (height + gap), gap + x * (width + gap)
            sheet[top : top + height, left : left + width] = cv2.resize(picture, (width, height))
    return sheet

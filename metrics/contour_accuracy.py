# SPDX-License-Identifier: Apache-2.0
"""Contour accuracy F: how well the outlines of masks agree, within a tolerance."""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import OptionError
from .masks import MaskLike, mask_pair

__all__ = ("ContourAccuracy", "check_tolerance", "contour_accuracy")


class ContourAccuracy(NamedTuple):
    """Agreement of outlines, ``(...)`` float64 in [0, 1] each.

    Attributes:
        f: the harmonic mean of precision and recall; 0 where both are 0.
        precision: share of the predicted outline that has a pixel of the true one within the tolerance.
        recall: share of the true outline that has a pixel of the predicted one within the tolerance.
    """

    f: Tensor
    precision: Tensor
    recall: Tensor


def check_tolerance(tolerance: float) -> None:
    """Check the tolerance of outlines.

    Raises:
        OptionError: if it is negative or not a number.
    """
    if not 0 <= tolerance < math.inf:
        raise OptionError(f"tolerance={tolerance} must be a share of the diagonal (0 to 1) or a number of pixels.")


def _outline(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Pixels that differ from their right, lower or lower right neighbour; past the edge a mask goes on as it ends."""
    picture = mask.view(np.uint8)
    padded = np.asarray(cv2.copyMakeBorder(picture, 0, 1, 0, 1, cv2.BORDER_REPLICATE), dtype=np.uint8)
    outline: NDArray[np.uint8] = (picture ^ padded[:-1, 1:]) | (picture ^ padded[1:, :-1]) | (picture ^ padded[1:, 1:])
    return outline


def _disk(radius: float) -> NDArray[np.uint8]:
    """All pixels at most ``radius`` from the middle one."""
    y, x = np.indices((2 * int(radius) + 1,) * 2) - int(radius)
    return (x**2 + y**2 <= radius**2).astype(np.uint8)


def _precision_and_recall(
    predicted: NDArray[np.bool_], true: NDArray[np.bool_], disk: NDArray[np.uint8]
) -> tuple[float, float]:
    outlines = _outline(predicted), _outline(true)
    lengths = [np.count_nonzero(outline) for outline in outlines]
    if not all(lengths):
        # Nothing predicted is wrong where nothing is predicted, nothing true is missed where there is nothing.
        return float(not lengths[0]), float(not lengths[1])
    near = [np.asarray(cv2.dilate(outline, disk), dtype=np.uint8) for outline in outlines]
    return (
        np.count_nonzero(outlines[0] & near[1]) / lengths[0],
        np.count_nonzero(outlines[1] & near[0]) / lengths[1],
    )


def contour_accuracy(prediction: MaskLike, mask: MaskLike, tolerance: float = 0.008) -> ContourAccuracy:
    """Contour accuracy F of each picture, with the precision and recall of its outline.

    As ``db_eval_boundary`` of the official evaluations of DAVIS 2016 and 2017: the outline is one pixel wide, and a
    pixel matches if the other outline passes within a disk around it. An outline that is empty because the mask is
    empty *or full* matches another empty one (F = 1) and no other (F = 0).

    About 2 ms for a picture of 480 x 854 on one CPU core.

    Args:
        prediction: ``(..., H, W)`` masks: bool, integers (every value but 0 is foreground) or floats 0 and 1.
        mask: ``(..., H, W)`` true masks, likewise.
        tolerance: radius of the disk; below 1 as a share of the picture's diagonal, rounded up to whole pixels (0.008
            is 8 pixels at 480 x 854), from 1 on in pixels.

    Returns:
        F, precision and recall, on the CPU.

    Raises:
        BatchError: if the shapes differ, or a picture is no mask.
        OptionError: for a negative tolerance.

    Example:
        >>> square = torch.zeros(100, 100, dtype=torch.uint8)
        >>> square[20:80, 20:80] = 1
        >>> moved = square.roll(5, dims=1)
        >>> [round(float(value), 3) for value in contour_accuracy(moved, square)]  # within 2 pixels
        [0.5, 0.5, 0.5]
        >>> float(contour_accuracy(moved, square, tolerance=5).f)
        1.0
    """
    check_tolerance(tolerance)
    predicted, true, shape = mask_pair(prediction, mask)
    disk = _disk(tolerance if tolerance >= 1 else math.ceil(tolerance * math.hypot(*true.shape[-2:])))
    pairs = [_precision_and_recall(a, b, disk) for a, b in zip(predicted, true, strict=True)]
    precision, recall = torch.tensor(pairs, dtype=torch.float64).reshape(*shape, 2).unbind(-1)
    total = precision + recall
    f = torch.where(total > 0, 2 * precision * recall / total.clamp(min=1e-300), 0.0)
    return ContourAccuracy(f, precision, recall)

# SPDX-License-Identifier: Apache-2.0
"""Center bias of a data set: how often each pixel belongs to the object (Kowal et al., Sec. 4.2.2, Fig. 8 right)."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import AnnotationError

__all__ = ("average_mask", "central_share")


def average_mask(
    masks: Iterable[NDArray[np.uint8]], size: tuple[int, int] = (480, 854)
) -> tuple[NDArray[np.float64], int]:
    """Average masks pixel by pixel, each resized to one size (nearest neighbour).

    Args:
        masks: ``(h, w)``, foreground above 0, of any sizes.
        size: (H, W) of the result; 480 x 854 in the released code.

    Returns:
        The share of masks that cover each pixel, ``(H, W)`` in [0, 1], and the number of masks.

    Raises:
        AnnotationError: if there is no mask.

    Source:
        YorkUCVIL/Static-Dynamic-Interpretability ``estimate_dataset_centerbias.py`` (there the sum).

    Example:
        >>> average_mask([np.eye(2, dtype=np.uint8), np.ones((4, 4), np.uint8)], size=(2, 2))
        (array([[1. , 0.5],
               [0.5, 1. ]]), 2)
    """
    height, width = size
    total, count = np.zeros(size, np.float64), 0
    for mask in masks:
        total += cv2.resize((mask > 0).astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
        count += 1
    if not count:
        raise AnnotationError("There are no masks to average; check the data set and its split.")
    return total / count, count


def central_share(average: NDArray[np.float64]) -> float:
    """Share of all object pixels that lie in the central ninth of the picture; 1/9 without any center bias.

    Example:
        >>> round(central_share(np.ones((9, 9))), 3)
        0.111
    """
    height, width = average.shape
    total = average.sum()
    inner = average[height // 3 : height - height // 3, width // 3 : width - width // 3]
    return float(inner.sum() / total) if total > 0 else 0.0

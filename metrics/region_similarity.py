# SPDX-License-Identifier: Apache-2.0
"""Region similarity J: the intersection over union of masks."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .masks import MaskLike, mask_pair

__all__ = ("region_similarity",)


def region_similarity(prediction: MaskLike, mask: MaskLike) -> Tensor:
    """Region similarity J of each picture: the Jaccard index of the predicted and the true foreground.

    Two empty masks agree: J is 1. As ``db_eval_iou`` of the official evaluations of DAVIS 2016 and 2017, without void
    pixels, which the masks of DAVIS 2016 do not have.

    Args:
        prediction: ``(..., H, W)`` masks: bool, integers (every value but 0 is foreground) or floats 0 and 1.
        mask: ``(..., H, W)`` true masks, likewise.

    Returns:
        ``(...)`` float64 in [0, 1], on the CPU.

    Raises:
        BatchError: if the shapes differ, or a picture is no mask.

    Example:
        >>> import numpy as np
        >>> region_similarity(np.array([[1, 1, 0]]), np.array([[0, 1, 1]]))
        tensor(0.3333, dtype=torch.float64)
    """
    predicted, true, shape = mask_pair(prediction, mask)
    common = [np.count_nonzero(a & b) for a, b in zip(predicted, true, strict=True)]
    union = [np.count_nonzero(a | b) for a, b in zip(predicted, true, strict=True)]
    ratios = [i / u if u else 1.0 for i, u in zip(common, union, strict=True)]
    return torch.tensor(ratios, dtype=torch.float64).reshape(shape)

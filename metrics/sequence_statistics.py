# SPDX-License-Identifier: Apache-2.0
"""Mean, recall and decay of a measure over the frames of one sequence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..errors import BatchError

__all__ = ("SequenceStatistics", "sequence_statistics")


class SequenceStatistics(NamedTuple):
    """What DAVIS reports of a measure over a sequence; NaN where there is no frame.

    Attributes:
        mean: mean over frames.
        recall: share of frames above 0.5.
        decay: mean of the first quarter of the frames less that of the last; positive where quality is lost over time.
    """

    mean: float
    recall: float
    decay: float


def sequence_statistics(values: Sequence[float] | NDArray[np.floating] | Tensor) -> SequenceStatistics:
    """Mean, recall and decay, as ``db_statistics`` of the official evaluations of DAVIS 2016 and 2017.

    NaN stands for a frame without a value and is left out first (the official code of 2016 pads the first and the last
    frame with NaN). The quarters are the official ones: their ends are rounded half up and included, so that neighbours
    share a frame, and they are defined down to a single frame, whose decay is 0; with fewer than four frames the first
    and the last quarter overlap or hold one frame each. Frame numbers are not cut to 8 bits as in the official code,
    which shows only in sequences of more than 256 frames.

    Args:
        values: ``(T,)`` a value of each frame in order of time, NaN where there is none.

    Returns:
        The statistics; all NaN without a value.

    Raises:
        BatchError: if the values are not one sequence.

    Example:
        >>> sequence_statistics([1.0, 0.75, 0.5, 0.25])
        SequenceStatistics(mean=0.625, recall=0.5, decay=0.5)
    """
    array = np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values, dtype=np.float64)
    if array.ndim != 1:
        raise BatchError(f"Expected the values of one sequence, (T,), found shape {array.shape}.")
    array = array[~np.isnan(array)]
    frames = len(array)
    if not frames:
        return SequenceStatistics(math.nan, math.nan, math.nan)
    # round(1 + (T - 1) / 4) and round(1 + 3 (T - 1) / 4), half up and counted from 1, in whole numbers from 0.
    first, last = array[: (frames + 1) // 4 + 1], array[(3 * frames - 1) // 4 :]
    return SequenceStatistics(float(array.mean()), float((array > 0.5).mean()), float(first.mean() - last.mean()))

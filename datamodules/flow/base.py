# SPDX-License-Identifier: Apache-2.0
"""What every estimator of optical flow offers."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from ...errors import BatchError

__all__ = ("FlowEstimator", "check_frames")


class FlowEstimator(Protocol):
    """Something that sees motion: called with frames, it gives the flow from each frame to the next.

    Attributes:
        name: what it is called in ``flow.json`` and in the pictures.
        parallel: whether several threads gain by calling it at once. It must allow it in any case.
        origin: what else must be known to get the same flow again, e.g. versions and weights.
    """

    name: str
    parallel: bool
    origin: dict[str, str]

    def __call__(self, frames: Tensor) -> Tensor:
        """Estimate the flow from each frame to the next.

        Args:
            frames: RGB (T, 3, H, W), uint8, at least two.

        Returns:
            Flow (T-1, 2, H, W) in pixels on the CPU, float32: u to the right, v downwards.

        Raises:
            BatchError: the frames are not as described.
        """
        ...


def check_frames(frames: Tensor) -> None:
    """Raise BatchError where flow cannot be estimated between ``frames``, see :class:`FlowEstimator`.

    Example:
        >>> check_frames(torch.zeros(2, 3, 8, 8, dtype=torch.uint8))
    """
    if frames.ndim != 4 or frames.shape[1] != 3 or len(frames) < 2 or frames.dtype != torch.uint8:
        found = f"{tuple(frames.shape)} of {str(frames.dtype).removeprefix('torch.')}"
        raise BatchError(f"Flow is estimated from frames (T, 3, H, W) of uint8 with T of at least 2; found {found}.")

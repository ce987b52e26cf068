# SPDX-License-Identifier: Apache-2.0
"""What every estimator of optical flow offers, and the one that needs no weights."""

from __future__ import annotations

import threading
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import torch
from torch import Tensor

from ..errors import BatchError, OptionError

__all__ = ("DisFlow", "FlowEstimator", "check_frames")

# On smaller pictures OpenCV's DIS changes its own settings, so that the flow depends on what the object saw before, and
# on some (15x46) it crashes the process. With sides of 48 it keeps at least the two scales that it wants.
_SMALLEST = 48


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


class DisFlow:
    """Dense inverse search at OpenCV's medium preset: good flow in some 35 ms for a pair of 854x480, without weights.

    Kroeger et al., "Fast Optical Flow using Dense Inverse Search", ECCV 2016. The same frames give the same flow bit
    for bit. Pictures smaller than 48 pixels are extended by their border.

    Raises:
        OptionError: weights were given; there are none.

    Example:
        >>> frames = torch.zeros(3, 3, 24, 32, dtype=torch.uint8)
        >>> DisFlow()(frames).shape
        torch.Size([2, 2, 24, 32])
    """

    name = "dis"
    parallel = True

    def __init__(self, weights: str | Path | None = None) -> None:
        if weights is not None:
            raise OptionError(f"The flow method 'dis' has no weights, found weights={str(weights)!r}. Leave them out.")
        self.origin = {"library": f"opencv {cv2.__version__}"}
        self._of_thread = threading.local()  # an object of OpenCV keeps buffers, so each thread needs its own

    def __reduce__(self) -> tuple[type[DisFlow], tuple[()]]:
        """Copy and pickle it without the objects of OpenCV, so that what holds one can go to other processes."""
        return type(self), ()

    def __call__(self, frames: Tensor) -> Tensor:
        """Estimate flow; see :class:`FlowEstimator`."""
        check_frames(frames)
        if not hasattr(self._of_thread, "dis"):
            self._of_thread.dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        height, width = frames.shape[2:]
        grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames.permute(0, 2, 3, 1).contiguous().numpy()]
        if min(height, width) < _SMALLEST:
            below, right = max(0, _SMALLEST - height), max(0, _SMALLEST - width)
            grey = [cv2.copyMakeBorder(frame, 0, below, 0, right, cv2.BORDER_REPLICATE) for frame in grey]
        flows = [self._of_thread.dis.calc(*pair, None) for pair in pairwise(grey)]
        flow = np.stack(flows)[:, :height, :width].transpose(0, 3, 1, 2)
        return torch.from_numpy(np.ascontiguousarray(flow))

# SPDX-License-Identifier: Apache-2.0
"""Estimators of optical flow by name."""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from ...errors import OptionError, UnknownNameError
from .base import FlowEstimator, check_frames
from .raft import RaftFlow

__all__ = ("ESTIMATORS", "DisFlow", "FolderFlow", "get_estimator", "list_estimators")

# On smaller pictures OpenCV's DIS changes its own settings, so that the flow depends on what the object saw before, and
# on some (15x46) it crashes the process. With sides of 48 it keeps at least the two scales that it wants.
_SMALLEST = 48


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


class FolderFlow:
    """No estimator: flow is only read from disk, and what is missing is an error.

    Raises:
        OptionError: it is called, or weights were given.
    """

    name = "folder"
    parallel = False

    def __init__(self, weights: str | Path | None = None) -> None:
        if weights is not None:
            raise OptionError(f"The flow method 'folder' computes nothing, found weights={str(weights)!r}.")
        self.origin: dict[str, str] = {}

    def __call__(self, frames: Tensor) -> Tensor:
        """Refuse to estimate flow."""
        raise OptionError("The flow method 'folder' only reads flow. Choose another to compute it, such as 'dis'.")


def _raft(name: str) -> Callable[[Any], FlowEstimator]:
    return lambda weights: RaftFlow(name, weights)


ESTIMATORS: dict[str, Callable[[Any], FlowEstimator]] = {
    "dis": DisFlow,
    "folder": FolderFlow,
    "raft_large": _raft("raft_large"),
    "raft_small": _raft("raft_small"),
}
"""The estimators by name; each is called with the weights, or None. Put your own in here to use it by name."""


def list_estimators() -> list[str]:
    """Return the names of all estimators of flow, in alphabetical order.

    Example:
        >>> list_estimators()
        ['dis', 'folder', 'raft_large', 'raft_small']
    """
    return sorted(ESTIMATORS)


def get_estimator(name: str, weights: str | Path | None = None) -> FlowEstimator:
    """Return an estimator of optical flow.

    Args:
        name: ``"dis"`` (OpenCV, no weights), ``"raft_small"`` or ``"raft_large"`` (torchvision, on a GPU where there
            is one), or ``"folder"`` (compute nothing).
        weights: for RAFT the path of a file of torchvision's weights, or ``"DEFAULT"`` to let torchvision download
            them. Nothing is downloaded otherwise.

    Raises:
        UnknownNameError: there is no estimator of this name.
        OptionError: RAFT without weights, or another estimator with them.
        CheckpointError: the weights cannot be read or do not belong to the network.

    Example:
        >>> get_estimator("dis").name
        'dis'
    """
    if name not in ESTIMATORS:
        raise UnknownNameError("flow method", name, list_estimators())
    return ESTIMATORS[name](weights)

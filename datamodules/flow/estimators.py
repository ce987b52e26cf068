# SPDX-License-Identifier: Apache-2.0
"""Estimators of optical flow by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from ...errors import OptionError, UnknownNameError
from ...perturbations.dis_flow import DisFlow, FlowEstimator
from .raft import RaftFlow

__all__ = ("ESTIMATORS", "DisFlow", "FolderFlow", "get_estimator", "list_estimators")


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

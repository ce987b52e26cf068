# SPDX-License-Identifier: Apache-2.0
"""RAFT as an estimator of optical flow, on the implementation of torchvision."""

from __future__ import annotations

import hashlib
import threading
from itertools import pairwise
from pathlib import Path

import torch
import torchvision
from torch import Tensor
from torch.nn import functional as F
from torchvision.models import optical_flow

from ...errors import CheckpointError, CheckpointMismatchError, OptionError, UnknownNameError
from ...models.checkpoints import read_checkpoint
from .base import check_frames

__all__ = ("RaftFlow",)

_NETWORKS = {
    "raft_small": (optical_flow.raft_small, optical_flow.Raft_Small_Weights.DEFAULT),
    "raft_large": (optical_flow.raft_large, optical_flow.Raft_Large_Weights.DEFAULT),
}
_MULTIPLE, _SMALLEST = 8, 128  # sizes that the network takes


class RaftFlow:
    """RAFT (Teed and Deng, ECCV 2020): better flow than DIS, at the price of weights and, in practice, a GPU.

    Frames are extended by their border to sides of at least 128 pixels that divide by 8; the flow is cut back.

    Args:
        name: ``"raft_small"`` (1 million parameters) or ``"raft_large"`` (5 million).
        weights: the path of a file of torchvision's weights, or ``"DEFAULT"`` to let torchvision download its best
            ones. Nothing is downloaded otherwise.
        updates: refinements of the flow. 20 is what the flow of MoCA was made with; torchvision's default is 12.
        device: where to run; None: the GPU if there is one, otherwise the CPU.

    Raises:
        OptionError: no weights were given, or ``updates`` is not positive.
        UnknownNameError: there is no such network.
        CheckpointError: the weights cannot be read or downloaded, or do not belong to the network.

    Example:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile(suffix=".pth") as file:
        ...     torch.save(optical_flow.raft_small().state_dict(), file.name)
        ...     raft = RaftFlow("raft_small", file.name, updates=1)
        >>> raft(torch.zeros(2, 3, 50, 70, dtype=torch.uint8)).shape
        torch.Size([1, 2, 50, 70])
    """

    def __init__(
        self,
        name: str = "raft_small",
        weights: str | Path | None = None,
        updates: int = 20,
        device: str | torch.device | None = None,
    ) -> None:
        if name not in _NETWORKS:
            raise UnknownNameError("RAFT network", name, _NETWORKS)
        if updates < 1:
            raise OptionError(f"updates must be at least 1, found {updates}.")
        self.name, self.updates = name, updates
        state, source = _read_weights(name, weights)
        self.origin = {"library": f"torchvision {torchvision.__version__}", "weights": source, "updates": str(updates)}
        with torch.random.fork_rng(devices=[]):  # the initial weights are drawn, and thrown away
            network = _NETWORKS[name][0](weights=None)
        try:
            network.load_state_dict(state)
        except RuntimeError as error:
            lines = [line.strip() for line in str(error).splitlines()[1:3]]
            raise CheckpointMismatchError(
                f"{str(weights)!r} does not hold torchvision's weights of {name}: {' '.join(lines)[:300]} "
                f"Get the file from {_NETWORKS[name][1].url}."
            ) from error
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        # On the CPU one call uses all cores by itself; beside a GPU other threads can read and write meanwhile.
        self.parallel = self.device.type != "cpu"
        self._network = network.eval().requires_grad_(False).to(self.device)
        self._one_at_a_time = threading.Lock()

    @torch.no_grad()
    def __call__(self, frames: Tensor) -> Tensor:
        """Estimate flow; see :class:`.FlowEstimator`."""
        check_frames(frames)
        height, width = frames.shape[2:]
        left, top = _margin(width), _margin(height)
        padded = F.pad(frames.to(self.device) / 127.5 - 1, (*left, *top), mode="replicate")
        with self._one_at_a_time:
            flows = [
                self._network(first[None], second[None], num_flow_updates=self.updates)[-1]
                for first, second in pairwise(padded)
            ]
        flow = torch.cat(flows)[:, :, top[0] : top[0] + height, left[0] : left[0] + width]
        return flow.float().cpu().contiguous()


def _margin(side: int) -> tuple[int, int]:
    """Pixels to add before and after."""
    missing = max(_SMALLEST, -(-side // _MULTIPLE) * _MULTIPLE) - side
    return missing // 2, missing - missing // 2


def _read_weights(name: str, weights: str | Path | None) -> tuple[dict[str, Tensor], str]:
    """The weights, and what identifies them."""
    best = _NETWORKS[name][1]
    if weights is None:
        raise OptionError(
            f"The flow method {name!r} needs weights. Pass weights=PATH of a file you have, e.g. {best.url}, or "
            "weights='DEFAULT' to let torchvision download that one."
        )
    if weights != "DEFAULT":
        state = read_checkpoint(weights)
        return state, f"sha256 {hashlib.sha256(Path(weights).read_bytes()).hexdigest()[:16]}"
    try:
        return best.get_state_dict(progress=False, check_hash=True), str(best)
    except (OSError, RuntimeError) as error:  # no network; a broken file
        raise CheckpointError(
            f"The weights of {name} could not be downloaded ({error}). Fetch {best.url} and pass its path as weights."
        ) from error

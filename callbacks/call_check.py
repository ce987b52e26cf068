# SPDX-License-Identifier: Apache-2.0
"""Sees whether a project's own steps give its network what the callbacks give it.

A ``training_step`` that normalises, scales or turns the batch before it calls ``self.model`` is not seen by a guess
that calls the model with what the batch holds. The features would be those of inputs the model was never trained on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from ..errors import BatchError
from .batches import VideoInputs
from .networks import HOW

__all__ = ("CallCheck",)


class _Look(NamedTuple):
    """What tells prepared inputs from raw ones, and augmented ones hardly."""

    shape: tuple[int, ...]
    floating: bool
    mean: float
    deviation: float

    def __str__(self) -> str:
        kind = "floats" if self.floating else "integers"
        return f"{kind} {self.shape} of mean {self.mean:.3g} and deviation {self.deviation:.3g}"

    def is_like(self, other: _Look) -> bool:
        """Whether both may be the same kind of input; the number of clips may differ."""
        if self.shape[1:] != other.shape[1:] or self.floating != other.floating:
            return False
        low, high = sorted((self.deviation, other.deviation))
        return abs(self.mean - other.mean) <= high / 2 + 1e-3 and high <= 2 * low + 1e-3


def _look(values: Iterable[Any]) -> _Look | None:
    """The first picture-like tensor among the values, however nested."""
    for value in values:
        if isinstance(value, Tensor) and value.ndim >= 4:
            numbers = value.detach().float()
            return _Look(tuple(value.shape), value.is_floating_point(), float(numbers.mean()), float(numbers.std()))
        inside = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
        if (found := _look(inside)) is not None:
            return found
    return None


class CallCheck:
    """Compares, at one batch, what a step of the project calls its network with, and what the callbacks would.

    It warns where they differ in shape, type or range, so that augmentation does not count. With ``forward=`` given,
    in compiled models, and where the network is not called, there is nothing to compare.

    Args:
        inputs: how the callback calls the model.
        callback: its name, for the warning.

    Example:
        >>> check = CallCheck(VideoInputs(), "BiasMonitor")
        >>> class Project(LightningModule):
        ...     def forward(self, video):
        ...         return video
        >>> project, batch = Project(), (torch.rand(2, 3, 4, 8, 8), torch.tensor([0, 1]))
        >>> check.watch(project, batch)
        >>> _ = project(batch[0])  # the project's own step
        >>> check.finish()  # nothing to say
    """

    def __init__(self, inputs: VideoInputs, callback: str) -> None:
        self.inputs, self.callback = inputs, callback
        self._done = False
        self._ours: _Look | None = None
        self._theirs: _Look | None = None
        self._handle: torch.utils.hooks.RemovableHandle | None = None

    def watch(self, module: LightningModule, batch: Any) -> None:
        """Look at the next call of the network, which a step of the project makes with this batch; only once."""
        if self._done or self.inputs.forward is not None:
            return
        self._done = True
        try:
            network, args, kwargs = self.inputs.arrange(module, self.inputs.find(batch), batch)
        except BatchError:
            return  # said by the callback itself
        # A hook may be too late for a compiled network, or have it compiled again.
        if any(getattr(part, "_compiled_call_impl", None) or hasattr(part, "_orig_mod") for part in module.modules()):
            return
        if getattr(module, "_compiler_ctx", None) is not None:
            return
        self._ours, self._theirs = _look([*args, *kwargs.values()]), None
        self._handle = network.register_forward_pre_hook(self._see, with_kwargs=True)

    def _see(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self._theirs is None:
            self._theirs = _look([*args, *kwargs.values()])

    def finish(self) -> None:
        """Leave no hook, and warn where the two calls differ."""
        if self._handle is None:
            return
        self._handle.remove()
        self._handle = None
        if self._ours is not None and self._theirs is not None and not self._theirs.is_like(self._ours):
            rank_zero_warn(
                f"Your step calls the model with {self._theirs}, but {self.callback} calls it with what the batch "
                f"holds, {self._ours}. If the step prepares the video first, do the same here. {HOW}"
            )

# SPDX-License-Identifier: Apache-2.0
"""Forward passes in training mode that leave running statistics as they are."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.utils.checkpoint import CheckpointFunction

from ..errors import OptionError

__all__ = ("refuse_recomputed", "still_statistics")


@contextmanager
def still_statistics(model: nn.Module) -> Iterator[None]:
    """Passes inside leave running statistics alone; layers in training mode normalise by those of the batch.

    Args:
        model: whose ``BatchNorm``, ``SyncBatchNorm`` and ``InstanceNorm`` layers are meant.

    Raises:
        OptionError: in a pass with gradients, if such a layer is under activation checkpointing
            (:func:`refuse_recomputed`).

    Example:
        >>> norm = nn.BatchNorm1d(2)
        >>> with still_statistics(norm):
        ...     _ = norm(torch.rand(4, 2))
        >>> norm.running_mean
        tensor([0., 0.])
    """
    parts = [part for part in model.modules() if isinstance(part, _NormBase)]
    norms = [norm for norm in parts if norm.training and norm.track_running_stats]
    kept = [(norm, norm.running_mean, norm.running_var) for norm in norms if isinstance(norm, _InstanceNorm)]
    # Without gradients there is no backward pass that could run a layer again.
    watched = norms if torch.is_grad_enabled() else []
    handles = [norm.register_forward_pre_hook(refuse_recomputed) for norm in watched]
    try:
        for norm in norms:
            if not isinstance(norm, _InstanceNorm):
                # Not updated and put back later: a checkpoint that a signal writes now is right too.
                norm.track_running_stats = False
        for norm, mean, var in kept:  # these update whatever the flag says: give them copies
            norm.running_mean, norm.running_var = _copy(mean), _copy(var)
        yield
    finally:
        for handle in handles:
            handle.remove()
        for norm in norms:
            norm.track_running_stats = True
        for norm, mean, var in kept:
            norm.running_mean, norm.running_var = mean, var


def _copy(statistics: Tensor | None) -> Tensor | None:
    return None if statistics is None else statistics.clone()


def refuse_recomputed(norm: nn.Module, *_: Any) -> None:
    """Refuse a pass through ``norm`` under activation checkpointing, where its backward pass would run it again.

    By then the layer is as it was before the pass: the backward pass would fail, or be silently that of other outputs.
    Does nothing in compiled graphs.

    Args:
        norm: named in the error; further arguments, those of a forward hook, are not looked at.

    Raises:
        OptionError: inside ``torch.utils.checkpoint``, reentrant or not. It is a ``ValueError``.

    Example:
        >>> norm = nn.BatchNorm1d(2)
        >>> handle = norm.register_forward_pre_hook(refuse_recomputed)
        >>> norm(torch.rand(4, 2)).shape  # here nothing is run again
        torch.Size([4, 2])
    """
    if not torch.compiler.is_compiling() and _recomputed():
        raise OptionError(
            f"Found a {type(norm).__name__} in training mode under activation checkpointing, which runs it again in "
            "the backward pass, where shuffled clips can no longer be told from others; expected it outside of "
            'checkpointed blocks. Use ShuffleConfusion(batch_norm="update"), or do not checkpoint that block.'
        )


def _recomputed() -> bool:
    """Whether what runs now is run again in the backward pass."""
    if torch.is_grad_enabled():  # a non-reentrant checkpoint saves tensors through hooks of its own
        top = getattr(torch._C._autograd, "_top_saved_tensors_default_hooks", None)
        hooks = top(False) if top else None
        return hooks is not None and "checkpoint" in getattr(hooks[0], "__module__", "")
    frame = sys._getframe()  # a reentrant one runs without gradients, as much else does: look for it
    while frame.f_back is not None and frame.f_code is not CheckpointFunction.forward.__code__:
        frame = frame.f_back
    return frame.f_code is CheckpointFunction.forward.__code__

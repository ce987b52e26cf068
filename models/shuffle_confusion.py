# SPDX-License-Identifier: Apache-2.0
"""The confusion loss of clips with shuffled frames: a model that tells their class tells it by statics alone."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.utils.checkpoint import CheckpointFunction

from ..errors import BatchError, OptionError

__all__ = ("BatchNormUse", "confusion_loss", "largest_probability", "refuse_recomputed", "still_statistics")

BatchNormUse = Literal["unshuffled", "batch", "update"]


def confusion_loss(logits: Tensor) -> Tensor:
    """Cross-entropy of the predicted classes to the uniform distribution over classes, averaged over clips.

    Each clip costs the mean of ``-log p`` over the classes, at least ``log K`` (a uniform prediction).

    Args:
        logits: ``(B, K)`` floats of at least 2 classes and at least one clip.

    Returns:
        A scalar, in float32 or, for float64 logits, float64.

    Raises:
        BatchError: if there are no such logits. It is a ``ValueError``.

    Example:
        >>> confusion_loss(torch.zeros(2, 4)).exp()
        tensor(4.)
        >>> bool(confusion_loss(torch.tensor([[9.0, 0.0]])) > confusion_loss(torch.tensor([[1.0, 0.0]])))
        True
    """
    if logits.ndim != 2 or len(logits) == 0 or logits.shape[1] < 2 or not logits.is_floating_point():
        kind = str(logits.dtype).removeprefix("torch.")
        raise BatchError(
            f"Expected logits (clips, classes) of at least one clip and two classes, found {kind} "
            f"{tuple(logits.shape)}. Give the class scores before the softmax."
        )
    return -_wide(logits).log_softmax(1).mean()


def largest_probability(logits: Tensor) -> Tensor:
    """The probability of the predicted class, averaged over clips; ``1 / K`` for uniform predictions.

    Args:
        logits: ``(B, K)``.

    Example:
        >>> largest_probability(torch.zeros(2, 4))
        tensor(0.2500)
    """
    return _wide(logits.detach()).softmax(1).amax(1).mean()


def _wide(logits: Tensor) -> Tensor:
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


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

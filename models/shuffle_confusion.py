# SPDX-License-Identifier: Apache-2.0
"""The confusion loss of clips with shuffled frames: a model that tells their class tells it by statics alone."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ..errors import BatchError

__all__ = ("BatchNormUse", "confusion_loss", "largest_probability")

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

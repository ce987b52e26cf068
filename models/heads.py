# SPDX-License-Identifier: Apache-2.0
"""Heads: what makes class scores of the last features. All end in dropout and a linear layer ``fc``."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..errors import BatchError, OptionError, UnknownNameError

__all__ = ("HEAD_MODES", "ClassificationHead", "LinearHead", "PathwayHead", "average_pool", "channels_last", "pooled")

HEAD_MODES = ("logits", "softmax")


def average_pool(kernel: Sequence[int] | None) -> nn.Module:
    """Return the official sliding average of a kernel ``(T, H, W)``, or for None the average of all positions.

    Raises:
        OptionError: the kernel is not three numbers of at least 1.

    Example:
        >>> average_pool((8, 7, 7)), average_pool(None)
        (AvgPool3d(kernel_size=(8, 7, 7), stride=1, padding=0), AdaptiveAvgPool3d(output_size=1))
    """
    if kernel is None:
        return nn.AdaptiveAvgPool3d(1)
    if len(kernel) != 3 or min(kernel) < 1:
        raise OptionError(f"pool_size must be (frames, height, width), each at least 1; got {tuple(kernel)}.")
    frames, height, width = kernel
    return nn.AvgPool3d((frames, height, width), stride=1)


def pooled(pool: nn.Module, x: Tensor) -> Tensor:
    """Average a map ``(B, C, T, H, W)`` by what :func:`average_pool` gave.

    Raises:
        BatchError: the map is smaller than the kernel.
    """
    if isinstance(pool, nn.AvgPool3d):
        kernel, sizes = tuple(pool.kernel_size), tuple(x.shape[2:])  # type: ignore[arg-type] # three numbers, as built
        if any(size < need for size, need in zip(sizes, kernel, strict=True)):
            raise BatchError(
                f"The head averages {kernel} positions (pool_size), but the clip leaves a map of {sizes}. "
                "Use clips of the crop and length that pool_size is for, or larger; or pool_size=None for any."
            )
    averaged: Tensor = pool(x)
    return averaged


def channels_last(maps: Tensor, pool: nn.Module) -> Tensor:
    """Return what a pool gave with its channels last; as plain ``(B, C)`` where all positions were averaged."""
    last = maps.movedim(1, -1)
    return last.flatten(1) if isinstance(pool, nn.AdaptiveAvgPool3d) else last


class LinearHead(nn.Module):
    """Dropout and a linear layer ``fc``, which takes its channels last.

    Args:
        channels: channels of the features.
        num_classes: number of classes.
        dropout: rate of standard dropout before ``fc``.
        mode: ``"logits"``, or ``"softmax"``: probabilities in evaluation, logits in training, as the official heads.

    Raises:
        UnknownNameError: ``mode`` is neither of the two.

    Example:
        >>> LinearHead(8, 5)(torch.ones(2, 8)).shape
        torch.Size([2, 5])
    """

    def __init__(self, channels: int, num_classes: int, dropout: float = 0.0, mode: str = "logits") -> None:
        super().__init__()
        if mode not in HEAD_MODES:
            raise UnknownNameError("head_mode", mode, HEAD_MODES)
        self.mode = mode
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, ..., C)`` to ``(B, num_classes)``; several positions are averaged, after a softmax."""
        x = self.fc(self.dropout(x))
        if self.mode == "softmax" and not self.training:
            x = x.softmax(dim=-1)
        return x.flatten(1, -2).mean(dim=1) if x.ndim > 2 else x


class ClassificationHead(LinearHead):
    """Average pool, dropout, linear.

    Args:
        channels: channels of the map.
        num_classes: number of classes.
        dropout: rate of standard dropout before ``fc``.
        pool: kernel ``(T, H, W)`` of the official sliding average, which leaves several positions of a larger map; None
            averages all positions.
        mode: see :class:`LinearHead`.
    """

    def __init__(
        self,
        channels: int,
        num_classes: int,
        dropout: float = 0.0,
        pool: Sequence[int] | None = None,
        mode: str = "logits",
    ) -> None:
        super().__init__(channels, num_classes, dropout, mode)
        self.pool = average_pool(pool)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, T, H, W)`` to ``(B, num_classes)``."""
        return super().forward(channels_last(pooled(self.pool, x), self.pool))


class PathwayHead(LinearHead):
    """Average pools of a slow and a fast map, their channels side by side (slow first), dropout, linear.

    Args:
        channels: channels of both maps together.
        num_classes: number of classes.
        dropout: rate of standard dropout before ``fc``.
        slow_pool: kernel of the official average of the slow map; None averages all positions.
        fast_pool: the same of the fast map.
        mode: see :class:`LinearHead`.
    """

    def __init__(
        self,
        channels: int,
        num_classes: int,
        dropout: float = 0.0,
        slow_pool: Sequence[int] | None = None,
        fast_pool: Sequence[int] | None = None,
        mode: str = "logits",
    ) -> None:
        super().__init__(channels, num_classes, dropout, mode)
        self.slow_pool, self.fast_pool = average_pool(slow_pool), average_pool(fast_pool)

    def forward(self, slow: Tensor, fast: Tensor) -> Tensor:  # type: ignore[override] # two maps by design
        """Map ``(B, C, T, H, W)`` and ``(B, C', T', H, W)`` to ``(B, num_classes)``."""
        both = torch.cat([pooled(self.slow_pool, slow), pooled(self.fast_pool, fast)], dim=1)
        return super().forward(channels_last(both, self.slow_pool))

# SPDX-License-Identifier: Apache-2.0
"""Schedules that no library has."""

from __future__ import annotations

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

__all__ = ("RTNetSchedule",)


class RTNetSchedule(LambdaLR):
    """RTNet's learning rates, by epoch from 1: twice the base for 4 epochs, the base, then falling by a tenth.

    From epoch 16 on the rate is ``max(1e-5, base * 0.9 ** (epoch - 20))`` with the released base of 5e-4, so that it
    first rises to 7.6e-4. With another base the floor is in proportion.

    Args:
        optimizer: the optimizer; its learning rate is the base.
        last_epoch: the epoch to resume from, as in torch.

    Source:
        Training code of OliverRensu/RTNet.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=5e-4)
        >>> schedule = RTNetSchedule(optimizer)
        >>> [round(5e-4 * schedule.factor(epoch - 1), 6) for epoch in (1, 4, 5, 15, 16, 20, 99)]
        [0.001, 0.001, 0.0005, 0.0005, 0.000762, 0.0005, 1e-05]
    """

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        super().__init__(optimizer, self.factor, last_epoch)

    @staticmethod
    def factor(epoch: int) -> float:
        """What the base is multiplied with in an epoch that is counted from 0."""
        if epoch < 4:
            return 2.0
        return 1.0 if epoch < 15 else max(0.02, float(0.9 ** (epoch - 19)))

# SPDX-License-Identifier: Apache-2.0
"""TrainOnly: some parts of a network learn first, the rest joins later."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info

from ..errors import OptionError
from ..models.layer_names import find_layers

__all__ = ("TrainOnly",)


class TrainOnly(Callback):
    """In the first epochs only the named parts learn; all others keep their weights.

    RTNet's recipe trains its attention and fusion layers for four epochs before the two streams, which were trained
    separately, join. The gradients of the waiting parts are dropped before the optimizer steps, so that nothing has to
    be told to the optimizer, to DDP or to a checkpoint, and a training that is resumed goes on as it would have gone.
    Running statistics of normalisation layers are updated all the same.

    Args:
        parts: names of the parts that learn, globs allowed (``"model.encoder.connect*"``); all parameters below them.
        num_epochs: for how many epochs; 4 in RTNet's recipe.

    Raises:
        OptionError: if ``num_epochs`` is negative.
        LayerNotFoundError: when training starts, if a name matches nothing.

    Example:
        >>> TrainOnly(["model.encoder.connect*", "model.encoder.fuse*.fusion"], num_epochs=4).num_epochs
        4
    """

    def __init__(self, parts: str | Sequence[str], num_epochs: int = 4) -> None:
        if num_epochs < 0:
            raise OptionError(f"num_epochs={num_epochs} must not be negative.")
        self.parts = [parts] if isinstance(parts, str) else list(parts)
        self.num_epochs = num_epochs
        self._waiting: list[Any] = []

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the parts."""
        learning = {
            id(parameter) for layer in find_layers(pl_module, self.parts) for parameter in layer.module.parameters()
        }
        self._waiting = [parameter for parameter in pl_module.parameters() if id(parameter) not in learning]

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say when the rest joins."""
        if trainer.current_epoch == self.num_epochs and self.num_epochs:
            rank_zero_info(f"Epoch {trainer.current_epoch}: all parts learn from here on.")

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        """Drop the gradients of the parts that wait."""
        if trainer.current_epoch < self.num_epochs:
            for parameter in self._waiting:
                parameter.grad = None

# SPDX-License-Identifier: Apache-2.0
"""The last phase of the paper's schedule: a few epochs at a low learning rate without dropout of any kind."""

from __future__ import annotations

from typing import Any

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from timm.layers.drop import DropBlock2d, DropPath
from timm.layers.patch_dropout import PatchDropout
from torch import nn
from torch.nn.modules.dropout import _DropoutNd
from torch.optim import Optimizer
from torchvision.ops import StochasticDepth

from ..errors import OptionError
from .static_dropout import StaticDropout

__all__ = ("DropoutFreeFinetune",)

RATES: tuple[tuple[type[nn.Module], str], ...] = (
    (_DropoutNd, "p"),
    (nn.MultiheadAttention, "dropout"),
    (nn.RNNBase, "dropout"),
    (StochasticDepth, "p"),
    (DropPath, "drop_prob"),
    (DropBlock2d, "drop_prob"),
    (PatchDropout, "prob"),
)
"""Modules that drop at random, and the attribute that holds their rate."""


class DropoutFreeFinetune(Callback):
    """Trains the last epochs without dropout at a fixed learning rate (Kowal et al., Sec. 5.2, after InfoDrop).

    In the last ``num_epochs`` of ``max_epochs`` every :class:`~staticdropout.callbacks.StaticDropout` pauses, and
    ``nn.Dropout`` of all kinds, the dropout of attention and recurrent layers, stochastic depth and drop path are
    set to 0. The learning rate is set around each optimizer step and put back after it, so the scheduler goes on
    undisturbed, whichever it is, checkpoints hold its own rates, and resuming before or within the phase is exact.
    (LearningRateMonitor therefore shows the scheduler's rate; the one in force is logged once as ``finetune/lr``.)
    Calls of ``torch.nn.functional.dropout`` with a number written in the model's code cannot be seen from outside
    and stay.

    Args:
        num_epochs: the paper's is 2 on Something-Something v2 and 5 on Diving48. They are part of ``max_epochs``:
            for the paper's 30 + 2 epochs set ``max_epochs=32``.
        lr: learning rate of the phase, for all parameter groups; the paper's is 1e-5.

    Raises:
        ValueError: for an option out of range.
        MisconfigurationException: when training starts, if ``max_epochs`` is not set or not larger than ``num_epochs``.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> trainer = Trainer(max_epochs=32, callbacks=[DropoutFreeFinetune(num_epochs=2)], logger=False)
    """

    def __init__(self, num_epochs: int = 2, lr: float = 1e-5) -> None:
        if num_epochs < 1 or lr < 0:
            raise OptionError(f"num_epochs must be at least 1 and lr not negative, found {num_epochs} and {lr}.")
        self.num_epochs = num_epochs
        self.lr = lr
        self.active = False
        """Whether the phase has begun."""
        self._saved_rates: list[tuple[nn.Module, str, float]] = []
        self._fixed: list[_FixedRate] = []

    def should_finetune(self, trainer: Trainer) -> bool:
        """Whether the current epoch belongs to the phase; override for another schedule."""
        return trainer.current_epoch >= (trainer.max_epochs or 0) - self.num_epochs

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check that the Trainer knows when it ends."""
        if stage == "fit" and (trainer.max_epochs or 0) <= self.num_epochs:
            raise MisconfigurationException(
                f"DropoutFreeFinetune takes the last {self.num_epochs} epochs, but max_epochs is {trainer.max_epochs}. "
                f"Set Trainer(max_epochs=...) to the epochs with dropout plus {self.num_epochs}."
            )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin at once when resuming in the middle of the phase, where no epoch starts."""
        self.on_train_epoch_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin the phase when its first epoch comes."""
        if not self.active and self.should_finetune(trainer):
            self._begin(trainer, pl_module)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Put every rate back."""
        self._end(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Put every rate back, also after an error or an interrupt."""
        self._end(trainer)

    def _begin(self, trainer: Trainer, module: LightningModule) -> None:
        self.active = True
        for part in module.modules():
            for kind, attribute in RATES:
                if isinstance(part, kind):
                    self._saved_rates.append((part, attribute, getattr(part, attribute)))
                    setattr(part, attribute, 0.0)
        for callback in _static_dropouts(trainer):
            callback.paused = True
        self._fixed = [_FixedRate(optimizer, self.lr) for optimizer in trainer.optimizers]
        rank_zero_info(f"Training without dropout at learning rate {self.lr:g} from epoch {trainer.current_epoch} on.")
        for logger in trainer.loggers:
            logger.log_metrics({"finetune/lr": self.lr}, step=trainer.global_step)

    def _end(self, trainer: Trainer) -> None:
        if not self.active:
            return
        self.active = False
        while self._fixed:
            self._fixed.pop().remove()
        while self._saved_rates:
            part, attribute, rate = self._saved_rates.pop()
            setattr(part, attribute, rate)
        for callback in _static_dropouts(trainer):
            callback.paused = False


def _static_dropouts(trainer: Trainer) -> list[StaticDropout]:
    return [callback for callback in trainer.callbacks if isinstance(callback, StaticDropout)]  # type: ignore[attr-defined]


class _FixedRate:
    """Gives every step of an optimizer one learning rate, and the scheduler's rates back after it."""

    def __init__(self, optimizer: Optimizer, lr: float) -> None:
        self.optimizer, self.lr = optimizer, lr
        # A stack, because the hooks run again inside an optimizer whose step() calls that of its base class.
        self._scheduled: list[list[Any]] = []
        self._handles = [
            optimizer.register_step_pre_hook(self._before),
            optimizer.register_step_post_hook(self._after),
        ]

    def remove(self) -> None:
        """Take the hooks away; after an error within a step, put the scheduler's rates back."""
        for handle in self._handles:
            handle.remove()
        while self._scheduled:
            self._after(self.optimizer, (), {})

    def _before(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        self._scheduled.append([group["lr"] for group in optimizer.param_groups])
        for group in optimizer.param_groups:
            group["lr"] = self.lr

    def _after(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        for group, rate in zip(optimizer.param_groups, self._scheduled.pop(), strict=True):
            group["lr"] = rate

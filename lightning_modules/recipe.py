# SPDX-License-Identifier: Apache-2.0
"""What the LightningModules here share: an optimizer over parameter groups, and its schedule."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.utilities import rank_zero_warn
from timm.scheduler.scheduler import Scheduler as TimmScheduler
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from ..callbacks.random_state import RandomState
from .parameter_groups import parameter_groups

__all__ = ("OptimizerCallable", "RecipeModule", "SchedulerCallable")

OptimizerCallable = Callable[[Iterable[Any]], Optimizer]
SchedulerCallable = Callable[[Optimizer], LRScheduler | ReduceLROnPlateau | TimmScheduler]


class RecipeModule(LightningModule):
    """A LightningModule whose optimizer and schedule are chosen by argument.

    Args:
        optimizer: makes the optimizer from parameters or parameter groups.
        lr_scheduler: makes the schedule. Schedulers of timm count in epochs and are set after every step, at fractions
            of an epoch, as the SlowFast recipes do; those of torch are stepped once an epoch.
        norm_weight_decay: weight decay of normalisation layers. None: the optimizer's own.
        learning_rates: learning rates of parts, by their names; the optimizer's own for the rest.
    """

    def __init__(
        self,
        optimizer: OptimizerCallable,
        lr_scheduler: SchedulerCallable | None = None,
        norm_weight_decay: float | None = None,
        learning_rates: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        self.model: nn.Module
        self._optimizer, self._lr_scheduler = optimizer, lr_scheduler
        self.norm_weight_decay = norm_weight_decay
        self.learning_rates = dict(learning_rates or {})
        self.random_weights = False
        """Whether a network by name still has the random weights that it was made with, as far as is known."""
        self.register_load_state_dict_post_hook(_note_loaded_weights)  # type: ignore[no-untyped-call]

    def on_fit_start(self) -> None:
        """What is trained is no longer random."""
        self.random_weights = False

    def on_validation_start(self) -> None:
        """Tell of random weights, whose numbers look like others."""
        if self.random_weights and self.trainer.state.fn != "fit":
            rank_zero_warn(
                "The network has random weights: nothing was trained or loaded, unless you have set weights yourself. "
                "Give a checkpoint of weights with --model.checkpoint, or one of a training with --ckpt_path."
            )

    def on_test_start(self) -> None:
        """See :meth:`on_validation_start`."""
        self.on_validation_start()

    @property
    def model_dtype(self) -> torch.dtype:
        """What the weights of ``self.model`` are kept in; with ``precision="bf16-true"`` it is not that of pixels."""
        parameter = next(self.model.parameters(), None)
        return torch.float32 if parameter is None else parameter.dtype

    def configure_callbacks(self) -> list[Callback]:
        """Keep random states in checkpoints; Lightning leaves out one that the Trainer was given, too."""
        return [RandomState()]

    def configure_optimizers(self) -> Any:
        """The optimizer over parameter groups, and its schedule."""
        optimizer = self._optimizer(parameter_groups(self, self.norm_weight_decay, self.learning_rates))
        if self._lr_scheduler is None:
            return optimizer
        scheduler = self._lr_scheduler(optimizer)
        config: dict[str, Any] = {"scheduler": scheduler, "interval": "epoch"}
        if isinstance(scheduler, TimmScheduler):
            config["interval"] = "step"
        elif isinstance(scheduler, ReduceLROnPlateau):
            config["monitor"] = "val/loss"
        return {"optimizer": optimizer, "lr_scheduler": config}

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Set timm's schedulers at fractions of an epoch; step the others as usual."""
        if isinstance(scheduler, TimmScheduler):
            scheduler.step(self._epochs_done())  # type: ignore[arg-type] # timm computes with fractions as well
        else:
            super().lr_scheduler_step(scheduler, metric)

    def _epochs_done(self) -> float:
        """Epochs trained so far, with the fraction of the current one."""
        steps = self.trainer.estimated_stepping_batches
        epochs = self.trainer.max_epochs or 0
        if epochs > 0 and math.isfinite(steps) and self.trainer.max_steps < 0:
            return self.trainer.global_step * epochs / steps
        return float(self.trainer.current_epoch)


def _note_loaded_weights(module: nn.Module, incompatible: Any) -> None:
    """Weights that somebody has loaded are not random."""
    if isinstance(module, RecipeModule):
        module.random_weights = False

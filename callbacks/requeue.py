# SPDX-License-Identifier: Apache-2.0
"""Let the checkpoint of a requeued SLURM job be written where training can be resumed exactly."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.environments import SLURMEnvironment  # type: ignore[attr-defined]
from lightning.pytorch.trainer.connectors.signal_connector import _HandlersCompose
from lightning.pytorch.utilities import rank_zero_info

from .validation_reading import validation_follows

__all__ = ("RequeueBetweenSteps", "hold_back_requeue")


class RequeueBetweenSteps(Checkpoint):
    """Holds SLURM's requeue signal back until the training step, or the validation, that it meets is over.

    Lightning's handler writes the checkpoint the moment the signal arrives: between a forward and a backward pass,
    with a batch fetched that was not trained on and running statistics that have already changed, or in the midst of
    a validation. Such a checkpoint cannot be resumed exactly. This callback waits until the optimizer has stepped and,
    where a validation follows or the epoch ends, until that is over and all other callbacks have had their turn; then
    it lets the handler do its work; only the LightningModule's own ``on_train_batch_end`` comes later. Under DDP all
    ranks act at the same step. Ask SLURM for the signal as long before the end as a validation takes
    (``--signal=USR1@300``).

    :class:`StaticDropout`, :class:`BiasMonitor` and :class:`RandomState` add it by themselves where a job is requeued
    automatically; without SLURM it does nothing. It is a ``Checkpoint``, so that the Trainer calls it after the
    callbacks that are none; where you add it yourself, add a ModelCheckpoint too, as the Trainer then brings none of
    its own.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> from lightning.pytorch.callbacks import ModelCheckpoint
        >>> trainer = Trainer(callbacks=[ModelCheckpoint(), RequeueBetweenSteps()], logger=False)
    """

    best_model_path = ""
    """Of a Checkpoint: it never has a best one."""

    def __init__(self) -> None:
        self._added = False
        self._signal: signal.Signals | None = None
        self._handler: _HandlersCompose | None = None
        self._received = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the place of Lightning's handler; when the fit is over, Lightning puts back what was there before."""
        self._received, self._handler = False, None
        self._signal = _requeue_signal(trainer)
        if self._signal is None or threading.current_thread() is not threading.main_thread():
            return
        handler = signal.getsignal(self._signal)
        if isinstance(handler, _HandlersCompose):  # a handler of the user's own is left alone, as Lightning does
            self._handler = handler
            signal.signal(self._signal, self._note)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """The step is over, if nothing else belongs to it: accumulation, a validation, the end of the epoch."""
        loop = trainer.fit_loop.epoch_loop
        if not (loop._should_accumulate() or loop._num_ready_batches_reached() or validation_follows(trainer)):
            self._release(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The validation is over, and with it everything that is done at this step."""
        if self._handler is None or trainer.sanity_checking:
            return
        if not trainer.fit_loop.epoch_loop._should_accumulate():
            self._release(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The epoch is over: Lightning resumes rightly from here, but not from its last step."""
        self._release(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The training is over."""
        self._release(trainer)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Answer no later signal, and leave the Trainer as it was."""
        self._handler, self._received = None, False
        if self._added:
            self._added = False
            callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
            trainer.callbacks = [callback for callback in callbacks if callback is not self]  # type: ignore[attr-defined]

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._received = True
        rank_zero_info("The requeue signal has arrived; it is answered at the end of this step.")

    def _release(self, trainer: Trainer) -> None:
        if self._handler is None or self._signal is None:
            return
        received = self._received
        if trainer.world_size > 1:
            # The signal may reach the ranks in different steps, but saving takes all of them.
            received = bool(trainer.strategy.reduce_boolean_decision(received, all=False))
        if received:
            self._received = False
            self._handler(self._signal, None)  # type: ignore[arg-type]  # it looks at no frame


def _requeue_signal(trainer: Trainer) -> signal.Signals | None:
    """The signal after which Lightning requeues the job, or None where it does not."""
    environment = trainer._accelerator_connector.cluster_environment
    if not isinstance(environment, SLURMEnvironment) or not environment.auto_requeue:
        return None
    return environment.requeue_signal or signal.SIGUSR1


def hold_back_requeue(trainer: Trainer) -> None:
    """Add :class:`RequeueBetweenSteps` as the last callback where SLURM requeues the job; call it in ``setup``."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    if _requeue_signal(trainer) is None or any(isinstance(callback, RequeueBetweenSteps) for callback in callbacks):
        return
    # Last of all, after ModelCheckpoint: what other callbacks do at the end of a step is then in the checkpoint.
    waiting = RequeueBetweenSteps()
    waiting._added = True
    callbacks.append(waiting)

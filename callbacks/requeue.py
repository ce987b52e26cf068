# SPDX-License-Identifier: Apache-2.0
"""Let the checkpoint of a requeued SLURM job be written where training can be resumed exactly."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.plugins.environments import SLURMEnvironment  # type: ignore[attr-defined]
from lightning.pytorch.trainer.connectors.signal_connector import _HandlersCompose
from lightning.pytorch.utilities import rank_zero_info

__all__ = ("RequeueBetweenSteps", "hold_back_requeue")


class RequeueBetweenSteps(Callback):
    """Holds SLURM's requeue signal back until the training step, or the validation, that it meets is over.

    Lightning's handler writes the checkpoint the moment the signal arrives: between a forward and a backward pass,
    with a batch fetched that was not trained on and running statistics that have already changed, or in the midst of
    a validation. Such a checkpoint cannot be resumed exactly. This callback waits for the end of the step, when all
    other callbacks have had their turn, and then lets the handler do its work. Under DDP all ranks act at the same
    step. A signal during validation waits for its end: ask SLURM for it early enough (``--signal=USR1@300``).

    :class:`StaticDropout` and :class:`BiasMonitor` add it by themselves where a job is requeued automatically; without
    SLURM it does nothing.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> trainer = Trainer(callbacks=[RequeueBetweenSteps()], logger=False, enable_checkpointing=False)
    """

    def __init__(self) -> None:
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
        """The step is over."""
        self._release(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The validation is over, and with it everything that is done at this step."""
        if not trainer.sanity_checking:
            self._release(trainer)

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
    callbacks.append(RequeueBetweenSteps())

# SPDX-License-Identifier: Apache-2.0
"""When a BiasMonitor measures, and for which point of the training its numbers count."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning.pytorch import Trainer

from .validation_reading import validation_follows

__all__ = ("BiasSchedule",)


class BiasSchedule:
    """Counts the validations of a training, also over its resumes, and notices the one that a resume leaves out.

    A checkpoint may be written after a training step and before the validation that follows it, or in the midst of
    that. Lightning goes on behind that validation, and a curve would lack a point, unless it is made up for.

    Example:
        >>> schedule = BiasSchedule()
        >>> schedule.load_state_dict({"validations": 3, "due": False, "epoch": 2}, resumed=True)
        >>> schedule.has_turn(every_n=2), schedule.has_turn(every_n=3)
        (False, True)
    """

    def __init__(self) -> None:
        self.epoch = 0
        """Of the last training step: when a validation is made up for, the Trainer may be in the next one."""
        self.may_have_missed = False
        """Whether the training was resumed, and :meth:`missed` has not been asked since."""
        self._validations = 0
        self._due = False  # a validation follows the last training step, and is not over
        self._resumed = False
        self._made_up_step: int | None = None
        self._checkpoint: tuple[int, int] | None = None  # its step and epoch

    def set_up(self) -> None:
        """A verb begins: no checkpoint has been read for it yet."""
        self._resumed, self._checkpoint = False, None

    def begin(self, trainer: Trainer) -> bool:
        """A fit begins; whether it is a new training, and not one that goes on."""
        new = not self._resumed and trainer.global_step == 0
        if new:
            self._validations, self._due = 0, False
        self.may_have_missed = self._resumed
        self._resumed, self._made_up_step = False, None
        return new

    def begin_step(self, trainer: Trainer) -> None:
        """Note the epoch: a checkpoint may be resumed when it is over."""
        self.epoch = trainer.current_epoch

    def end_step(self, trainer: Trainer) -> None:
        """Note whether a validation follows: a checkpoint may be written before it, or in the midst of it."""
        self._due = validation_follows(trainer)

    def has_turn(self, every_n: int) -> bool:
        """Whether the next validation is one of every ``every_n``, the first included."""
        return self._validations % every_n == 0

    def wants(self, trainer: Trainer, every_n: int) -> bool:
        """Whether the validation that begins is to be measured.

        Every one of ``trainer.validate``; of a fit neither the sanity check nor one that was made up for.
        """
        if trainer.state.fn == "validate":
            return True
        return not trainer.sanity_checking and not self._made_up(trainer) and self.has_turn(every_n)

    def end_validation(self, trainer: Trainer) -> None:
        """Count a validation of a fit, unless it has been counted or is the sanity check."""
        if not trainer.sanity_checking and not self._made_up(trainer):
            self._count()

    def missed(self, trainer: Trainer) -> bool:
        """Whether the resume has left out a validation, which is to be made up for; true once at most."""
        may_have_missed, self.may_have_missed = self.may_have_missed, False
        return may_have_missed and self._due and trainer.enable_validation

    def make_up(self, trainer: Trainer) -> None:
        """Count the validation that was left out; should Lightning repeat it after all, it does not count again."""
        self._made_up_step = trainer.global_step
        self._count()

    def point(self, trainer: Trainer, epoch: int | None = None) -> dict[str, Any]:
        """The ``step``, ``epoch`` and ``stage`` that a measurement counts for: of a validated checkpoint its own.

        Args:
            trainer: the Trainer.
            epoch: where it is not the Trainer's.
        """
        stage = "validate" if trainer.state.fn == "validate" else "fit"
        step, epoch = trainer.global_step, trainer.current_epoch if epoch is None else epoch
        if stage == "validate" and self._checkpoint is not None:
            step, epoch = self._checkpoint
        return {"step": step, "epoch": epoch, "stage": stage}

    def read_checkpoint(self, checkpoint: Mapping[str, Any]) -> None:
        """Keep a checkpoint's step and epoch: ``trainer.validate`` does not restore them."""
        self._checkpoint = int(checkpoint.get("global_step", 0)), int(checkpoint.get("epoch", 0))

    def state_dict(self) -> dict[str, Any]:
        """Plain values, for a checkpoint."""
        return {"validations": self._validations, "due": self._due, "epoch": self.epoch}

    def load_state_dict(self, state_dict: Mapping[str, Any], resumed: bool) -> None:
        """Go on from a checkpoint.

        Args:
            state_dict: what :meth:`state_dict` gave; more entries are not looked at.
            resumed: whether a training goes on from there.
        """
        self._resumed = resumed
        self._validations = state_dict["validations"]
        self._due = state_dict["due"]
        self.epoch = state_dict["epoch"]

    def _made_up(self, trainer: Trainer) -> bool:
        return trainer.global_step == self._made_up_step

    def _count(self) -> None:
        self._validations += 1
        self._due = False

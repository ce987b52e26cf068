# SPDX-License-Identifier: Apache-2.0
"""A confusion loss on clips with shuffled frames, for any LightningModule: one term more in the loss it returns."""

from __future__ import annotations

import math
import os
import weakref
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any, get_args

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from ..errors import BatchError, OptionError
from ..models.reference_statistics import ReferenceStatistics
from ..models.shuffle_confusion import BatchNormUse, confusion_loss, largest_probability
from ..models.still_statistics import still_statistics
from ..perturbations.shuffling import shuffled_by_key
from .batch_entries import describe
from .batches import VideoInputs
from .call_check import CallCheck
from .measuring import refuse_sharded
from .requeue import hold_back_requeue
from .stand_in import StandIn

__all__ = ("ShuffleConfusion",)


class ShuffleConfusion(Callback):
    """Asks a video model, while it trains, to be undecided about clips whose frames are shuffled.

    At every ``every_n_steps``-th optimizer step copies of the clips with shuffled frames pass through the model too,
    and ``weight * every_n_steps`` times the cross-entropy of its predictions to the uniform distribution is added to
    the loss that ``training_step`` returns. Shuffled clips keep what single frames show, and lose their order, so what
    can be predicted without the order no longer pays. There is one backward pass, and nothing of the LightningModule
    has to change.

    The idea is that of Choi et al., "Why Can't I Dance in the Mall? Learning to Mitigate Scene Bias in Action
    Recognition" (NeurIPS 2019), who maximise the entropy of predictions on clips whose people are masked. It is
    neither part of nor a form of StaticDropout (Kowal et al., Sec. 5.2), which drops channels and adds no loss:
    results of that paper say nothing about this. A uniform prediction on shuffled clips does not mean that the
    features hold no statics, only that the classifier does not decide by them alone; and where classes do differ in
    statics, it costs accuracy on purpose.

    - **Weight.** It is multiplied by ``every_n_steps``, so that the mean pressure is ``weight`` whatever the interval;
      a step with the term has larger gradients for it, which ``gradient_clip_val`` clips like any others. In a study
      on generated clips (``docs/study.md``) 0.3 at every step was as accurate as 1 within five points, and better
      calibrated; 3 in every fourth step was far worse than no term.
    - **Steps** are optimizer steps, as in StaticDropout, beginning with the first. With ``accumulate_grad_batches`` all
      batches of such a step carry the term: the gradient is that of one large batch.
    - **Exact.** The order of a clip's frames depends on the seed, the step and the clip's id (or place) alone, so a
      resumed training shuffles as the uninterrupted one, and so do two ranks and one process. The global random state
      is not touched by the shuffling; what the model itself draws in the extra pass (``nn.Dropout``) is drawn from
      it as always. With ``weight=0`` nothing is done at all: training is bit-identical to training without the
      callback.
    - **With StaticDropout** in the same Trainer the extra pass is thinned as well, with masks of its own; the order
      of the two does not matter. In the epochs of :class:`~staticdropout.callbacks.DropoutFreeFinetune` it goes on.
    - **Activation checkpointing** runs layers again in the backward pass, when shuffled clips can no longer be told
      from others: normalisations in training mode must not be under it, unless ``batch_norm="update"``.
    - **Batches and outputs** are read as by the other callbacks, see ``inputs``. The pass comes after the module's own
      and is skipped where ``training_step`` returns None.

    Logged under ``shuffle_confusion/``, not more often than every ``log_every_n_steps`` of the Trainer, as means over
    the shuffled clips of one step on all ranks: ``loss``, the cross-entropy before ``weight`` (``log K`` for K classes
    at best), and ``largest_probability``, that of the predicted class (``1 / K`` at best). What ``training_step`` logs
    itself is its own loss, without the term.

    Args:
        weight: of the term, at least 0; may be changed during a training (:attr:`weight`).
        every_n_steps: optimizer steps from one with the term to the next. Such a step takes about twice the time and,
            for activations, the memory of others.
        inputs: how to read batches and call the model; guessed by default.
        seed: seed of the shuffles; by default the one of ``seed_everything``.
        batch_norm: the statistics that normalise shuffled clips: ``"unshuffled"`` (those of the batch before it was
            shuffled, see :mod:`~staticdropout.models.reference_statistics`; default), ``"batch"`` (their own; the
            running ones stay those of unshuffled clips) or ``"update"`` (their own, which go into the running ones).
            With their own a network can learn to tell shuffled batches by their statistics, and to be undecided in
            training alone. Frozen layers stay frozen.
        output: a function that makes logits ``(B, K)`` of what the model returns; guessed by default. For a model that
            returns probabilities: ``output=torch.log``.

    Raises:
        ValueError: for an option out of range.
        MisconfigurationException: in ``setup``, for manual optimization and strategies that split the model.
        BatchError: during training, if there is no video in the batch or no logits in the output.
        OptionError: during training, if a normalisation in training mode is under activation checkpointing.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> trainer = Trainer(callbacks=[ShuffleConfusion(weight=0.3)], logger=False, enable_checkpointing=False)
    """

    def __init__(
        self,
        weight: float = 0.3,
        every_n_steps: int = 1,
        inputs: VideoInputs | None = None,
        seed: int | None = None,
        batch_norm: BatchNormUse = "unshuffled",
        output: Callable[[Any], Tensor] | None = None,
    ) -> None:
        if not 0 <= weight < math.inf:
            raise OptionError(f"weight={weight} must be a number of at least 0.")
        if every_n_steps < 1:
            raise OptionError(f"every_n_steps={every_n_steps} must be at least 1.")
        if batch_norm not in get_args(BatchNormUse):
            raise OptionError(f"batch_norm={batch_norm!r} is not one of {', '.join(get_args(BatchNormUse))}.")
        self.weight = weight
        """Of the term, per step on average; changes count from the next step on."""
        self.every_n_steps = every_n_steps
        self.inputs = inputs or VideoInputs()
        self.seed = seed
        self.batch_norm: BatchNormUse = batch_norm
        self.output = output
        self._given_seed = seed
        self._stage = "fit"
        self._restored = False
        self._step = -1  # the optimizer step that the current batch belongs to
        self._seen = 0  # clips of this rank in the step before the current batch
        self._clips = 0  # clips of the current batch
        self._shuffled: Tensor | None = None  # what the extra pass of the current batch takes
        self._last_logged: int | None = None
        self._totals = torch.zeros(3)  # loss, largest probability and passes of the step
        self._module: LightningModule | None = None
        self._stand_in: StandIn | None = None
        self._reference: ReferenceStatistics | None = None
        self._check = CallCheck(self.inputs, "ShuffleConfusion")
        self._brought_by: weakref.ref[LightningModule] | None = None  # the module that it acts for alone

    def __getstate__(self) -> dict[str, Any]:
        """All but the module that brought it along: a copy is the user's."""
        return vars(self) | {"_brought_by": None}

    def should_confuse(self, step: int) -> bool:
        """Whether the batches of optimizer step ``step`` carry the term; override for another schedule."""
        return step % self.every_n_steps == 0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse what cannot work before anything is spent."""
        self._stage, self._restored = stage, False
        if self._brought_by is not None and self._brought_by() is not pl_module:
            # Left in the Trainer by another module, which asked for it when it was trained: this one did not.
            others = [callback for callback in trainer.callbacks if callback is not self]  # type: ignore[attr-defined]
            trainer.callbacks = others  # type: ignore[attr-defined] # a new list: hooks go through the old one
            return
        if stage != "fit":
            return
        refuse_sharded(trainer, "ShuffleConfusion")
        if not pl_module.automatic_optimization:
            raise MisconfigurationException(
                "ShuffleConfusion adds to the loss that training_step returns, but with manual optimization "
                f"{type(pl_module).__name__} calls manual_backward on its own. Add confusion_loss of "
                "staticdropout.models.shuffle_confusion to the loss there, or use automatic optimization."
            )
        hold_back_requeue(trainer)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stand in for ``training_step``, and hook normalisations before the first forward pass."""
        if not self._restored and trainer.global_step == 0:
            # A new training, perhaps after another one with the same callback.
            self.seed, self._last_logged = self._given_seed, None
        if self.seed is None:
            self.seed = int(os.environ.get("PL_GLOBAL_SEED", torch.initial_seed() % 2**31))
        self._restored, self._step, self._shuffled = False, -1, None
        self._detach()
        self._module = pl_module
        self._stand_in = StandIn(pl_module, self._train)
        if self.batch_norm == "unshuffled":
            self._reference = ReferenceStatistics(pl_module)
            # A graph that was compiled in an earlier training knows nothing of the hooks: let it be compiled anew.
            torch.compiler.reset()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Shuffle the clips of the batch when it is time, before ``training_step`` may change them."""
        if trainer.global_step != self._step:
            self._step, self._seen, self._totals = trainer.global_step, 0, torch.zeros(3)
        self._shuffled, self._clips = None, 0
        if not (self.weight and self.should_confuse(self._step)):
            return
        if batch is None:
            raise BatchError(
                "ShuffleConfusion found no batch: Lightning hands callbacks none where training_step takes a "
                "dataloader_iter. Let training_step take a batch."
            )
        video = self.inputs.find(batch)
        self._clips = len(video)
        if not self._clips:
            return
        keys = self.inputs.keys(batch, self._clips, trainer, self._seen)
        self._shuffled = shuffled_by_key(video, keys, f"{self.seed}/{self._step}", self.inputs.time_dim(video))
        self._check.watch(pl_module, batch)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Log when it is time and the step is over; warn, once, if the step calls the model in another way."""
        self._check.finish()
        self._forget()
        self._seen += self._clips
        if trainer.global_step != self._step and self.weight and self.should_confuse(self._step):
            self._log(trainer)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give the module its ``training_step`` back."""
        self._detach()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Give the module its ``training_step`` back, also after an error or an interrupt."""
        self._detach()

    def state_dict(self) -> dict[str, Any]:
        """Seed, and when it was logged last; the count of steps is the Trainer's."""
        return {"seed": self.seed, "last_logged": self._last_logged}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the seed of the checkpoint; other verbs than ``fit`` have no use for it."""
        if self._stage == "fit" and state_dict:
            self._restored = True
            self.seed, self._last_logged = state_dict["seed"], state_dict["last_logged"]

    def _train(self, step: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """What ``training_step`` returns, with the term in its loss."""
        if self._shuffled is None:
            return step(*args, **kwargs)
        with self._reference.noted() if self._reference else nullcontext():
            result = step(*args, **kwargs)
        loss = result.get("loss") if isinstance(result, Mapping) else result
        if not isinstance(loss, Tensor):
            return result
        loss = loss + self._confusion(next(iter([*args, *kwargs.values()]))).to(loss.dtype)
        return {**result, "loss": loss} if isinstance(result, Mapping) else loss

    def _confusion(self, batch: Any) -> Tensor:
        """The term: one more pass, of the shuffled clips."""
        assert self._module is not None  # noqa: S101 - set in on_fit_start
        usual = nullcontext()
        normalised = self._reference.applied() if self._reference else usual
        with normalised, usual if self.batch_norm == "update" else still_statistics(self._module):
            output = self.inputs.call(self._module, self._shuffled, batch)
        logits = self._logits(output)
        confusion = confusion_loss(logits)
        with torch.no_grad():
            figures = torch.stack([confusion, largest_probability(logits), torch.ones_like(confusion)])
            self._totals = self._totals.to(figures.device) + figures.float()
        return self.weight * self.every_n_steps * confusion

    def _logits(self, output: Any) -> Tensor:
        try:
            logits = self.inputs.logits(output) if self.output is None else self.output(output)
        except BatchError:
            logits = None
        if isinstance(logits, Tensor) and logits.ndim == 2 and logits.shape[1] > 1:
            return logits
        where = "the model's output" if self.output is None else "what output=... makes of the model's output"
        raise BatchError(
            f"ShuffleConfusion found no class scores in {where}: {describe(output if self.output is None else logits)}"
            ", expected one tensor (B, classes) of at least 2 classes. Say what they are with "
            "ShuffleConfusion(output=lambda output: ...)."
        )

    def _log(self, trainer: Trainer) -> None:
        """Means of the step over all ranks, which come here at the same steps."""
        interval = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if not interval or (self._last_logged is not None and self._step - self._last_logged < interval):
            return
        self._last_logged = self._step
        totals = trainer.strategy.reduce(self._totals.to(trainer.strategy.root_device), reduce_op="sum")
        loss, largest, passes = totals.tolist()
        if passes:
            values = {"loss": loss / passes, "largest_probability": largest / passes}
            for logger in trainer.loggers:
                logger.log_metrics({f"shuffle_confusion/{name}": mean for name, mean in values.items()}, self._step)

    def _forget(self) -> None:
        self._shuffled = None
        if self._reference is not None:
            self._reference.forget()

    def _detach(self) -> None:
        self._check.finish()
        self._forget()
        if self._reference is not None:
            self._reference.remove()
        if self._stand_in is not None:
            self._stand_in.remove()
        self._reference = self._stand_in = self._module = None

# SPDX-License-Identifier: Apache-2.0
"""How much of the validation accuracy survives when the frames are shuffled."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only, rank_zero_warn
from torchmetrics import MeanMetric

from ..errors import OptionError
from ..perturbations.shuffling import shuffled_by_key
from .batches import VideoInputs
from .measuring import refuse_sharded, terminal, traceless
from .validation_reading import dataset_length

__all__ = ("ShuffledValidation",)


class ShuffledValidation(Callback):
    """Validation accuracy on shuffled frames, and relative to that on normal frames (Kowal et al., Fig. 6 and 13).

    A model that needs dynamics loses accuracy when the frames are shuffled; one that recognises single frames does
    not. Both accuracies are computed on the same clips by two forward passes beside the validation step, each clip
    under its own permutation, the same at every validation. Logged as ``shuffled/top1``, ``shuffled/top1_normal``
    and ``shuffled/relative`` (percent; the quotient of the two, where there is one), also for ModelCheckpoint.

    Args:
        num_clips: how many validation clips to use, over all ranks; all by default.
        seed: seed of the permutations.
        dataloader_idx: which validation loader to ride on.
        inputs: how to read batches and call the model; guessed by default.
        verbose: print the last accuracies when training or ``trainer.validate`` ends.

    Raises:
        BatchError: during validation, if the video, the labels or the class scores cannot be found.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> trainer = Trainer(callbacks=[ShuffledValidation()], logger=False, enable_checkpointing=False)
    """

    def __init__(
        self,
        num_clips: int | None = None,
        seed: int = 0,
        dataloader_idx: int = 0,
        inputs: VideoInputs | None = None,
        verbose: bool = True,
    ) -> None:
        if num_clips is not None and num_clips < 1:
            raise OptionError(f"num_clips={num_clips} must be at least 1, or None for all.")
        self.num_clips = num_clips
        self.seed = seed
        self.dataloader_idx = dataloader_idx
        self.inputs = inputs or VideoInputs()
        self.verbose = verbose
        self.latest: dict[str, float] = {}
        """The last ``top1``, ``top1_normal`` and ``relative``, in percent."""
        self._normal: MeanMetric | None = None
        self._shuffled: MeanMetric | None = None
        self._seen = 0
        self._length: int | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse what cannot work before anything is spent."""
        refuse_sharded(trainer, "ShuffledValidation")

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start counting anew."""
        self._length = dataset_length(trainer, self.dataloader_idx)
        self._seen = 0
        self._normal = MeanMetric().to(pl_module.device)
        self._shuffled = MeanMetric().to(pl_module.device)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Classify the clips of a batch twice: as they are, and shuffled."""
        enough = self.num_clips is not None and self._seen * trainer.world_size >= self.num_clips
        if trainer.sanity_checking or dataloader_idx != self.dataloader_idx or enough:
            return
        video, labels = self.inputs.find(batch), self.inputs.labels(batch)
        # Clips beyond the data set's length are repeats that a distributed sampler adds.
        order = torch.arange(self._seen, self._seen + len(video)) * trainer.world_size + trainer.global_rank
        kept = len(video) if self._length is None else int((order < self._length).sum())
        self._seen += len(video)
        if kept == 0:
            return
        keys = self.inputs.ids(batch) or [str(position) for position in order.tolist()]
        copy = shuffled_by_key(video, keys, self.seed, self.inputs.time_dim(video))
        with traceless(trainer, pl_module):
            for clips, metric in ((video, self._normal), (copy, self._shuffled)):
                assert metric is not None  # noqa: S101 - made in on_validation_start
                logits = self.inputs.logits(self.inputs.call(pl_module, clips, batch))
                metric.update((logits.argmax(1) == labels.to(logits.device))[:kept].float())

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Merge the ranks and log."""
        if trainer.sanity_checking or self._normal is None or self._shuffled is None:
            return
        self.latest = {}
        if trainer.world_size == 1 and not self._normal.update_called:
            rank_zero_warn(f"ShuffledValidation saw no clip of validation loader {self.dataloader_idx}.")
            return
        normal, top1 = 100 * float(self._normal.compute()), 100 * float(self._shuffled.compute())
        self.latest = {"top1": top1, "top1_normal": normal}
        if normal > 0:
            self.latest["relative"] = 100 * top1 / normal
        pl_module.log_dict({f"shuffled/{name}": value for name, value in self.latest.items()})

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the last accuracies."""
        self._print()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the accuracies of ``trainer.validate``."""
        if trainer.state.fn == "validate":
            self._print()

    @rank_zero_only
    def _print(self) -> None:
        if self.verbose and self.latest:
            relative = f" ({self.latest['relative']:.0f} % of normal)" if "relative" in self.latest else ""
            terminal().print(
                f"Accuracy on normal frames {self.latest['top1_normal']:.1f} %, on shuffled frames "
                f"{self.latest['top1']:.1f} %{relative}.",
                highlight=False,
                soft_wrap=True,
            )

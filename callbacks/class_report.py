# SPDX-License-Identifier: Apache-2.0
"""ClassReport: the accuracy of every class beside its number of training clips, as CSV."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only, rank_zero_warn
from torch import Tensor

from ..files import write_whole
from ..metrics import class_table_csv
from .class_frequency import class_names, training_frequency
from .loggers import run_folder

__all__ = ("ClassReport",)


class ClassReport(Callback):
    """Writes what every class scores in a validation or test, for ``staticdropout compare RUN_A RUN_B``.

    Reads ``class_counts`` of the LightningModule, a tensor ``(num_classes, 2)`` that it sets at the end of a validation
    or test epoch: correctly classified clips and all clips of each class, over all ranks;
    :class:`~staticdropout.lightning_modules.VideoClassifier` has it. Without that attribute nothing is written, and
    that is said once.

    The last validation stands in ``val_classes.csv`` and the last test in ``test_classes.csv``, in the run's folder;
    the sanity check does not count. So after a training that ends with a validation, ``val_classes.csv`` is about its
    final weights, as they are compared in the paper: the epoch that is best on the validation clips would flatter the
    model on just these. For another checkpoint run ``validate --ckpt_path …``; it has a run folder of its own, or takes
    the place of the last validation. The columns say what was evaluated, see
    :func:`~staticdropout.metrics.class_table_csv`.

    The number of training clips is counted from the labels of the training data set (``entries``, ``labels`` or
    ``targets``; no video is opened), whatever a sampler draws from it; the cells stay empty where it does not tell
    them. ``lightning validate`` has no training data set: there a data module may have a method ``training_labels()``.

    Args:
        dirpath: folder for the files; by default the first logger's folder, or ``default_root_dir``.

    Raises:
        MisconfigurationException: if ``class_counts`` has another shape.

    Example:
        >>> ClassReport("results").dirpath
        'results'
    """

    def __init__(self, dirpath: str | Path | None = None) -> None:
        self.dirpath = dirpath
        self._folder = Path()
        self._before: Any = None
        self._said = False
        self._train_clips: list[int] | None = None
        self._checkpoint: tuple[int, int] | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Settle the folder, on all ranks: they have to agree on it."""
        self._folder = Path(self.dirpath or run_folder(trainer))

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: Mapping[str, Any]) -> None:
        """Keep a checkpoint's epoch and step: ``trainer.validate`` does not restore them."""
        self._checkpoint = int(checkpoint.get("epoch", 0)), int(checkpoint.get("global_step", 0))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count anew: the training data may be others than those of an earlier training."""
        self._train_clips = None

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remember the counts of before, to know later whether there are new ones."""
        self._before = getattr(pl_module, "class_counts", None)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remember the counts of before, to know later whether there are new ones."""
        self._before = getattr(pl_module, "class_counts", None)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write ``val_classes.csv``."""
        if not trainer.sanity_checking:
            self._report(trainer, pl_module, "val")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write ``test_classes.csv``."""
        self._report(trainer, pl_module, "test")

    def _report(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        counts = self._new_counts(module)
        if counts is not None and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            self._write(trainer, module, counts, stage)

    def _new_counts(self, module: LightningModule) -> Tensor | None:
        """What the evaluation that just ended has set; None if it set nothing, as without any clip."""
        if not hasattr(module, "class_counts"):
            if not self._said:
                rank_zero_warn(
                    f"ClassReport writes nothing: {type(module).__name__} has no class_counts. Set it to a tensor "
                    "(num_classes, 2) of correctly classified and of all clips at the end of the epoch."
                )
            self._said = True
            return None
        counts, before, self._before = module.class_counts, self._before, None
        if counts is None or counts is before:
            return None
        if not isinstance(counts, Tensor) or counts.ndim != 2 or counts.shape[1] != 2:
            found = f"shape {tuple(counts.shape)}" if isinstance(counts, Tensor) else type(counts).__name__
            raise MisconfigurationException(
                f"ClassReport expects class_counts of {type(module).__name__} to be a tensor (num_classes, 2) of "
                f"correctly classified and of all clips, found {found}."
            )
        return counts

    @rank_zero_only
    def _write(self, trainer: Trainer, module: LightningModule, counts: Tensor, stage: str) -> None:
        if self._train_clips is None or len(self._train_clips) != len(counts):
            self._train_clips = training_frequency(trainer, len(counts))
        content = class_table_csv(
            class_names(trainer, len(counts)),
            self._train_clips,
            [(int(correct), int(clips)) for correct, clips in counts.tolist()],
            self._about(trainer, module, stage),
        )
        path = self._folder / f"{stage}_classes.csv"
        try:
            write_whole(path, content)
        except OSError as error:
            rank_zero_warn(f"The results by class could not be written to {path}: {error}.")

    def _about(self, trainer: Trainer, module: LightningModule, stage: str) -> dict[str, Any]:
        """Which weights these are: those of a checkpoint, or of the training as far as it is."""
        epoch, step, checkpoint = trainer.current_epoch, trainer.global_step, ""
        if trainer.state.fn != "fit":
            checkpoint = str(getattr(module, "loaded_from", ""))  # what the module itself started from
        if trainer.state.fn != "fit" and trainer.ckpt_path is not None:
            checkpoint = str(trainer.ckpt_path)
            epoch, step = self._checkpoint or (epoch, step)
        named = module.hparams.get("model")
        model = named if isinstance(named, str) else type(module).__name__
        return {"model": model, "stage": stage, "epoch": epoch, "step": step, "checkpoint": checkpoint}

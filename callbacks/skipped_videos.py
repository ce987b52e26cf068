# SPDX-License-Identifier: Apache-2.0
"""Keep account of the videos that a data module could not read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn

__all__ = ("SkippedVideos",)


class SkippedVideos(Callback):
    """Counts the videos that were skipped because they could not be read, and lists them at the end of the epoch.

    Reads the entry ``"skipped"`` of batches, a list of ``(id, reason)``, which this package's data modules add when
    ``on_error="skip"`` and a video is broken. Logged as ``skipped_videos/train`` and ``skipped_videos/val``.

    Args:
        most: how many to list; the others are counted.

    Example:
        >>> SkippedVideos().skipped
        {'train': {}, 'val': {}, 'test': {}}
    """

    def __init__(self, most: int = 10) -> None:
        self.most = most
        self.skipped: dict[str, dict[str, str]] = {"train": {}, "val": {}, "test": {}}
        """By stage: id and reason of every video skipped so far on this rank."""
        self._reported: dict[str, int] = {}

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Note what was skipped."""
        self._note("train", batch)

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Note what was skipped."""
        self._note("val", batch)

    def on_test_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Note what was skipped."""
        self._note("test", batch)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """List what was skipped in training."""
        self._report("train", trainer)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """List what was skipped in validation."""
        self._report("val", trainer)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """List what was skipped in testing."""
        self._report("test", trainer)

    def _note(self, stage: str, batch: Any) -> None:
        if isinstance(batch, Mapping):
            self.skipped[stage].update(batch.get("skipped", ()))

    def _report(self, stage: str, trainer: Trainer) -> None:
        videos = self.skipped[stage]
        if len(videos) == self._reported.get(stage, 0):
            return
        self._reported[stage] = len(videos)
        listed = "".join(f"\n  {name}: {reason}" for name, reason in list(videos.items())[: self.most])
        more = f"\n  … and {len(videos) - self.most} more" if len(videos) > self.most else ""
        rank_zero_warn(
            f"{len(videos)} {stage} videos could not be read and were skipped:{listed}{more}\n"
            "Check the data set with `staticdropout data check ROOT`, or stop at them with --data.on_error raise."
        )
        for logger in trainer.loggers:
            logger.log_metrics({f"skipped_videos/{stage}": float(len(videos))}, step=trainer.global_step)

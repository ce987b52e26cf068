# SPDX-License-Identifier: Apache-2.0
"""A training during which the disk is full for a while: EFBIG or ENOSPC from the kernel, in the midst of a write."""

from __future__ import annotations

import contextlib
import resource
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from drill_training import BATCH, TRAIN, VAL, VALIDATE_EVERY, DrillClassifier
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.loggers import TensorBoardLogger
from torch.utils.data import DataLoader
from toys import Clips

from staticdropout.callbacks import BiasMonitor, StaticDropout

LARGEST = 100
"""Bytes a file may have while the disk is full, if the job does not say; all files of the monitor are larger."""


class FullDisk(Callback):
    """Fills the disk before some steps and frees it before others.

    Args:
        spans: first and last step of each time.
        place: the folder that is written to.
        mounted: fill the file system of that folder; otherwise forbid this process to write larger files.
        largest: bytes that a file may have then.
    """

    def __init__(self, spans: list[list[int]], place: Path, mounted: bool, largest: int) -> None:
        self.spans, self.place, self.mounted, self.largest = spans, place, mounted, largest
        self.seen: list[dict[str, bytes]] = []
        """The files just before the disk is full, and just before it is free again, for each span."""

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        for first, last in self.spans:
            if trainer.global_step == first:
                self.seen.append(files_in(self.place))
                self.fill()
            if trainer.global_step == last:
                self.seen.append(files_in(self.place))
                self.free()

    def fill(self) -> None:
        if self.mounted:
            with contextlib.suppress(OSError), (self.place / "ballast").open("wb", buffering=0) as file:
                while file.write(bytes(256)):
                    pass
        else:
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.largest, resource.RLIM_INFINITY))

    def free(self) -> None:
        if self.mounted:
            (self.place / "ballast").unlink(missing_ok=True)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def files_in(folder: Path) -> dict[str, bytes]:
    """All files in a folder by name, hidden ones as well."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "ballast")
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@contextlib.contextmanager
def collected() -> Iterator[list[str]]:
    """The warnings that are given meanwhile."""
    messages: list[str] = []
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        yield messages
        messages += [str(warning.message) for warning in given]


def run(job: dict[str, Any]) -> None:
    """Train in ``job["folder"]`` and save what was there at which time.

    Args:
        job: ``folder``; ``place``, where BiasMonitor writes; ``spans``, when the disk is full; ``mounted``;
            ``largest``; ``figures``; ``tensorboard``, whether to log to it; ``measure_at_start``.
    """
    folder, place = Path(job["folder"]), Path(job["place"])
    torch.use_deterministic_algorithms(True)
    seed_everything(11, verbose=False)
    module = DrillClassifier()
    monitor = BiasMonitor(
        layers="backbone.layer1",
        num_clips=8,
        num_groups=3,
        figures=bool(job.get("figures")),
        verbose=False,
        dirpath=place,
        measure_at_start=job.get("measure_at_start", True),
    )
    disk = FullDisk(job["spans"], place, bool(job.get("mounted")), job.get("largest", LARGEST))
    trainer = Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=2,
        val_check_interval=VALIDATE_EVERY,
        num_sanity_val_steps=0,
        default_root_dir=folder,
        callbacks=[StaticDropout(rate=0.5, every_n_steps=2, min_clips=4), monitor, disk],
        logger=TensorBoardLogger(folder, max_queue=1, flush_secs=1) if job.get("tensorboard") else False,
        log_every_n_steps=1,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    with collected() as messages:
        trainer.fit(module, DataLoader(Clips(TRAIN), BATCH), DataLoader(Clips(VAL), BATCH))
    at_end = files_in(place)
    disk.free()
    result = {"weights": module.state_dict(), "history": monitor.history, "warnings": messages}
    torch.save({**result, "seen": disk.seen, "files": at_end}, folder / "result.pt")

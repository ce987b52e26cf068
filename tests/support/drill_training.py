# SPDX-License-Identifier: Apache-2.0
"""A deterministic training with both callbacks, which strikes itself down at a given point."""

from __future__ import annotations

import os
import signal
import stat
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from fsspec.implementations.local import LocalFileOpener  # type: ignore[import-untyped]
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.plugins.environments import SLURMEnvironment  # type: ignore[attr-defined]
from torch import Tensor, nn
from torch.utils.data import DataLoader
from toys import Clips, ResumableLoader, ToyClassifier

from staticdropout.callbacks import BiasMonitor, StaticDropout

TRAIN, VAL, BATCH = 24, 12, 4
"""Six steps an epoch, two epochs; three batches a validation, of which the monitor measures two and a half."""

VALIDATE_EVERY = 3


class DrillClassifier(ToyClassifier):
    """Knows whether it is in a validation step."""

    in_validation_step = False

    def __init__(self) -> None:
        super().__init__()
        self.backbone.dropout.p = 0.0  # draws from the global generator, which Lightning does not restore

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.in_validation_step = True
        super().validation_step(batch, batch_idx)
        self.in_validation_step = False


class Blows(Callback):
    """Counts what happens in a training, and sends this process a signal at the given counts.

    Args:
        blows: each ``{"kind": what happens, "at": how often in this process, "signal": its name}``, and, if the process
            is to be killed a little later, ``"then": how many training steps later``.
    """

    def __init__(self, blows: list[dict[str, Any]]) -> None:
        self.blows = blows
        self.counts: Counter[str] = Counter()
        self.steps_left: int | None = None
        self.trainer: Trainer | None = None
        self.module: DrillClassifier | None = None

    def due(self, kind: str) -> list[dict[str, Any]]:
        """The blows for the next event of this kind."""
        return [blow for blow in self.blows if (blow["kind"], blow["at"]) == (kind, self.counts[kind] + 1)]

    def happens(self, kind: str) -> None:
        """Note an event, and strike if it is one of the given ones."""
        due = self.due(kind)
        self.counts[kind] += 1
        for blow in due:
            self.steps_left = blow.get("then")
            os.kill(os.getpid(), signal.Signals[blow["signal"]])

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        assert isinstance(pl_module, DrillClassifier)
        self.trainer, self.module = trainer, pl_module
        pl_module.backbone.layer1.register_forward_hook(self.on_forward)

    def on_forward(self, layer: nn.Module, args: Any, output: Tensor) -> None:
        """Tell by its surroundings what a forward pass is for."""
        assert self.trainer is not None
        assert self.module is not None
        if self.module.in_validation_step:
            self.happens("validation")
        elif self.trainer.validating:
            self.happens("measurement")
        elif self.module.training:
            self.happens("forward")
            output.register_hook(lambda gradient: self.happens("backward"))  # type: ignore[no-untyped-call]
        else:
            self.happens("probe")

    def on_before_optimizer_step(self, *args: Any) -> None:
        self.happens("optimizer")

    def on_validation_epoch_end(self, *args: Any) -> None:
        self.happens("validation_end")

    def on_train_batch_end(self, *args: Any) -> None:
        self.happens("batch_end")
        if self.steps_left is not None:
            self.steps_left -= 1
            if self.steps_left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def on_train_epoch_end(self, *args: Any) -> None:
        self.happens("epoch_end")

    def watch_files(self) -> None:
        """Strike while a file is half written.

        Files of this package are struck at ``fsync``, with half of their content; checkpoints in the midst of their
        one ``write``, before they are moved to their place and just after.
        """
        sync, write, commit = os.fsync, LocalFileOpener.write, LocalFileOpener.commit

        def fsync(descriptor: int) -> None:
            status = os.fstat(descriptor)
            if stat.S_ISREG(status.st_mode):
                target = Path(f"/proc/self/fd/{descriptor}").readlink().name
                kind = next((kind for kind in ("json", "csv", "png") if f".{kind}" in target), "other")
                if any(blow["signal"] == "SIGKILL" for blow in self.due(kind)):
                    os.ftruncate(descriptor, status.st_size // 2)
                self.happens(kind)
            sync(descriptor)

        def write_in_two(opener: Any, content: bytes) -> None:
            write(opener, content[: len(content) // 2])
            opener.f.flush()
            self.happens("checkpoint")
            write(opener, content[len(content) // 2 :])

        def move(opener: Any) -> None:
            self.happens("checkpoint_written")
            commit(opener)
            self.happens("checkpoint_moved")

        LocalFileOpener.write, LocalFileOpener.commit = write_in_two, move
        os.fsync = fsync  # type: ignore[assignment]


class Record(Callback):
    """Appends what was dropped at each step to a file, and keeps the steps of validations, as early stopping would."""

    def __init__(self, folder: Path) -> None:
        self.masks = folder / "masks.txt"
        self.validated: list[int] = []

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking:
            self.validated.append(trainer.global_step)

    def state_dict(self) -> dict[str, Any]:
        return {"validated": self.validated}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.validated = list(state_dict["validated"])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, DrillClassifier)
        loop = trainer.fit_loop

        def note(layer: nn.Module, args: tuple[Tensor]) -> None:
            if layer.training:
                masks = ["".join(map(str, row)) for row in (args[0] == 0).int().tolist()]
                with self.masks.open("a") as file:
                    file.write(f"{loop.epoch_loop.total_batch_idx} {masks} {args[0].double().sum().item()!r}\n")

        pl_module.backbone.fc.register_forward_pre_hook(note)


class StepCheckpoint(ModelCheckpoint):
    """Saves after a number of steps, except where Lightning 2.6 cannot resume exactly, with or without this package.

    What it would save after the last step of an epoch is resumed in an epoch that Lightning does not count, and a
    second resume repeats the beginning of that epoch; the end of the epoch is saved in its own hook instead. And
    gradients that are still being accumulated are not in a checkpoint.
    """

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        loop = trainer.fit_loop.epoch_loop
        if not loop.batch_progress.is_last_batch and not loop._should_accumulate():
            super().on_train_batch_end(trainer, *args)


def pretend_slurm(folder: Path) -> None:
    """Make this process look like a job of SLURM; what ``scontrol`` is asked for goes to ``scontrol.txt``."""
    program = folder / "bin" / "scontrol"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f'#!/bin/sh\necho "$@" >> {folder}/scontrol.txt\n')
    program.chmod(0o755)
    os.environ["PATH"] = f"{program.parent}:{os.environ['PATH']}"
    variables = {"JOB_ID": "4321", "JOB_NAME": "drill", "NTASKS": "1", "PROCID": "0", "LOCALID": "0", "NODEID": "0"}
    os.environ.update({f"SLURM_{name}": value for name, value in variables.items()})


def run(job: dict[str, Any]) -> None:
    """Train, or go on training, in ``job["folder"]``.

    Args:
        job: ``folder``; ``blows``; ``figures``, whether to draw them; ``every``, optimizer steps between two
            checkpoints, None for ModelCheckpoint's defaults, ``"exception"`` for none but those after an exception, or
            0 for none at all; ``slurm``, whether to train as a job that is requeued; ``trainer`` and ``monitor``,
            options of those.
    """
    folder = Path(job["folder"])
    scratch = folder / "scratch"
    scratch.mkdir(exist_ok=True)
    tempfile.tempdir = str(scratch)  # where checkpoints are written before they are moved
    torch.use_deterministic_algorithms(True)
    seed_everything(11, verbose=False)
    slurm = bool(job.get("slurm"))
    if slurm:
        pretend_slurm(folder)
    module, blows, record = DrillClassifier(), Blows(job.get("blows", [])), Record(folder)
    dropout = StaticDropout(rate=0.5, every_n_steps=2, min_clips=4)
    monitor = BiasMonitor(
        layers=["backbone.layer1", "backbone.fc[input]"],
        num_clips=10,
        num_groups=3,
        figures=bool(job.get("figures")),
        verbose=False,
        **job.get("monitor", {}),
    )
    savers: list[ModelCheckpoint] = []
    every, place = job.get("every", 1), folder / "checkpoints"
    if every is None:
        savers = [ModelCheckpoint(place, save_last=True)]
    elif every == "exception":
        savers = [ModelCheckpoint(place, save_last=True, save_on_exception=True, every_n_epochs=100)]
    elif every:
        savers = [
            StepCheckpoint(place, save_last=True, save_top_k=0, every_n_train_steps=every),
            ModelCheckpoint(place, save_last=True, save_on_train_epoch_end=True),
        ]
    options: dict[str, Any] = {"max_epochs": 2, "val_check_interval": VALIDATE_EVERY} | job.get("trainer", {})
    trainer = Trainer(
        accelerator="cpu",
        devices=1,
        num_sanity_val_steps=1,
        default_root_dir=folder,
        callbacks=[dropout, monitor, blows, record, *savers],
        logger=CSVLogger(folder, name="logs", version=0),
        log_every_n_steps=1,
        enable_progress_bar=False,
        enable_model_summary=False,
        plugins=[SLURMEnvironment(auto_requeue=True)] if slurm else None,
        **options,
    )
    blows.watch_files()
    loaders = ResumableLoader(Clips(TRAIN), BATCH), DataLoader(Clips(VAL), BATCH)
    trainer.fit(module, *loaders, ckpt_path=None if slurm else "last")
    ends = {
        "weights": module.state_dict(),
        "optimizer": trainer.optimizers[0].state_dict(),
        "schedule": trainer.lr_scheduler_configs[0].scheduler.state_dict(),
        "dropout": dropout.state_dict(),
        "monitor": monitor.state_dict(),
        "history": monitor.history,
        "step": trainer.global_step,
        "epoch": trainer.current_epoch,
    }
    torch.save({**ends, "validated": record.validated, "counts": dict(blows.counts)}, folder / "result.pt")

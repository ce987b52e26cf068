# SPDX-License-Identifier: Apache-2.0
"""A day in the life, shortened: one long training that measures all the time, watched for leaks and hangs.

A small 3D-ResNet learns moving shapes from webm files, with 4 worker processes a loader, StaticDropout probing every 5
steps, and BiasMonitor measuring, drawing and writing every 25. Every minute a row: memory of the main process and of
its workers (unique set size: what would be free if the process ended), open file descriptors, and the longest time
without a finished batch. After the warm-up all of them have to stay flat; :func:`problems` says which do not.

Run: ``python benchmarks/soak.py`` (40 minutes), or ``--minutes 10`` for a first look. Needs psutil.
"""

from __future__ import annotations

import argparse
import faulthandler
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import torch
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.loggers import TensorBoardLogger
from parts.common import RESULTS, HelpFormatter, environment, report
from parts.options import add_device
from parts.trainers import place

from staticdropout.callbacks import BiasMonitor, ShuffledValidation, StaticDropout
from staticdropout.datamodules import MovingShapesDataModule
from staticdropout.lightning_modules import VideoClassifier

WARM_UP = 5.0  # minutes
HANG = 120.0  # seconds without a finished batch
# Growth from the median of the first rows after the warm-up to the median of the last ones.
# Files are judged by their sum: each clip on its way from a worker to the main process is one that changes hands.
LIMITS = {"main_mb": 30.0, "workers_mb": 30.0, "files": 0.0}


class Watch(Callback):
    """Takes a row every ``interval`` seconds and ends the process with all stacks where nothing moves any more."""

    def __init__(self, monitor: BiasMonitor, interval: float) -> None:
        self.monitor, self.interval = monitor, interval
        self.rows: list[dict[str, Any]] = []
        self.start = self.last_row = self.last_batch = time.monotonic()
        self.longest = 0.0
        self.workers: set[int] = set()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        now = time.monotonic()
        self._alive(now)
        if now - self.last_row >= self.interval:
            self.last_row = now
            self.rows.append(self._row(trainer, now))
            print(self.rows[-1], flush=True)

    def on_validation_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        self._alive(time.monotonic())

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        faulthandler.cancel_dump_traceback_later()

    def _alive(self, now: float) -> None:
        self.longest, self.last_batch = max(self.longest, now - self.last_batch), now
        faulthandler.dump_traceback_later(HANG, exit=True)

    def _row(self, trainer: Trainer, now: float) -> dict[str, Any]:
        main = psutil.Process()
        workers = main.children(recursive=True)
        replaced = len(self.workers - {worker.pid for worker in workers})
        self.workers = {worker.pid for worker in workers}
        main_files, workers_files = main.num_fds(), sum(worker.num_fds() for worker in workers)
        row = {
            "minute": round((now - self.start) / 60, 2),
            "step": trainer.global_step,
            "measurements": len(self.monitor.history),
            "main_mb": round(main.memory_info().rss / 2**20, 1),
            "workers_mb": round(sum(worker.memory_info().rss for worker in workers) / 2**20, 1),
            "workers_private_mb": round(sum(worker.memory_full_info().uss for worker in workers) / 2**20, 1),
            "main_files": main_files,
            "workers_files": workers_files,
            "files": main_files + workers_files,
            "workers": len(workers),
            "workers_replaced": replaced,
            "longest_gap_s": round(self.longest, 1),
        }
        self.longest = 0.0
        return row


def problems(rows: Sequence[Mapping[str, Any]], warm_up: float = WARM_UP) -> list[str]:
    """What grew after the warm-up, or was replaced; nothing where all is flat.

    Args:
        rows: as :class:`Watch` takes them.
        warm_up: minutes to leave out.
    """
    late = [row for row in rows if row["minute"] >= warm_up]
    if len(late) < 10:
        return [f"only {len(late)} rows after {warm_up} minutes: at least 10 are needed to judge"]
    found = []
    for name, limit in LIMITS.items():
        first, last = (statistics.median(float(row[name]) for row in part) for part in (late[:5], late[-5:]))
        if last - first > limit:
            found.append(f"{name} grew from {first:g} to {last:g}, allowed are {limit:g}")
    replaced = sum(int(row["workers_replaced"]) for row in late)
    if replaced:
        found.append(f"{replaced} worker processes ended")
    return found


def soak(minutes: float, interval: float, workers: int, folder: Path, device: str = "cpu") -> list[dict[str, Any]]:
    """Train for so many minutes and return the rows."""
    seed_everything(0, workers=True, verbose=False)
    data = MovingShapesDataModule(
        root=str(folder / "shapes"), num_train=400, num_val=64, num_classes=4, batch_size=8, num_workers=workers
    )
    module = VideoClassifier(
        model="resnet3d_r18",
        model_args={"width": 8, "block": "basic", "stem_kernel": 3, "temporal_kernels": [[3], [3], [3], [3]]},
        num_classes=4,
    )
    monitor = BiasMonitor(layers=["model.stem", "model.res*"], num_clips=32, verbose=False)
    watch = Watch(monitor, interval)
    trainer = Trainer(
        **place(device),
        max_epochs=-1,
        max_time={"seconds": round(60 * minutes)},
        val_check_interval=25,
        default_root_dir=folder,
        logger=TensorBoardLogger(folder),
        log_every_n_steps=5,
        callbacks=[StaticDropout(every_n_steps=5), monitor, ShuffledValidation(num_clips=32, verbose=False), watch],
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, datamodule=data)
    return watch.rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HelpFormatter)
    parser.add_argument("--minutes", type=float, default=40.0, help="of the training")
    parser.add_argument("--interval", type=float, default=60.0, help="seconds between two rows")
    parser.add_argument("--workers", type=int, default=4, help="worker processes of each loader")
    add_device(parser, "for the training: the memory that is watched is the host's")
    parser.add_argument("--output", type=Path, default=RESULTS / "soak.csv", help="the CSV")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        rows = soak(args.minutes, args.interval, args.workers, Path(folder), args.device)
    about = environment(args.device, workers_per_loader=args.workers, model="resnet3d_r18, width 8")
    report(rows, about, args.output)
    found = problems(rows)
    print("\n".join(found) or "Flat: no growth of memory or file descriptors after the warm-up, no hang.")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()

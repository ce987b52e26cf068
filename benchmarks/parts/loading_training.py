# SPDX-License-Identifier: Apache-2.0
"""The share of a training step in which a Trainer waits for its batch."""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from parts.common import spread, wait
from parts.trainers import trainer_for

from staticdropout.datamodules import SSv2DataModule
from staticdropout.lightning_modules import VideoClassifier

MEMORY = ("memory", 0)
WARMUP = 2  # steps: workers fill their queues, memory is allocated


class Step(NamedTuple):
    """Seconds of one step: all of it, and before its batch was there."""

    whole: float
    waiting: float


class Watch(Callback):
    """Times steps from the end of one batch to the end of the next."""

    def __init__(self, device: str) -> None:
        self.device, self.steps = device, list[Step]()
        self._end = self._start = 0.0

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Note when the batch is there, on its device."""
        wait(self.device)
        self._start = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note when the step is done."""
        wait(self.device)
        now = time.perf_counter()
        if self._end:
            self.steps.append(Step(now - self._end, self._start - self._end))
        self._end = now


class Repeated:
    """The same batches from memory, again and again."""

    def __init__(self, batches: Sequence[dict[str, Any]], length: int) -> None:
        self.batches, self.length = batches, length

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (dict(self.batches[i % len(self.batches)]) for i in range(self.length))


class Endless(Repeated):
    """A loader that starts again where it ends, so that an epoch has as many steps as are timed."""

    def __init__(self, loader: Any, length: int) -> None:
        super().__init__([], length)
        self.loader = loader

    def __iter__(self) -> Iterator[dict[str, Any]]:
        taken = 0
        while True:
            for batch in self.loader:
                if taken == self.length:
                    return
                taken += 1
                yield batch


def train(loader: Any, num_classes: int, device: str) -> list[Step]:
    """Train over a loader once and return the steps after the first few."""
    torch.manual_seed(0)
    watch = Watch(device)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of few workers
        trainer_for(device, [watch]).fit(VideoClassifier(num_classes=num_classes, model="resnet3d_r18"), loader)
    return watch.steps[WARMUP:]


def summary(rounds: Sequence[Sequence[Step]], memory: Sequence[Sequence[Step]]) -> dict[str, float]:
    """Median step in ms, the share of all time that was spent waiting, and the step over one from memory.

    Args:
        rounds: the steps of every round.
        memory: those of the training from memory, in the same rounds.
    """
    steps = [step for one in rounds for step in one]
    mine, others = ([statistics.median(step.whole for step in one) for one in side] for side in (rounds, memory))
    over = spread(mine, others)
    return {
        "step_ms": round(statistics.median(step.whole for step in steps) * 1000, 1),
        "wait_ms": round(1000 * sum(step.waiting for step in steps) / len(steps), 1),
        "waiting_share": round(sum(step.waiting for step in steps) / sum(step.whole for step in steps), 4),
        "over_memory": over["ratio"],
        "lowest": over["lowest"],
        "highest": over["highest"],
    }


def measure_training(
    modules: Mapping[tuple[str, int], SSv2DataModule], count: int, device: str, rounds: int = 2
) -> list[dict[str, Any]]:
    """Rows for every (reader, workers), and one for the same training with its clips in memory.

    Args:
        modules: by reader and number of workers.
        count: steps that are timed in a round.
        device: of the training.
        rounds: short trainings of each, in turns.
    """
    length, some = count + WARMUP + 1, next(iter(modules.values()))
    batches = [batch for batch, _ in zip(some.train_dataloader(), range(2), strict=False)]
    taken: dict[tuple[str, int], list[list[Step]]] = {key: [] for key in (MEMORY, *modules)}
    for _ in range(rounds):
        taken[MEMORY].append(train(Repeated(batches, length), some.num_classes, device))
        for key, data in modules.items():
            taken[key].append(train(Endless(data.train_dataloader(), length), data.num_classes, device))
    return [
        {"reader": reader, "workers": workers, **summary(taken[reader, workers], taken[MEMORY])}
        for reader, workers in taken
    ]

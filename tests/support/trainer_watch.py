# SPDX-License-Identifier: Apache-2.0
"""What the tests of Trainer features have in common: both callbacks watched from outside, and modules to watch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader
from toys import Clips, ToyClassifier

from staticdropout.callbacks import BiasMonitor, StaticDropout, VideoInputs

LAYER = "backbone.layer2"


class Note(NamedTuple):
    """That some clips were read by a callback."""

    step: int
    clips: list[str]


@dataclass(frozen=True)
class NotedInputs(VideoInputs):
    """Notes which clips a callback reads at which optimizer step."""

    notes: list[Note] = field(default_factory=list)

    def keys(self, batch: Any, size: int, trainer: Trainer, *args: Any, **options: Any) -> list[str]:
        names = super().keys(batch, size, trainer, *args, **options)
        self.notes.append(Note(trainer.global_step, names))
        return names


class Watched(NamedTuple):
    """Both callbacks and what they read."""

    dropout: StaticDropout
    monitor: BiasMonitor
    probed: list[Note]
    measured: list[Note]

    @property
    def probes(self) -> list[int]:
        """The optimizer steps at which scores were estimated."""
        return [note.step for note in self.probed]

    @property
    def masks(self) -> int:
        """How many masks were drawn."""
        assert self.dropout.dropout is not None
        return int(self.dropout.dropout.num_masks)

    @property
    def points(self) -> list[int]:
        """The optimizer steps at which bias was measured."""
        return [entry["step"] for entry in self.monitor.history]

    @property
    def clips(self) -> list[int]:
        """How many clips each measurement has."""
        return [int(next(iter(entry["layers"].values()))["num_clips"]) for entry in self.monitor.history]

    def scores(self) -> Tensor:
        """The static scores."""
        assert self.dropout.dropout is not None
        return self.dropout.dropout.scores

    def static(self) -> list[float]:
        """The static share at every point of the curve."""
        return [next(iter(entry["layers"].values()))["static"] for entry in self.monitor.history]


def watch(
    rate: float = 0.5,
    every_n_steps: int = 2,
    video: str | None = None,
    dropout: dict[str, Any] | None = None,
    **monitor: Any,
) -> Watched:
    """A StaticDropout and a BiasMonitor; ``monitor`` are options of the latter."""
    train, val = NotedInputs(video=video), NotedInputs(video=video)
    defaults: dict[str, Any] = {"layers": LAYER, "num_clips": 24, "num_groups": 4, "figures": False, "verbose": False}
    return Watched(
        StaticDropout(rate, every_n_steps=every_n_steps, inputs=train, **(dropout or {})),
        BiasMonitor(inputs=val, **(defaults | monitor)),
        train.notes,
        val.notes,
    )


def both(watched: Watched) -> list[Callback]:
    """Both callbacks, for a Trainer."""
    return [watched.dropout, watched.monitor]


def names(*numbers: Iterable[int]) -> list[str]:
    """Names of toy clips."""
    return [f"clip{number}" for part in numbers for number in part]


class Smooth(ToyClassifier):
    """The toy without dropout and zeros of its own: a zero at the classifier is a dropped channel."""

    def __init__(self, lr: float = 0.05) -> None:
        super().__init__(lr)
        self.backbone.layer2[2] = nn.Softplus()
        self.backbone.dropout.p = 0.0


class Still(Smooth):
    """A module that training does not change, so that every measurement of the same clips gives the same numbers."""

    def __init__(self) -> None:
        super().__init__(lr=0.0)
        for part in self.modules():
            if isinstance(part, nn.BatchNorm3d):
                part.momentum = 0.0


def seeded(kind: type[ToyClassifier] = Smooth) -> ToyClassifier:
    """A module with the same weights every time."""
    torch.manual_seed(0)
    return kind()


class AtClassifier(Callback):
    """Keeps what the classifier is given, after what was dropped, at every pass in training mode."""

    def __init__(self) -> None:
        self.seen: list[Tensor] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        def keep(module: nn.Module, args: tuple[Any, ...]) -> None:
            if module.training:
                self.seen.append(args[0].detach().clone())

        self._handle = pl_module.get_submodule("backbone.fc").register_forward_pre_hook(keep)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._handle.remove()

    @property
    def dropped(self) -> list[list[int]]:
        """How many channels of each clip were dropped, pass by pass."""
        return [(batch == 0).sum(1).tolist() for batch in self.seen]


class Counted(Clips):
    """Counts how often a clip is read."""

    def __init__(self, length: int) -> None:
        super().__init__(length)
        self.read = 0

    def __getitem__(self, index: int) -> dict[str, Any]:
        self.read += 1
        return super().__getitem__(index)


def in_order(length: int = 48, batch_size: int = 8) -> DataLoader[Any]:
    """A loader whose batches a test knows: the toy clips, not shuffled."""
    return DataLoader(Clips(length), batch_size)

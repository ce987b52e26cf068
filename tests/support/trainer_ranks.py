# SPDX-License-Identifier: Apache-2.0
"""Two processes that share their clips, by Lightning's samplers or by their own; run as a script, because it forks.

A fork takes a fraction of a second where a spawned process imports everything anew, but autograd refuses to run in a
fork of a process that has compiled a model, as the one that runs the tests may have.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.utils.data import DataLoader, DistributedSampler
from toys import Clips, make_trainer
from trainer_watch import AtClassifier, Still, Watched, both, watch

SAMPLERS = ("lightning", "own")


class Report(Callback):
    """Writes which clips a rank has read, what was dropped and what was measured."""

    def __init__(self, folder: Path, watched: Watched, recorder: AtClassifier) -> None:
        self.folder, self.watched, self.recorder = folder, watched, recorder

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        content = {
            "probed": [note.clips for note in self.watched.probed],
            "measured": [note.clips for note in self.watched.measured],
            "mask": (self.recorder.seen[0] == 0).tolist(),
            "static": self.watched.static(),
            "clips": self.watched.clips,
            "scores": self.watched.scores().tolist(),
        }
        (self.folder / f"{trainer.world_size}_{trainer.global_rank}.json").write_text(json.dumps(content))


class Ranked(Still):
    """Reads eight clips a step, however many processes share them."""

    def __init__(self, own: bool) -> None:
        super().__init__()
        self.own = own

    def _loader(self, length: int) -> DataLoader[Any]:
        data, world = Clips(length), self.trainer.world_size
        sampler: DistributedSampler[Any] | None = None
        if self.own:
            sampler = DistributedSampler(data, world, self.trainer.global_rank, shuffle=False)
        return DataLoader(data, 8 // world, sampler=sampler)

    def train_dataloader(self) -> DataLoader[Any]:
        return self._loader(16)

    def val_dataloader(self) -> DataLoader[Any]:
        return self._loader(24)


def run(folder: Path, devices: int, sampler: str) -> None:
    """Train for an epoch of two steps; each rank reports into a folder."""
    torch.manual_seed(0)
    watched, recorder = watch(every_n_steps=1, dropout={"seed": 7}), AtClassifier()
    own, strategy = sampler == "own", "ddp_fork" if devices > 1 else "auto"
    options: dict[str, Any] = {"devices": devices, "strategy": strategy, "use_distributed_sampler": not own}
    callbacks = [*both(watched), recorder, Report(folder, watched, recorder)]
    make_trainer(folder, callbacks, max_epochs=1, **options).fit(Ranked(own))


def reports(folder: Path, devices: int) -> list[dict[str, Any]]:
    """What the ranks report."""
    return [json.loads((folder / f"{devices}_{rank}.json").read_text()) for rank in range(devices)]


if __name__ == "__main__":
    torch.set_num_threads(1)
    for name in SAMPLERS:
        (Path(sys.argv[1]) / name).mkdir()
        run(Path(sys.argv[1]) / name, 2, name)

# SPDX-License-Identifier: Apache-2.0
"""Trainings with ShuffleConfusion by two processes; run as a script, because it forks (see ``trainer_ranks``)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from confusion_toys import KeepGradients, PlainClassifier, seeded_plain
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn
from torch.utils.data import DataLoader, DistributedSampler
from toys import Clips, ToyClassifier, make_trainer
from trainer_watch import NotedInputs, Smooth

from staticdropout.callbacks import ShuffleConfusion


class Spare(PlainClassifier):
    """Has a layer that its steps do not use."""

    def __init__(self) -> None:
        super().__init__()
        self.spare = nn.Linear(2, 2)


class Nameless(PlainClassifier):
    """Its batches have no names of clips."""

    def on_after_batch_transfer(self, batch: dict[str, Any], dataloader_idx: int) -> dict[str, Any]:
        return {name: batch[name] for name in ("video", "label")}


CASES: dict[str, tuple[type[ToyClassifier], dict[str, Any], dict[str, Any]]] = {
    "plain": (PlainClassifier, {}, {}),
    "without names": (Nameless, {}, {}),
    "accumulated": (PlainClassifier, {}, {"accumulate_grad_batches": 2}),
    "unused parameters": (Spare, {"find_unused_parameters": True}, {}),
    "static graph": (PlainClassifier, {"static_graph": True}, {}),
    "one bucket a layer": (PlainClassifier, {"bucket_cap_mb": 0.0001, "gradient_as_bucket_view": True}, {}),
    "batch normalisation": (Smooth, {}, {}),
}
"""Module, options of DDP and of the Trainer."""

COMPARED = [name for name in CASES if name != "batch normalisation"]
"""Those in which two processes compute what one does."""


class Report(Callback):
    """Saves what a rank ends with."""

    def __init__(self, folder: Path, keep: KeepGradients, inputs: NotedInputs) -> None:
        self.folder, self.keep, self.inputs = folder, keep, inputs

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        content = {
            "gradients": self.keep.steps,
            "weights": dict(pl_module.named_parameters()),
            "shuffled": [list(note) for note in self.inputs.notes],
        }
        torch.save(content, self.folder / f"{trainer.world_size}_{trainer.global_rank}.pt")


class Read(Callback):
    """Gives the module its loader: eight clips a step, however many processes share them."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        def loader() -> DataLoader[Any]:
            data, size = Clips(32), 8 // trainer.world_size // trainer.accumulate_grad_batches
            sampler: DistributedSampler[Any] = DistributedSampler(
                data, trainer.world_size, trainer.global_rank, shuffle=False
            )
            return DataLoader(data, size, sampler=sampler)

        pl_module.train_dataloader = loader  # type: ignore[method-assign]


def run(folder: Path, devices: int, case: str) -> None:
    """Train for four steps, of which every second has the term; each rank reports into a folder."""
    kind, ddp, options = CASES[case]
    keep, inputs = KeepGradients(), NotedInputs()
    strategy: Any = DDPStrategy(start_method="fork", process_group_backend="gloo", **ddp) if devices > 1 else "auto"
    trainer = make_trainer(
        folder,
        [ShuffleConfusion(1.0, 2, inputs, seed=7), keep, Read(), Report(folder, keep, inputs)],
        max_epochs=1,
        devices=devices,
        strategy=strategy,
        logger=CSVLogger(folder, name=f"log{devices}", version=""),
        log_every_n_steps=1,
        **options,
    )
    trainer.fit(seeded_plain(kind))


def reports(folder: Path, devices: int) -> list[dict[str, Any]]:
    """What the ranks report."""
    return [torch.load(folder / f"{devices}_{rank}.pt", weights_only=True) for rank in range(devices)]


def flat(gradients: dict[str, Tensor]) -> Tensor:
    """All gradients in one vector."""
    return torch.cat([value.flatten() for _, value in sorted(gradients.items())])


if __name__ == "__main__":
    torch.set_num_threads(1)
    for name in CASES:
        (Path(sys.argv[1]) / name).mkdir()
        run(Path(sys.argv[1]) / name, 2, name)

# SPDX-License-Identifier: Apache-2.0
"""The same training by one process or by two, and what each rank ends with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset
from torch.utils.data.distributed import DistributedSampler
from toys import CLASSES, Clips, ToyClassifier

from staticdropout.callbacks import BiasMonitor, ShuffledValidation, StaticDropout

TRAIN, BATCH = 20, 8
"""Two full batches and half a one."""


class PlainNet(nn.Module):
    """A network whose every clip passes alone: no batch normalisation, no dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.layer1 = nn.Sequential(nn.Conv3d(3, 8, 3, padding=1), nn.Tanh())
        self.layer2 = nn.Sequential(nn.Conv3d(8, 16, 3), nn.Tanh())
        self.fc = nn.Linear(16, CLASSES)

    def forward(self, video: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.layer2(self.layer1(video)).mean((2, 3, 4)))
        return logits


class OnFirstRank(IterableDataset[dict[str, Any]]):
    """Clips that only the first rank gets."""

    def __init__(self, length: int) -> None:
        self.clips = Clips(length)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        first = not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0
        return (self.clips[index] for index in range(len(self.clips) if first else 0))


class RankedClassifier(ToyClassifier):
    """Reads the same clips in the same step, however many processes share it."""

    allow_zero_length_dataloader_with_multiple_devices = True

    def __init__(self, lr: float, val: int, only_first: bool, plain: bool) -> None:
        super().__init__(lr)
        self.backbone.dropout.p = 0.0
        if plain:
            self.backbone = PlainNet()  # type: ignore[assignment]
        self.val, self.only_first = val, only_first

    def train_dataloader(self) -> DataLoader[dict[str, Any]]:
        clips, ranks = Clips(TRAIN), self.trainer.world_size
        # Lightning's own sampler would shuffle.
        sampler: DistributedSampler[dict[str, Any]] = DistributedSampler(
            clips, ranks, self.trainer.global_rank, shuffle=False
        )
        return DataLoader(clips, BATCH // ranks, sampler=sampler)

    def val_dataloader(self) -> DataLoader[dict[str, Any]]:
        if self.only_first:
            return DataLoader(OnFirstRank(self.val), BATCH)
        return DataLoader(Clips(self.val), BATCH // self.trainer.world_size)


class Report(Callback):
    """Saves what a rank ends with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.masks: list[Tensor] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, ToyClassifier)
        pl_module.backbone.fc.register_forward_pre_hook(
            lambda layer, args: self.masks.append(args[0] == 0) if layer.training else None
        )

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        dropout = next(callback for callback in callbacks if isinstance(callback, StaticDropout))
        monitors = [callback for callback in callbacks if isinstance(callback, BiasMonitor)]
        result = {
            "weights": pl_module.state_dict(),
            "dropout": dropout.state_dict(),
            "curves": {monitor.name: monitor.history for monitor in monitors},
            "metrics": {name: value for name, value in trainer.callback_metrics.items() if name.startswith("bias")},
            "shuffled": {name: value for name, value in trainer.callback_metrics.items() if "shuffled" in name},
            "masks": self.masks,
        }
        torch.save(result, self.folder / f"rank{trainer.global_rank}.pt")


def monitors(val: int) -> list[BiasMonitor]:
    """One that measures all clips, and one that stops within a batch, on one rank earlier than on the other."""
    layers = ["backbone.layer1", "backbone.layer2", "backbone.fc[input]"]
    return [
        BiasMonitor(layers, num_clips=count, num_groups=4, figures=False, verbose=False, name=name)
        for name, count in {"bias": val + 100, "bias_some": 11}.items()
    ]


def run(job: dict[str, Any]) -> None:
    """Train in ``job["folder"]``.

    Args:
        job: ``folder``; ``devices``; ``val``, number of validation clips; ``trained``: two epochs in float64 without
            dropout, else one epoch at learning rate 0 with StaticDropout; ``only_first``, whether only the first rank
            gets validation clips; ``normalised``, whether the network has batch normalisation.
    """
    torch.use_deterministic_algorithms(True)
    seed_everything(5, verbose=False)
    folder, devices, trained = Path(job["folder"]), int(job["devices"]), bool(job.get("trained"))
    only_first = bool(job.get("only_first"))
    module = RankedClassifier(0.05 if trained else 0.0, job["val"], only_first, not job.get("normalised"))
    callbacks = [
        StaticDropout(rate=0.0 if trained else 0.5, every_n_steps=1, min_clips=4),
        *monitors(job["val"]),
        *([] if only_first else [ShuffledValidation(verbose=False)]),
        Report(folder),
    ]
    trainer = Trainer(
        accelerator="cpu",
        devices=devices,
        strategy="ddp_fork" if devices > 1 else "auto",
        precision="64-true" if trained else "32-true",
        max_epochs=2 if trained else 1,
        val_check_interval=1,
        default_root_dir=folder,
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module)

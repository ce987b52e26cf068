# SPDX-License-Identifier: Apache-2.0
"""A small training in which everything that can be random is, and its continuation from a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate
from toys import Clips, ToyClassifier, make_trainer

from staticdropout.callbacks import RandomState
from staticdropout.datamodules.draws import Draw, drawn
from staticdropout.datamodules.loaders import make_loader
from staticdropout.datamodules.seeded_module import SeededDataModule


class NoisyClips(Dataset[Any]):
    """Clips whose brightness is drawn whenever one is asked for."""

    def __init__(self, length: int = 22) -> None:
        self.clips = Clips(length, 3, 4)

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, asked: Draw | int) -> dict[str, Any]:
        with drawn(asked) as index:
            item = self.clips[index]
            return item | {"video": item["video"] + 0.2 * torch.rand(())}


class NoisyData(SeededDataModule):
    """A data module with 5 batches of 4 in an epoch; 2 clips are left over."""

    def __init__(self, num_workers: int = 0) -> None:
        super().__init__()
        self.num_workers = num_workers

    def train_dataloader(self) -> Any:
        clips, seed = NoisyClips(), self.training_seed()
        return make_loader(clips, len(clips), 4, True, self.num_workers, default_collate, self.trainer, seed)

    def val_dataloader(self) -> DataLoader[Any]:
        return make_loader(Clips(8, 3, 4), 8, 4, False, self.num_workers, default_collate, self.trainer)


class NoisyToy(ToyClassifier):
    """Draws in its layers and on the device, and notes what is loaded for each step."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone.dropout.p = 0.5
        self.seen: list[tuple[Any, ...]] = []

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        if not self.trainer.training:
            return batch
        video = batch["video"]
        return batch | {"video": video + 0.1 * torch.randn(()), "loaded": float(video.double().sum())}

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        self.seen.append((self.trainer.current_epoch, batch_idx, *batch["id"], batch["loaded"]))
        return super().training_step(batch, batch_idx)


def train(
    folder: Path,
    callbacks: Sequence[Callback] = (),
    data: NoisyData | None = None,
    resume: Path | None = None,
    module: NoisyToy | None = None,
    seed: int = 3,
    **options: Any,
) -> tuple[NoisyToy, Trainer]:
    """Train, or go on from a checkpoint in a process with another seed."""
    seed_everything(seed if resume is None else seed + 1, verbose=False)
    fresh = NoisyToy()
    if module is not None:
        module.load_state_dict(fresh.state_dict())
    checkpoints = any(isinstance(callback, Checkpoint) for callback in callbacks)
    options = {"max_epochs": 3, "enable_checkpointing": checkpoints} | options
    trainer = make_trainer(folder, [RandomState(), *callbacks], **options)
    trainer.fit(module or fresh, datamodule=data or NoisyData(), ckpt_path=resume, weights_only=True)
    return module or fresh, trainer


def after_every_step(folder: Path) -> ModelCheckpoint:
    """Writes ``step=1.ckpt``, ``step=2.ckpt`` and so on."""
    return ModelCheckpoint(folder, "{step}", save_top_k=-1, every_n_train_steps=1, save_on_train_epoch_end=False)

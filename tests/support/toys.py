# SPDX-License-Identifier: Apache-2.0
"""Small LightningModules, data and Trainers for tests; none of them knows this package."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

CLASSES = 4


class Clips(Dataset[dict[str, Any]]):
    """Reproducible random clips; the label is in the brightness."""

    def __init__(self, length: int = 48, frames: int = 6, size: int = 12) -> None:
        self.length, self.shape = length, (3, frames, size, size)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Any]:
        generator = torch.Generator().manual_seed(index)
        video = 0.5 * torch.rand(self.shape, generator=generator) + 0.1 * (index % CLASSES)
        return {"video": video, "label": index % CLASSES, "id": f"clip{index}"}


class ToyNet(nn.Module):
    """Two convolutions with batch normalisation and dropout, and a linear classifier."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.layer1 = nn.Sequential(nn.Conv3d(3, 8, 3, padding=1), nn.BatchNorm3d(8), nn.ReLU(inplace=True))
        self.layer2 = nn.Sequential(nn.Conv3d(8, width, 3), nn.BatchNorm3d(width), nn.ReLU(inplace=True))
        self.dropout = nn.Dropout(0.2)
        self.fc = nn.Linear(width, CLASSES)

    def forward(self, video: Tensor) -> Tensor:
        features = self.layer2(self.layer1(video)).mean((2, 3, 4))
        logits: Tensor = self.fc(self.dropout(features))
        return logits


class ToyClassifier(LightningModule):
    """A video classifier as a stranger may write it."""

    def __init__(self, lr: float = 0.05) -> None:
        super().__init__()
        self.backbone = ToyNet()
        self.lr = lr

    def forward(self, video: Tensor) -> Tensor:
        logits: Tensor = self.backbone(video)
        return logits

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        loss = nn.functional.cross_entropy(self(batch["video"]), batch["label"])
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.log("val_loss", nn.functional.cross_entropy(self(batch["video"]), batch["label"]))

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=self.lr, momentum=0.9)
        return [optimizer], [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.8)]


class ResumableLoader(DataLoader[Any]):
    """Gives its batches in order, and goes on in the middle of an epoch after a resume."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._given = self._skip = 0

    def __iter__(self) -> Any:
        skip, self._skip = self._skip, 0
        self._given = 0
        for number, batch in enumerate(super().__iter__()):
            self._given = number + 1
            if number >= skip:
                yield batch

    def state_dict(self) -> dict[str, int]:
        return {"given": self._given}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self._skip = state["given"] % len(self)


def make_trainer(folder: Path | str, callbacks: Sequence[Callback] = (), **options: Any) -> Trainer:
    """A quiet Trainer on the CPU."""
    defaults: dict[str, Any] = {
        "accelerator": "cpu",
        "devices": 1,
        "max_epochs": 2,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "log_every_n_steps": 1,
    }
    return Trainer(default_root_dir=folder, callbacks=list(callbacks), **(defaults | options))


def loaders(train: int = 48, val: int = 24, batch_size: int = 8) -> tuple[DataLoader[Any], DataLoader[Any]]:
    """Loaders of toy clips: training shuffled, validation in order."""
    return DataLoader(Clips(train), batch_size, shuffle=True), DataLoader(Clips(val), batch_size)


def loader_of(items: Sequence[Any], batch_size: int | None = 1) -> DataLoader[Any]:
    """A loader of a list, in order; torch accepts any sequence, but its types ask for a Dataset."""
    return DataLoader(cast("Dataset[Any]", items), batch_size)


def fit(
    folder: Path | str, callbacks: Sequence[Callback] = (), module: LightningModule | None = None, **options: Any
) -> tuple[LightningModule, Trainer]:
    """Seed, build and fit; the same arguments give the same weights."""
    ckpt_path = options.pop("ckpt_path", None)
    seed_everything(3, verbose=False)
    module = module or ToyClassifier()
    trainer = make_trainer(folder, callbacks, **options)
    trainer.fit(module, *loaders(), ckpt_path=ckpt_path)
    return module, trainer


def same_weights(a: nn.Module, b: nn.Module) -> bool:
    """Whether two modules agree in every bit of their state."""
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def count_hooks(model: nn.Module) -> int:
    """Forward hooks left on a model."""
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())

# SPDX-License-Identifier: Apache-2.0
"""A project with torchvision's r3d_18: batches are tuples (clip, label), clips (B, C, T, H, W) in [0, 1]."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import LightningModule
from projects.moving_squares import CLASSES, Sizes, make_loaders
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchmetrics.classification import MulticlassAccuracy
from torchvision.models.video import r3d_18


class ActionRecognizer(LightningModule):
    """Classifies clips."""

    def __init__(self, lr: float = 0.01) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.model = r3d_18(num_classes=len(CLASSES))
        self.loss = nn.CrossEntropyLoss(label_smoothing=0.1)
        self.accuracy = MulticlassAccuracy(len(CLASSES))

    def forward(self, clip: Tensor) -> Tensor:
        logits: Tensor = self.model(clip)
        return logits

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        clip, label = batch
        loss: Tensor = self.loss(self(clip), label)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        clip, label = batch
        self.accuracy(self(clip), label)
        self.log("val_acc", self.accuracy, prog_bar=True)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=self.hparams["lr"], momentum=0.9)


def sample(frames: Tensor, label: int) -> tuple[Tensor, int]:
    """A clip (C, T, H, W) in [0, 1] and its class."""
    return frames.movedim(1, 0) / 255, label


def loaders(sizes: Sizes) -> tuple[DataLoader[Any], DataLoader[Any]]:
    """Training and validation data."""
    return make_loaders(sample, sizes)

# SPDX-License-Identifier: Apache-2.0
"""A project with torchvision's swin3d_t: batches are dataclasses of bytes (B, T, H, W, C), as decoded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import LightningModule
from projects.moving_squares import CLASSES, Sizes, make_loaders
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader
from torchvision.models.video import swin3d_t


@dataclass
class Clips:
    """A batch."""

    frames: Tensor
    labels: Tensor


class WindowedTransformer(LightningModule):
    """Classifies clips; pixels are scaled on the device, where that is cheap."""

    def __init__(self) -> None:
        super().__init__()
        self.net = swin3d_t(num_classes=len(CLASSES))

    def forward(self, frames: Tensor) -> Tensor:
        clip = frames.permute(0, 4, 1, 2, 3).float() / 255
        logits: Tensor = self.net((clip - 0.45) / 0.225)
        return logits

    def training_step(self, batch: Clips, batch_idx: int) -> Tensor:
        loss = cross_entropy(self(batch.frames), batch.labels)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: Clips, batch_idx: int) -> None:
        correct = self(batch.frames).argmax(1) == batch.labels
        self.log("val_acc", correct.float().mean(), prog_bar=True)

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), lr=1e-4)


def sample(frames: Tensor, label: int) -> tuple[Tensor, int]:
    """A clip (T, H, W, C) of bytes and its class."""
    return frames.movedim(1, 3), label


def collate(samples: list[tuple[Tensor, int]]) -> Clips:
    """A batch of samples."""
    frames, labels = zip(*samples, strict=True)
    return Clips(torch.stack(frames), torch.tensor(labels))


def loaders(sizes: Sizes) -> tuple[DataLoader[Any], DataLoader[Any]]:
    """Training and validation data."""
    return make_loaders(sample, sizes, collate=collate)

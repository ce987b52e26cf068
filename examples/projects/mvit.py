# SPDX-License-Identifier: Apache-2.0
"""A project with torchvision's mvit_v2_s and no ``forward``: batches are dicts with clips normalised for Kinetics."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import LightningModule
from projects.moving_squares import CLASSES, Sizes, make_loaders
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader
from torchvision.models.video import MViT, mvit_v2_s

MEAN, STD = (0.45, 0.45, 0.45), (0.225, 0.225, 0.225)


def small_mvit(frames: int, size: int) -> MViT:
    """The published network, for smaller clips: torchvision fixes the grid of tokens at 8x56x56."""
    model = mvit_v2_s(num_classes=len(CLASSES))
    model.pos_encoding.temporal_size, model.pos_encoding.spatial_size = frames // 2, (size // 4, size // 4)
    return model


class Transformer(LightningModule):
    """Classifies clips; the steps call ``self.model``."""

    def __init__(self, frames: int = 8, size: int = 32) -> None:
        super().__init__()
        self.model = small_mvit(frames, size)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        loss = cross_entropy(self.model(batch["clip"]), batch["target"])
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        correct = self.model(batch["clip"]).argmax(1) == batch["target"]
        self.log("val_acc", correct.float().mean(), prog_bar=True)

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), lr=1e-4)


def sample(frames: Tensor, label: int) -> dict[str, Any]:
    """A normalised clip (C, T, H, W) and its class."""
    mean, std = torch.tensor(MEAN).view(3, 1, 1, 1), torch.tensor(STD).view(3, 1, 1, 1)
    return {"clip": (frames.movedim(1, 0) / 255 - mean) / std, "target": label}


def loaders(sizes: Sizes) -> tuple[DataLoader[Any], DataLoader[Any]]:
    """Training and validation data."""
    return make_loaders(sample, sizes)

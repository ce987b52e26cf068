# SPDX-License-Identifier: Apache-2.0
"""A project with two pathways, as SlowFast has them: batches are ([slow, fast], label)."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import LightningModule
from projects.moving_squares import CLASSES, Sizes, make_loaders
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

ALPHA = 4
MEAN, STD = 0.45, 0.225


def stage(before: int, after: int, time: int) -> nn.Sequential:
    """A convolution that halves the picture."""
    conv = nn.Conv3d(before, after, (time, 3, 3), stride=(1, 2, 2), padding=(time // 2, 1, 1), bias=False)
    return nn.Sequential(conv, nn.BatchNorm3d(after), nn.ReLU(inplace=True))


class TwoPathways(nn.Module):
    """A wide pathway that sees few frames, a thin one that sees all, and a connection from the thin to the wide."""

    def __init__(self, slow: int = 32, fast: int = 8) -> None:
        super().__init__()
        self.slow1, self.fast1 = stage(3, slow, 1), stage(3, fast, 5)
        self.lateral = nn.Conv3d(fast, 2 * fast, (5, 1, 1), stride=(ALPHA, 1, 1), padding=(2, 0, 0))
        self.slow2, self.fast2 = stage(slow + 2 * fast, 2 * slow, 1), stage(fast, 2 * fast, 3)
        self.slow3, self.fast3 = stage(2 * slow, 4 * slow, 3), stage(2 * fast, 4 * fast, 3)
        self.dropout = nn.Dropout(0.2)
        self.projection = nn.Linear(4 * slow + 4 * fast, len(CLASSES))

    def forward(self, pathways: list[Tensor]) -> Tensor:
        slow, fast = pathways
        slow, fast = self.slow1(slow), self.fast1(fast)
        slow = torch.cat([slow, self.lateral(fast)], dim=1)
        slow, fast = self.slow3(self.slow2(slow)), self.fast3(self.fast2(fast))
        logits: Tensor = self.projection(self.dropout(torch.cat([slow.mean((2, 3, 4)), fast.mean((2, 3, 4))], dim=1)))
        return logits


class SlowFastClassifier(LightningModule):
    """Classifies clips; the steps call ``self.model``."""

    def __init__(self) -> None:
        super().__init__()
        self.model = TwoPathways()

    def training_step(self, batch: tuple[list[Tensor], Tensor], batch_idx: int) -> Tensor:
        pathways, label = batch
        loss = cross_entropy(self.model(pathways), label)
        self.log("train_loss", loss, batch_size=len(label))
        return loss

    def validation_step(self, batch: tuple[list[Tensor], Tensor], batch_idx: int) -> None:
        pathways, label = batch
        correct = self.model(pathways).argmax(1) == label
        self.log("val_acc", correct.float().mean(), prog_bar=True, batch_size=len(label))

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), lr=3e-3)


def sample(frames: Tensor, label: int) -> tuple[list[Tensor], int]:
    """Slow and fast pathway, (C, T / 4, H, W) and (C, T, H, W), and the class."""
    fast = (frames.movedim(1, 0) / 255 - MEAN) / STD
    time = fast.shape[1]
    slow = fast.index_select(1, torch.linspace(0, time - 1, time // ALPHA).long())
    return [slow, fast], label


def loaders(sizes: Sizes) -> tuple[DataLoader[Any], DataLoader[Any]]:
    """Training and validation data."""
    return make_loaders(sample, sizes, frames=16)

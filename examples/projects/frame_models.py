# SPDX-License-Identifier: Apache-2.0
"""A project with a timm ResNet on every frame, averaged or read by a GRU: ImageNet-normalised clips (B, T, C, H, W)."""

from __future__ import annotations

from typing import Any

import timm
import torch
from lightning.pytorch import LightningModule
from projects.moving_squares import CLASSES, Sizes, make_loaders
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class FrameModel(nn.Module):
    """Features of single frames, put together over time by their mean or by a GRU, and classified."""

    def __init__(self, head: str = "mean", backbone: str = "resnet10t") -> None:
        super().__init__()
        self.backbone = timm.create_model(backbone, pretrained=False, num_classes=0)
        width: Any = self.backbone.num_features
        self.gru = nn.GRU(width, 64, batch_first=True) if head == "gru" else None
        self.fc = nn.Linear(64 if head == "gru" else width, len(CLASSES))

    def forward(self, clip: Tensor) -> Tensor:
        batch, time, channels, height, width = clip.shape
        features = self.backbone(clip.view(batch * time, channels, height, width)).view(batch, time, -1)
        features = features.mean(1) if self.gru is None else self.gru(features)[0][:, -1]
        logits: Tensor = self.fc(features)
        return logits


class FrameClassifier(LightningModule):
    """Classifies clips; the steps call ``self.model``."""

    def __init__(self, head: str = "mean") -> None:
        super().__init__()
        self.model = FrameModel(head)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        clip, label = batch
        loss = cross_entropy(self.model(clip), label)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        clip, label = batch
        self.log("val_acc", (self.model(clip).argmax(1) == label).float().mean(), prog_bar=True)

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


def sample(frames: Tensor, label: int) -> tuple[Tensor, int]:
    """A normalised clip (T, C, H, W) and its class."""
    return (frames / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1), label


def loaders(sizes: Sizes) -> tuple[DataLoader[Any], DataLoader[Any]]:
    """Training and validation data."""
    return make_loaders(sample, sizes)

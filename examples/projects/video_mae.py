# SPDX-License-Identifier: Apache-2.0
"""A project in the style of Hugging Face: ``pixel_values`` (B, T, C, H, W) by keyword, an output with ``logits``."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, fields
from typing import Any

import torch
from lightning.pytorch import LightningModule
from projects.moving_squares import CLASSES, Sizes, make_loaders
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass
class ClassifierOutput(OrderedDict[str, Any]):
    """What the model returns: a dict that can be read by attribute as well, as in ``transformers``."""

    loss: Tensor | None = None
    logits: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None

    def __post_init__(self) -> None:
        """Fill the dict."""
        self.update({part.name: value for part in fields(self) if (value := getattr(self, part.name)) is not None})


class VideoEncoder(nn.Module):
    """Tokens of 2x8x8 pixels, and a transformer on them."""

    def __init__(self, frames: int, size: int, width: int, depth: int) -> None:
        super().__init__()
        self.patch_embeddings = nn.Conv3d(3, width, (2, 8, 8), stride=(2, 8, 8))
        self.position_embeddings = nn.Parameter(0.02 * torch.randn(1, frames // 2 * (size // 8) ** 2, width))
        self.layer = nn.ModuleList(
            nn.TransformerEncoderLayer(width, 4, 4 * width, dropout=0.0, batch_first=True, norm_first=True)
            for _ in range(depth)
        )

    def forward(self, pixel_values: Tensor) -> Tensor:
        tokens: Tensor = self.patch_embeddings(pixel_values.transpose(1, 2)).flatten(2).transpose(1, 2)
        tokens = tokens + self.position_embeddings
        for layer in self.layer:
            tokens = layer(tokens)
        return tokens


class VideoForClassification(nn.Module):
    """Takes many optional arguments, most of them unused in training."""

    def __init__(self, frames: int = 8, size: int = 32, width: int = 96, depth: int = 3) -> None:
        super().__init__()
        self.encoder = VideoEncoder(frames, size, width, depth)
        self.fc_norm = nn.LayerNorm(width)
        self.classifier = nn.Linear(width, len(CLASSES))

    def forward(
        self,
        head_mask: Tensor | None = None,
        pixel_values: Tensor | None = None,
        labels: Tensor | None = None,
        return_dict: bool = True,
    ) -> ClassifierOutput:
        if pixel_values is None:
            raise ValueError("You have to specify pixel_values")
        logits = self.classifier(self.fc_norm(self.encoder(pixel_values).mean(1)))
        return ClassifierOutput(cross_entropy(logits, labels) if labels is not None else None, logits)


class HuggingFaceProject(LightningModule):
    """Classifies clips; the steps hand the whole batch to the model."""

    def __init__(self, frames: int = 8, size: int = 32) -> None:
        super().__init__()
        self.model = VideoForClassification(frames, size)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        loss: Tensor = self.model(**batch).loss
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        outputs = self.model(**batch)
        self.log("val_acc", (outputs.logits.argmax(-1) == batch["labels"]).float().mean(), prog_bar=True)

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


def sample(frames: Tensor, label: int) -> dict[str, Any]:
    """What an image processor of ``transformers`` gives, and the class."""
    normalised = (frames / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    return {"pixel_values": normalised, "labels": label}


def loaders(sizes: Sizes) -> tuple[DataLoader[Any], DataLoader[Any]]:
    """Training and validation data."""
    return make_loaders(sample, sizes)

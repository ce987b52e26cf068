# SPDX-License-Identifier: Apache-2.0
"""A project that segments what moves from two frames: the model takes both and gives a mask."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import LightningModule
from projects.moving_squares import Sizes, moving_square
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, interpolate
from torch.utils.data import DataLoader, Dataset


def block(before: int, after: int, stride: int) -> nn.Sequential:
    """A convolution."""
    conv = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(after), nn.ReLU(inplace=True))


class PairNet(nn.Module):
    """Looks at each frame on its own, compares them, and paints a mask of the first."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.stem = block(3, width, 2)
        self.compare = nn.Sequential(block(2 * width, 2 * width, 1), block(2 * width, 2 * width, 1))
        self.paint = nn.Conv2d(2 * width, 1, 1)

    def forward(self, frame: Tensor, next_frame: Tensor) -> Tensor:
        compared = self.compare(torch.cat([self.stem(frame), self.stem(next_frame)], dim=1))
        return interpolate(self.paint(compared), scale_factor=2, mode="bilinear")


class MotionSegmenter(LightningModule):
    """Segments the square that moves."""

    def __init__(self) -> None:
        super().__init__()
        self.model = PairNet()

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        logits = self.model(batch["frame"], batch["next_frame"])
        loss = binary_cross_entropy_with_logits(logits, batch["mask"])
        self.log("train_loss", loss, batch_size=len(logits))
        return loss

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        found, mask = self.model(batch["frame"], batch["next_frame"]) > 0, batch["mask"] > 0
        overlap = (found & mask).sum() / (found | mask).sum().clamp(min=1)
        self.log("val_iou", overlap, prog_bar=True, batch_size=len(mask))

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), lr=3e-3)


class FramePairs(Dataset[dict[str, Any]]):
    """Two frames of a clip and the mask of the first."""

    def __init__(self, length: int, size: int = 32, first: int = 0) -> None:
        self.length, self.size, self.first = length, size, first

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Any]:
        frames, masks, _ = moving_square(self.first + index, 8, self.size)
        start = index % 6
        pair = frames[start : start + 2] / 255
        return {"frame": pair[0], "next_frame": pair[1], "mask": masks[start], "name": f"{self.first + index}"}


def loaders(sizes: Sizes) -> tuple[DataLoader[Any], DataLoader[Any]]:
    """Training and validation data."""
    train, val = FramePairs(sizes.train, sizes.pixels), FramePairs(sizes.val, sizes.pixels, first=100_000)
    return DataLoader(train, sizes.batch, shuffle=True), DataLoader(val, sizes.batch)

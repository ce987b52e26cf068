# SPDX-License-Identifier: Apache-2.0
"""A small two-stream network and pictures whose object shows in the flow alone; neither knows this package."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, default_collate

HEIGHT, WIDTH = 24, 32


class MovingSquares(Dataset[dict[str, Any]]):
    """Sequences of frames: a random picture, a flow image that is white but for a coloured square, its mask."""

    def __init__(self, sequences: int = 3, frames: int = 4) -> None:
        self.places = [(sequence, frame) for sequence in range(sequences) for frame in range(frames)]
        self.frames = frames

    def __len__(self) -> int:
        return len(self.places)

    def mask(self, sequence: int, frame: int) -> Tensor:
        mask = torch.zeros(1, HEIGHT, WIDTH, dtype=torch.uint8)
        mask[:, 4 + sequence : 14 + sequence, 3 + 2 * frame : 15 + 2 * frame] = 1
        return mask

    def annotations(self) -> Iterator[np.ndarray]:
        return (self.mask(*place)[0].numpy() for place in self.places)

    def __getitem__(self, index: int) -> dict[str, Any]:
        sequence, frame = self.places[index]
        generator = torch.Generator().manual_seed(index)
        mask = self.mask(sequence, frame)
        colour = torch.tensor([255, 60, 20], dtype=torch.uint8).view(3, 1, 1)
        return {
            "image": torch.randint(0, 256, (3, HEIGHT, WIDTH), generator=generator, dtype=torch.uint8),
            "flow": torch.where(mask.bool(), colour, torch.tensor(255, dtype=torch.uint8)),
            "mask": mask,
            "id": f"square_{sequence}/{frame:05d}",
            "sequence": f"square_{sequence}",
            "position": frame,
            "num_frames": self.frames,
            "annotation": mask[0].repeat_interleave(2, 0).repeat_interleave(2, 1),
        }


def collate(items: list[dict[str, Any]]) -> dict[str, Any]:
    annotations = [item.pop("annotation") for item in items]
    return {**default_collate(items), "annotation": annotations}


def squares(batch_size: int = 4, sequences: int = 3, frames: int = 4) -> DataLoader[Any]:
    return DataLoader(MovingSquares(sequences, frames), batch_size, collate_fn=collate)


class TwoStreams(nn.Module):
    """A convolution on each stream, and one on both; gives a dict of foreground logits."""

    def __init__(self, channels: int = 6) -> None:
        super().__init__()
        self.appearance = nn.Sequential(nn.Conv2d(3, channels, 5, padding=2), nn.BatchNorm2d(channels), nn.ReLU())
        self.motion = nn.Sequential(nn.Conv2d(3, channels, 5, padding=2), nn.BatchNorm2d(channels), nn.ReLU())
        self.fuse = nn.Conv2d(2 * channels, channels, 1)
        self.head = nn.Conv2d(channels, 1, 1)

    def forward(self, image: Tensor, flow: Tensor) -> dict[str, Tensor]:
        features = self.fuse(torch.cat([self.appearance(image), self.motion(flow)], 1)).relu()
        return {"mask": self.head(features)}


class StrangersSegmenter(LightningModule):
    """A two-stream LightningModule as a stranger may write it."""

    def __init__(self) -> None:
        super().__init__()
        self.net = TwoStreams()

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return batch | {name: batch[name].float() / 255 for name in ("image", "flow")}

    def forward(self, image: Tensor, flow: Tensor) -> dict[str, Tensor]:
        outputs: dict[str, Tensor] = self.net(image, flow)
        return outputs

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        logits = self(batch["image"], batch["flow"])["mask"]
        return nn.functional.binary_cross_entropy_with_logits(logits, batch["mask"].float())

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Any]:
        logits = self(batch["image"], batch["flow"])["mask"]
        return {"id": batch["id"], "probability": list(logits[:, 0].sigmoid())}

    test_step = predict_step = validation_step

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), 0.02)

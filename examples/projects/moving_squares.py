# SPDX-License-Identifier: Apache-2.0
"""Small generated clips: a textured square moves left, right, up or down over a textured background."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor
from torch.nn.functional import interpolate
from torch.utils.data import DataLoader, Dataset

CLASSES = ("left", "right", "up", "down")
STEPS = {"left": (0, -1), "right": (0, 1), "up": (-1, 0), "down": (1, 0)}


class Sizes(NamedTuple):
    """How much data: clips to train on and to validate on, clips in a batch, pixels along a side."""

    train: int = 64
    val: int = 24
    batch: int = 8
    pixels: int = 32


def texture(size: int, dark: float, light: float, generator: Generator) -> Tensor:
    """A coloured texture (3, size, size) between two shades."""
    coarse = torch.rand(1, 3, 4, 4, generator=generator)
    fine = torch.rand(3, size, size, generator=generator)
    mixed = 0.7 * interpolate(coarse, size=(size, size), mode="bilinear")[0] + 0.3 * fine
    return dark + (light - dark) * mixed


def moving_square(index: int, frames: int, size: int) -> tuple[Tensor, Tensor, int]:
    """Clip number ``index``: frames (T, 3, size, size) uint8, masks of the square (T, 1, size, size), class number."""
    generator = Generator().manual_seed(index)
    label = index % len(CLASSES)
    side = size // 3
    background, square = texture(size, 0.0, 0.5, generator), texture(side, 0.5, 1.0, generator)
    # It moves all the way from one side to the other, at a random place across its way.
    way = torch.linspace(0, size - side, frames).round().long().tolist()
    across = int(torch.randint(0, size - side + 1, (1,), generator=generator))
    dy, dx = STEPS[CLASSES[label]]
    clip = background.repeat(frames, 1, 1, 1)
    masks = torch.zeros(frames, 1, size, size)
    for frame in range(frames):
        along = way[frame] if dx + dy > 0 else way[-1 - frame]
        top, left = (across, along) if dx else (along, across)
        clip[frame, :, top : top + side, left : left + side] = square
        masks[frame, :, top : top + side, left : left + side] = 1
    return (clip * 255).byte(), masks, label


class MovingSquares(Dataset[Any]):
    """Clips as ``transform(frames, label)`` makes them: (T, 3, H, W) uint8 frames and a class number go in."""

    def __init__(
        self, length: int, transform: Callable[[Tensor, int], Any], frames: int = 8, size: int = 32, first: int = 0
    ) -> None:
        self.length, self.transform, self.frames, self.size, self.first = length, transform, frames, size, first

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Any:
        frames, _, label = moving_square(self.first + index, self.frames, self.size)
        return self.transform(frames, label)


def make_loaders(
    transform: Callable[[Tensor, int], Any], sizes: Sizes, frames: int = 8, collate: Callable[..., Any] | None = None
) -> tuple[DataLoader[Any], DataLoader[Any]]:
    """Loaders of different clips for training and validation."""
    train = MovingSquares(sizes.train, transform, frames, sizes.pixels)
    val = MovingSquares(sizes.val, transform, frames, sizes.pixels, first=100_000)
    return (
        DataLoader(train, sizes.batch, shuffle=True, collate_fn=collate),
        DataLoader(val, sizes.batch, collate_fn=collate),
    )

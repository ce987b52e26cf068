# SPDX-License-Identifier: Apache-2.0
"""A small drifting clip, and painted keyframes of it in the layout of the official code."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F


def drifting_clip(frames: int = 8, size: int = 48) -> Tensor:
    """A colourful texture that moves by (1, 2) pixels a frame: (3, T, size, size) in [0, 1]."""
    generator = torch.Generator().manual_seed(0)
    scene = torch.zeros(3, 3 * size, 3 * size)
    for cells in (6, 18, 50):
        coarse = torch.rand(1, 3, cells, cells, generator=generator)
        scene += F.interpolate(coarse, 3 * size, mode="bicubic")[0] / cells**0.5
    scene = (scene - scene.amin()) / (scene.amax() - scene.amin())
    return torch.stack([scene[:, t : t + size, 2 * t : 2 * t + size] for t in range(frames)], dim=1)


def save_picture(path: Path, picture: Tensor) -> None:
    """Write a picture (3, H, W) or a mask (H, W) in [0, 1]."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = (picture.float().clamp(0, 1) * 255).round().byte()
    Image.fromarray((pixels.permute(1, 2, 0) if pixels.ndim == 3 else pixels).numpy()).save(path)


def load_picture(path: Path) -> Tensor:
    """Read a picture as (3, H, W) in [0, 255]."""
    return torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1).float()


def write_keyframes(
    folder: Path,
    clip: Tensor,
    painted: Tensor,
    at: Sequence[int] = (3,),
    mask: Tensor | None = None,
    with_clip: bool = True,
    source: str = "input",
) -> Path:
    """Write ``toy_train`` with some frames and their painted twins, and ``toy_gen`` with all frames.

    Returns:
        ``toy_train``.
    """
    train = folder / "toy_train"
    for number in at:
        save_picture(train / source / f"{number:03d}.png", clip[:, number])
        save_picture(train / "output" / f"{number:03d}.png", painted[:, number])
        if mask is not None:
            save_picture(train / "mask" / f"{number:03d}.png", mask)
    for number in range(clip.shape[1] if with_clip else 0):
        save_picture(folder / "toy_gen" / source / f"{number:03d}.png", clip[:, number])
    return train

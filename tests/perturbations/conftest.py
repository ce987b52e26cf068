# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2.functional import center_crop, resize

DATA = Path(os.environ.get("STATICDROPOUT_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))


def textured_frame(seed: int, size: int) -> Tensor:
    """A colourful picture (3, size, size) with shapes of several sizes, in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    picture = torch.zeros(3, size, size)
    for cells in (3, 12, size // 4):
        coarse = torch.rand(1, 3, cells, cells, generator=generator)
        picture += F.interpolate(coarse, size, mode="bicubic")[0] / cells**0.5
    return (picture - picture.amin()) / (picture.amax() - picture.amin())


@pytest.fixture(scope="session")
def textured_clips() -> Tensor:
    """Two clips (2, 3, 5, 72, 80) of textures that drift."""
    pictures = [textured_frame(seed, 96) for seed in range(2)]
    clips = [torch.stack([p[:, t : t + 72, 2 * t : 2 * t + 80] for t in range(5)], dim=1) for p in pictures]
    return torch.stack(clips)


@pytest.fixture(scope="session")
def generated_frames() -> list[Tensor]:
    return [textured_frame(seed, 160) for seed in range(4)]


@pytest.fixture(scope="session")
def real_frames() -> list[Tensor]:
    """The middle frame of each real clip, its shorter side resized to 256, cropped to a square."""
    folder = DATA / "clips"
    if not folder.is_dir():
        pytest.skip(f"no real clips at {folder}: set STATICDROPOUT_TEST_DATA")
    decord = pytest.importorskip("decord", reason="decord has no wheel for this machine")
    frames = []
    for path in sorted(folder.glob("*")):
        reader = decord.VideoReader(str(path))
        frame = torch.from_numpy(reader[len(reader) // 2].asnumpy()).permute(2, 0, 1) / 255
        frames.append(center_crop(resize(frame, [256], antialias=True), [256, 256]).clamp(0, 1))
    return frames

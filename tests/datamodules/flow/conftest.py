# SPDX-License-Identifier: Apache-2.0
"""Small textured frames whose motion is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

Sequence = tuple[str, list[Path]]


def texture(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """A picture (H, W, 3) with detail at several scales."""
    rng = np.random.default_rng(seed)
    layers = [cv2.GaussianBlur(rng.normal(size=(height, width, 3)), (0, 0), sigma) * sigma for sigma in (1.0, 3.0, 9.0)]
    return np.clip(128 + 60 * sum(layers), 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def draw_texture() -> Callable[..., NDArray[np.uint8]]:
    return texture


@pytest.fixture
def make_sequence(tmp_path: Path) -> Callable[..., Sequence]:
    """Write frames of a texture that moves to the right by a pixel a frame."""

    def make(name: str = "dog", length: int = 4, height: int = 30, width: int = 40, seed: int = 0) -> Sequence:
        picture = texture(height, width + length, seed)
        files = [tmp_path / "frames" / name / f"{i:05d}.png" for i in range(length)]
        files[0].parent.mkdir(parents=True)
        for i, file in enumerate(files):
            Image.fromarray(picture[:, length - i : length - i + width]).save(file)
        return name, files

    return make


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Small networks gain nothing by several threads, and on a busy machine wait for them."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)

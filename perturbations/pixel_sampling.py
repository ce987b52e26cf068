# SPDX-License-Identifier: Apache-2.0
"""Looking up values between pixels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ("pixel_positions", "sample_bilinear")


def pixel_positions(height: int, width: int, device: torch.device | None = None) -> Tensor:
    """Return the position of each pixel of a picture: (2, H, W), first x to the right, then y downwards.

    Example:
        >>> pixel_positions(2, 3)[:, 1, 2]
        tensor([2., 1.])
    """
    y = torch.arange(height, dtype=torch.float32, device=device)
    x = torch.arange(width, dtype=torch.float32, device=device)
    return torch.stack(torch.meshgrid(x, y, indexing="xy"))


def sample_bilinear(pictures: Tensor, positions: Tensor) -> Tensor:
    """Return the values of pictures at positions between their pixels.

    Args:
        pictures: (N, C, H, W), floats.
        positions: (N, 2, h, w) in pixels, x and y; positions outside are moved to the border.

    Returns:
        (N, C, h, w): the bilinear mean of the four pixels around each position.

    Example:
        >>> picture = torch.tensor([[[[0.0, 1.0], [2.0, 3.0]]]])
        >>> sample_bilinear(picture, torch.tensor([0.5, 1.0]).view(1, 2, 1, 1))
        tensor([[[[2.5000]]]])
    """
    height, width = pictures.shape[2:]
    last = positions.new_tensor((max(1, width - 1), max(1, height - 1)))
    grid = positions.permute(0, 2, 3, 1) / last * 2 - 1
    return F.grid_sample(pictures, grid, mode="bilinear", padding_mode="border", align_corners=True)

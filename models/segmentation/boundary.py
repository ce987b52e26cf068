# SPDX-License-Identifier: Apache-2.0
"""MATNet's boundary maps: one from each stage, and one from all of them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from .resizing import resize
from .two_stream import STAGES

__all__ = ("BoundaryHead", "BoundaryMaps")


class BoundaryHead(nn.Module):
    """Logits of the object's boundary from the features of one stage.

    Args:
        channels: channels of the features.
        width: channels inside; 64 in MATNet.

    Shape:
        ``(B, channels, H, W)`` to ``(B, 1, H, W)``.

    Example:
        >>> BoundaryHead(32)(torch.rand(1, 32, 6, 8)).shape
        torch.Size([1, 1, 6, 8])
    """

    def __init__(self, channels: int, width: int = 64) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, width, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.conv3 = nn.Conv2d(width, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Find the boundary."""
        x = self.conv1(self.bn1(x)).relu()
        x = self.conv2(self.bn2(x)).relu()
        logits: Tensor = self.conv3(x)
        return logits


class BoundaryMaps(nn.Module):
    """A boundary head for each stage, and their fusion at the size of the mask.

    Args:
        channels: channels of the features by stage.
        width: channels inside the heads.

    Source:
        tfzhou/MATNet ``modules/MATNet.py`` (``bdry2`` to ``bdry5``, ``concat``).

    Example:
        >>> maps = BoundaryMaps({2: 8, 3: 8, 4: 8, 5: 8}, width=4)
        >>> features = {stage: torch.rand(1, 8, 128 // 2**stage, 128 // 2**stage) for stage in (2, 3, 4, 5)}
        >>> coarse, full = maps(features, (128, 128))
        >>> coarse[5].shape, full["boundary5"].shape
        (torch.Size([1, 1, 4, 4]), torch.Size([1, 1, 128, 128]))
        >>> sorted(full)
        ['boundary', 'boundary2', 'boundary3', 'boundary4', 'boundary5']
    """

    def __init__(self, channels: Mapping[int, int], width: int = 64) -> None:
        super().__init__()
        for stage in STAGES:
            self.add_module(f"stage{stage}", BoundaryHead(channels[stage], width))
        self.fuse = nn.Conv2d(len(STAGES), 1, 3, padding=1)

    def forward(
        self, features: Mapping[int, Tensor], size: tuple[int, int]
    ) -> tuple[dict[int, Tensor], dict[str, Tensor]]:
        """Find the boundaries.

        Args:
            features: by stage.
            size: height and width of the mask.

        Returns:
            The logits by stage at the stage's own size, which the mask decoder takes; and all logits at ``size`` by
            name: ``boundary`` (fused) and ``boundary2`` to ``boundary5``.
        """
        coarse = {stage: self.get_submodule(f"stage{stage}")(features[stage]) for stage in STAGES}
        full = {stage: resize(logits, size) for stage, logits in coarse.items()}
        fused = self.fuse(torch.cat([full[stage] for stage in STAGES], dim=1))
        return coarse, {"boundary": fused} | {f"boundary{stage}": logits for stage, logits in full.items()}

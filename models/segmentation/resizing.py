# SPDX-License-Identifier: Apache-2.0
"""Bilinear resizing of feature maps and logits."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F

__all__ = ("resize",)


def resize(x: Tensor, size: Sequence[int], align_corners: bool = False) -> Tensor:
    """Resize ``(B, C, h, w)`` to height and width ``size``, bilinearly.

    Args:
        x: the maps.
        size: the new height and width.
        align_corners: the corners' centres keep their values: True throughout RTNet, False in MATNet and FusionSeg.

    Example:
        >>> import torch
        >>> resize(torch.rand(1, 2, 3, 4), (6, 8)).shape
        torch.Size([1, 2, 6, 8])
    """
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=align_corners)

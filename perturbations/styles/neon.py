# SPDX-License-Identifier: Apache-2.0
"""The style ``neon``: luminance in a few steps of glaring colour."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from .base import FrameStyle
from .colours import palette
from .filters import gaussian_blur, luminance, ramp
from .registry import register_style

__all__ = ("Neon",)

# Glaring and dark colours in turn: the order of tones of the source is lost, its isophotes become outlines.
_GLOW = ("ff2e88", "12062e", "00e5d0", "2b0a5e", "ffd60a", "7a0f6b", "0d1b4c")


@register_style("neon")
@dataclass(frozen=True)
class Neon(FrameStyle):
    """Neon light: luminance in soft steps, each with a saturated colour, glaring and dark in turn.

    Args:
        blur: standard deviation of the blur in pixels, which keeps noise from crossing the steps.
        sharpness: steepness of the steps; 0 would be no steps.

    Example:
        >>> import torch
        >>> Neon()(torch.ones(1, 3, 1, 4, 4))[0, :, 0, 0, 0].mul(255).round().int().tolist()
        [13, 27, 76]
    """

    name: ClassVar[str] = "neon"

    blur: float = 1.0
    sharpness: float = 4.0

    def style_frames(self, frames: Tensor, seed: int) -> Tensor:
        """Style float32 frames (N, 3, H, W) in [0, 1]."""
        steps = len(_GLOW) - 1
        light = gaussian_blur(luminance(frames), self.blur).mul_(steps)
        floor = light.floor().clamp_(max=steps - 1)
        part = (light - floor).sub_(0.5).mul_(self.sharpness).tanh_().mul_(0.5 / math.tanh(self.sharpness / 2))
        return ramp(floor.add_(part).add_(0.5), range(steps + 1), palette(_GLOW, seed))

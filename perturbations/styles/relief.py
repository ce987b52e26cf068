# SPDX-License-Identifier: Apache-2.0
"""The style ``relief``: the scene pressed into clay, under two lights."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from .base import FrameStyle
from .colours import palette, seed_turns, turn_hue
from .filters import core, difference, gaussian_blur, luminance, ramp
from .registry import register_style

__all__ = ("Relief",)

_CLAY = ("3b1420", "8a3324", "c8693f", "f0b878", "fff4dc")
_KNOTS = (-1.0, -0.45, 0.0, 0.45, 1.0)
_SIDE_LIGHT = (-0.14, 0.02, 0.26)


@register_style("relief")
@dataclass(frozen=True)
class Relief(FrameStyle):
    """A clay relief: slopes of luminance toward a light become bright, slopes away from it dark; flats are bare clay.

    A second, bluish light falls from the side. Slopes are divided by their strength around the pixel, so that faint
    and strong edges stand out alike and the strength of a texture no longer tells what it was. Slopes within the dead
    zone are dropped: they are mostly noise.

    Args:
        blur: standard deviation of the blur before the slope is taken, in pixels.
        dead_zone: slopes, in brightness per pixel, that leave the clay flat.
        spread: standard deviation in pixels of the surroundings that a slope is compared with.
        floor: slope that is added to the strength of the surroundings, so that faint slopes stay faint.
        gain: height of the relief.
        light: direction the light comes from, in full turns; the default is the upper left.

    Example:
        >>> Relief()(torch.ones(1, 3, 1, 4, 4))[0, :, 0, 0, 0].mul(255).round().int().tolist()
        [200, 105, 63]
    """

    name: ClassVar[str] = "relief"

    blur: float = 1.2
    dead_zone: float = 0.004
    spread: float = 4.0
    floor: float = 0.03
    gain: float = 1.4
    light: float = 0.618

    def style_frames(self, frames: Tensor, seed: int) -> Tensor:
        """Style float32 frames (N, 3, H, W) in [0, 1]."""
        height = gaussian_blur(luminance(frames), self.blur)
        angle = 2 * math.pi * (self.light + seed_turns(seed))
        front = core(difference(height, math.cos(angle), math.sin(angle)), self.dead_zone)
        side = core(difference(height, -math.sin(angle), math.cos(angle)), self.dead_zone)
        strength = gaussian_blur(front * front + side * side, self.spread).sqrt_().add_(self.floor)
        clay = ramp(front.div_(strength).mul_(self.gain).tanh_(), _KNOTS, palette(_CLAY, seed))
        glow = turn_hue(_SIDE_LIGHT, seed_turns(seed))
        side.div_(strength).mul_(self.gain).tanh_()
        return clay.add_(side * torch.tensor(glow, dtype=side.dtype, device=side.device).view(1, 3, 1, 1))

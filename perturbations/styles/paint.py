# SPDX-License-Identifier: Apache-2.0
"""The style ``paint``: flat strokes of paint in other colours."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from .base import FrameStyle
from .colours import Colour, palette, seed_turns, turn_hue
from .filters import box_blur, gaussian_blur, luminance, ring_sum
from .registry import register_style

__all__ = ("Paint",)

# Colours of dark, middle and bright grey: neither light nor hue follows the source.
_TONES = ("6a0572", "f9a03f", "0b6e99")


@register_style("paint")
@dataclass(frozen=True)
class Paint(FrameStyle):
    """Oil paint: fine texture is smoothed away inside objects, and a table of 3x3x3 colours repaints what is left.

    The smoothing is a soft Kuwahara filter: each pixel becomes a mean over nine overlapping windows around it, in
    which windows of little contrast count most, so that edges stay where they are. The table gives dark, middle and
    bright grey colours of their own, and turns the chroma of the source nearly to its complement.

    Args:
        blur: standard deviation of the first blur in pixels, which takes out sensor and codec noise.
        radius: windows have a side of ``2 * radius + 1`` pixels.
        distance: distance between the centres of the windows in pixels.
        contrast: variance of luminance beyond which a window loses its weight.
        chroma: how much of the source's chroma is kept.
        chroma_turn: by how much its hue is turned, in full turns.

    Example:
        >>> Paint()(torch.zeros(1, 3, 1, 4, 4))[0, :, 0, 0, 0].mul(255).round().int().tolist()
        [106, 5, 114]
    """

    name: ClassVar[str] = "paint"

    blur: float = 0.6
    radius: int = 2
    distance: int = 2
    contrast: float = 3e-4
    chroma: float = 0.8
    chroma_turn: float = 0.667

    def style_frames(self, frames: Tensor, seed: int) -> Tensor:
        """Style float32 frames (N, 3, H, W) in [0, 1]."""
        smooth = self._strokes(gaussian_blur(frames, self.blur))
        nodes = torch.tensor(self._table(seed), dtype=frames.dtype, device=frames.device).view(3, 3, 3, 3)
        # As three pictures of (green, red), one for each blue, and between those along blue: sampling in three
        # dimensions at once gives the same, but PyTorch does it one pixel at a time on a CPU.
        number, _, height, width = smooth.shape
        pictures = nodes.permute(0, 3, 1, 2).reshape(1, 9, 3, 3).expand(number, -1, -1, -1)
        grid = smooth[:, :2].mul(2).sub_(1).permute(0, 2, 3, 1)  # grid_sample takes the coordinates x first
        sampled = F.grid_sample(pictures, grid, mode="bilinear", padding_mode="border", align_corners=True)
        low, middle, high = sampled.view(number, 3, 3, height, width).unbind(1)
        blue = smooth[:, 2:].mul_(2)
        return low.lerp(middle, blue.clamp(0, 1)).lerp_(high, blue.sub_(1).clamp_(0, 1))

    def _strokes(self, frames: Tensor) -> Tensor:
        means = box_blur(frames, self.radius)
        light = luminance(frames)
        variance = box_blur(light * light, self.radius).sub_(box_blur(light, self.radius).square_()).clamp_(min=0)
        calm = variance.div_(self.contrast).add_(1)
        weights = (calm * calm * calm).reciprocal_()  # not pow: its last bit depends on the position in memory
        return ring_sum(means * weights, self.distance) / ring_sum(weights, self.distance)

    def _table(self, seed: int) -> list[Colour]:
        tones = palette(_TONES, seed)
        nodes = []
        for blue, green, red in product((0.0, 0.5, 1.0), repeat=3):
            level = (red + green + blue) / 3
            low = 0 if level < 0.5 else 1
            part = 2 * level - low
            chroma = turn_hue((red - level, green - level, blue - level), self.chroma_turn + seed_turns(seed))
            values = [
                min(max((1 - part) * dark + part * bright + self.chroma * extra, 0.0), 1.0)
                for dark, bright, extra in zip(tones[low], tones[low + 1], chroma, strict=True)
            ]
            nodes.append((values[0], values[1], values[2]))
        return nodes

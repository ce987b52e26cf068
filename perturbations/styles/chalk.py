# SPDX-License-Identifier: Apache-2.0
"""The style ``chalk``: white and rose lines on a green board."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from .base import FrameStyle
from .colours import palette
from .filters import blend, core, gaussian_blur, luminance, ramp
from .registry import register_style

__all__ = ("Chalk",)

_BOARD = ("45a57a", "06302f")  # for dark and bright source: the wash is inverted
_CHALKS = ("fff3d6", "f7a8b8")  # for the bright and the dark side of an edge


@register_style("chalk")
@dataclass(frozen=True)
class Chalk(FrameStyle):
    """A chalk drawing: the edges of the source as light lines on a dark board with a faint inverted wash.

    Lines are the difference of two Gaussian blurs, squashed by tanh, so that weak and strong edges become alike.
    Differences within the dead zone are dropped: they are mostly noise, which would flicker.

    Args:
        fine: standard deviation of the finer blur in pixels.
        coarse: that of the coarser blur, after the finer one (1 and 2.29 make the usual pair 1 and 2.5).
        dead_zone: differences of brightness that leave no chalk.
        gain: brightness of the lines for one unit of difference, before they are squashed.

    Example:
        >>> import torch
        >>> Chalk()(torch.ones(1, 3, 1, 4, 4))[0, :, 0, 0, 0].mul(255).round().int().tolist()
        [6, 48, 47]
    """

    name: ClassVar[str] = "chalk"

    fine: float = 1.0
    coarse: float = 2.29
    dead_zone: float = 0.01
    gain: float = 14.0

    def style_frames(self, frames: Tensor, seed: int) -> Tensor:
        """Style float32 frames (N, 3, H, W) in [0, 1]."""
        fine = gaussian_blur(luminance(frames), self.fine)
        coarse = gaussian_blur(fine, self.coarse)
        lines = core(fine - coarse, self.dead_zone).mul_(self.gain).tanh_()
        bright, dark = palette(_CHALKS, seed)
        board = ramp(coarse, (0.0, 1.0), palette(_BOARD, seed))
        return blend(blend(board, bright, lines.clamp(min=0)), dark, lines.neg_().clamp_(min=0))

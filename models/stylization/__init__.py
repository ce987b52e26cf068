# SPDX-License-Identifier: Apache-2.0
"""Networks of few-shot patch-based stylization, after Texler et al. 2020: from a painted keyframe to a style."""

from __future__ import annotations

from .discriminator import PatchDiscriminator
from .few_shot_style import FewShotStyle
from .generator import PatchGenerator
from .loading import load_generator
from .perceptual import PerceptualDistance

__all__ = ("FewShotStyle", "PatchDiscriminator", "PatchGenerator", "PerceptualDistance", "load_generator")

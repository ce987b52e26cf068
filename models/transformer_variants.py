# SPDX-License-Identifier: Apache-2.0
"""The named video transformers.

Every argument of the class can still be given and wins. Stochastic depth and dropout are off by default; the official
configs train MViT with ``drop_path=0.2, dropout=0.5`` and TimeSformer with ``drop_path=0.1``.
"""

from __future__ import annotations

from typing import Any

from .mvit import MViT
from .registry import register_model
from .timesformer import TimeSformer

__all__ = ("mvit_b_16x4", "timesformer_divst_8x32")


@register_model(
    frames=16,
    stride=4,
    params=36_610_672,
    gmacs=70.80,
    source="facebookresearch/SlowFast configs/Kinetics/MVIT_B_16x4_CONV.yaml",
    top1={"K400": 78.4},
    checkpoint="K400_MVIT_B_16x4_CONV.pyth, facebookresearch/SlowFast MODEL_ZOO.md",
)
def mvit_b_16x4(num_classes: int, **kwargs: Any) -> MViT:
    """MViT-B (version 1, convolutional pooling); takes either form of its last two blocks from a checkpoint.

    The released weights and Kowal et al. have ``last_key_pooling=False``: 36,599,536 parameters with 400 classes, 70.71
    billion multiply-adds.
    """
    return MViT(num_classes, **kwargs)


@register_model(
    frames=8,
    stride=32,
    params=121_566_352,
    gmacs=196.05,
    source="facebookresearch/TimeSformer configs/Kinetics/TimeSformer_divST_8x32_224.yaml",
    top1={"K400": 77.9, "SSv2": 59.1},
    checkpoint="TimeSformer_divST_8x32_224_K400.pyth, facebookresearch/TimeSformer README.md",
)
def timesformer_divst_8x32(num_classes: int, **kwargs: Any) -> TimeSformer:
    """TimeSformer: attention over time, then over space; joint and space-only attention by the argument attention."""
    return TimeSformer(num_classes, **kwargs)

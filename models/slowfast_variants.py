# SPDX-License-Identifier: Apache-2.0
"""The named SlowFast networks.

Each stands for one official config, in whose name the numbers are those of the slow pathway: ``4x16`` are 4 frames at a
distance of 16. ``frames`` and ``stride`` of the registry are those of the clip that the module takes, which are the
fast pathway's. Every argument of :class:`SlowFast` can still be given and wins. Dropout is off by default; the official
configs train with ``dropout=0.5``.
"""

from __future__ import annotations

from typing import Any

from .registry import register_model
from .slowfast import SlowFast

__all__ = (
    "slowfast_r18_4x16",
    "slowfast_r18_8x8",
    "slowfast_r50_4x16",
    "slowfast_r50_8x8",
    "slowfast_r50_16x8",
    "slowfast_r101_8x8",
    "slowfast_r101_16x8",
)

SLOWFAST = "facebookresearch/SlowFast configs/"
PAPER = "YorkUCVIL/Static-Dynamic-Interpretability models/ar_models/SlowFast/configs/"
ZOO = "facebookresearch/SlowFast MODEL_ZOO.md"
HUB = "pytorchvideo/models/hub/slowfast.py"
FIRST_SIX = (3,) * 6 + (1,) * 17  # of the 23 blocks of res4, those that see time in R101-50-50


@register_model(
    frames=32,
    stride=2,
    params=34_480_216,
    gmacs=27.82,
    source=SLOWFAST + "Kinetics/SLOWFAST_4x16_R50.yaml",
    top1={"K400": 75.6},
    checkpoint="SLOWFAST_4x16_R50.pkl, " + ZOO,
)
def slowfast_r50_4x16(num_classes: int, **kwargs: Any) -> SlowFast:
    """SlowFast, 4 slow and 32 fast frames."""
    return SlowFast(num_classes, **{"alpha": 8, "fusion_kernel": 5, **kwargs})


@register_model(
    frames=32,
    stride=2,
    params=34_566_488,
    gmacs=50.58,
    source=SLOWFAST + "Kinetics/SLOWFAST_8x8_R50.yaml",
    top1={"K400": 77.0, "SSv2": 61.7},
    checkpoint="SLOWFAST_8x8_R50.pkl, " + ZOO + " (SSv2: PyTorchVideo's model_zoo.md)",
)
def slowfast_r50_8x8(num_classes: int, **kwargs: Any) -> SlowFast:
    """SlowFast, 8 slow and 32 fast frames."""
    return SlowFast(num_classes, **{"alpha": 4, "fusion_kernel": 7, **kwargs})


@register_model(
    frames=64,
    stride=2,
    params=34_566_488,
    gmacs=101.16,
    source=SLOWFAST + "SSv2/SLOWFAST_16x8_R50.yaml",
    top1={"SSv2": 63.0},
    checkpoint="SSv2/SLOWFAST_16x8_R50.pkl, " + ZOO,
)
def slowfast_r50_16x8(num_classes: int, **kwargs: Any) -> SlowFast:
    """SlowFast, 16 slow and 64 fast frames."""
    return slowfast_r50_8x8(num_classes, **kwargs)


@register_model(
    frames=32,
    stride=2,
    params=20_502_072,
    gmacs=17.43,
    source=PAPER + "Kinetics/SLOWFAST_4x16_R18.yaml",
)
def slowfast_r18_4x16(num_classes: int, **kwargs: Any) -> SlowFast:
    """SlowFast of depth 18 (bottlenecks, as in the paper's config), 4 slow and 32 fast frames."""
    return slowfast_r50_4x16(num_classes, **{"depth": 18, **kwargs})


@register_model(
    frames=32,
    stride=2,
    params=20_588_344,
    gmacs=31.12,
    source=SLOWFAST + "Kinetics/SLOWFAST_8x8_R50.yaml with RESNET.DEPTH 18 and NUM_BLOCK_TEMP_KERNEL 2",
)
def slowfast_r18_8x8(num_classes: int, **kwargs: Any) -> SlowFast:
    """SlowFast of depth 18 (bottlenecks), 8 slow and 32 fast frames."""
    return slowfast_r50_8x8(num_classes, **{"depth": 18, **kwargs})


@register_model(
    frames=32,
    stride=2,
    params=62_826_968,
    gmacs=96.79,
    source=HUB + ":slowfast_r101",
    top1={"K400": 77.9},
    checkpoint="SLOWFAST_8x8_R101.pyth, PyTorchVideo's model_zoo.md",
)
def slowfast_r101_8x8(num_classes: int, **kwargs: Any) -> SlowFast:
    """SlowFast of depth 101, 8 slow and 32 fast frames."""
    return SlowFast(num_classes, **{"depth": 101, "alpha": 4, "fusion_kernel": 5, **kwargs})


@register_model(
    frames=64,
    stride=2,
    params=53_774_808,
    gmacs=163.89,
    source=HUB + ":slowfast_16x8_r101_50_50",
    top1={"K400": 78.7},
    checkpoint="SLOWFAST_16x8_R101_50_50.pyth, PyTorchVideo's model_zoo.md",
)
def slowfast_r101_16x8(num_classes: int, **kwargs: Any) -> SlowFast:
    """SlowFast of depth 101 that sees time in the first 6 blocks of res4 alone, 16 slow and 64 fast frames."""
    kernels = {"slow_kernels": ((1,), (1,), FIRST_SIX, (3,)), "fast_kernels": ((3,), (3,), FIRST_SIX, (3,))}
    return slowfast_r101_8x8(num_classes, **{**kernels, **kwargs})

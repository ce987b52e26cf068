# SPDX-License-Identifier: Apache-2.0
"""The named members of the 3-D ResNet family.

Each stands for one official config; every argument of :class:`ResNet3d` can still be given and wins. Dropout is off by
default; most official configs train with ``dropout=0.5``. Accuracies are those of the pages named beside them: 3 crops
x 10 clips on Kinetics-400, 3 crops on Something-Something v2.
"""

from __future__ import annotations

from typing import Any

from .registry import register_model
from .resnet3d import ResNet3d

__all__ = (
    "c2d_r50",
    "fastonly_r50",
    "i3d_nln_r50",
    "i3d_r50",
    "resnet3d_r18",
    "resnet3d_r50",
    "slowonly_r18",
    "slowonly_r50",
    "slowonly_r50_4x16",
    "slowonly_r101",
)

SLOWFAST = "facebookresearch/SlowFast configs/Kinetics/"
PAPER = "YorkUCVIL/Static-Dynamic-Interpretability models/ar_models/SlowFast/configs/Kinetics/"
ZOO = "facebookresearch/SlowFast MODEL_ZOO.md"
SPATIAL_ONLY = ((1,), (1,), (1,), (1,))
LATE_TEMPORAL = ((1,), (1,), (3,), (3,))
ALL_TEMPORAL = ((3,), (3,), (3,), (3,))
ALTERNATING = ((3,), (3, 1), (3, 1), (1, 3))


@register_model(
    frames=8,
    stride=8,
    params=24_327_632,
    gmacs=19.62,
    source=SLOWFAST + "C2D_8x8_R50.yaml",
    top1={"K400": 71.5},
    checkpoint="C2D_8x8_R50.pyth, PyTorchVideo's model_zoo.md (the file in SlowFast's zoo is reported to be another)",
)
def c2d_r50(num_classes: int, **kwargs: Any) -> ResNet3d:
    """C2D: a 2-D ResNet-50 on every frame; time meets in two poolings only."""
    return ResNet3d(num_classes, **{"temporal_kernels": SPATIAL_ONLY, "pool_after_res2": True, **kwargs})


@register_model(
    frames=8,
    stride=8,
    params=28_043_472,
    gmacs=28.54,
    source=SLOWFAST + "I3D_8x8_R50.yaml",
    top1={"K400": 73.5},
    checkpoint="I3D_8x8_R50.pkl, " + ZOO,
)
def i3d_r50(num_classes: int, **kwargs: Any) -> ResNet3d:
    """I3D: temporal kernels in the stem and in every other block."""
    options = {"stem_kernel": 5, "temporal_kernels": ALTERNATING, "pool_after_res2": True, **kwargs}
    return ResNet3d(num_classes, **options)


@register_model(
    frames=8,
    stride=8,
    params=35_401_936,
    gmacs=36.68,
    source=SLOWFAST + "I3D_NLN_8x8_R50.yaml",
    top1={"K400": 74.0},
    checkpoint="I3D_NLN_8x8_R50.pkl, " + ZOO,
)
def i3d_nln_r50(num_classes: int, **kwargs: Any) -> ResNet3d:
    """I3D with five non-local blocks in res3 and res4."""
    return i3d_r50(num_classes, **{"nonlocal_blocks": ((), (1, 3), (1, 3, 5), ()), **kwargs})


@register_model(
    frames=8,
    stride=8,
    params=32_454_096,
    gmacs=41.92,
    source=SLOWFAST + "SLOW_8x8_R50.yaml",
    top1={"K400": 74.8, "SSv2": 60.0},
    checkpoint="SLOWONLY_8x8_R50.pkl, " + ZOO + " (SSv2: PyTorchVideo's model_zoo.md)",
)
def slowonly_r50(num_classes: int, **kwargs: Any) -> ResNet3d:
    """SlowOnly: the slow pathway of SlowFast, temporal kernels in res4 and res5."""
    return ResNet3d(num_classes, **{"temporal_kernels": LATE_TEMPORAL, **kwargs})


@register_model(
    frames=8,
    stride=8,
    params=18_697_936,
    gmacs=23.77,
    source=SLOWFAST + "SLOW_8x8_R50.yaml with RESNET.DEPTH 18 and NUM_BLOCK_TEMP_KERNEL 2",
)
def slowonly_r18(num_classes: int, **kwargs: Any) -> ResNet3d:
    """SlowOnly of depth 18, of bottlenecks by default.

    No SlowOnly config of this depth is published; the paper's one R18 (``SLOWFAST_4x16_R18``) has bottleneck blocks.
    Whether its text means these or a classic ResNet-18 is open: ``block="basic"`` gives the latter.
    """
    return slowonly_r50(num_classes, **{"depth": 18, **kwargs})


@register_model(
    frames=4,
    stride=16,
    params=32_454_096,
    gmacs=20.96,
    source=SLOWFAST + "SLOW_4x16_R50.yaml",
    top1={"K400": 72.7},
    checkpoint="SLOWONLY_4x16_R50.pkl, " + ZOO,
)
def slowonly_r50_4x16(num_classes: int, **kwargs: Any) -> ResNet3d:
    """SlowOnly on half as many frames."""
    return slowonly_r50(num_classes, **kwargs)


@register_model(
    frames=8,
    stride=8,
    params=60_359_120,
    gmacs=85.67,
    source="the slow pathway of the SlowFast paper, arXiv:1812.03982",
)
def slowonly_r101(num_classes: int, **kwargs: Any) -> ResNet3d:
    """SlowOnly of depth 101, temporal kernels in all 23 blocks of res4.

    SlowFast's own R101 (``configs/AVA/SLOWFAST_32x2_R101_50_50.yaml``) keeps them in the first 6 of these blocks: give
    ``temporal_kernels=((1,), (1,), (3,) * 6 + (1,) * 17, (3,))`` for such weights.
    """
    return slowonly_r50(num_classes, **{"depth": 101, **kwargs})


@register_model(frames=32, stride=2, params=616_952, gmacs=5.37, source=PAPER + "FAST_8x8_R50.yaml")
def fastonly_r50(num_classes: int, **kwargs: Any) -> ResNet3d:
    """FastOnly: the fast pathway of SlowFast, an eighth as wide, temporal kernels everywhere."""
    options = {"width": 8, "stem_kernel": 5, "temporal_kernels": ALL_TEMPORAL, **kwargs}
    return ResNet3d(num_classes, **options)


@register_model(frames=8, stride=8, params=18_697_936, gmacs=23.77, source="the same network as slowonly_r18")
def resnet3d_r18(num_classes: int, **kwargs: Any) -> ResNet3d:
    """The paper's "3D-ResNet" of depth 18: the SlowOnly architecture, of bottlenecks by default (see slowonly_r18)."""
    return slowonly_r18(num_classes, **kwargs)


@register_model(frames=8, stride=8, params=32_454_096, gmacs=41.92, source="the same network as slowonly_r50")
def resnet3d_r50(num_classes: int, **kwargs: Any) -> ResNet3d:
    """The paper's "3D-ResNet" of depth 50: the SlowOnly architecture."""
    return slowonly_r50(num_classes, **kwargs)

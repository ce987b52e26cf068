# SPDX-License-Identifier: Apache-2.0
"""The named X3D networks. XS, S and M are one network on clips of different sizes.

Every argument of :class:`X3D` can still be given and wins. Dropout is off by default; the official configs train with
``dropout=0.5``. Multiply-adds include those of normalisations, which the published ones do not.
"""

from __future__ import annotations

from typing import Any

from .registry import register_model
from .x3d import X3D

__all__ = ("x3d_l", "x3d_m", "x3d_s", "x3d_xs")

KINETICS = "facebookresearch/SlowFast configs/Kinetics/"
ZOO = "facebookresearch/SlowFast MODEL_ZOO.md"


@register_model(
    frames=4,
    stride=12,
    crop=160,
    params=3_794_322,
    gmacs=0.63,
    source=KINETICS + "X3D_XS.yaml",
    top1={"K400": 69.5},
    checkpoint="x3d_xs.pyth, " + ZOO,
)
def x3d_xs(num_classes: int, **kwargs: Any) -> X3D:
    """X3D-XS: depthwise 3-D convolutions, clips of 4 frames."""
    return X3D(num_classes, **kwargs)


@register_model(
    frames=13,
    stride=6,
    crop=160,
    params=3_794_322,
    gmacs=2.03,
    source=KINETICS + "X3D_S.yaml",
    top1={"K400": 73.5},
    checkpoint="x3d_s.pyth, " + ZOO,
)
def x3d_s(num_classes: int, **kwargs: Any) -> X3D:
    """X3D-S: the same network, clips of 13 frames."""
    return X3D(num_classes, **kwargs)


@register_model(
    frames=16,
    stride=5,
    params=3_794_322,
    gmacs=4.90,
    source=KINETICS + "X3D_M.yaml",
    top1={"K400": 76.2},
    checkpoint="x3d_m.pyth, " + ZOO,
)
def x3d_m(num_classes: int, **kwargs: Any) -> X3D:
    """X3D-M: the same network, clips of 16 larger frames."""
    return X3D(num_classes, **kwargs)


@register_model(
    frames=16,
    stride=5,
    crop=312,
    params=6_153_432,
    gmacs=18.93,
    source=KINETICS + "X3D_L.yaml",
    top1={"K400": 77.5},
    checkpoint="x3d_l.pyth, " + ZOO,
)
def x3d_l(num_classes: int, **kwargs: Any) -> X3D:
    """X3D-L: twice as many blocks, clips of 16 still larger frames."""
    return X3D(num_classes, **{"blocks": (5, 10, 25, 15), **kwargs})

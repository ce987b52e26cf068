# SPDX-License-Identifier: Apache-2.0
"""The released RTNets by name. Every argument of :class:`RTNet` can still be given and wins.

Multiply-adds are those of one clip, which is two frames, at the official 384x672.
"""

from __future__ import annotations

from typing import Any

from ..registry import register_model
from .rtnet import RX50_ATTENTION, RTNet

__all__ = ("rtnet34", "rtnet_rx50")

RTNET = "OliverRensu/RTNet "


@register_model(
    task="segmentation", frames=2, stride=1, crop=384, params=105_549_876, gmacs=193.56, source=RTNET + "model_R34.py"
)
def rtnet34(**kwargs: Any) -> RTNet:
    """RTNet on ResNet-34: two frames of a video and their flow, reciprocal transformations."""
    return RTNet(**kwargs)


@register_model(
    task="segmentation", frames=2, stride=1, crop=384, params=277_236_532, gmacs=585.04, source=RTNET + "model_RX50.py"
)
def rtnet_rx50(**kwargs: Any) -> RTNet:
    """RTNet on ResNeXt-50, whose attention is applied transposed in all stages."""
    options: dict[str, Any] = {
        "backbone": "resnext50_32x4d",
        "attention": RX50_ATTENTION,
        "bridges": (64, 128, 256),
        "bottom_width": 512,
        **kwargs,
    }
    return RTNet(**options)

# SPDX-License-Identifier: Apache-2.0
"""Two-stream networks for video object segmentation: MATNet and its variants, FusionSeg, and the parts they share."""

from .backbones import ResNetBackbone
from .cross_connections import CONNECTIONS, make_connection
from .fusion import FUSIONS, make_fusion
from .fusionseg import FusionSeg
from .matnet import MATNet
from .rtnet import RTNet
from .two_stream import StageFeatures, TwoStreamEncoder

__all__ = (
    "CONNECTIONS",
    "FUSIONS",
    "FusionSeg",
    "MATNet",
    "RTNet",
    "ResNetBackbone",
    "StageFeatures",
    "TwoStreamEncoder",
    "make_connection",
    "make_fusion",
)

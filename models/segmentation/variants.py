# SPDX-License-Identifier: Apache-2.0
"""The networks of Kowal et al., Sec. 5.3, by name: MATNet with other connections and fusions, and FusionSeg.

MATNet and its bi-directional form have weights of the same names and shapes, and so have the two gated forms: a
checkpoint does not tell which of the two it is of. Multiply-adds are those of one sample at 473x473, for FusionSeg at
480x854, counted by PyTorch's FlopCounterMode.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from ..registry import register_model
from .fusionseg import FusionSeg
from .matnet import MATNet

__all__ = (
    "fusionseg_r101",
    "matnet",
    "matnet_bidirectional",
    "matnet_ccg",
    "matnet_gated",
    "matnet_nobar",
    "matnet_noglobal",
    "rtnet_star",
)

MATNET = "tfzhou/MATNet modules/MATNet.py"
STUDY = "MSiam/MATNet_FusionCrossConStudy, "
register_matnet = partial(register_model, task="segmentation", frames=1, stride=1, crop=473)


@register_matnet(params=119_241_216, gmacs=178.12, source=MATNET)
def matnet(**kwargs: Any) -> MATNet:
    """MATNet: motion informs appearance, gated fusion, boundary refinement."""
    return MATNet(**kwargs)


@register_matnet(
    params=114_647_895,
    gmacs=169.51,
    source=MATNET + " without bdry2 … bdry5",
)
def matnet_nobar(**kwargs: Any) -> MATNet:
    """MATNet without boundary refinement ("NoBAR")."""
    return MATNet(**{"boundary_refinement": False, **kwargs})


@register_matnet(
    params=119_255_558,
    gmacs=178.18,
    source=STUDY + "cc_type coatt_gated",
)
def matnet_gated(**kwargs: Any) -> MATNet:
    """MATNet with gates in its uni-directional connection."""
    return MATNet(**{"cross_connection": "uni_gated", **kwargs})


@register_matnet(
    params=119_241_216,
    gmacs=215.96,
    source=STUDY + "cc_type coatt_recip",
)
def matnet_bidirectional(**kwargs: Any) -> MATNet:
    """MATNet whose streams inform each other."""
    return MATNet(**{"cross_connection": "bi", **kwargs})


@register_matnet(
    params=119_255_558,
    gmacs=216.03,
    source=STUDY + "cc_type coatt_gated_recip",
)
def rtnet_star(**kwargs: Any) -> MATNet:
    """The paper's RTNet*: MATNet with gated bi-directional connections and gated fusion."""
    return MATNet(**{"cross_connection": "bi_gated", **kwargs})


@register_matnet(
    params=118_541_152,
    gmacs=178.12,
    source=STUDY + "fusion_type convex_gated",
)
def matnet_ccg(**kwargs: Any) -> MATNet:
    """MATNet with RTNet's convex combination gated fusion."""
    return MATNet(**{"fusion": "convex", **kwargs})


@register_matnet(
    params=119_240_732,
    gmacs=178.12,
    source=STUDY + "matnet_davis_gated_fusion.json",
)
def matnet_noglobal(**kwargs: Any) -> MATNet:
    """MATNet whose gated fusion has no global gate."""
    return MATNet(**{"fusion": "gated_local", **kwargs})


@register_model(
    task="segmentation",
    frames=1,
    stride=1,
    crop=480,
    params=109_771_234,
    gmacs=223.25,
    source="YorkUCVIL/Static-Dynamic-Interpretability models/vos_models/modeling.py",
)
def fusionseg_r101(**kwargs: Any) -> FusionSeg:
    """FusionSeg on DeepLabv3+ of depth 101: no cross connections, fusion by 1x1 convolutions."""
    return FusionSeg(**kwargs)

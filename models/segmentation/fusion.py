# SPDX-License-Identifier: Apache-2.0
"""Fusions: one tensor of the appearance and the motion stream (Kowal et al., Sec. 5.3, Eq. 5 to 8).

``U_a`` and ``U_m`` are the streams' features, ``⊕`` is concatenation, ``∘`` the product with broadcasting. Channel
attention ``A_c`` comes first: squeeze (global average, a layer to fewer channels, ReLU), then excite (a layer back, a
sigmoid). Spatial attention ``A_sp`` follows. The choices for :func:`make_fusion`:

============= ============================ ===========================================================
name          who made it                  in the released code
============= ============================ ===========================================================
gated         MATNet                       ``fusion_type: gated``
gated_local   Kowal et al., study code     ``fusion_type: gated``, ``use_global: False``
convex        RTNet, study code            ``fusion_type: convex_gated``
convex_max    Kowal et al., study code     ``fusion_type: convex_gated``, ``use_spatial_conv``
concat        FusionSeg                    ``fuse_early``
============= ============================ ===========================================================
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from ...errors import UnknownNameError

__all__ = ("FUSIONS", "ConcatFusion", "ConvexGatedFusion", "Fusion", "GatedFusion", "make_fusion")


class GatedFusion(nn.Module):
    """MATNet's scale-sensitive attention ("Gated Fusion"): the streams are weighted freely.

    - Eq. 6: ``U = U_a ⊕ U_m``, ``A_c = F_e(F_s(U))``, ``Z = A_c ∘ U``, with A_c of 2 C channels.
    - Eq. 8: ``Z = A_sp ∘ Z + Z``.

    The released networks differ from Eq. 8 in three ways, which are kept: A_sp is a normalised convolution without a
    sigmoid, the sum is with U rather than Z, and a global gate ``q`` scales it: ``U + q · A_sp ∘ A_c ∘ U``.

    Args:
        channels: channels C of one stream.
        reduction: of the squeeze; 16 in the released code.
        global_gate: scale the attended part by one number for each picture.

    Shape:
        Twice ``(B, C, H, W)`` to ``(B, 2 C, H, W)``.

    Source:
        tfzhou/MATNet ``modules/MATNet.py`` (Gated).

    Example:
        >>> GatedFusion(16)(torch.rand(2, 16, 8, 8), torch.rand(2, 16, 8, 8)).shape
        torch.Size([2, 32, 8, 8])
    """

    def __init__(self, channels: int, reduction: int = 16, global_gate: bool = True) -> None:
        super().__init__()
        self.out_channels = 2 * channels
        hidden = max(1, 2 * channels // reduction)
        self.squeeze = nn.Linear(2 * channels, hidden)
        self.excite = nn.Linear(hidden, 2 * channels)
        self.gate = nn.Linear(hidden, 1) if global_gate else None
        self.spatial_conv = nn.Conv2d(1, 1, 7, padding=3, bias=False)
        self.spatial_bn = nn.BatchNorm2d(1, eps=1e-5, momentum=0.01)

    def forward(self, appearance: Tensor, motion: Tensor) -> Tensor:
        """Fuse the streams."""
        joined = torch.cat([appearance, motion], dim=1)  # Eq. 6a
        squeezed = self.squeeze(joined.mean((2, 3))).relu()
        channel = self.excite(squeezed).sigmoid()[:, :, None, None]  # Eq. 6b
        attended = channel * joined  # Eq. 6c
        spatial = self.spatial_bn(self.spatial_conv(attended.amax(1, keepdim=True)))
        attended = spatial * attended  # Eq. 8
        if self.gate is not None:
            attended = self.gate(squeezed).sigmoid()[:, :, None, None] * attended
        fused: Tensor = joined + attended
        return fused


class ConvexGatedFusion(nn.Module):
    """RTNet's STAFM ("Convex Combination Gated Fusion"): what one stream gets, the other loses.

    - Eq. 5: ``A_c = F_e(F_s(U_a ⊕ U_m))``, ``Z_a = A_c ∘ U_a``, ``Z_m = (1 - A_c) ∘ U_m``.
    - Eq. 7: ``Z = A_sp ∘ Z_a ⊕ (1 - A_sp) ∘ Z_m``, with ``A_sp`` the sigmoid of a convolution over the means and
      maxima of Z_a and Z_m along the channels.

    Args:
        channels: channels C of one stream.
        hidden: channels between squeeze and excitation; by default 2 C / 16, as in the study's networks.
        combine: ``"concat"`` as in Eq. 7 and the study's networks, or ``"sum"`` as in RTNet itself.
        spatial_from: ``"streams"`` as described, or ``"maximum"``: the convolution sees the maximum over all channels
            (``use_spatial_conv`` of the study's code).

    Shape:
        Twice ``(B, C, H, W)`` to ``(B, 2 C, H, W)``, or ``(B, C, H, W)`` where they are added.

    Source:
        MSiam/MATNet_FusionCrossConStudy (convex_gated); OliverRensu/RTNet (STAFM).

    Example:
        >>> ConvexGatedFusion(16, combine="sum")(torch.rand(2, 16, 8, 8), torch.rand(2, 16, 8, 8)).shape
        torch.Size([2, 16, 8, 8])
    """

    def __init__(
        self,
        channels: int,
        hidden: int | None = None,
        combine: Literal["concat", "sum"] = "concat",
        spatial_from: Literal["streams", "maximum"] = "streams",
    ) -> None:
        super().__init__()
        self.combine, self.spatial_from = combine, spatial_from
        self.out_channels = channels if combine == "sum" else 2 * channels
        hidden = hidden or max(1, 2 * channels // 16)
        self.squeeze = nn.Conv2d(2 * channels, hidden, 1)
        self.excite = nn.Conv2d(hidden, channels, 1)
        self.spatial_conv = nn.Conv2d(4 if spatial_from == "streams" else 1, 1, 7, padding=3, bias=False)

    def forward(self, appearance: Tensor, motion: Tensor) -> Tensor:
        """Fuse the streams."""
        squeezed = self.squeeze(torch.cat([appearance, motion], dim=1).mean((2, 3), keepdim=True)).relu()
        channel = self.excite(squeezed).sigmoid()  # Eq. 5a
        appearance, motion = appearance * channel, motion * (1 - channel)  # Eq. 5b, 5c
        if self.spatial_from == "streams":
            maps = [m for z in (appearance, motion) for m in (z.mean(1, keepdim=True), z.amax(1, keepdim=True))]
            seen = torch.cat(maps, dim=1)
        else:
            seen = torch.cat([appearance, motion], dim=1).amax(1, keepdim=True)
        spatial = self.spatial_conv(seen).sigmoid()
        appearance, motion = appearance * spatial, motion * (1 - spatial)  # Eq. 7
        return appearance + motion if self.combine == "sum" else torch.cat([appearance, motion], dim=1)


class ConcatFusion(nn.Module):
    """FusionSeg's fusion: a 1x1 convolution of both streams side by side, no attention.

    Args:
        channels: channels C of one stream.
        norm: normalise the result (``fuse_bnorm`` of the released code).

    Shape:
        Twice ``(B, C, H, W)`` to ``(B, C, H, W)``.

    Example:
        >>> ConcatFusion(16)(torch.rand(2, 16, 8, 8), torch.rand(2, 16, 8, 8)).shape
        torch.Size([2, 16, 8, 8])
    """

    def __init__(self, channels: int, norm: bool = False) -> None:
        super().__init__()
        self.out_channels = channels
        self.conv = nn.Conv2d(2 * channels, channels, 1)
        self.norm = nn.BatchNorm2d(channels) if norm else nn.Identity()

    def forward(self, appearance: Tensor, motion: Tensor) -> Tensor:
        """Fuse the streams."""
        fused: Tensor = self.norm(self.conv(torch.cat([appearance, motion], dim=1)))
        return fused


Fusion = GatedFusion | ConvexGatedFusion | ConcatFusion

FUSIONS: dict[str, Callable[[int], Fusion]] = {
    "gated": GatedFusion,
    "gated_local": lambda channels: GatedFusion(channels, global_gate=False),
    "convex": ConvexGatedFusion,
    "convex_max": lambda channels: ConvexGatedFusion(channels, spatial_from="maximum"),
    "concat": ConcatFusion,
}
"""What :func:`make_fusion` knows."""


def make_fusion(name: str, channels: int) -> Fusion:
    """Build a fusion by name, with the options of MATNet and its variants.

    Args:
        name: one of the table at the top.
        channels: channels C of one stream.

    Raises:
        UnknownNameError: there is no such fusion.

    Example:
        >>> make_fusion("gated", 16).out_channels, make_fusion("concat", 16).out_channels
        (32, 16)
    """
    if name not in FUSIONS:
        raise UnknownNameError("fusion", name, FUSIONS)
    return FUSIONS[name](channels)

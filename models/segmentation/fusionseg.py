# SPDX-License-Identifier: Apache-2.0
"""FusionSeg as Kowal et al. modified it: a two-stream DeepLabv3+ without cross connections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from torch import Tensor, nn

from ...errors import OptionError
from .backbones import ResNetBackbone
from .deeplab_head import ASPP, DeepLabHead, PooledFusion
from .fusion import ConcatFusion
from .resizing import resize
from .two_stream import TwoStreamEncoder

__all__ = ("FusionSeg",)

EARLY, LATE = 2, 5  # the stages that are fused
RATES = {16: (6, 12, 18), 8: (12, 24, 36)}


class FusionSeg(nn.Module):
    """FusionSeg (Jain et al.) with DeepLabv3+ streams (Kowal et al., Sec. 5.3).

    Two ResNets with dilation, which do not see each other; their features after stages 2 and 5 are fused by 1x1
    convolutions; the head of DeepLabv3+ follows.

    Args:
        backbone: a plain ResNet of timm, for both streams.
        backbone_args: further arguments of timm's ResNet, e.g. ``{"channels": (16, 32, 64, 128)}`` for a narrow one.
        pretrained: start both streams from timm's ImageNet weights.
        output_stride: 16 or 8: the size of the input over that of the last features. 8 takes more memory and sees
            finer; the head's dilations go with it.
        fuse_early: fuse before the pyramid of the head (``fuse_early`` of the released code). False: each stream has a
            pyramid of its own, and those are fused.
        fusion_norm: batch normalisation after each fusion (``fuse_bnorm`` of the released code).
        width: channels of the head.
        early_width: channels that the head reduces the early features to.
        dropout: rate in the head's pyramid.

    Shape:
        Twice ``(B, 3, H, W)``, normalised, to a dict: ``classes`` ``(B, 2, H, W)``, logits of background and
        foreground; ``mask`` ``(B, 1, H, W)``, the second minus the first, whose sigmoid is the probability of the
        foreground. Training needs two samples a batch.

    Raises:
        OptionError: an option is out of range.

    Source:
        YorkUCVIL/Static-Dynamic-Interpretability ``models/vos_models/modeling.py``
        (twostream_deeplabv3plus_resnet101). That class 1 is the foreground is the order of the masks' values; the
        released code has no inference.

    Example:
        >>> import torch
        >>> model = FusionSeg("resnet18", {"channels": (16, 32, 64, 128)}, width=16, early_width=8)
        >>> outputs = model(torch.rand(2, 3, 64, 96), torch.rand(2, 3, 64, 96))
        >>> outputs["mask"].shape, outputs["classes"].shape
        (torch.Size([2, 1, 64, 96]), torch.Size([2, 2, 64, 96]))
    """

    def __init__(
        self,
        backbone: str = "resnet101",
        backbone_args: Mapping[str, Any] | None = None,
        pretrained: bool = False,
        output_stride: Literal[8, 16] = 16,
        fuse_early: bool = True,
        fusion_norm: bool = False,
        width: int = 256,
        early_width: int = 48,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if output_stride not in RATES:
            raise OptionError(f"output_stride is 16 or 8, not {output_stride}.")
        rates = RATES[output_stride]
        appearance, motion = (
            ResNetBackbone(backbone, pretrained=pretrained, output_stride=output_stride, **(backbone_args or {}))
            for _ in ("image", "flow")
        )
        early, late = appearance.channels[EARLY - 2], appearance.channels[LATE - 2]
        late_fusion = (
            ConcatFusion(late, fusion_norm) if fuse_early else PooledFusion(late, width, rates, dropout, fusion_norm)
        )
        self.encoder = TwoStreamEncoder(
            appearance,
            motion,
            connections={},
            fusions={EARLY: ConcatFusion(early, fusion_norm), LATE: late_fusion},
        )
        self.aspp = ASPP(late, width, rates, dropout) if fuse_early else nn.Identity()
        self.head = DeepLabHead(early, width, classes=2, width=width, early_width=early_width)

    def forward(self, image: Tensor, flow: Tensor) -> dict[str, Tensor]:
        """Segment normalised images with their normalised flow pictures."""
        features = self.encoder(image, flow)
        logits = self.head(features[EARLY].fused, self.aspp(features[LATE].fused))
        classes = resize(logits, image.shape[2:])
        return {"mask": classes[:, 1:] - classes[:, :1], "classes": classes}

# SPDX-License-Identifier: Apache-2.0
"""MATNet and the networks made from it by other cross connections, other fusions, or no boundary refinement."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ...errors import OptionError
from .backbones import ResNetBackbone
from .coattention import Norm
from .cross_connections import make_connection
from .fusion import make_fusion
from .matnet_decoder import MATNetDecoder
from .two_stream import STAGES, TwoStreamEncoder

__all__ = ("MATNet",)

CONNECTED = (3, 4, 5)  # MATNet's streams go their own ways through stage 2


class MATNet(nn.Module):
    """MATNet (Zhou et al., "Motion-Attentive Transition for Zero-Shot Video Object Segmentation").

    Two ResNets, for the image and for the flow as a colour picture; a cross connection after stages 3, 4 and 5; a
    fusion after every stage; a decoder that finds the mask and, on the way, its boundaries. With other parts it is
    each of the networks that Kowal et al. compare in Sec. 5.3, see :mod:`.variants`.

    Args:
        backbone: a plain ResNet of timm, for both streams. ``"resnet101.tv_in1k"`` names the ImageNet weights that
            MATNet started from.
        backbone_args: further arguments of timm's ResNet, e.g. ``{"channels": (16, 32, 64, 128)}`` for a narrow one.
        pretrained: start both streams from timm's ImageNet weights.
        cross_connection: a name of :data:`.cross_connections.CONNECTIONS`.
        norm: of the co-attention's affinity, ``"tanh"`` or ``"softmax"``.
        cascades: of the co-attention.
        fusion: a name of :data:`.fusion.FUSIONS`.
        boundary_refinement: find boundaries and refine the mask with them (BAR).
        width: channels of the decoder.
        boundary_width: channels of the boundary heads.
        mask_size: side of the square masks. None, which corrects the released network: masks of the input's size.
            473, as released: masks of 473x473 whatever the input's size is.

    Shape:
        Twice ``(B, 3, H, W)``, normalised, to a dict of logits ``(B, 1, H, W)``: ``mask``, and with boundary
        refinement ``boundary`` (of all stages) and ``boundary2`` to ``boundary5``.

    Raises:
        OptionError: an option is out of range.
        UnknownNameError: there is no such connection or fusion.

    Source:
        tfzhou/MATNet; MSiam/MATNet_FusionCrossConStudy.

    Example:
        >>> import torch
        >>> model = MATNet("resnet18", {"channels": (16, 32, 64, 128)}, width=16, boundary_width=8)
        >>> outputs = model(torch.rand(1, 3, 64, 96), torch.rand(1, 3, 64, 96))
        >>> list(outputs), outputs["mask"].shape
        (['mask', 'boundary', 'boundary2', 'boundary3', 'boundary4', 'boundary5'], torch.Size([1, 1, 64, 96]))
    """

    def __init__(
        self,
        backbone: str = "resnet101",
        backbone_args: Mapping[str, Any] | None = None,
        pretrained: bool = False,
        cross_connection: str = "uni",
        norm: Norm = "tanh",
        cascades: int = 5,
        fusion: str = "gated",
        boundary_refinement: bool = True,
        width: int = 256,
        boundary_width: int = 64,
        mask_size: int | None = None,
    ) -> None:
        super().__init__()
        if width < 4 or width % 4:
            raise OptionError(f"width is a multiple of 4, not {width}.")
        if mask_size is not None and mask_size < 1:
            raise OptionError(f"mask_size is a number of pixels, or None for the input's size, not {mask_size}.")
        self.mask_size = mask_size
        appearance, motion = (
            ResNetBackbone(backbone, pretrained=pretrained, **(backbone_args or {})) for _ in ("image", "flow")
        )
        channels = dict(zip(STAGES, appearance.channels, strict=True))
        fusions = {stage: make_fusion(fusion, channels[stage]) for stage in STAGES}
        self.encoder = TwoStreamEncoder(
            appearance,
            motion,
            connections={s: make_connection(cross_connection, channels[s], norm, cascades) for s in CONNECTED},
            fusions=fusions,
        )
        self.decoder = MATNetDecoder(
            {stage: module.out_channels for stage, module in fusions.items()},
            width,
            boundary_refinement,
            boundary_width,
        )

    def forward(self, image: Tensor, flow: Tensor) -> dict[str, Tensor]:
        """Segment normalised images with their normalised flow pictures."""
        features = self.encoder(image, flow)
        size = (image.shape[2], image.shape[3]) if self.mask_size is None else (self.mask_size, self.mask_size)
        logits: dict[str, Tensor] = self.decoder({stage: f.fused for stage, f in features.items()}, size)
        return logits

# SPDX-License-Identifier: Apache-2.0
"""RTNet: two streams that transform each other, and each other's frames, after every stage (Ren et al., CVPR 2021)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ...errors import BatchError, OptionError
from .backbones import ResNetBackbone
from .reciprocal import AttentionForm, ReciprocalConnection
from .resizing import resize
from .rtnet_decoder import BridgedFusion, RTNetDecoder
from .two_stream import STAGES, TwoStreamEncoder

__all__ = ("R34_ATTENTION", "RX50_ATTENTION", "RTNet")

_FIRST = AttentionForm(heads=1, transposed=True, bias=True, pooled=True)
R34_ATTENTION = (_FIRST, *(AttentionForm(heads) for heads in (2, 4, 8)))
"""How the released network with a ResNet-34 attends after stages 2 to 5."""
RX50_ATTENTION = (_FIRST, *(AttentionForm(heads, transposed=True, bias=True) for heads in (2, 4, 8)))
"""How the released network with a ResNeXt-50 attends after stages 2 to 5."""

FUSED_STAGES = (2, 3, 4)
RATIOS = (1, 2, 4)  # of the squeeze in the fusions
MASKS = {2: "mask", 3: "mask2", 4: "mask3", 5: "mask4"}


class RTNet(nn.Module):
    """Segment the object that moves, in two frames of a video at once.

    An encoder of two streams (:class:`TwoStreamEncoder`) with reciprocal transformations after every stage and a convex
    gated fusion after stages 2 to 4; a decoder of the appearance stream, into which the fusions join; and one of the
    motion stream alone, which serves as a further loss in training.

    Args:
        backbone: of both streams, a plain ResNet of timm.
        backbone_args: further arguments of timm's ResNet, e.g. ``{"channels": (16, 32, 64, 128)}`` for a narrow one.
        pretrained: start both streams from timm's ImageNet weights.
        attention: how stages 2 to 5 attend; the default is that of the released ResNet-34 network.
        bridges: channels to which the streams are reduced before the fusions at stages 2, 3 and 4; None for no
            reduction. Given with a ResNeXt-50.
        bottom_width: see :class:`DilatedBottom`; given with a ResNeXt-50.
        released_batching: pair frames as the released code does, which for more than one clip are frames of different
            clips, and then joins features of different clips in the decoder. By default the two frames of a clip are
            paired everywhere, and a batch gives what its clips give one by one.
        released_size: masks have 4 times the size of stage 2, as in the released code: (100, 132) for an input of
            (97, 129). By default they have the input's size; the same where both sides are multiples of 4.
        motion_decoder_in_eval: give the masks of the motion stream outside training too.

    Shape:
        - image: ``(B, 2, 3, H, W)``, two frames of one video, normalised.
        - flow: ``(B, 2, 6, H, W)``, of each frame the forward and the backward flow as colour images, normalised.
        - output: a dict of logits ``(B, 2, 1, H, W)``: ``mask``, the result, and ``mask2``, ``mask3``, ``mask4`` from
          coarser stages; in training ``motion_mask1`` to ``motion_mask4`` as well.

    Raises:
        OptionError: an argument that should have one value per stage has another number.
        BatchError: image or flow has another shape.

    Source:
        OliverRensu/RTNet ``model_R34.py`` and ``model_RX50.py`` (Interactive). There the parameters whose name contains
        "Transformer" are trained alone in the first 4 epochs; here those are ``encoder.connect*`` and
        ``encoder.fuse*.fusion``.

    Example:
        >>> import torch
        >>> model = RTNet("resnet18", {"channels": (8, 16, 32, 64)}).eval()
        >>> masks = model(torch.rand(1, 2, 3, 64, 96), torch.rand(1, 2, 6, 64, 96))
        >>> list(masks), masks["mask"].shape
        (['mask', 'mask2', 'mask3', 'mask4'], torch.Size([1, 2, 1, 64, 96]))
    """

    def __init__(
        self,
        backbone: str = "resnet34",
        backbone_args: Mapping[str, Any] | None = None,
        pretrained: bool = False,
        *,
        attention: Sequence[AttentionForm] = R34_ATTENTION,
        bridges: Sequence[int] | None = None,
        bottom_width: int | None = None,
        released_batching: bool = False,
        released_size: bool = False,
        motion_decoder_in_eval: bool = False,
    ) -> None:
        super().__init__()
        if len(attention) != len(STAGES) or (bridges is not None and len(bridges) != len(FUSED_STAGES)):
            raise OptionError(
                "RTNet needs an `attention` for each of stages 2 to 5, and `bridges` for 2 to 4 or None; "
                f"found {len(attention)} and {'None' if bridges is None else len(bridges)}."
            )
        self.released_size, self.motion_decoder_in_eval = released_size, motion_decoder_in_eval
        appearance = ResNetBackbone(backbone, 3, pretrained, **(backbone_args or {}))
        motion = ResNetBackbone(backbone, 6, pretrained, **(backbone_args or {}))
        channels = appearance.channels
        connections = {
            stage: ReciprocalConnection(width, form, released_batching)
            for stage, width, form in zip(STAGES, channels, attention, strict=True)
        }
        fusions = {
            stage: BridgedFusion(width, ratio, bridge)
            for stage, width, ratio, bridge in zip(
                FUSED_STAGES, channels[:3], RATIOS, bridges or (None, None, None), strict=True
            )
        }
        self.encoder = TwoStreamEncoder(appearance, motion, connections, fusions)
        skips = [fusion.out_channels for fusion in fusions.values()]
        self.decoder = RTNetDecoder(channels[-1], skips, bottom_width)
        self.motion_decoder = RTNetDecoder(channels[-1], skips, bottom_width)

    def forward(self, image: Tensor, flow: Tensor) -> dict[str, Tensor]:
        """Return logits of the masks."""
        clips = len(image)
        if image.shape[1:3] != (2, 3) or flow.shape != (clips, 2, 6, *image.shape[3:]):
            raise BatchError(
                "RTNet takes two frames a clip: image (B, 2, 3, H, W) and flow (B, 2, 6, H, W), forward and backward. "
                f"Found image {tuple(image.shape)} and flow {tuple(flow.shape)}."
            )
        features = self.encoder(image.flatten(0, 1), flow.flatten(0, 1))
        height, width = features[2].appearance.shape[2:]
        size = (4 * height, 4 * width) if self.released_size else tuple(image.shape[3:])
        fused = {stage: f.fused for stage, f in features.items() if f.fused is not None}
        masks = self.decoder(features[5].appearance, fused)
        out = {MASKS[stage]: _enlarge(masks[stage], size, clips) for stage in STAGES}
        if self.training or self.motion_decoder_in_eval:
            motion = {stage: self._reduce_motion(stage, features[stage].motion) for stage in FUSED_STAGES}
            masks = self.motion_decoder(features[5].motion, motion)
            out |= {f"motion_mask{stage - 1}": _enlarge(masks[stage], size, clips) for stage in STAGES}
        return out

    def _reduce_motion(self, stage: int, motion: Tensor) -> Tensor:
        bridge = self.encoder.get_submodule(f"fuse{stage}.motion_bridge")
        with _statistics_kept(bridge):  # the fusion has run it on the same features already
            reduced: Tensor = bridge(motion)
        return reduced


def _enlarge(logits: Tensor, size: tuple[int, ...], clips: int) -> Tensor:
    # The released code enlarges before the last 1x1 convolution, with the same result: both are linear in the pixels,
    # and the weights of the interpolation sum to one.
    return resize(logits, size, align_corners=True).reshape(clips, 2, 1, *size)


@contextmanager
def _statistics_kept(module: nn.Module) -> Iterator[None]:
    """Let batch normalisations normalise by the batch, in training, without another update of their averages."""
    norms = [m for m in module.modules() if isinstance(m, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum

# SPDX-License-Identifier: Apache-2.0
"""The encoder of every two-stream network here: two backbones, cross connections between them, fusions of both.

What joins the streams is chosen, not copied: MATNet, its variants, RTNet and FusionSeg are this encoder with other
parts (:mod:`.cross_connections`, :mod:`.reciprocal`, :mod:`.fusion`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor, nn

from ...errors import BatchError
from .backbones import ResNetBackbone
from .cross_connections import Unconnected

__all__ = ("STAGES", "StageFeatures", "TwoStreamEncoder")

STAGES = (2, 3, 4, 5)
"""The residual stages, numbered as in the paper, where the stem is stage 1."""

STREAMS = ("appearance", "motion")


class StageFeatures(NamedTuple):
    """What the encoder holds after a stage.

    Attributes:
        appearance: of the appearance stream, after the cross connection, ``(B, C, h, w)``.
        motion: of the motion stream, alike.
        fused: of both, where the stage has a fusion.
    """

    appearance: Tensor
    motion: Tensor
    fused: Tensor | None


class TwoStreamEncoder(nn.Module):
    """Two backbones side by side; after each stage a cross connection, whose results go on, and a fusion.

    The names are the same for all networks, so that the same patterns find the same things: ``appearance`` and
    ``motion`` are the backbones, ``connect2`` to ``connect5`` give the streams after the cross connection of that stage
    as a dict (``connect5[appearance]``, ``connect5[motion]``), and ``fuse2`` to ``fuse5`` are the fusion layers.

    Args:
        appearance: backbone of the images.
        motion: backbone of the flow, with the same channels.
        connections: cross connections by stage: modules that map (appearance, motion) to a dict of both. A stage
            without one passes the streams on as they are.
        fusions: fusions by stage: modules that map (appearance, motion) to one tensor.

    Raises:
        BatchError: from the call, if image and flow do not fit together.

    Example:
        >>> import torch
        >>> from .fusion import ConcatFusion
        >>> streams = [ResNetBackbone("resnet18", channels=(8, 16, 32, 64)) for _ in range(2)]
        >>> encoder = TwoStreamEncoder(*streams, connections={}, fusions={5: ConcatFusion(64)})
        >>> features = encoder(torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 64))
        >>> sorted(features), features[5].fused.shape
        ([2, 3, 4, 5], torch.Size([1, 64, 2, 2]))
    """

    def __init__(
        self,
        appearance: ResNetBackbone,
        motion: ResNetBackbone,
        connections: Mapping[int, nn.Module],
        fusions: Mapping[int, nn.Module],
    ) -> None:
        super().__init__()
        self.appearance, self.motion = appearance, motion
        self.fused_stages = tuple(stage for stage in STAGES if stage in fusions)
        for stage in STAGES:
            self.add_module(f"connect{stage}", connections.get(stage) or Unconnected())
            if stage in fusions:
                self.add_module(f"fuse{stage}", fusions[stage])

    @property
    def analysis_layers(self) -> dict[str, str]:
        """The papers' layers: both streams after the cross connection of each stage, and the fusion layers."""
        streams = {f"{stream}{stage}": f"connect{stage}[{stream}]" for stream in STREAMS for stage in STAGES}
        return {**streams, **{f"fusion{stage}": f"fuse{stage}" for stage in self.fused_stages}}

    def forward(self, image: Tensor, flow: Tensor) -> dict[int, StageFeatures]:
        """Features by stage of normalised images ``(B, 3, H, W)`` and flow images of the same size.

        Raises:
            BatchError: image and flow are not batches of pictures of one size.
        """
        if image.ndim != 4 or flow.ndim != 4 or (len(image), *image.shape[2:]) != (len(flow), *flow.shape[2:]):
            raise BatchError(
                "Image and flow should be as many pictures of the same size, (B, 3, H, W) each; found image "
                f"{tuple(image.shape)} and flow {tuple(flow.shape)}."
            )
        appearance, motion = self.appearance.stem(image), self.motion.stem(flow)
        features: dict[int, StageFeatures] = {}
        for stage in STAGES:
            appearance, motion = self.appearance.stage(stage, appearance), self.motion.stage(stage, motion)
            streams = self.get_submodule(f"connect{stage}")(appearance, motion)
            appearance, motion = streams["appearance"], streams["motion"]
            fused = None
            if stage in self.fused_stages:
                fused = self.get_submodule(f"fuse{stage}")(appearance, motion)
            features[stage] = StageFeatures(appearance, motion, fused)
        return features

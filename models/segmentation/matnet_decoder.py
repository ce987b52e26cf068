# SPDX-License-Identifier: Apache-2.0
"""MATNet's decoder: from the fused features of four stages to a mask, with or without boundary refinement (BAR)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from .boundary import BoundaryMaps
from .resizing import resize
from .two_stream import STAGES

__all__ = ("GlobalContext", "MATNetDecoder", "PyramidDilation", "Refinement", "ResidualUnit")


class GlobalContext(nn.Module):
    """A large kernel in two factors, both ways round: (7x1, then 1x7) + (1x7, then 7x1), no activation between.

    Args:
        in_channels: channels of the input.
        width: channels of the output.

    Example:
        >>> GlobalContext(8, 4)(torch.rand(1, 8, 5, 6)).shape
        torch.Size([1, 4, 5, 6])
    """

    def __init__(self, in_channels: int, width: int) -> None:
        super().__init__()
        self.left1 = nn.Conv2d(in_channels, width, (7, 1), padding=(3, 0))
        self.left2 = nn.Conv2d(width, width, (1, 7), padding=(0, 3))
        self.right1 = nn.Conv2d(in_channels, width, (1, 7), padding=(0, 3))
        self.right2 = nn.Conv2d(width, width, (7, 1), padding=(3, 0))

    def forward(self, x: Tensor) -> Tensor:
        """Sum both ways."""
        out: Tensor = self.left2(self.left1(x)) + self.right2(self.right1(x))
        return out


class ResidualUnit(nn.Module):
    """``x + conv(relu(conv(relu(x))))`` with 3x3 convolutions.

    Example:
        >>> ResidualUnit(4)(torch.rand(1, 4, 5, 6)).shape
        torch.Size([1, 4, 5, 6])
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Add the residual."""
        out: Tensor = x + self.conv2(self.conv1(x.relu()).relu())
        return out


class PyramidDilation(nn.Module):
    """MATNet's pyramid of dilated convolutions, as released: a 1x1 beside three times the same 3x3 of dilation 3.

    The paper means dilations 3, 5 and 7; the released forward pass calls the first one three times, and the others
    are dead weights in its files.

    Args:
        in_channels: channels of the input.
        width: channels of the output, a multiple of 4.

    Example:
        >>> PyramidDilation(8, 4)(torch.rand(1, 8, 5, 6)).shape
        torch.Size([1, 4, 5, 6])
    """

    def __init__(self, in_channels: int, width: int) -> None:
        super().__init__()
        self.pointwise = nn.Conv2d(in_channels, width // 4, 1)
        self.dilated = nn.Conv2d(in_channels, width // 4, 3, padding=3, dilation=3)
        self.bn = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        """Concatenate and normalise."""
        dilated = self.dilated(x)
        out: Tensor = self.bn(torch.cat([self.pointwise(x), dilated, dilated, dilated], dim=1))
        return out


class Refinement(nn.Module):
    """Join the features of a stage with the result of the coarser one.

    Args:
        in_channels: channels of the stage.
        width: channels of the coarser result and of the output.

    Example:
        >>> Refinement(8, 4)(torch.rand(1, 8, 6, 8), torch.rand(1, 4, 3, 4)).shape
        torch.Size([1, 4, 6, 8])
    """

    def __init__(self, in_channels: int, width: int) -> None:
        super().__init__()
        self.pyramid = PyramidDilation(in_channels, width)
        self.before = ResidualUnit(width)
        self.after = ResidualUnit(width)

    def forward(self, features: Tensor, coarse: Tensor) -> Tensor:
        """Refine ``coarse`` with the features of a stage."""
        x = self.before(self.pyramid(features))
        refined: Tensor = self.after(x + resize(coarse, x.shape[2:]))
        return refined


class MATNetDecoder(nn.Module):
    """From fused features to logits.

    With boundary refinement, every stage first gives a boundary map, which joins its features as one more channel.

    Args:
        channels: channels of the fused features by stage (2 to 5).
        width: channels of the decoder, a multiple of 4; 256 in MATNet.
        boundary_refinement: find boundaries. Without it the network is "MATNet NoBAR" of the paper; its code is not
            public, so it is taken to be the same decoder without the boundary channels.
        boundary_width: channels of the boundary heads; 64 in MATNet.

    Source:
        tfzhou/MATNet ``modules/MATNet.py`` (Decoder).

    Example:
        >>> decoder = MATNetDecoder({2: 8, 3: 8, 4: 8, 5: 8}, width=8, boundary_width=4)
        >>> features = {stage: torch.rand(1, 8, 128 // 2**stage, 128 // 2**stage) for stage in (2, 3, 4, 5)}
        >>> list(decoder(features, (128, 128)))
        ['mask', 'boundary', 'boundary2', 'boundary3', 'boundary4', 'boundary5']
    """

    def __init__(
        self,
        channels: Mapping[int, int],
        width: int = 256,
        boundary_refinement: bool = True,
        boundary_width: int = 64,
    ) -> None:
        super().__init__()
        self.boundaries = BoundaryMaps(channels, boundary_width) if boundary_refinement else None
        extra = int(boundary_refinement)
        self.context = GlobalContext(channels[5] + extra, width)
        self.residual = ResidualUnit(width)
        self.refine4 = Refinement(channels[4] + extra, width)
        self.refine3 = Refinement(channels[3] + extra, width)
        self.refine2 = Refinement(channels[2] + extra, width)
        self.predict = nn.Conv2d(width, 1, 3, padding=1)

    def forward(self, features: Mapping[int, Tensor], size: tuple[int, int]) -> dict[str, Tensor]:
        """Return logits ``(B, 1, *size)``: ``mask``, and with refinement ``boundary``, ``boundary2`` … ``boundary5``.

        Args:
            features: fused features by stage.
            size: height and width of the mask.
        """
        logits: dict[str, Tensor] = {}
        if self.boundaries is not None:
            coarse, logits = self.boundaries(features, size)
            features = {stage: torch.cat([features[stage], coarse[stage]], dim=1) for stage in STAGES}
        x = self.residual(self.context(features[5]))
        x = self.refine4(features[4], x)
        x = self.refine3(features[3], x)
        x = self.refine2(features[2], x)
        return {"mask": resize(self.predict(x.relu()), size), **logits}

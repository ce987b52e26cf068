# SPDX-License-Identifier: Apache-2.0
"""The head of DeepLabv3+: atrous spatial pyramid pooling (ASPP), and a decoder that joins it with early features."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ...errors import BatchError
from .fusion import ConcatFusion
from .resizing import resize

__all__ = ("ASPP", "DeepLabHead", "PooledFusion", "conv_bn_relu")


def conv_bn_relu(in_channels: int, out_channels: int, kernel: int = 1, dilation: int = 1) -> nn.Sequential:
    """Return a convolution without bias that keeps the size, batch normalisation and a ReLU.

    Example:
        >>> conv_bn_relu(3, 8, kernel=3, dilation=6)(torch.rand(2, 3, 5, 5)).shape
        torch.Size([2, 8, 5, 5])
    """
    padding = dilation * (kernel // 2)
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, padding=padding, dilation=dilation, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: a 1x1, dilated 3x3 and a global average, side by side, then a 1x1 and dropout.

    The global average has one position a channel when it is normalised, so that training needs two samples a batch.

    Args:
        in_channels: channels of the input.
        width: channels of each branch and of the output.
        rates: dilations of the 3x3: (6, 12, 18) at output stride 16, (12, 24, 36) at 8.
        dropout: rate after the last convolution.

    Raises:
        BatchError: from the call in training, for a batch of one sample.

    Example:
        >>> ASPP(16, width=8)(torch.rand(2, 16, 6, 8)).shape
        torch.Size([2, 8, 6, 8])
    """

    def __init__(
        self, in_channels: int, width: int = 256, rates: Sequence[int] = (6, 12, 18), dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            [conv_bn_relu(in_channels, width), *(conv_bn_relu(in_channels, width, 3, rate) for rate in rates)]
        )
        self.pooled = conv_bn_relu(in_channels, width)
        self.project = conv_bn_relu((len(rates) + 2) * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Pool the pyramid."""
        if self.pooled[1].training and len(x) == 1:
            raise BatchError(
                "FusionSeg normalises one value a channel and sample in its head, so that training needs batches of 2 "
                "or more; found 1. Set a larger batch_size, and drop_last=True if the last batch is smaller."
            )
        pooled = resize(self.pooled(x.mean((2, 3), keepdim=True)), x.shape[2:])
        out: Tensor = self.dropout(self.project(torch.cat([*(branch(x) for branch in self.branches), pooled], dim=1)))
        return out


class PooledFusion(nn.Module):
    """A pyramid for each stream, and then the fusion: FusionSeg's late fusion (``fuse_early=False``).

    Args:
        channels: channels C of one stream.
        width: channels of the pyramids and of the output.
        rates: dilations of the pyramids.
        dropout: rate after the pyramids.
        norm: normalise the fusion.

    Shape:
        Twice ``(B, C, H, W)`` to ``(B, width, H, W)``.

    Example:
        >>> PooledFusion(16, width=8)(torch.rand(2, 16, 6, 8), torch.rand(2, 16, 6, 8)).shape
        torch.Size([2, 8, 6, 8])
    """

    def __init__(
        self,
        channels: int,
        width: int = 256,
        rates: Sequence[int] = (6, 12, 18),
        dropout: float = 0.1,
        norm: bool = False,
    ) -> None:
        super().__init__()
        self.out_channels = width
        self.appearance_aspp = ASPP(channels, width, rates, dropout)
        self.motion_aspp = ASPP(channels, width, rates, dropout)
        self.fusion = ConcatFusion(width, norm)

    def forward(self, appearance: Tensor, motion: Tensor) -> Tensor:
        """Pool each stream, then fuse."""
        fused: Tensor = self.fusion(self.appearance_aspp(appearance), self.motion_aspp(motion))
        return fused


class DeepLabHead(nn.Module):
    """The decoder of DeepLabv3+: late features, enlarged, beside reduced early features; two convolutions to classes.

    Args:
        early_channels: channels of the early features.
        late_channels: channels of the pooled late features.
        classes: number of classes.
        width: channels between the two convolutions.
        early_width: channels that the early features are reduced to.

    Shape:
        ``(B, early_channels, H, W)`` and ``(B, late_channels, h, w)`` to ``(B, classes, H, W)``.

    Example:
        >>> DeepLabHead(16, 32, width=8)(torch.rand(2, 16, 12, 16), torch.rand(2, 32, 3, 4)).shape
        torch.Size([2, 2, 12, 16])
    """

    def __init__(
        self, early_channels: int, late_channels: int, classes: int = 2, width: int = 256, early_width: int = 48
    ) -> None:
        super().__init__()
        self.early = conv_bn_relu(early_channels, early_width)
        self.mix = conv_bn_relu(early_width + late_channels, width, 3)
        self.classify = nn.Conv2d(width, classes, 1)

    def forward(self, early: Tensor, late: Tensor) -> Tensor:
        """Return class logits at the size of the early features."""
        logits: Tensor = self.classify(self.mix(torch.cat([self.early(early), resize(late, early.shape[2:])], dim=1)))
        return logits

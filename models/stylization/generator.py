# SPDX-License-Identifier: Apache-2.0
"""The generator of few-shot patch-based stylization: it repaints a picture the way a painted keyframe was."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...errors import BatchError, OptionError

__all__ = ("FILTERS", "PatchGenerator")

FILTERS = (32, 64, 128, 128, 128, 64)
"""The widths of the paper's ``reference_P``: stem, two halvings, residual blocks, the way up, the last layers."""

_MULTIPLE = 4  # the picture is halved twice


class PatchGenerator(nn.Module):
    """The U-shaped generator of Texler et al., "Interactive Video Stylization Using Few-Shot Patch-Based Training".

    ACM Transactions on Graphics 2020; ``GeneratorJ`` of the official code with the settings ``reference_P``, whose
    names of weights it keeps, so that official weights load as they are. With the defaults it has 3 267 523
    parameters, and its output at a pixel depends on the pixels around it alone: it may be trained on patches of 32
    and run on pictures of any size. The official forward pass runs ``conv2`` twice on the same input, which gives the
    same numbers but counts each training batch twice in the running statistics of its normalisation; here it runs
    once.

    Args:
        in_channels: 3 for the picture, and 3 more for each guide picture.
        blocks: number of residual blocks; 7 in ``reference_P``, 4 in ``reference_F``.
        filters: widths of ``conv0``, ``conv1``, ``conv2``, the residual blocks (the same as ``conv2``), the way up,
            and the last layers.
        smoothers: two more convolutions before the last one (``conv_11_a``).
        tanh: whether the output passes through tanh; without it, it is not bounded.

    Raises:
        OptionError: an argument is out of range.

    Example:
        >>> generator = PatchGenerator()
        >>> sum(weight.numel() for weight in generator.parameters())
        3267523
        >>> generator.eval()(torch.zeros(1, 3, 18, 21)).shape
        torch.Size([1, 3, 18, 21])
    """

    def __init__(
        self,
        in_channels: int = 3,
        blocks: int = 7,
        filters: Sequence[int] = FILTERS,
        smoothers: bool = True,
        tanh: bool = True,
    ) -> None:
        super().__init__()
        if in_channels < 3 or in_channels % 3:
            raise OptionError(
                f"in_channels is 3 for the picture and 3 for each guide, found {in_channels}. Use 3, 6, 9 …"
            )
        if blocks < 0:
            raise OptionError(f"blocks must not be negative, found {blocks}.")
        if len(filters) != len(FILTERS) or min(filters) < 1 or filters[2] != filters[3]:
            raise OptionError(
                f"filters must be {len(FILTERS)} positive widths of which the third and fourth are the same, found "
                f"{list(filters)}. Use {list(FILTERS)}, or scale all of them."
            )
        stem, half, quarter, _, up, last = filters
        self.in_channels = in_channels
        self.conv0 = _convolution(in_channels, stem, size=7, stride=1)
        self.conv1 = _convolution(stem, half, size=3, stride=2)
        self.conv2 = _convolution(half, quarter, size=3, stride=2)
        self.resnets = nn.ModuleList(_residual(quarter) for _ in range(blocks))
        self.upconv2 = _enlarging(2 * quarter, up)
        self.upconv1 = _enlarging(up + half, up)
        self.conv_11 = nn.Sequential(nn.Conv2d(stem + up + in_channels, last, 7, padding=3), nn.ReLU())
        self.conv_11_a = _smoothers(last) if smoothers else nn.Identity()
        to_colours = nn.Conv2d(last, 3, 1)
        self.conv_12 = nn.Sequential(to_colours, nn.Tanh()) if tanh else to_colours

    def forward(self, pictures: Tensor) -> Tensor:
        """Repaint pictures.

        Args:
            pictures: (B, in_channels, H, W) in [-1, 1], RGB and then the guides; any height and width. Sides that do
                not divide by 4 are extended by their border, and the result is cut back.

        Returns:
            RGB pictures (B, 3, H, W) in [-1, 1].

        Raises:
            BatchError: the pictures have another number of channels or dimensions.
        """
        if pictures.ndim != 4 or pictures.shape[1] != self.in_channels:
            raise BatchError(
                f"This generator takes pictures (B, {self.in_channels}, H, W), RGB and {self.in_channels // 3 - 1} "
                f"guides of 3 channels; found {tuple(pictures.shape)}. Draw as many guides as it was trained with."
            )
        height, width = pictures.shape[2:]
        below, right = -height % _MULTIPLE, -width % _MULTIPLE
        x = F.pad(pictures, (0, right, 0, below), mode="replicate") if below or right else pictures
        full = self.conv0(x)
        half = self.conv1(full)
        quarter = self.conv2(half)
        inner = quarter
        for block in self.resnets:
            inner = block(inner) + inner
        inner = self.upconv2(torch.cat((inner, quarter), dim=1))
        inner = self.upconv1(torch.cat((inner, half), dim=1))
        inner = self.conv_11(torch.cat((inner, full, x), dim=1))
        painted: Tensor = self.conv_12(self.conv_11_a(inner))
        return painted[:, :, :height, :width]


def _convolution(inputs: int, outputs: int, size: int, stride: int) -> nn.Sequential:
    layers = nn.Sequential()
    layers.add_module("conv", nn.Conv2d(inputs, outputs, size, stride, padding=size // 2))
    layers.add_module("normalization", nn.BatchNorm2d(outputs))
    layers.add_module("nonlinearity", nn.LeakyReLU(0.2))
    return layers


def _residual(width: int) -> nn.Sequential:
    layers = nn.Sequential()
    layers.add_module("nonlinearity_0", nn.ReLU())
    layers.add_module("conv_0", nn.Conv2d(width, width, 3, padding=1))
    layers.add_module("normalization", nn.BatchNorm2d(width))
    layers.add_module("nonlinearity_1", nn.ReLU())
    layers.add_module("conv_1", nn.Conv2d(width, width, 3, padding=1))
    return layers


def _enlarging(inputs: int, outputs: int) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    return nn.Sequential(nn.Upsample(scale_factor=2), convolution, nn.BatchNorm2d(outputs), nn.ReLU())


def _smoothers(width: int) -> nn.Sequential:
    first, second = nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)
    return nn.Sequential(first, nn.ReLU(), nn.BatchNorm2d(width), second, nn.ReLU())

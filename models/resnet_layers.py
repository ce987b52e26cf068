# SPDX-License-Identifier: Apache-2.0
"""What the 3-D ResNets, SlowFast and X3D are made of: stems, residual blocks, stages, their initialisation.

They compute what SlowFast's ``slowfast/models/{stem,resnet}_helper.py`` do.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn

from ..errors import BatchError, OptionError, UnknownNameError
from .nonlocal_block import NonLocalBlock
from .video_conv import VideoConv3d

__all__ = (
    "BLOCKS",
    "BLOCKS_PER_STAGE",
    "BasicBlock",
    "BottleneckBlock",
    "ResidualBlock",
    "Stem",
    "check_clip",
    "check_kernels",
    "conv_time",
    "initialise",
    "make_shortcut",
    "make_stage",
)

BLOCKS_PER_STAGE = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}


def conv_time(channels_in: int, channels_out: int, kernel: int, spatial: int = 1, stride: int = 1) -> VideoConv3d:
    """Return a convolution of ``kernel`` frames and ``spatial`` x ``spatial`` pixels that keeps all frames."""
    size, padding = (kernel, spatial, spatial), (kernel // 2, spatial // 2, spatial // 2)
    return VideoConv3d(channels_in, channels_out, size, (1, stride, stride), padding, bias=False)


class Stem(nn.Sequential):
    """7x7 convolution over ``kernel`` frames, then max pooling: to ``(B, width, T, H / 4, W / 4)``."""

    def __init__(self, in_channels: int, width: int, kernel: int) -> None:
        super().__init__()
        self.conv = conv_time(in_channels, width, kernel, spatial=7, stride=2)
        self.bn = nn.BatchNorm3d(width)
        self.relu = nn.ReLU()
        self.pool = nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1))


def make_shortcut(channels_in: int, channels_out: int, stride: int, norm: bool = True) -> nn.Module:
    """Return the identity, or a strided 1x1x1 convolution (and normalisation) where the block changes the shape."""
    if channels_in == channels_out and stride == 1:
        return nn.Identity()
    layers: OrderedDict[str, nn.Module] = OrderedDict(conv=conv_time(channels_in, channels_out, 1, stride=stride))
    if norm:
        layers["bn"] = nn.BatchNorm3d(channels_out)
    return nn.Sequential(layers)


class ResidualBlock(nn.Module):
    """What the blocks have in common: a normalisation before the sum."""

    expansion: int
    """Channels of the output in widths of the block."""

    @property
    def last_bn(self) -> nn.BatchNorm3d:
        """The normalisation before the sum; where its weight is zero the block does nothing."""
        raise NotImplementedError


class BottleneckBlock(ResidualBlock):
    """``(kernel, 1, 1)``, ``(1, 3, 3)`` with the spatial stride, ``1x1x1``: the block of every published model.

    Maps ``(B, channels_in, T, H, W)`` to ``(B, 4 * width, T, H / stride, W / stride)``. No ReLU works in place: a hook
    that keeps the output of a normalisation layer must keep what that layer gave.
    """

    expansion = 4

    def __init__(self, channels_in: int, width: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.shortcut = make_shortcut(channels_in, 4 * width, stride)
        self.conv_a, self.bn_a, self.relu_a = conv_time(channels_in, width, kernel), nn.BatchNorm3d(width), nn.ReLU()
        self.conv_b, self.bn_b, self.relu_b = conv_time(width, width, 1, 3, stride), nn.BatchNorm3d(width), nn.ReLU()
        self.conv_c, self.bn_c = conv_time(width, 4 * width, 1), nn.BatchNorm3d(4 * width)
        self.relu = nn.ReLU()

    @property
    def last_bn(self) -> nn.BatchNorm3d:
        """The normalisation before the sum."""
        return self.bn_c

    def forward(self, x: Tensor) -> Tensor:
        """Add the residual branch to the shortcut."""
        branch = self.relu_a(self.bn_a(self.conv_a(x)))
        branch = self.relu_b(self.bn_b(self.conv_b(branch)))
        branch = self.bn_c(self.conv_c(branch))
        out: Tensor = self.relu(self.shortcut(x) + branch)
        return out


class BasicBlock(ResidualBlock):
    """``(kernel, 3, 3)`` with the spatial stride, ``(1, 3, 3)``: the block of a classic ResNet-18, widths 64 to 512.

    Maps ``(B, channels_in, T, H, W)`` to ``(B, width, T, H / stride, W / stride)``.
    """

    expansion = 1

    def __init__(self, channels_in: int, width: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.shortcut = make_shortcut(channels_in, width, stride)
        self.conv_a, self.bn_a = conv_time(channels_in, width, kernel, 3, stride), nn.BatchNorm3d(width)
        self.relu_a = nn.ReLU()
        self.conv_b, self.bn_b = conv_time(width, width, 1, 3), nn.BatchNorm3d(width)
        self.relu = nn.ReLU()

    @property
    def last_bn(self) -> nn.BatchNorm3d:
        """The normalisation before the sum."""
        return self.bn_b

    def forward(self, x: Tensor) -> Tensor:
        """Add the residual branch to the shortcut."""
        branch = self.bn_b(self.conv_b(self.relu_a(self.bn_a(self.conv_a(x)))))
        out: Tensor = self.relu(self.shortcut(x) + branch)
        return out


BLOCKS: dict[str, type[BottleneckBlock] | type[BasicBlock]] = {"bottleneck": BottleneckBlock, "basic": BasicBlock}
"""Kinds of blocks by name."""


def make_stage(
    channels: int,
    width: int,
    kernels: Sequence[int],
    blocks: int,
    stride: int,
    block: str = "bottleneck",
    nonlocal_after: Sequence[int] = (),
    zero_init: bool = True,
) -> tuple[nn.Sequential, int]:
    """Make one stage of residual blocks.

    Args:
        channels: channels of its input.
        width: width of its blocks.
        kernels: frames that the first convolution of each block sees; a pattern shorter than the stage is repeated.
        blocks: number of blocks.
        stride: spatial stride of the first one.
        block: a name in ``BLOCKS``.
        nonlocal_after: the blocks (from 0) that a non-local block follows.
        zero_init: start non-local blocks as identities.

    Returns:
        The stage, with layers ``block0``, ``nonlocal0``, …; and the channels of its output.

    Example:
        >>> stage, channels = make_stage(64, 64, kernels=(3, 1), blocks=3, stride=1)
        >>> list(dict(stage.named_children())), channels
        (['block0', 'block1', 'block2'], 256)
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for index in range(blocks):
        kernel = kernels[index % len(kernels)]
        layers[f"block{index}"] = BLOCKS[block](channels, width, kernel, stride if index == 0 else 1)
        channels = width * BLOCKS[block].expansion
        if index in nonlocal_after:
            layers[f"nonlocal{index}"] = NonLocalBlock(channels, zero_init=zero_init)
    return nn.Sequential(layers), channels


def initialise(model: nn.Module, zero_init_last_bn: bool = True) -> None:
    """Initialise as SlowFast does: MSRA convolutions (fan out), N(0, 0.01) for linear layers, zero biases.

    Args:
        model: what to initialise, in place.
        zero_init_last_bn: start every residual branch at zero.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.01)
            nn.init.zeros_(module.bias)
        elif isinstance(module, ResidualBlock) and zero_init_last_bn:
            nn.init.zeros_(module.last_bn.weight)


def check_kernels(depth: int, block: str, kernels: Sequence[int], *per_stage: Sequence[Sequence[int]]) -> None:
    """Refuse options that no ResNet of four stages can have.

    Args:
        depth: what must be in ``BLOCKS_PER_STAGE``.
        block: what must be in ``BLOCKS``.
        kernels: all temporal kernels.
        per_stage: lists that need one entry for each stage.

    Raises:
        OptionError: an unknown depth, a list of another length, an even kernel.
        UnknownNameError: an unknown block.
    """
    if depth not in BLOCKS_PER_STAGE:
        raise OptionError(f"depth is {depth}; it must be one of {', '.join(map(str, BLOCKS_PER_STAGE))}.")
    if block not in BLOCKS:
        raise UnknownNameError("block", block, BLOCKS)
    if any(len(entries) != 4 for entries in per_stage):
        raise OptionError("temporal_kernels and nonlocal_blocks need one entry for each of the stages res2 to res5.")
    if any(kernel % 2 == 0 for kernel in kernels):
        raise OptionError("Temporal kernels must be odd: an even one would change the number of frames.")


def check_clip(video: Tensor, in_channels: int) -> None:
    """Refuse what is no clip.

    Raises:
        BatchError: the shape is not ``(B, in_channels, T, H, W)``, or there is not one pixel in a clip.
    """
    if video.ndim != 5 or video.shape[1] != in_channels or 0 in video.shape[2:]:
        raise BatchError(
            f"The model takes clips of shape (B, {in_channels}, T, H, W) and got {tuple(video.shape)}. "
            "Move the channels to the second axis, or build the model with another in_channels."
        )

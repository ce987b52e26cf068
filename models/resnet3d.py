# SPDX-License-Identifier: Apache-2.0
"""The 3-D ResNet family: C2D, I3D, I3D with non-local blocks, SlowOnly, FastOnly.

One architecture: a stem, four residual stages, a head. The members differ in which convolutions see time
(``stem_kernel``, ``temporal_kernels``), in width, and in an optional temporal pooling after the second stage. It
computes what SlowFast's ``slowfast/models/{stem,resnet,head}_helper.py`` do and takes their weights, see
:mod:`staticdropout.models.checkpoints`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn

from ..errors import BatchError, OptionError, UnknownNameError
from .nonlocal_block import NonLocalBlock
from .video_conv import VideoConv3d

__all__ = ("BasicBlock", "BottleneckBlock", "ClassificationHead", "ResNet3d", "Stem")

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


def make_shortcut(channels_in: int, channels_out: int, stride: int) -> nn.Module:
    """Return the identity, or a strided 1x1x1 convolution where the block changes the shape."""
    if channels_in == channels_out and stride == 1:
        return nn.Identity()
    conv, bn = conv_time(channels_in, channels_out, 1, stride=stride), nn.BatchNorm3d(channels_out)
    return nn.Sequential(OrderedDict(conv=conv, bn=bn))


class BottleneckBlock(nn.Module):
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
        """The normalisation before the sum; where its weight is zero the block does nothing."""
        return self.bn_c

    def forward(self, x: Tensor) -> Tensor:
        """Add the residual branch to the shortcut."""
        branch = self.relu_a(self.bn_a(self.conv_a(x)))
        branch = self.relu_b(self.bn_b(self.conv_b(branch)))
        branch = self.bn_c(self.conv_c(branch))
        out: Tensor = self.relu(self.shortcut(x) + branch)
        return out


class BasicBlock(nn.Module):
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
        """The normalisation before the sum; where its weight is zero the block does nothing."""
        return self.bn_b

    def forward(self, x: Tensor) -> Tensor:
        """Add the residual branch to the shortcut."""
        branch = self.bn_b(self.conv_b(self.relu_a(self.bn_a(self.conv_a(x)))))
        out: Tensor = self.relu(self.shortcut(x) + branch)
        return out


BLOCKS: dict[str, type[BottleneckBlock] | type[BasicBlock]] = {"bottleneck": BottleneckBlock, "basic": BasicBlock}


class ClassificationHead(nn.Module):
    """Average pool, dropout, linear. The linear layer ``fc`` takes its channels last.

    Args:
        channels: channels of the map.
        num_classes: number of classes.
        dropout: rate of standard dropout before ``fc``.
        pool: kernel ``(T, H, W)`` of the official sliding average, which leaves several positions of a larger map; None
            averages all positions.
        mode: ``"logits"``, or ``"softmax"``: probabilities in evaluation, logits in training, as the official head.
    """

    def __init__(self, channels: int, num_classes: int, dropout: float, pool: Sequence[int] | None, mode: str) -> None:
        super().__init__()
        if mode not in ("logits", "softmax"):
            raise UnknownNameError("head_mode", mode, ("logits", "softmax"))
        self.mode = mode
        self.pool: nn.Module = nn.AdaptiveAvgPool3d(1)
        if pool is not None:
            frames, height, width = pool
            self.pool = nn.AvgPool3d((frames, height, width), stride=1)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, T, H, W)`` to ``(B, num_classes)``; several positions are averaged, after a softmax."""
        x = self.pool(x).movedim(1, -1)
        if isinstance(self.pool, nn.AdaptiveAvgPool3d):
            x = x.flatten(1)  # one position: hooks on fc meet plain (B, C)
        x = self.fc(self.dropout(x))
        if self.mode == "softmax" and not self.training:
            x = x.softmax(dim=-1)
        return x.flatten(1, -2).mean(dim=1) if x.ndim > 2 else x


class ResNet3d(nn.Module):
    """A 3-D ResNet for clips: ``stem``, ``res2``, ``pool2``, ``res3``, ``res4``, ``res5``, ``head``, in this order.

    The outputs of ``stem`` and ``res2`` to ``res5`` are the papers' five stages (``res2`` before temporal pooling).

    Args:
        num_classes: number of classes.
        depth: 18, 50 or 101: the number of blocks per stage.
        block: ``"bottleneck"`` or ``"basic"``. Depth 18 of bottlenecks has 26 layers; it is the one published R18.
        stem_kernel: frames that the stem's convolution sees.
        temporal_kernels: for ``res2`` to ``res5`` the frames that the first convolution of each block sees; a pattern
            shorter than the stage is repeated. All odd.
        pool_after_res2: halve the number of frames by max pooling after ``res2``.
        nonlocal_blocks: for ``res2`` to ``res5`` the blocks (from 0) that a non-local block follows.
        width: channels of the stem; the stages follow in proportion.
        dropout: rate of standard dropout just before the last linear layer.
        in_channels: channels of the video.
        pool_size: kernel of the official sliding average pool, ``(T, crop / 32, crop / 32)``; None averages all.
        head_mode: ``"logits"``, or ``"softmax"`` for the official evaluation, which returns probabilities.
        zero_init_last_bn: start every residual branch at zero.

    Raises:
        UnknownNameError: an unknown ``block`` or ``head_mode``.
        ValueError: an unknown ``depth``, or a list that does not have one entry per stage.
        BatchError: in ``forward``, an input that is not ``(B, in_channels, T, H, W)``.

    Example:
        >>> import torch
        >>> model = ResNet3d(num_classes=5, depth=18, width=8)
        >>> model(torch.randn(2, 3, 4, 32, 32)).shape
        torch.Size([2, 5])
    """

    res2: nn.Sequential
    res3: nn.Sequential
    res4: nn.Sequential
    res5: nn.Sequential

    def __init__(
        self,
        num_classes: int,
        depth: int = 50,
        *,
        block: str = "bottleneck",
        stem_kernel: int = 1,
        temporal_kernels: Sequence[Sequence[int]] = ((1,), (1,), (3,), (3,)),
        pool_after_res2: bool = False,
        nonlocal_blocks: Sequence[Sequence[int]] = ((), (), (), ()),
        width: int = 64,
        dropout: float = 0.0,
        in_channels: int = 3,
        pool_size: Sequence[int] | None = None,
        head_mode: str = "logits",
        zero_init_last_bn: bool = True,
    ) -> None:
        super().__init__()
        if depth not in BLOCKS_PER_STAGE:
            raise OptionError(f"depth is {depth}; it must be one of {', '.join(map(str, BLOCKS_PER_STAGE))}.")
        if block not in BLOCKS:
            raise UnknownNameError("block", block, BLOCKS)
        if len(temporal_kernels) != 4 or len(nonlocal_blocks) != 4 or not all(temporal_kernels):
            raise OptionError(
                "temporal_kernels and nonlocal_blocks need one entry for each of the stages res2 to res5."
            )
        if any(kernel % 2 == 0 for kernel in (stem_kernel, *(k for stage in temporal_kernels for k in stage))):
            raise OptionError("Temporal kernels must be odd: an even one would change the number of frames.")
        self.in_channels = in_channels
        self.stem = Stem(in_channels, width, stem_kernel)
        channels = width
        for stage, blocks in enumerate(BLOCKS_PER_STAGE[depth]):
            layers: OrderedDict[str, nn.Module] = OrderedDict()
            for index in range(blocks):
                kernel = temporal_kernels[stage][index % len(temporal_kernels[stage])]
                stride = 2 if stage > 0 and index == 0 else 1
                layers[f"block{index}"] = BLOCKS[block](channels, width * 2**stage, kernel, stride)
                channels = width * 2**stage * BLOCKS[block].expansion
                if index in nonlocal_blocks[stage]:
                    layers[f"nonlocal{index}"] = NonLocalBlock(channels, zero_init=zero_init_last_bn)
            self.add_module(f"res{stage + 2}", nn.Sequential(layers))
            if stage == 0:
                self.pool2 = nn.MaxPool3d((2, 1, 1)) if pool_after_res2 else nn.Identity()
        self.head = ClassificationHead(channels, num_classes, dropout, pool_size, head_mode)
        self.reset_parameters(zero_init_last_bn)

    def reset_parameters(self, zero_init_last_bn: bool = True) -> None:
        """Initialise as SlowFast does: MSRA convolutions (fan out), N(0, 0.01) for the last layer, zero biases."""
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, BottleneckBlock | BasicBlock) and zero_init_last_bn:
                nn.init.zeros_(module.last_bn.weight)
        nn.init.normal_(self.head.fc.weight, std=0.01)
        nn.init.zeros_(self.head.fc.bias)

    def forward(self, video: Tensor) -> Tensor:
        """Map a normalised clip ``(B, in_channels, T, H, W)`` to logits ``(B, num_classes)``."""
        if video.ndim != 5 or video.shape[1] != self.in_channels:
            raise BatchError(
                f"The model takes clips of shape (B, {self.in_channels}, T, H, W) and got {tuple(video.shape)}. "
                "Move the channels to the second axis, or build the model with another in_channels."
            )
        x = self.pool2(self.res2(self.stem(video)))
        x = self.res5(self.res4(self.res3(x)))
        logits: Tensor = self.head(x)
        return logits

# SPDX-License-Identifier: Apache-2.0
"""X3D: a small 3-D ResNet of depthwise convolutions with squeeze and excitation.

Feichtenhofer, CVPR 2020, arXiv:2004.04730; computes what ``X3D`` in ``slowfast/models/video_model_builder.py`` of
facebookresearch/SlowFast does, and as an option what PyTorchVideo's does, which lacks one normalisation.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..errors import OptionError
from .adaptation import Adaptation
from .heads import LinearHead, average_pool, channels_last, pooled
from .resnet_layers import ResidualBlock, check_clip, conv_time, initialise, make_shortcut
from .video_conv import VideoConv3d

__all__ = ("X3D", "SqueezeExcitation", "X3DBlock", "X3DHead", "X3DStem", "squeezed_width")

EXPANSION = 2.25  # channels inside a block for each one outside
SHORTCUT_NORM = "res2.block0.shortcut.bn"


def squeezed_width(channels: int, ratio: float = 0.0625) -> int:
    """Channels inside squeeze and excitation: the nearest multiple of 8, not more than a tenth below the exact share.

    Source:
        ``SE._round_width`` in ``slowfast/models/operators.py``.

    Example:
        >>> [squeezed_width(channels) for channels in (54, 108, 216, 432)]
        [8, 8, 16, 32]
    """
    exact = channels * ratio
    width = max(8, int(exact + 4) // 8 * 8)
    return width + 8 if width < 0.9 * exact else width


class SqueezeExcitation(nn.Module):
    """Weigh the channels of ``(B, C, T, H, W)`` by what the mean over all positions says (Hu et al., CVPR 2018)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        width = squeezed_width(channels)
        self.fc1, self.relu = VideoConv3d(channels, width, 1), nn.ReLU()
        self.fc2, self.sigmoid = VideoConv3d(width, channels, 1), nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """Return the weighed map."""
        weights: Tensor = self.sigmoid(self.fc2(self.relu(self.fc1(x.mean((2, 3, 4), keepdim=True)))))
        return x * weights


class X3DStem(nn.Module):
    """A spatial 3x3 convolution and a temporal depthwise one of 5 frames: to ``(B, width, T, H / 2, W / 2)``."""

    def __init__(self, in_channels: int, width: int, kernel: int = 5) -> None:
        super().__init__()
        self.conv_xy = conv_time(in_channels, width, 1, spatial=3, stride=2)
        self.conv_t = VideoConv3d(width, width, (kernel, 1, 1), padding=(kernel // 2, 0, 0), groups=width, bias=False)
        self.bn = nn.BatchNorm3d(width)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, in_channels, T, H, W)`` to ``(B, width, T, H / 2, W / 2)``."""
        out: Tensor = self.relu(self.bn(self.conv_t(self.conv_xy(x))))
        return out


class X3DBlock(ResidualBlock):
    """1x1x1, depthwise 3x3x3 with the spatial stride, squeeze and excitation in every other block, Swish, 1x1x1.

    Maps ``(B, channels_in, T, H, W)`` to ``(B, channels, T, H / stride, W / stride)``.
    """

    expansion = 1

    def __init__(self, channels_in: int, channels: int, stride: int, excite: bool, shortcut_norm: bool) -> None:
        super().__init__()
        inner = int(EXPANSION * channels)
        self.shortcut = make_shortcut(channels_in, channels, stride, shortcut_norm)
        self.conv_a, self.bn_a, self.relu_a = conv_time(channels_in, inner, 1), nn.BatchNorm3d(inner), nn.ReLU()
        self.conv_b = VideoConv3d(inner, inner, 3, (1, stride, stride), 1, groups=inner, bias=False)
        self.bn_b = nn.BatchNorm3d(inner)
        self.se: nn.Module = SqueezeExcitation(inner) if excite else nn.Identity()
        self.swish = nn.SiLU()
        self.conv_c, self.bn_c = conv_time(inner, channels, 1), nn.BatchNorm3d(channels)
        self.relu = nn.ReLU()

    @property
    def last_bn(self) -> nn.BatchNorm3d:
        """The normalisation before the sum."""
        return self.bn_c

    def forward(self, x: Tensor) -> Tensor:
        """Add the residual branch to the shortcut."""
        branch = self.relu_a(self.bn_a(self.conv_a(x)))
        branch = self.swish(self.se(self.bn_b(self.conv_b(branch))))
        out: Tensor = self.relu(self.shortcut(x) + self.bn_c(self.conv_c(branch)))
        return out


class X3DHead(LinearHead):
    """1x1x1 convolution, normalisation, ReLU, average pool, 1x1x1 convolution, ReLU, dropout, linear.

    Args:
        channels: channels of the map.
        inner: channels of the first convolution.
        width: channels that the linear layer sees.
        num_classes: number of classes.
        dropout: rate of standard dropout before ``fc``.
        pool: kernel of the official sliding average; None averages all positions.
        mode: see :class:`.LinearHead`.
    """

    def __init__(
        self,
        channels: int,
        inner: int,
        width: int,
        num_classes: int,
        dropout: float,
        pool: Sequence[int] | None,
        mode: str,
    ) -> None:
        super().__init__(width, num_classes, dropout, mode)
        self.conv5, self.bn5, self.relu5 = conv_time(channels, inner, 1), nn.BatchNorm3d(inner), nn.ReLU()
        self.pool = average_pool(pool)
        self.lin5, self.relu = conv_time(inner, width, 1), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, T, H, W)`` to ``(B, num_classes)``."""
        x = pooled(self.pool, self.relu5(self.bn5(self.conv5(x))))
        return super().forward(channels_last(self.relu(self.lin5(x)), self.pool))


class X3D(nn.Module):
    """X3D for clips: ``stem``, ``res2`` to ``res5``, ``head``, the papers' five stages and a classifier.

    Every stage halves the picture, none the frames; clips of any length and size are taken.

    Args:
        num_classes: number of classes.
        blocks: number of blocks in ``res2`` to ``res5``: 3, 5, 11, 7, and 5, 10, 25, 15 in X3D-L.
        width: channels of the stem and ``res2``, doubled in each further stage.
        head_width: channels that the last linear layer sees.
        shortcut_norm: normalise the shortcut of ``res2.block0``, as SlowFast's code does; PyTorchVideo's does not.
        dropout: rate of standard dropout just before the last linear layer.
        in_channels: channels of the video.
        pool_size: kernel ``(T, ceil(crop / 32), ceil(crop / 32))`` of the official sliding average; None averages all
            positions.
        head_mode: ``"logits"``, or ``"softmax"`` for the official evaluation, which returns probabilities.
        zero_init_last_bn: start every residual branch at zero.

    Raises:
        UnknownNameError: an unknown ``head_mode``.
        OptionError: ``blocks`` that are not four numbers of at least 1.
        BatchError: in ``forward``, an input that is not ``(B, in_channels, T, H, W)``.

    Example:
        >>> X3D(num_classes=5, blocks=(1, 2, 2, 1), width=8, head_width=32)(torch.randn(2, 3, 4, 32, 32)).shape
        torch.Size([2, 5])
    """

    res2: nn.Sequential
    res3: nn.Sequential
    res4: nn.Sequential
    res5: nn.Sequential

    def __init__(
        self,
        num_classes: int,
        *,
        blocks: Sequence[int] = (3, 5, 11, 7),
        width: int = 24,
        head_width: int = 2048,
        shortcut_norm: bool = True,
        dropout: float = 0.0,
        in_channels: int = 3,
        pool_size: Sequence[int] | None = None,
        head_mode: str = "logits",
        zero_init_last_bn: bool = True,
    ) -> None:
        super().__init__()
        if len(blocks) != 4 or min(blocks) < 1:
            raise OptionError(f"blocks must be four numbers of at least 1, for res2 to res5; got {tuple(blocks)}.")
        self.in_channels = in_channels
        self.stem = X3DStem(in_channels, width)
        channels_in = width
        for stage, count in enumerate(blocks):
            channels = width * 2**stage
            layers: OrderedDict[str, nn.Module] = OrderedDict()
            for index in range(count):
                stride, norm = 2 if index == 0 else 1, shortcut_norm or channels_in != channels
                layers[f"block{index}"] = X3DBlock(channels_in, channels, stride, index % 2 == 0, norm)
                channels_in = channels
            self.add_module(f"res{stage + 2}", nn.Sequential(layers))
        inner = int(EXPANSION * channels_in)
        self.head = X3DHead(channels_in, inner, head_width, num_classes, dropout, pool_size, head_mode)
        initialise(self, zero_init_last_bn)

    @property
    def analysis_layers(self) -> dict[str, str]:
        """The five stages of the papers' figures, and the layers whose outputs they are."""
        return {f"stage{stage}": "stem" if stage == 1 else f"res{stage}" for stage in range(1, 6)}

    def adapt_to(self, weights: dict[str, Tensor], layout: str = "") -> Adaptation:
        """Fill in the identity for the normalisation that PyTorchVideo's files lack.

        Args:
            weights: in our names.
            layout: their naming; SlowFast's files have that normalisation, and none is made up for them.

        Returns:
            The weights, with that normalisation where this model has it and they do not.
        """
        norm = self.state_dict().get(f"{SHORTCUT_NORM}.weight")
        lacks = not any(name.startswith(SHORTCUT_NORM) for name in weights)
        if norm is None or not lacks or layout == "SlowFast" or "res2.block0.shortcut.conv.weight" not in weights:
            return Adaptation(weights)
        identity = {
            "weight": torch.ones(len(norm)),
            "bias": torch.zeros(len(norm)),
            "running_mean": torch.zeros(len(norm)),
            "running_var": torch.full((len(norm),), 1 - 1e-5),  # to which the normalisation adds its epsilon
            "num_batches_tracked": torch.tensor(0),
        }
        filled = weights | {f"{SHORTCUT_NORM}.{name}": value for name, value in identity.items()}
        return Adaptation(filled, (f"{SHORTCUT_NORM}, which PyTorchVideo's X3D lacks, was set to the identity.",))

    def forward(self, video: Tensor) -> Tensor:
        """Map a normalised clip ``(B, in_channels, T, H, W)`` to logits ``(B, num_classes)``."""
        check_clip(video, self.in_channels)
        logits: Tensor = self.head(self.res5(self.res4(self.res3(self.res2(self.stem(video))))))
        return logits

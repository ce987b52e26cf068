# SPDX-License-Identifier: Apache-2.0
"""The 3-D ResNet family: C2D, I3D, I3D with non-local blocks, SlowOnly, FastOnly.

One architecture: a stem, four residual stages, a head. The members differ in which convolutions see time
(``stem_kernel``, ``temporal_kernels``), in width, and in an optional temporal pooling after the second stage. It
computes what SlowFast's ``slowfast/models/{stem,resnet,head}_helper.py`` do and takes their weights, see
:mod:`staticdropout.models.checkpoints`.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from ..errors import BatchError
from .heads import ClassificationHead
from .resnet_layers import BLOCKS_PER_STAGE, Stem, check_clip, check_kernels, initialise, make_stage

__all__ = ("ResNet3d",)


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
        BatchError: in ``forward``, an input that is not ``(B, in_channels, T, H, W)``, or has one frame where the model
            halves their number.

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
        kernels = [stem_kernel, *(kernel for stage in temporal_kernels for kernel in stage)]
        check_kernels(
            depth, block, kernels, temporal_kernels, nonlocal_blocks, [stage for stage in temporal_kernels if stage]
        )
        self.in_channels = in_channels
        self.stem = Stem(in_channels, width, stem_kernel)
        channels = width
        for stage, blocks in enumerate(BLOCKS_PER_STAGE[depth]):
            layers, channels = make_stage(
                channels,
                width * 2**stage,
                temporal_kernels[stage],
                blocks,
                stride=2 if stage > 0 else 1,
                block=block,
                nonlocal_after=nonlocal_blocks[stage],
                zero_init=zero_init_last_bn,
            )
            self.add_module(f"res{stage + 2}", layers)
            if stage == 0:
                self.pool2 = nn.MaxPool3d((2, 1, 1)) if pool_after_res2 else nn.Identity()
        self.head = ClassificationHead(channels, num_classes, dropout, pool_size, head_mode)
        initialise(self, zero_init_last_bn)

    @property
    def analysis_layers(self) -> dict[str, str]:
        """The five stages of the papers' figures, and the layers whose outputs they are."""
        return {f"stage{stage}": "stem" if stage == 1 else f"res{stage}" for stage in range(1, 6)}

    def forward(self, video: Tensor) -> Tensor:
        """Map a normalised clip ``(B, in_channels, T, H, W)`` to logits ``(B, num_classes)``."""
        check_clip(video, self.in_channels)
        if video.shape[2] < 2 and isinstance(self.pool2, nn.MaxPool3d):
            raise BatchError(
                "The model halves the number of frames and takes clips of 2 frames or more; it got 1 frame."
            )
        x = self.pool2(self.res2(self.stem(video)))
        x = self.res5(self.res4(self.res3(x)))
        logits: Tensor = self.head(x)
        return logits

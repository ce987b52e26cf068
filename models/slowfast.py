# SPDX-License-Identifier: Apache-2.0
"""SlowFast: a slow pathway for looks, a thin fast pathway for motion, and connections from fast to slow.

Feichtenhofer et al., ICCV 2019, arXiv:1812.03982; computes what ``SlowFast`` in ``slowfast/models/
video_model_builder.py`` of facebookresearch/SlowFast does.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..errors import BatchError, OptionError
from .heads import PathwayHead
from .resnet_layers import BLOCKS_PER_STAGE, Stem, check_clip, check_kernels, initialise, make_stage
from .video_conv import VideoConv3d

__all__ = ("FastToSlow", "Pathway", "SlowFast", "slow_frames")


def slow_frames(video: Tensor, alpha: int) -> Tensor:
    """Return every frame of ``(B, C, T, H, W)`` that the slow pathway sees: ``T / alpha``, from the first to the last.

    Source:
        ``pack_pathway_output`` in ``slowfast/datasets/utils.py``: evenly spaced positions, rounded down.

    Example:
        >>> slow_frames(torch.arange(32.0).view(1, 1, 32, 1, 1), alpha=8).flatten().tolist()
        [0.0, 10.0, 20.0, 31.0]
    """
    frames = video.shape[2]
    positions = torch.linspace(0, frames - 1, frames // alpha).long()  # on the CPU, where its rounding is the official
    return video.index_select(2, positions.to(video.device))


class FastToSlow(nn.Module):
    """A lateral connection: strided convolution over time, normalisation, ReLU; its maps go behind those of the slow.

    Args:
        slow_channels: of the slow map.
        channels: of the fast map; the connection adds ``ratio`` times as many to the slow map.
        ratio: see there.
        kernel: frames that the convolution sees, odd.
        alpha: how many fast frames there are for each slow frame.
    """

    def __init__(self, slow_channels: int, channels: int, ratio: int, kernel: int, alpha: int) -> None:
        super().__init__()
        self.out_channels = slow_channels + ratio * channels  # tells feature capture which axis is that of channels
        size, padding = (kernel, 1, 1), (kernel // 2, 0, 0)
        self.conv = VideoConv3d(channels, ratio * channels, size, (alpha, 1, 1), padding, bias=False)
        self.bn = nn.BatchNorm3d(ratio * channels)
        self.relu = nn.ReLU()

    def forward(self, slow: Tensor, fast: Tensor) -> Tensor:
        """Map ``(B, C, T, H, W)`` and ``(B, C', alpha * T, H, W)`` to ``(B, C + ratio * C', T, H, W)``."""
        return torch.cat([slow, self.relu(self.bn(self.conv(fast)))], dim=1)


class Pathway(nn.Module):
    """One pathway: ``stem``, ``res2`` to ``res5``; SlowFast calls them one by one.

    Args:
        in_channels: channels of the video.
        width: channels of the stem; the stages follow in proportion.
        stem_kernel: frames that the stem's convolution sees.
        kernels: for ``res2`` to ``res5`` the frames that the first convolution of each block sees.
        blocks: number of blocks in each stage.
        block: kind of block.
        lateral: channels that lateral connections add to the input of each stage; zeros in the fast pathway.
    """

    stem: Stem
    res2: nn.Sequential
    res3: nn.Sequential
    res4: nn.Sequential
    res5: nn.Sequential

    def __init__(
        self,
        in_channels: int,
        width: int,
        stem_kernel: int,
        kernels: Sequence[Sequence[int]],
        blocks: Sequence[int],
        block: str,
        lateral: Sequence[int],
    ) -> None:
        super().__init__()
        self.stem = Stem(in_channels, width, stem_kernel)
        self.channels = [width]
        """Channels of the five stages' outputs, without those of lateral connections."""
        for stage in range(4):
            channels, stride = self.channels[-1] + lateral[stage], 2 if stage > 0 else 1
            layers, out = make_stage(channels, width * 2**stage, kernels[stage], blocks[stage], stride, block)
            self.add_module(f"res{stage + 2}", layers)
            self.channels.append(out)


class SlowFast(nn.Module):
    """SlowFast for clips: ``slow`` and ``fast``, joined by ``fuse1`` to ``fuse4``, and ``head``.

    Takes one clip, from which it packs both pathways itself: the fast one sees all frames, the slow one every
    ``alpha``-th. ``slow.stem`` and ``slow.res2`` to ``slow.res5`` are the slow pathway before fusion, ``fast.…`` the
    fast one, ``fuse1`` to ``fuse4`` (after the stem, ``res2``, ``res3``, ``res4``) the slow one after fusion.

    Args:
        num_classes: number of classes.
        depth: 18, 50 or 101: the number of blocks per stage.
        block: ``"bottleneck"`` or ``"basic"``.
        alpha: frames of the fast pathway for each one of the slow.
        beta_inv: how many times as wide the slow pathway is.
        fusion_kernel: frames that a lateral connection sees, odd: 5 or 7 in the official models.
        fusion_ratio: channels that it gives, for each one of the fast pathway.
        slow_kernels: temporal kernels of the slow pathway's ``res2`` to ``res5``, see :class:`.ResNet3d`.
        fast_kernels: those of the fast pathway.
        width: channels of the slow pathway's stem; everything else follows in proportion.
        dropout: rate of standard dropout just before the last linear layer.
        in_channels: channels of the video.
        pool_size: kernel ``(T, crop / 32, crop / 32)`` of the official sliding average, ``T`` in frames of the clip;
            None averages all positions.
        head_mode: ``"logits"``, or ``"softmax"`` for the official evaluation, which returns probabilities.
        zero_init_last_bn: start every residual branch at zero.

    Raises:
        UnknownNameError: an unknown ``block`` or ``head_mode``.
        OptionError: an option out of range.
        BatchError: in ``forward``, an input that is not ``(B, in_channels, T, H, W)`` with T a multiple of ``alpha``.

    Example:
        >>> model = SlowFast(num_classes=5, depth=18, alpha=4, width=16)
        >>> model(torch.randn(2, 3, 8, 32, 32)).shape
        torch.Size([2, 5])
    """

    def __init__(
        self,
        num_classes: int,
        depth: int = 50,
        *,
        block: str = "bottleneck",
        alpha: int = 4,
        beta_inv: int = 8,
        fusion_kernel: int = 7,
        fusion_ratio: int = 2,
        slow_kernels: Sequence[Sequence[int]] = ((1,), (1,), (3,), (3,)),
        fast_kernels: Sequence[Sequence[int]] = ((3,), (3,), (3,), (3,)),
        width: int = 64,
        dropout: float = 0.0,
        in_channels: int = 3,
        pool_size: Sequence[int] | None = None,
        head_mode: str = "logits",
        zero_init_last_bn: bool = True,
    ) -> None:
        super().__init__()
        kernels = [fusion_kernel, *(kernel for stage in (*slow_kernels, *fast_kernels) for kernel in stage)]
        check_kernels(depth, block, kernels, list(filter(None, slow_kernels)), list(filter(None, fast_kernels)))
        if min(alpha, beta_inv, fusion_ratio) < 1 or width % beta_inv:
            raise OptionError(
                f"alpha={alpha}, beta_inv={beta_inv} and fusion_ratio={fusion_ratio} must be at least 1, and "
                f"width={width} a multiple of beta_inv."
            )
        if pool_size is not None and (len(pool_size) != 3 or pool_size[0] % alpha):
            raise OptionError(
                f"pool_size must be three numbers, the first (frames of the clip) a multiple of alpha={alpha}; got "
                f"{tuple(pool_size)}."
            )
        self.in_channels, self.alpha = in_channels, alpha
        blocks = BLOCKS_PER_STAGE[depth]
        self.fast = Pathway(in_channels, width // beta_inv, 5, fast_kernels, blocks, block, (0, 0, 0, 0))
        lateral = [fusion_ratio * channels for channels in self.fast.channels[:4]]
        self.slow = Pathway(in_channels, width, 1, slow_kernels, blocks, block, lateral)
        for stage, channels in enumerate(zip(self.slow.channels, self.fast.channels, strict=True), start=1):
            if stage < 5:
                self.add_module(f"fuse{stage}", FastToSlow(*channels, fusion_ratio, fusion_kernel, alpha))
        slow_pool = None if pool_size is None else (pool_size[0] // alpha, *pool_size[1:])
        both = self.slow.channels[-1] + self.fast.channels[-1]
        self.head = PathwayHead(both, num_classes, dropout, slow_pool, pool_size, head_mode)
        initialise(self, zero_init_last_bn)

    fuse1: FastToSlow
    fuse2: FastToSlow
    fuse3: FastToSlow
    fuse4: FastToSlow

    @property
    def analysis_layers(self) -> dict[str, str]:
        """The papers' layers: five stages of either pathway before fusion, and the slow one after it.

        After ``res5`` nothing is fused; the classifier's input, both pathways side by side, takes that place.
        """
        stages = ("stem", "res2", "res3", "res4", "res5")
        slow = {f"SF-Slow.stage{stage}": f"slow.{name}" for stage, name in enumerate(stages, start=1)}
        fast = {f"SF-Fast.stage{stage}": f"fast.{name}" for stage, name in enumerate(stages, start=1)}
        fused = {f"SF-Fused.stage{stage}": f"fuse{stage}" for stage in (1, 2, 3, 4)}
        return {**slow, **fast, **fused, "SF-Fused.stage5": "head.fc[input]"}

    def forward(self, video: Tensor | Sequence[Tensor]) -> Tensor:
        """Map a normalised clip ``(B, in_channels, T, H, W)`` to logits ``(B, num_classes)``.

        The slow pathway sees every alpha-th frame of the clip, or a clip of its own where two are given, slow and fast,
        ``(B, in_channels, T / alpha, H, W)`` and ``(B, in_channels, T, H, W)``.
        """
        given = None
        if not isinstance(video, Tensor):
            given, video = video
            check_clip(given, self.in_channels)
            if video.shape[2] != self.alpha * given.shape[2]:
                raise BatchError(
                    f"SlowFast with alpha={self.alpha} takes {self.alpha} fast frames for each slow one, found "
                    f"{given.shape[2]} slow and {video.shape[2]} fast frames. Sample the pathways in that ratio."
                )
        check_clip(video, self.in_channels)
        if video.shape[2] % self.alpha:
            raise BatchError(
                f"SlowFast with alpha={self.alpha} takes clips of {self.alpha}, {2 * self.alpha}, {3 * self.alpha}, … "
                f"frames and got {video.shape[2]}. Set num_frames to a multiple of {self.alpha}, or another alpha."
            )
        slow = self.slow.stem(slow_frames(video, self.alpha) if given is None else given)
        fast = self.fast.stem(video)
        for stage, fuse in enumerate((self.fuse1, self.fuse2, self.fuse3, self.fuse4), start=2):
            slow = fuse(slow, fast)
            slow = getattr(self.slow, f"res{stage}")(slow)
            fast = getattr(self.fast, f"res{stage}")(fast)
        logits: Tensor = self.head(slow, fast)
        return logits

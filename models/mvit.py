# SPDX-License-Identifier: Apache-2.0
"""MViT: a transformer for clips whose tokens become fewer and wider on the way.

Fan et al., ICCV 2021, arXiv:2104.11227 (version 1, convolutional pooling); computes what ``MViT`` in
``slowfast/models/video_model_builder.py`` of facebookresearch/SlowFast does with ``MVIT_B_16x4_CONV.yaml``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from ..errors import BatchError, OptionError
from .adaptation import Adaptation
from .heads import LinearHead
from .mvit_layers import EPSILON, PATCH_STRIDE, Grid, MViTBlock, SeparablePositions, TubeletEmbed
from .resnet_layers import check_clip
from .transformer_layers import drop_path_rates, initialise_tokens, resize_grid, resize_line

__all__ = ("MViT",)

HEAD_WIDTH = 96


class MViT(nn.Module):
    """MViT for clips: ``patch_embed``, ``positions``, ``blocks``, ``norm``, ``head``.

    Takes clips whose number of frames is a multiple of 2 and whose height and width are multiples of 4; positions are
    resized where they are not those that it was built for. Layers are initialised as by PyTorchVideo, whose last layer
    and normalisations start a little differently from SlowFast's.

    Args:
        num_classes: number of classes.
        frames: frames of the clips that there are positions for.
        crop_size: height and width of these clips in pixels.
        blocks: number of blocks between poolings of the queries; each pooling halves the picture and doubles heads and
            channels.
        width: channels of the first block, a multiple of 96 in the official models, where a head has 96.
        key_stride: spatial stride of keys and values in the first blocks; halved at each pooling of the queries.
        last_key_pooling: pool keys and values also in the last blocks, where that stride is 1: True in today's official
            config and in PyTorchVideo; False in the released weights and in Kowal et al.
        dropout: rate of standard dropout just before the last linear layer.
        drop_path: rate of stochastic depth in the last block, growing evenly from 0 in the first.
        in_channels: channels of the video.
        head_mode: ``"logits"``, or ``"softmax"`` for the official evaluation, which returns probabilities.

    Raises:
        UnknownNameError: an unknown ``head_mode``.
        OptionError: an option out of range.
        BatchError: in ``forward``, an input that is not ``(B, in_channels, T, H, W)`` of such a size.

    Example:
        >>> MViT(num_classes=5, frames=4, crop_size=32, blocks=(1, 1), width=96)(torch.randn(2, 3, 4, 32, 32)).shape
        torch.Size([2, 5])
    """

    def __init__(
        self,
        num_classes: int,
        *,
        frames: int = 16,
        crop_size: int = 224,
        blocks: Sequence[int] = (1, 2, 11, 2),
        width: int = 96,
        key_stride: int = 8,
        last_key_pooling: bool = True,
        dropout: float = 0.0,
        drop_path: float = 0.0,
        in_channels: int = 3,
        head_mode: str = "logits",
    ) -> None:
        super().__init__()
        if width < 1 or width % max(1, width // HEAD_WIDTH):
            raise OptionError(f"width={width} must be at least 1, and a multiple of 96 from 192 on.")
        if not blocks or min(blocks) < 1 or key_stride < 2 ** (len(blocks) - 1):
            raise OptionError(
                f"blocks={tuple(blocks)} must be numbers of at least 1, and key_stride={key_stride} at least "
                f"{2 ** max(0, len(blocks) - 1)}, as it is halved at each pooling between them."
            )
        self.in_channels, self.last_key_pooling = in_channels, last_key_pooling
        grid = self._grid(frames, crop_size, crop_size)
        self.patch_embed = TubeletEmbed(in_channels, width)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = SeparablePositions(grid, width)
        rates = drop_path_rates(drop_path, sum(blocks))
        stages = [stage for stage, count in enumerate(blocks) for _ in range(count)]
        layers = []
        for index, stage in enumerate(stages):
            following = stages[min(index + 1, len(stages) - 1)]
            stride = 2 if index > 0 and stages[index - 1] < stage else 1
            keys: int | None = key_stride // 2**stage
            keys = keys if keys != 1 or last_key_pooling else None
            sizes = width * 2**stage, width * 2**following
            layers.append(MViTBlock(*sizes, max(1, width // HEAD_WIDTH) * 2**stage, stride, keys, rates[index]))
        self.blocks = nn.ModuleList(layers)
        channels = width * 2 ** stages[-1]
        self.norm = nn.LayerNorm(channels, EPSILON)
        self.head = LinearHead(channels, num_classes, dropout, head_mode)
        positions = self.positions
        initialise_tokens(self, [self.class_token, positions.spatial, positions.temporal, positions.class_token])

    @property
    def analysis_layers(self) -> dict[str, str]:
        """The blocks, from 0 as in the papers' figures, and the layers whose outputs they are."""
        return {f"block{index}": f"blocks.{index}" for index in range(len(self.blocks))}

    @property
    def form(self) -> dict[str, bool]:
        """Arguments that :meth:`adapt_to` may have changed."""
        return {"last_key_pooling": self.last_key_pooling}

    def no_weight_decay(self) -> set[str]:
        """Names of the parameters that the official recipe does not decay: those of one dimension."""
        return {name for name, parameter in self.named_parameters() if parameter.ndim == 1}

    def adapt_to(self, weights: dict[str, Tensor], layout: str = "") -> Adaptation:
        """Resize positions as the official loader does, and pool keys in the last blocks where the weights do so.

        Args:
            weights: in our names.
            layout: does not matter here.

        Returns:
            The weights with resized positions.
        """
        notes, fitted = [], dict(weights)
        undo = self._pool_as_in(weights)
        if undo is not None:
            has = "with" if self.last_key_pooling else "without"
            notes.append(
                f"The last blocks were built {has} pooling of keys and values (last_key_pooling), as the file."
            )
        for name in ("spatial", "temporal"):
            positions, own = weights.get(f"positions.{name}"), getattr(self.positions, name)
            if positions is None or positions.ndim != 3 or positions.shape == own.shape:
                continue
            if positions.shape[2] != own.shape[2] or 0 in positions.shape:
                continue  # of another width, or empty: for the comparison of shapes to tell
            side = math.isqrt(positions.shape[1])
            if name == "temporal":
                fitted[f"positions.{name}"] = resize_line(positions, own.shape[1], "linear")
                notes.append(f"positions.temporal was resized from {positions.shape[1]} to {own.shape[1]} frames.")
            elif side**2 == positions.shape[1]:
                grid = self.positions.grid
                fitted[f"positions.{name}"] = resize_grid(positions, (side, side), (grid.height, grid.width), "bicubic")
                notes.append(f"positions.spatial was resized from {side}x{side} to {grid.height}x{grid.width} places.")
        return Adaptation(fitted, tuple(notes), undo or Adaptation({}).undo)

    def _pool_as_in(self, weights: dict[str, Tensor]) -> Callable[[], None] | None:
        """Give the last blocks the form of the weights; returns what undoes it, None where nothing was done."""
        last = {index: block.attn for index, block in enumerate(self._layers) if block.attn.key_stride in (1, None)}
        there = {f"blocks.{index}.attn.pool_k.conv.weight" in weights for index in last}
        known = all(f"blocks.{index}.attn.qkv.weight" in weights for index in last)
        if not known or len(there) != 1 or there == {self.last_key_pooling}:
            return None
        before = [(attn, attn.key_stride, attn.pool_k, attn.pool_v) for attn in last.values()]

        def undo() -> None:
            self.last_key_pooling = not self.last_key_pooling
            for attention, stride, pool_k, pool_v in before:
                attention.key_stride, attention.pool_k, attention.pool_v = stride, pool_k, pool_v

        self.last_key_pooling = not self.last_key_pooling
        with torch.random.fork_rng(devices=[]):  # what is drawn here is about to be replaced
            for attention in last.values():
                attention.pool_keys(1 if self.last_key_pooling else None)
        return undo

    @property
    def _layers(self) -> list[MViTBlock]:
        return [block for block in self.blocks if isinstance(block, MViTBlock)]

    def _grid(self, frames: int, height: int, width: int) -> Grid:
        sizes = (frames, height, width)
        if not all(sizes) or any(size % stride for size, stride in zip(sizes, PATCH_STRIDE, strict=True)):
            raise BatchError(
                f"MViT takes clips of 2, 4, 6, … frames whose height and width are multiples of 4 pixels; got "
                f"{frames} frames of {height}x{width}. Change num_frames or the crop size."
            )
        return Grid(frames // PATCH_STRIDE[0], height // PATCH_STRIDE[1], width // PATCH_STRIDE[2])

    def forward(self, video: Tensor) -> Tensor:
        """Map a normalised clip ``(B, in_channels, T, H, W)`` to logits ``(B, num_classes)``."""
        check_clip(video, self.in_channels)
        grid = self._grid(*video.shape[2:])
        patches = self.patch_embed(video)
        tokens = self.positions(torch.cat([self.class_token.expand(len(patches), -1, -1), patches], dim=1), grid)
        for block in self._layers:
            tokens = block(tokens, grid)
            grid = grid.strided(block.query_stride)
        logits: Tensor = self.head(self.norm(tokens)[:, 0])
        return logits

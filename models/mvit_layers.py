# SPDX-License-Identifier: Apache-2.0
"""What MViT is made of: tubelets, separable positions, pooled attention, blocks.

They compute what ``slowfast/models/attention.py`` of facebookresearch/SlowFast does for ``MVIT_B_16x4_CONV.yaml``.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from timm.layers.drop import DropPath
from timm.layers.mlp import Mlp
from torch import Tensor, nn

from .transformer_layers import attend, resize_grid, resize_line, split_heads

__all__ = (
    "EPSILON",
    "PATCH_STRIDE",
    "Grid",
    "MViTBlock",
    "PooledAttention",
    "SeparablePositions",
    "TokenPool",
    "TubeletEmbed",
)

EPSILON = 1e-6
PATCH, PATCH_STRIDE, PATCH_PADDING = (3, 7, 7), (2, 4, 4), (1, 3, 3)
SKIP_KERNEL, SKIP_STRIDE, SKIP_PADDING = (1, 3, 3), (1, 2, 2), (0, 1, 1)


class Grid(NamedTuple):
    """How the tokens of a clip lie: frames, height, width; the class token stands before them."""

    frames: int
    height: int
    width: int

    def strided(self, stride: int) -> Grid:
        """The grid after a spatial stride.

        Example:
            >>> Grid(8, 56, 56).strided(8)
            Grid(frames=8, height=7, width=7)
        """
        return Grid(self.frames, math.ceil(self.height / stride), math.ceil(self.width / stride))


class TubeletEmbed(nn.Module):
    """Overlapping tubelets of 3x7x7 pixels, one every 2x4x4: ``(B, C, T, H, W)`` to ``(B, T/2 * H/4 * W/4, width)``."""

    def __init__(self, in_channels: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv3d(in_channels, width, PATCH, PATCH_STRIDE, PATCH_PADDING)

    def forward(self, video: Tensor) -> Tensor:
        """Return the tokens, frame by frame and row by row."""
        tokens: Tensor = self.proj(video).flatten(2).transpose(1, 2)
        return tokens


class SeparablePositions(nn.Module):
    """Learned positions: one for each place in the picture plus one for each frame; the class token has its own.

    Args:
        grid: for which there are positions; those of other grids are resized, bicubic in space, linear in time.
        width: channels of the tokens.
    """

    def __init__(self, grid: Grid, width: int) -> None:
        super().__init__()
        self.grid = grid
        self.spatial = nn.Parameter(torch.zeros(1, grid.height * grid.width, width))
        self.temporal = nn.Parameter(torch.zeros(1, grid.frames, width))
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))

    def forward(self, tokens: Tensor, grid: Grid) -> Tensor:
        """Add the positions to tokens ``(B, 1 + N, width)`` of a grid of N."""
        own = (self.grid.height, self.grid.width)
        spatial = resize_grid(self.spatial, own, (grid.height, grid.width), "bicubic")
        temporal = resize_line(self.temporal, grid.frames, "linear")
        patches = (temporal.unsqueeze(2) + spatial.unsqueeze(1)).flatten(1, 2)
        return tokens + torch.cat([self.class_token, patches], dim=1)


class TokenPool(nn.Module):
    """A strided depthwise convolution over the tokens of every head, then a normalisation; the class token passes by.

    Args:
        width: channels of a head; all heads share the convolution.
        stride: spatial stride.
    """

    def __init__(self, width: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(width, width, 3, (1, stride, stride), 1, groups=width, bias=False)
        self.norm = nn.LayerNorm(width, EPSILON)

    def forward(self, tokens: Tensor, grid: Grid) -> Tensor:
        """Map ``(B, heads, 1 + N, width)`` of a grid to that of the strided grid."""
        batch, heads, _, width = tokens.shape
        class_token, patches = tokens[:, :, :1], tokens[:, :, 1:]
        # the usual layout: the gradient of a depthwise convolution is slower with the channels last
        maps = patches.reshape(batch * heads, *grid, width).permute(0, 4, 1, 2, 3).contiguous()
        pooled = self.conv(maps).flatten(2).transpose(1, 2).view(batch, heads, -1, width)
        out: Tensor = self.norm(torch.cat([class_token, pooled], dim=2))
        return out


class PooledAttention(nn.Module):
    """Self-attention whose queries, keys and values are pooled before they meet.

    Args:
        width: channels of the tokens.
        heads: number of heads.
        query_stride: spatial stride of the pooling of queries; 1: none.
        key_stride: that of keys and values; None: none.
    """

    pool_k: TokenPool | None
    pool_v: TokenPool | None

    def __init__(self, width: int, heads: int, query_stride: int, key_stride: int | None) -> None:
        super().__init__()
        self.heads, self.head_width = heads, width // heads
        self.qkv = nn.Linear(width, 3 * width)
        self.pool_q = TokenPool(self.head_width, query_stride) if query_stride > 1 else None
        # places that keep their order, whatever form the block takes later
        self.register_module("pool_k", None)
        self.register_module("pool_v", None)
        self.pool_keys(key_stride)
        self.proj = nn.Linear(width, width)

    def pool_keys(self, stride: int | None) -> None:
        """Pool keys and values anew, with fresh weights; None: do not pool them."""
        self.key_stride, like = stride, self.qkv.weight
        pools = [None if stride is None else TokenPool(self.head_width, stride) for _ in ("key", "value")]
        for pool in filter(None, pools):
            pool.to(like.device, like.dtype).train(self.training).requires_grad_(like.requires_grad)
        self.pool_k, self.pool_v = pools

    def forward(self, tokens: Tensor, grid: Grid) -> Tensor:
        """Map ``(B, 1 + N, width)`` to ``(B, 1 + N', width)``."""
        query, key, value = split_heads(self.qkv(tokens), self.heads)
        query = query if self.pool_q is None else self.pool_q(query, grid)
        key = key if self.pool_k is None else self.pool_k(key, grid)
        value = value if self.pool_v is None else self.pool_v(value, grid)
        gathered = attend(query, key, value)
        mixed: Tensor = self.proj(gathered.transpose(1, 2).flatten(2))
        return mixed


class MViTBlock(nn.Module):
    """Pooled attention, then an MLP that may widen the tokens.

    Args:
        width: channels of its input.
        width_out: channels of its output.
        heads: number of heads.
        query_stride: spatial stride of queries, and so of the output.
        key_stride: spatial stride of keys and values; None: they are not pooled.
        drop_path: rate of stochastic depth.
    """

    def __init__(
        self, width: int, width_out: int, heads: int, query_stride: int, key_stride: int | None, drop_path: float
    ) -> None:
        super().__init__()
        self.query_stride = query_stride
        self.norm1 = nn.LayerNorm(width, EPSILON)
        self.attn = PooledAttention(width, heads, query_stride, key_stride)
        self.skip = nn.MaxPool3d(SKIP_KERNEL, SKIP_STRIDE, SKIP_PADDING) if query_stride > 1 else None
        self.drop_path = DropPath(drop_path)
        self.norm2 = nn.LayerNorm(width, EPSILON)
        self.mlp = Mlp(width, 4 * width, width_out)
        self.shortcut = nn.Linear(width, width_out) if width != width_out else None

    def forward(self, tokens: Tensor, grid: Grid) -> Tensor:
        """Map ``(B, 1 + N, width)`` of a grid to ``(B, 1 + N', width_out)`` of the strided grid."""
        tokens = self._skipped(tokens, grid) + self.drop_path(self.attn(self.norm1(tokens), grid))
        normed = self.norm2(tokens)
        tokens = tokens if self.shortcut is None else self.shortcut(normed)
        out: Tensor = tokens + self.drop_path(self.mlp(normed))
        return out

    def _skipped(self, tokens: Tensor, grid: Grid) -> Tensor:
        if self.skip is None:
            return tokens
        maps = tokens[:, 1:].transpose(1, 2).reshape(len(tokens), -1, *grid)
        return torch.cat([tokens[:, :1], self.skip(maps).flatten(2).transpose(1, 2)], dim=1)

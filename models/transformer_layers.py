# SPDX-License-Identifier: Apache-2.0
"""What the video transformers share: attention, initialisation, and the resizing of learned positions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import OptionError

__all__ = ("Attention", "attend", "drop_path_rates", "initialise_tokens", "resize_grid", "resize_line", "split_heads")


def split_heads(qkv: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """Split ``(B, N, 3 * C)`` into queries, keys and values ``(B, heads, N, C / heads)``.

    Example:
        >>> import torch
        >>> [part.shape[1:] for part in split_heads(torch.zeros(2, 5, 24), heads=4)]
        [torch.Size([4, 5, 2]), torch.Size([4, 5, 2]), torch.Size([4, 5, 2])]
    """
    batch, tokens, width = qkv.shape
    query, key, value = qkv.view(batch, tokens, 3, heads, width // (3 * heads)).permute(2, 0, 3, 1, 4)
    return query, key, value


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Return scaled dot-product attention, all ``(B, heads, N, C)``, which uses all threads of a CPU.

    PyTorch's gradient on a CPU shares its work out by clips and heads alone. Where these are fewer than the threads,
    the queries are cut into parts that are treated like heads, which does not change what they give.

    Example:
        >>> import torch
        >>> query, key = torch.randn(1, 2, 9, 4), torch.randn(1, 2, 3, 4)
        >>> attend(query, key, key).shape
        torch.Size([1, 2, 9, 4])
    """
    batch, heads, tokens, width = query.shape
    parts = _parts(query)
    if parts < 2 or tokens < 2 * parts:
        return functional.scaled_dot_product_attention(query, key, value)
    padded = functional.pad(query, (0, 0, 0, -tokens % parts))
    split = padded.reshape(batch, heads, parts, -1, width).transpose(1, 2).flatten(0, 1)
    key, value = (side.unsqueeze(1).expand(-1, parts, -1, -1, -1).flatten(0, 1) for side in (key, value))
    gathered = functional.scaled_dot_product_attention(split, key, value)
    joined = gathered.reshape(batch, parts, heads, -1, width).transpose(1, 2).flatten(2, 3)
    return joined[:, :, :tokens]


def _parts(query: Tensor) -> int:
    """Into how many parts to cut the queries."""
    if query.device.type != "cpu" or not query.requires_grad or torch.compiler.is_compiling():
        return 1
    return -(-torch.get_num_threads() // max(1, query.shape[0] * query.shape[1]))


class Attention(nn.Module):
    """Multi-head self-attention over all tokens of a sequence ``(B, N, width)``."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return ``(B, N, width)``."""
        gathered = attend(*split_heads(self.qkv(tokens), self.heads))
        mixed: Tensor = self.proj(gathered.transpose(1, 2).flatten(2))
        return mixed


def drop_path_rates(rate: float, blocks: int) -> list[float]:
    """Rates of stochastic depth (Huang et al., 2016) that grow evenly from 0 in the first block to ``rate``.

    Raises:
        OptionError: ``rate`` is not in [0, 1).

    Example:
        >>> drop_path_rates(0.2, 3)
        [0.0, 0.1, 0.2]
    """
    if not 0 <= rate < 1:
        raise OptionError(f"drop_path={rate} must be at least 0 and below 1.")
    return [rate * index / max(1, blocks - 1) for index in range(blocks)]


def initialise_tokens(model: nn.Module, embeddings: Sequence[Tensor]) -> None:
    """Initialise linear layers and the given embeddings by a truncated normal distribution of deviation 0.02."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for embedding in embeddings:
        nn.init.trunc_normal_(embedding, std=0.02)


def resize_line(positions: Tensor, length: int, mode: str) -> Tensor:
    """Resize positions ``(1, N, C)`` along a line to ``(1, length, C)``; as they are where they fit.

    Args:
        positions: learned positions.
        length: the wanted number.
        mode: ``"linear"`` or ``"nearest"``.

    Example:
        >>> import torch
        >>> resize_line(torch.tensor([[[0.0], [1.0]]]), 4, "nearest").flatten().tolist()
        [0.0, 0.0, 1.0, 1.0]
    """
    if positions.shape[1] == length:
        return positions
    return functional.interpolate(positions.transpose(1, 2), size=length, mode=mode).transpose(1, 2)


def resize_grid(positions: Tensor, old: tuple[int, int], new: tuple[int, int], mode: str) -> Tensor:
    """Resize positions ``(1, H * W, C)`` of a grid to another grid; as they are where they fit.

    Args:
        positions: learned positions, row by row.
        old: height and width of their grid.
        new: the wanted height and width.
        mode: ``"bicubic"`` or ``"nearest"``.

    Example:
        >>> import torch
        >>> resize_grid(torch.zeros(1, 4, 8), (2, 2), (3, 5), "bicubic").shape
        torch.Size([1, 15, 8])
    """
    if old == new:
        return positions
    maps = positions.transpose(1, 2).reshape(1, -1, *old)
    return functional.interpolate(maps, size=new, mode=mode).flatten(2).transpose(1, 2)

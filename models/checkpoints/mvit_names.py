# SPDX-License-Identifier: Apache-2.0
"""The names of MViT networks.

PyTorchVideo keeps queries, keys and values in a layer each, as SlowFast did for some months of 2021; here, as in
SlowFast since, they are the rows of one layer. PyTorchVideo lists the pooling layers twice, under two names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache

import torch
from torch import Tensor

from .name_table import NameTable, Row

__all__ = ("fuse_qkv", "pytorchvideo_mvit", "slowfast_mvit", "split_qkv", "with_aliases")

SHARED: tuple[Row, ...] = (
    ("blocks.{block}.norm{n}.{leaf}", "blocks.{block}.norm{n}.{leaf}"),
    ("blocks.{block}.attn.{projection}.{leaf}", "blocks.{block}.attn.{projection}.{leaf}"),
    ("blocks.{block}.attn.pool_{qkv}.{leaf}", "blocks.{block}.attn.pool_{qkv}.conv.{leaf}"),
    ("blocks.{block}.attn.norm_{qkv}.{leaf}", "blocks.{block}.attn.pool_{qkv}.norm.{leaf}"),
    ("blocks.{block}.mlp.{linear}.{leaf}", "blocks.{block}.mlp.{linear}.{leaf}"),
    ("blocks.{block}.proj.{leaf}", "blocks.{block}.shortcut.{leaf}"),
)
TOKENS = {
    "cls_token": "class_token",
    "pos_embed_spatial": "positions.spatial",
    "pos_embed_temporal": "positions.temporal",
    "pos_embed_class": "positions.class_token",
}
ALIASES: tuple[Row, ...] = (
    ("blocks.{block}.attn._attention_pool_{qkv}.pool.{leaf}", "blocks.{block}.attn.pool_{qkv}.conv.{leaf}"),
    ("blocks.{block}.attn._attention_pool_{qkv}.norm.{leaf}", "blocks.{block}.attn.pool_{qkv}.norm.{leaf}"),
)


@cache
def slowfast_mvit() -> NameTable:
    """SlowFast's names.

    Example:
        >>> slowfast_mvit().to_own("blocks.0.attn.pool_k.weight")
        'blocks.0.attn.pool_k.conv.weight'
    """
    outside = (
        ("patch_embed.proj.{leaf}", "patch_embed.proj.{leaf}"),
        ("norm.{leaf}", "norm.{leaf}"),
        ("head.projection.{leaf}", "head.fc.{leaf}"),
    )
    return NameTable((*TOKENS.items(), *SHARED, *outside))


@cache
def pytorchvideo_mvit() -> NameTable:
    """PyTorchVideo's names.

    Example:
        >>> pytorchvideo_mvit().to_official("class_token")
        'cls_positional_encoding.cls_token'
    """
    outside = (
        ("patch_embed.patch_model.{leaf}", "patch_embed.proj.{leaf}"),
        ("norm_embed.{leaf}", "norm.{leaf}"),
        ("head.proj.{leaf}", "head.fc.{leaf}"),
    )
    tokens = ((f"cls_positional_encoding.{official}", own) for official, own in TOKENS.items())
    return NameTable((*tokens, *SHARED, *outside), read_only=ALIASES)


def fuse_qkv(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Lay the rows of ``attn.q``, ``attn.k`` and ``attn.v`` into one ``attn.qkv``; incomplete sets stay as they are.

    Example:
        >>> parts = {f"blocks.0.attn.{part}.bias": torch.full((1,), i) for i, part in enumerate("qkv")}
        >>> fuse_qkv(parts)
        {'blocks.0.attn.qkv.bias': tensor([0, 1, 2])}
    """
    fused: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        match = re.fullmatch(r"(.*\.attn)\.([qkv])\.(\w+)", name)
        names = [f"{match[1]}.{part}.{match[3]}" for part in "qkv"] if match else []
        if match is None or not _can_join([weights.get(part) for part in names]):
            fused[name] = tensor
        elif match[2] == "q":
            fused[f"{match[1]}.qkv.{match[3]}"] = torch.cat([weights[part] for part in names])
    return fused


def _can_join(parts: list[Tensor | None]) -> bool:
    shapes = {None if part is None or part.ndim == 0 else (part.dtype, part.shape) for part in parts}
    return len(shapes) == 1 and None not in shapes


def split_qkv(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Undo :func:`fuse_qkv`, in PyTorchVideo's order: all of the queries' layer, then the keys', then the values'.

    Example:
        >>> split_qkv({"blocks.0.attn.qkv.bias": torch.arange(3)})["blocks.0.attn.k.bias"]
        tensor([1])
    """
    split: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        layer, mark, leaf = name.rpartition(".qkv.")
        if not mark:
            split[name] = tensor
        elif f"{layer}.q.{leaf}" not in split:
            leaves = [
                leaf,
                *(other for other in ("weight", "bias") if other != leaf and f"{layer}.qkv.{other}" in weights),
            ]
            for index, part in enumerate("qkv"):
                for each in leaves:
                    rows = weights[f"{layer}.qkv.{each}"].chunk(3)[index]
                    split[f"{layer}.{part}.{each}"] = rows.clone()
    return split


def with_aliases(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Add the second names under which PyTorchVideo lists the pooling layers of every block.

    Example:
        >>> list(with_aliases({"blocks.0.attn.pool_k.weight": torch.zeros(1)}))
        ['blocks.0.attn.pool_k.weight', 'blocks.0.attn._attention_pool_k.pool.weight']
    """
    complete: dict[str, Tensor] = {}
    waiting: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        match = re.fullmatch(r"(.*\.attn)\.(pool|norm)_([qkv])\.(\w+)", name)
        if match is None:  # behind all pooling layers of a block
            complete |= waiting
            waiting = {}
        else:
            waiting[f"{match[1]}._attention_pool_{match[3]}.{match[2]}.{match[4]}"] = tensor
        complete[name] = tensor
    return complete | waiting

# SPDX-License-Identifier: Apache-2.0
"""Where the official networks have their tensors: ours come in another order here and there."""

from __future__ import annotations

import re

__all__ = ("place",)

FRONT, BODY, HEAD = range(3)

# What a transformer's block begins with; what is not here comes between them, in the order of ours.
TRANSFORMER_BLOCK = (
    r"norm1\.",
    r"attn\.(qkv|q|k|v|proj)\.",
    r"attn\.",
    r"temporal_norm1\.",
    r"temporal_attn\.",
    r"temporal_fc\.",
    r"norm2\.",
    r"mlp\.",
    r"proj\.",
)


def place(name: str) -> tuple[int, ...]:
    """Return what official names are sorted by; names of one place keep the order they have.

    Example:
        >>> sorted(["head.projection.bias", "s1_fuse.bn.bias", "s1.pathway1_stem.bn.bias"], key=place)
        ['s1.pathway1_stem.bn.bias', 's1_fuse.bn.bias', 'head.projection.bias']
    """
    if match := re.match(r"(?:s|blocks\.)(\d+)\.(?:pathway|multipathway_blocks\.)(\d)(?:_(res|nonlocal)(\d+))?", name):
        return BODY, int(match[1]), 0, int(match[2]), int(match[4] or 0), int(match[3] == "nonlocal")
    if match := re.match(r"(?:s|blocks\.)(\d+)(?:_fuse|\.multipathway_fusion)", name):
        return BODY, int(match[1]), 1
    if name.startswith(("head.", "model.head.", "blocks.6.proj", "blocks.5.p")) and ".block" not in name:
        return HEAD, int("proj" in name)  # the last layer comes last, before which X3D has others
    if match := re.match(r"(?:model\.)?blocks\.(\d+)\.(.*)", name):
        ranks = (rank for rank, pattern in enumerate(TRANSFORMER_BLOCK, 1) if re.match(pattern, match[2]))
        return BODY, 1 + int(match[1]), next(ranks, 0)
    if name.startswith("patch_embed.patch_model"):
        return (FRONT, 0)
    if re.search(r"(cls_token|(pos|time)_embed(_\w+)?)$", name):
        return (FRONT, 1)
    return (BODY, 0) if "patch_embed" in name else (HEAD, -1)

# SPDX-License-Identifier: Apache-2.0
"""The names of TimeSformer networks; the official ones all begin with ``model.``."""

from __future__ import annotations

from functools import cache

from .name_table import NameTable

__all__ = ("PREFIX", "timesformer")

PREFIX = "model."


@cache
def timesformer() -> NameTable:
    """TimeSformer's names, with ``model.`` before them.

    Example:
        >>> timesformer().to_own("model.blocks.0.temporal_norm1.bias")
        'blocks.0.time_norm.bias'
    """
    rows = (
        ("cls_token", "class_token"),
        ("pos_embed", "positions.spatial"),
        ("time_embed", "positions.temporal"),
        ("patch_embed.proj.{leaf}", "patch_embed.proj.{leaf}"),
        ("blocks.{block}.norm{n}.{leaf}", "blocks.{block}.norm{n}.{leaf}"),
        ("blocks.{block}.attn.{projection}.{leaf}", "blocks.{block}.attn.{projection}.{leaf}"),
        ("blocks.{block}.temporal_norm1.{leaf}", "blocks.{block}.time_norm.{leaf}"),
        ("blocks.{block}.temporal_attn.{projection}.{leaf}", "blocks.{block}.time_attn.{projection}.{leaf}"),
        ("blocks.{block}.temporal_fc.{leaf}", "blocks.{block}.time_fc.{leaf}"),
        ("blocks.{block}.mlp.{linear}.{leaf}", "blocks.{block}.mlp.{linear}.{leaf}"),
        ("norm.{leaf}", "norm.{leaf}"),
        ("head.{leaf}", "head.fc.{leaf}"),
    )
    return NameTable((PREFIX + official, own) for official, own in rows)

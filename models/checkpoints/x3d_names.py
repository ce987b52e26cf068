# SPDX-License-Identifier: Apache-2.0
"""The names of X3D networks.

The two convolutions of the stem are called the other way round by SlowFast and by PyTorchVideo. PyTorchVideo has no
normalisation on a shortcut that keeps the number of channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import torch
from torch import Tensor

from ...errors import CheckpointError
from .name_table import NameTable, Row
from .resnet_names import SLOWFAST_BLOCKS, SLOWFAST_HEAD, pytorchvideo_blocks

__all__ = ("IDENTITY", "pytorchvideo_x3d", "slowfast_x3d", "with_shortcut_norms", "without_shortcut_norms")

IDENTITY = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1 - 1e-5}
"""A normalisation with ``eps`` 1e-5 that changes nothing."""

SLOWFAST_ROWS: tuple[Row, ...] = (
    ("s1.pathway0_stem.conv_xy.{leaf}", "stem.conv_xy.{leaf}"),
    ("s1.pathway0_stem.conv.{leaf}", "stem.conv_t.{leaf}"),
    ("s1.pathway0_stem.bn.{leaf}", "stem.bn.{leaf}"),
    *((official.replace("<p>", "0"), own.replace("<own>", "")) for official, own in SLOWFAST_BLOCKS),
    ("s{stage}.pathway0_res{block}.branch2.se.{linear}.{leaf}", "res{stage}.block{block}.se.{linear}.{leaf}"),
    ("head.conv_5.{leaf}", "head.conv5.{leaf}"),
    ("head.conv_5_bn.{leaf}", "head.bn5.{leaf}"),
    ("head.lin_5.{leaf}", "head.lin5.{leaf}"),
    *SLOWFAST_HEAD,
)

# The normalisation of conv_b stands in a list with the squeeze-and-excitation, whose ReLU is number 1.
MIDDLE: tuple[Row, ...] = (
    ("blocks.<i>.res_blocks.{block}.branch2.norm_b.0.{leaf}", "res<n>.block{block}.bn_b.{leaf}"),
    ("blocks.<i>.res_blocks.{block}.branch2.norm_b.1.block.0.{leaf}", "res<n>.block{block}.se.fc1.{leaf}"),
    ("blocks.<i>.res_blocks.{block}.branch2.norm_b.1.block.2.{leaf}", "res<n>.block{block}.se.fc2.{leaf}"),
)
PYTORCHVIDEO_ROWS: tuple[Row, ...] = (
    ("blocks.0.conv.conv_t.{leaf}", "stem.conv_xy.{leaf}"),
    ("blocks.0.conv.conv_xy.{leaf}", "stem.conv_t.{leaf}"),
    ("blocks.0.norm.{leaf}", "stem.bn.{leaf}"),
    *pytorchvideo_blocks(rows=MIDDLE),
    *pytorchvideo_blocks(),
    ("blocks.5.pool.pre_conv.{leaf}", "head.conv5.{leaf}"),
    ("blocks.5.pool.pre_norm.{leaf}", "head.bn5.{leaf}"),
    ("blocks.5.pool.post_conv.{leaf}", "head.lin5.{leaf}"),
    ("blocks.5.proj.{leaf}", "head.fc.{leaf}"),
)


@cache
def slowfast_x3d() -> NameTable:
    """SlowFast's names.

    Example:
        >>> slowfast_x3d().to_own("s1.pathway0_stem.conv.weight")
        'stem.conv_t.weight'
    """
    return NameTable(SLOWFAST_ROWS)


@cache
def pytorchvideo_x3d() -> NameTable:
    """PyTorchVideo's names.

    Example:
        >>> pytorchvideo_x3d().to_own("blocks.0.conv.conv_t.weight")
        'stem.conv_xy.weight'
        >>> pytorchvideo_x3d().to_official("res2.block0.bn_b.bias")
        'blocks.1.res_blocks.0.branch2.norm_b.0.bias'
    """
    return NameTable(PYTORCHVIDEO_ROWS)


def _shortcuts_that_keep_channels(weights: Mapping[str, Tensor]) -> list[str]:
    ending = ".shortcut.conv.weight"
    return [
        name.removesuffix(".conv.weight")
        for name, tensor in weights.items()
        if name.endswith(ending) and tensor.ndim > 1 and tensor.shape[0] == tensor.shape[1]
    ]


def with_shortcut_norms(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Add, as the identity, the normalisations that PyTorchVideo's files lack and SlowFast's network has.

    Example:
        >>> conv = torch.zeros(2, 2, 1, 1, 1)
        >>> list(with_shortcut_norms({"res2.block0.shortcut.conv.weight": conv}))[:2]
        ['res2.block0.shortcut.conv.weight', 'res2.block0.shortcut.bn.weight']
    """
    lacking = [name for name in _shortcuts_that_keep_channels(weights) if f"{name}.bn.weight" not in weights]
    completed = {}
    for name, tensor in weights.items():
        completed[name] = tensor
        shortcut = name.removesuffix(".conv.weight")
        if shortcut in lacking:
            for leaf, value in IDENTITY.items():
                completed[f"{shortcut}.bn.{leaf}"] = torch.full((tensor.shape[0],), value, dtype=tensor.dtype)
            completed[f"{shortcut}.bn.num_batches_tracked"] = torch.tensor(0)
    return completed


def without_shortcut_norms(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Leave out the normalisations that PyTorchVideo's network lacks.

    Raises:
        CheckpointError: one of them is not the identity, so that leaving it out would change the network.

    Example:
        >>> conv = {"res2.block0.shortcut.conv.weight": torch.zeros(2, 2, 1, 1, 1)}
        >>> list(without_shortcut_norms(with_shortcut_norms(conv)))
        ['res2.block0.shortcut.conv.weight']
    """
    dropped = {f"{name}.bn." for name in _shortcuts_that_keep_channels(weights)}
    for name, tensor in weights.items():
        stem, _, leaf = name.rpartition(".")
        if f"{stem}." in dropped and leaf in IDENTITY and not bool((tensor == tensor.new_tensor(IDENTITY[leaf])).all()):
            raise CheckpointError(
                f"PyTorchVideo's X3D has no place for {stem}, which is not the identity here ({name}). "
                "Export to the naming of SlowFast, which has it, or train with shortcut_norm=False."
            )
    return {name: tensor for name, tensor in weights.items() if f"{name.rpartition('.')[0]}." not in dropped}

# SPDX-License-Identifier: Apache-2.0
"""The namings that weights come in, told by marks in the names, and their translation into ours.

A name that nothing is known about stays as it is, so that a strict load reports it. The tables of each family have
files of their own.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping

import torch
from torch import Tensor

from ...errors import CheckpointError, CheckpointMismatchError
from . import caffe2_layout, fusionseg_layout, matnet_layout, rtnet_layout
from .caffe2_layout import caffe2_to_slowfast, slowfast_weights
from .mvit_names import fuse_qkv, pytorchvideo_mvit, slowfast_mvit
from .name_table import NameTable
from .resnet_names import (
    pytorchvideo_resnet,
    pytorchvideo_two_pathways,
    slowfast_resnet,
    slowfast_two_pathways,
)
from .sub_batchnorm import plain_batchnorm
from .timesformer_names import PREFIX, timesformer
from .x3d_names import pytorchvideo_x3d, slowfast_x3d

__all__ = ("OWN", "caffe2_to_slowfast", "detect_layout", "is_dead", "to_own_names")

OWN = "staticdropout"
SEGMENTATION = {"MATNet": matnet_layout, "FusionSeg": fusionseg_layout, "RTNet": rtnet_layout}

# The first pattern that any name matches decides. The transformers' names overlap (blocks.0.norm1 is in all namings),
# so that their marks are the tokens and positions.
LAYOUTS = (
    (OWN, r"(slow\.|fast\.)?res2\.block0\..*|encoder\.appearance\.conv1\.weight|positions\.spatial"),
    ("SlowFast", r"s\d\.pathway\d_.*|pos_embed_(spatial|temporal|class)"),
    ("PyTorchVideo", r"blocks\.0\.(multipathway_blocks\.\d\.)?(conv|norm)\..*|cls_positional_encoding\..*"),
    ("caffe2", caffe2_layout.MARK),
    *((name, layout.MARK) for name, layout in SEGMENTATION.items()),
    ("2-D ResNet", r"layer1\.0\.conv1\.weight"),
    ("TimeSformer", r"(model\.)?(time_embed|blocks\.\d+\.temporal_(attn\.qkv|fc)\.weight)"),
)
# Without attention over time a TimeSformer is an image transformer, also by its names.
IMAGE_TRANSFORMER = ("cls_token", "pos_embed", "blocks.0.norm1.weight", "blocks.0.attn.qkv.weight")


def detect_layout(names: Iterable[str]) -> str:
    """Tell whose naming a state dict is in.

    Returns:
        ``"SlowFast"``, ``"PyTorchVideo"``, ``"TimeSformer"``, ``"caffe2"``, ``"MATNet"``, ``"FusionSeg"``, ``"RTNet"``,
        ``"staticdropout"``, ``"2-D ResNet"`` or ``"unknown"``.

    Example:
        >>> detect_layout(["s1.pathway0_stem.conv.weight", "head.projection.bias"])
        'SlowFast'
        >>> detect_layout(["class_token", "positions.spatial", "blocks.0.norm1.weight"])
        'staticdropout'
    """
    names = list(names)
    for layout, pattern in LAYOUTS:
        compiled = re.compile(pattern)
        if any(compiled.fullmatch(name) for name in names):
            return layout
    return "TimeSformer" if {name.removeprefix(PREFIX) for name in names}.issuperset(IMAGE_TRANSFORMER) else "unknown"


def is_dead(name: str, layout: str) -> bool:
    """Tell whether a weight had no effect in the official network, so that a model may have no place for it.

    Args:
        name: as :func:`to_own_names` gives it.
        layout: as :func:`detect_layout` gives it.

    Example:
        >>> is_dead("decoder.pred5.weight", "MATNet"), is_dead("decoder.predict.weight", "MATNet")
        (True, False)
    """
    return layout in SEGMENTATION and any(re.fullmatch(pattern, name) for pattern in SEGMENTATION[layout].DEAD)


def to_own_names(weights: Mapping[str, Tensor], layout: str | None = None) -> dict[str, Tensor]:
    """Translate a state dict into the names of our networks.

    Batch normalisation in parts becomes plain; layers of queries, keys and values become one; what PyTorchVideo lists
    under two names is taken once.

    Args:
        weights: tensors by name, as :func:`read_checkpoint` gives them.
        layout: its naming; detected when left out.

    Returns:
        The same tensors; names that nothing is known about are kept as they are.

    Raises:
        CheckpointMismatchError: the weights are those of a 2-D network.
        CheckpointError: two names of one tensor have different values.

    Example:
        >>> list(to_own_names({"s2.pathway1_res0.branch2.a_bn.bias": torch.zeros(8)}))
        ['res2.block0.bn_a.bias']
    """
    layout = layout or detect_layout(weights)
    if layout in SEGMENTATION:
        rules = SEGMENTATION[layout].RULES
        return {_by_rules(name, rules) or name: tensor for name, tensor in weights.items()}
    if layout == "2-D ResNet":
        raise CheckpointMismatchError(
            "it holds a 2-D ResNet (layer1.0.conv1 …), which is no whole model here. A 3-D ResNet starts from it with "
            "inflate_from_timm, a segmentation network with pretrained=True."
        )
    if layout == "caffe2":
        weights, layout = slowfast_weights(weights), "SlowFast"
    if layout == "TimeSformer" and not all(name.startswith(PREFIX) for name in weights):
        weights = {PREFIX + name.removeprefix(PREFIX): tensor for name, tensor in weights.items()}
    table = official_table(layout, weights)
    if table is None:
        return dict(weights)
    own = _translate(plain_batchnorm(weights), table)
    if layout == "TimeSformer":
        own = {name.removeprefix(PREFIX): tensor for name, tensor in own.items()}
    return fuse_qkv(own) if table in (slowfast_mvit(), pytorchvideo_mvit()) else own


def official_table(layout: str, names: Collection[str]) -> NameTable | None:
    """Return the table for a state dict in one of the three official namings that are read and written.

    Example:
        >>> official_table("SlowFast", ["s1.pathway0_stem.conv_xy.weight"]) is slowfast_x3d()
        True
    """
    if layout == "TimeSformer":
        return timesformer()
    if layout == "SlowFast":
        if any(name.startswith("s1.pathway0_stem.conv_xy.") for name in names):
            return slowfast_x3d()
        pathways = {match[1] for name in names if (match := re.match(r"s\d\.pathway(\d)_", name))}
        if len(pathways) > 1:
            return slowfast_two_pathways()
        return slowfast_resnet(int(next(iter(pathways)))) if pathways else slowfast_mvit()
    if layout == "PyTorchVideo":
        if any(name.startswith("cls_positional_encoding.") for name in names):
            return pytorchvideo_mvit()
        if any(name.startswith("blocks.0.conv.conv_t.") for name in names):
            return pytorchvideo_x3d()
        if any(".multipathway_blocks." in name for name in names):
            return pytorchvideo_two_pathways()
        return pytorchvideo_resnet(pooled=any(name.startswith("blocks.5.res_blocks.") for name in names))
    return None


def _by_rules(name: str, rules: Iterable[tuple[str, str]]) -> str | None:
    for pattern, replacement in rules:
        if match := re.fullmatch(pattern, name):
            return match.expand(replacement)
    return None


def _translate(weights: Mapping[str, Tensor], table: NameTable) -> dict[str, Tensor]:
    own: dict[str, Tensor] = {}
    source: dict[str, str] = {}
    for official, tensor in weights.items():
        name = table.to_own(official) or official
        if name in own and not _same(own[name], tensor):
            raise CheckpointError(
                f"it lists {source[name]} also as {official}, with other values, where the network has one tensor. "
                "Take a file that was saved as the network's state_dict()."
            )
        if name not in own:
            own[name], source[name] = tensor, official
    return own


def _same(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are equal, also where a training that diverged left NaN in both."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    both = one.isnan() & other.isnan() if one.is_floating_point() else torch.zeros_like(one, dtype=torch.bool)
    return bool(((one == other) | both).all())

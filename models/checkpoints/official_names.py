# SPDX-License-Identifier: Apache-2.0
"""Our names translated into the official ones, the inverse of :func:`to_own_names`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Literal, get_args

from torch import Tensor

from ...errors import CheckpointError, UnknownNameError
from .families import family_of
from .mvit_names import pytorchvideo_mvit, slowfast_mvit, split_qkv, with_aliases
from .name_table import NameTable
from .official_order import place
from .resnet_names import (
    pytorchvideo_resnet,
    pytorchvideo_two_pathways,
    slowfast_resnet,
    slowfast_two_pathways,
)
from .timesformer_names import timesformer
from .x3d_names import pytorchvideo_x3d, slowfast_x3d, with_shortcut_norms, without_shortcut_norms

__all__ = ("NAMINGS", "Naming", "to_official_names")

Naming = Literal["slowfast", "pytorchvideo", "timesformer"]
NAMINGS: tuple[Naming, ...] = get_args(Naming)
TITLES = {"slowfast": "SlowFast", "pytorchvideo": "PyTorchVideo", "timesformer": "TimeSformer"}

VIDEO_RANK = 5  # of the kernel of a 3-D convolution
FAST_WIDTH = 8  # channels of the stem of SlowFast's fast pathway, an eighth of 64


def to_official_names(
    weights: Mapping[str, Tensor], naming: Naming, *, pathway: int | None = None, pooled: bool | None = None
) -> dict[str, Tensor]:
    """Translate a state dict of one of our classifiers into an official naming.

    Args:
        weights: tensors by our names, complete or not.
        naming: ``"slowfast"``, ``"pytorchvideo"`` or ``"timesformer"``.
        pathway: for SlowFast's naming of a network of one pathway: 0, or 1 as its FastOnly has throughout. By default 1
            where the stem has 8 channels, as a FastOnly has, and otherwise 0.
        pooled: for PyTorchVideo's naming of a 3-D ResNet: whether frames are pooled after ``res2``, which counts as a
            block. Weights alone do not say so; by default it is true for the temporal kernels of C2D (all 1) and of I3D
            (5 in the stem, and 3 and 1 in turns).

    Returns:
        The tensors in the order of the official network; layers of queries, keys and values and second names as the
        official network has them. The tensors are the given ones where nothing was split.

    Raises:
        UnknownNameError: an unknown naming.
        CheckpointError: the naming cannot express the network; the message says what and why.

    Example:
        >>> import torch
        >>> list(to_official_names({"res2.block0.bn_a.bias": torch.zeros(64)}, "slowfast"))
        ['s2.pathway0_res0.branch2.a_bn.bias']
    """
    if naming not in NAMINGS:
        raise UnknownNameError("naming", naming, NAMINGS)
    family = family_of(weights)
    table = _table(naming, family, weights, pathway, pooled)
    if family == "X3D":
        complete = with_shortcut_norms(weights) if naming == "slowfast" else without_shortcut_norms(weights)
    else:
        complete = dict(weights)
    if family == "MViT" and naming == "pytorchvideo":
        complete = split_qkv(complete)
    official = {}
    for name, tensor in complete.items():
        translated = table.to_official(name)
        if translated is None:
            raise CheckpointError(f"{TITLES[naming]}'s naming has no name for {name}{_why(name, naming)}.")
        official[translated] = tensor
    if family == "MViT" and naming == "pytorchvideo":
        official = with_aliases(official)
    return {name: official[name] for name in sorted(official, key=place)}


def _table(
    naming: Naming, family: str, weights: Mapping[str, Tensor], pathway: int | None, pooled: bool | None
) -> NameTable:
    if family == "segmentation":
        raise CheckpointError(
            "a segmentation network has no name in SlowFast, PyTorchVideo or TimeSformer, which hold classifiers of "
            "clips. Keep the file as it is: load_checkpoint reads it."
        )
    if not family:
        raise CheckpointError(
            f"it is no network that is known here ({len(weights)} tensors), so that its names cannot be translated. "
            "`staticdropout models inspect` says what a file holds."
        )
    if (family == "TimeSformer") != (naming == "timesformer"):
        fitting = "timesformer" if family == "TimeSformer" else "slowfast or pytorchvideo"
        raise CheckpointError(f"{TITLES[naming]} has no {family}. Choose the naming {fitting}.")
    if naming == "pytorchvideo" and family in ("3-D ResNet", "SlowFast") and _has_basic_blocks(weights):
        raise CheckpointError(
            "PyTorchVideo's ResNets have bottleneck blocks, and this one has basic ones. Choose the naming slowfast."
        )
    if naming == "pytorchvideo" and family == "3-D ResNet":
        return pytorchvideo_resnet(_pools_frames(weights) if pooled is None else pooled)
    if naming == "slowfast" and family == "3-D ResNet":
        return slowfast_resnet(_pathway(weights) if pathway is None else pathway)
    tables = {
        ("slowfast", "SlowFast"): slowfast_two_pathways,
        ("slowfast", "X3D"): slowfast_x3d,
        ("slowfast", "MViT"): slowfast_mvit,
        ("pytorchvideo", "SlowFast"): pytorchvideo_two_pathways,
        ("pytorchvideo", "X3D"): pytorchvideo_x3d,
        ("pytorchvideo", "MViT"): pytorchvideo_mvit,
        ("timesformer", "TimeSformer"): timesformer,
    }
    return tables[naming, family]()


def _has_basic_blocks(weights: Iterable[str]) -> bool:
    convolutions = {name.rpartition(".conv_")[2] for name in weights if ".block" in name}
    return "b.weight" in convolutions and "c.weight" not in convolutions


def _pathway(weights: Mapping[str, Tensor]) -> int:
    stem = weights.get("stem.conv.weight")
    return int(stem is not None and stem.ndim == VIDEO_RANK and stem.shape[0] == FAST_WIDTH)


def _pools_frames(weights: Mapping[str, Tensor]) -> bool:
    """Tell C2D and I3D from SlowOnly and FastOnly by the temporal kernels."""
    stem = weights.get("stem.conv.weight")
    pattern = re.compile(r"res\d\.block\d+\.conv_a\.weight")
    first = [tensor for name, tensor in weights.items() if pattern.fullmatch(name)]
    if stem is None or any(tensor.ndim != VIDEO_RANK for tensor in (stem, *first)):
        return False
    kernels = {tensor.shape[2] for tensor in first}
    return kernels == {1} if stem.shape[2] == 1 else kernels == {1, 3}


def _why(name: str, naming: Naming) -> str:
    if ".nonlocal" in name and naming == "pytorchvideo":
        return ", since PyTorchVideo's networks have no non-local blocks; choose the naming slowfast"
    return "; it is no part of the network that the other names are of"

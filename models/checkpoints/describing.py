# SPDX-License-Identifier: Apache-2.0
"""What a state dict is of, in words."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

__all__ = ("describe_weights",)

# What only the networks of this name have, in our naming.
FAMILIES = {"MATNet": "decoder.context.", "FusionSeg": "head.early.", "RTNet": "motion_decoder."}


def describe_weights(weights: Mapping[str, Tensor]) -> str:
    """Say in words which network a state dict (in our names) belongs to.

    Args:
        weights: tensors by name.

    Returns:
        One line; for a network that is not known here only the number of tensors.

    Example:
        >>> from staticdropout.models.registry import create_model
        >>> describe_weights(create_model("slowonly_r18", num_classes=5, width=8).state_dict())
        '3-D ResNet, 2-2-2-2 bottleneck blocks, width 8, temporal kernels 1 | 1,1 | 1,1 | 3,3 | 3,3, 5 classes'
        >>> describe_weights(create_model("rtnet_star", backbone="resnet18", width=16).state_dict())
        'MATNet, two streams of 2-2-2-2 basic blocks, gated connections, gated fusion, boundary refinement'
    """
    if "encoder.appearance.conv1.weight" in weights:
        return _describe_two_streams(weights)
    return _describe_resnet3d(weights) or f"no network that is known here, {len(weights)} tensors"


def _describe_two_streams(weights: Mapping[str, Tensor]) -> str:
    family = next(
        (name for name, prefix in FAMILIES.items() if any(key.startswith(prefix) for key in weights)),
        "two-stream network",
    )
    blocks = {match[1] for key in weights if (match := re.match(r"encoder\.appearance\.(layer\d\.\d+)\.", key))}
    counts = [str(sum(block.startswith(f"layer{stage}.") for block in blocks)) for stage in (1, 2, 3, 4)]
    block = "bottleneck" if "encoder.appearance.layer1.0.conv3.weight" in weights else "basic"
    parts = [family, f"two streams of {'-'.join(counts)} {block} blocks"]
    if family == "MATNet":
        convex = "encoder.fuse2.spatial_bn.weight" not in weights
        local = "encoder.fuse2.gate.weight" not in weights
        parts += [
            "gated connections" if "encoder.connect5.attention.gate.weight" in weights else "plain connections",
            "convex fusion" if convex else "gated fusion without global gate" if local else "gated fusion",
            "boundary refinement" if "decoder.boundaries.fuse.weight" in weights else "no boundary refinement",
        ]
    return ", ".join(parts)


def _describe_resnet3d(weights: Mapping[str, Tensor]) -> str | None:
    kernels: dict[int, list[int]] = {}
    for name, tensor in weights.items():
        match = re.fullmatch(r"res(\d)\.block\d+\.conv_a\.weight", name)
        if match and tensor.ndim == 5:
            kernels.setdefault(int(match[1]), []).append(tensor.shape[2])
    stem = weights.get("stem.conv.weight")
    if not kernels or stem is None or stem.ndim != 5:
        return None
    stages = [kernels[stage] for stage in sorted(kernels)]
    block = "bottleneck" if any(name.endswith(".conv_c.weight") for name in weights) else "basic"
    nonlocal_blocks = sum(name.endswith(".conv_theta.weight") for name in weights)
    classes = weights.get("head.fc.weight")
    parts = [
        "3-D ResNet",
        f"{'-'.join(str(len(stage)) for stage in stages)} {block} blocks",
        f"width {stem.shape[0]}",
        f"temporal kernels {' | '.join(','.join(map(str, stage)) for stage in [[stem.shape[2]], *stages])}",
        f"{nonlocal_blocks} non-local blocks" if nonlocal_blocks else "",
        f"{classes.shape[0]} classes" if classes is not None and classes.ndim else "no head",
    ]
    return ", ".join(filter(None, parts))

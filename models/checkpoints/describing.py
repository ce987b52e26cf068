# SPDX-License-Identifier: Apache-2.0
"""What a state dict is of, in words."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from torch import Tensor

from .families import family_of

__all__ = ("describe_weights",)

# What only the networks of this name have, in our naming.
SEGMENTATION = {"MATNet": "decoder.context.", "FusionSeg": "head.early.", "RTNet": "motion_decoder."}
VIDEO_RANK = 5  # of the kernel of a 3-D convolution


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
    describe = {
        "segmentation": _describe_two_streams,
        "3-D ResNet": _describe_resnet3d,
        "SlowFast": _describe_slowfast,
        "X3D": _describe_x3d,
        "MViT": _describe_mvit,
        "TimeSformer": _describe_timesformer,
    }.get(family_of(weights))
    parts = describe(weights) if describe is not None else None
    return ", ".join(filter(None, parts)) if parts else f"no network that is known here, {len(weights)} tensors"


def _describe_two_streams(weights: Mapping[str, Tensor]) -> list[str]:
    family = next(
        (name for name, prefix in SEGMENTATION.items() if any(key.startswith(prefix) for key in weights)),
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
    return parts


def _kernels(weights: Mapping[str, Tensor], pathway: str = "") -> tuple[Tensor, list[list[int]]] | None:
    """Return the stem's kernel, and for every stage the frames that each block's first convolution sees."""
    kernels: dict[int, list[int]] = {}
    for name, tensor in weights.items():
        match = re.fullmatch(re.escape(pathway) + r"res(\d)\.block\d+\.conv_a\.weight", name)
        if match and tensor.ndim == VIDEO_RANK:
            kernels.setdefault(int(match[1]), []).append(tensor.shape[2])
    stem = weights.get(f"{pathway}stem.conv.weight")
    if not kernels or stem is None or stem.ndim != VIDEO_RANK:
        return None
    return stem, [[stem.shape[2]], *(kernels[stage] for stage in sorted(kernels))]


def _blocks(weights: Mapping[str, Tensor], stages: list[list[int]]) -> str:
    block = "bottleneck" if any(name.endswith(".conv_c.weight") for name in weights) else "basic"
    return f"{'-'.join(str(len(stage)) for stage in stages)} {block} blocks"


def _text(stages: list[list[int]]) -> str:
    return " | ".join(",".join(map(str, stage)) for stage in stages)


def _channels(weights: Mapping[str, Tensor], name: str) -> int | None:
    tensor = weights.get(name)
    return tensor.shape[0] if tensor is not None and tensor.ndim else None


def _classes(weights: Mapping[str, Tensor]) -> str:
    classes = _channels(weights, "head.fc.weight")
    return f"{classes} classes" if classes is not None else "no head"


def _describe_resnet3d(weights: Mapping[str, Tensor]) -> list[str] | None:
    found = _kernels(weights)
    if found is None:
        return None
    stem, stages = found
    nonlocal_blocks = sum(name.endswith(".conv_theta.weight") for name in weights)
    return [
        "3-D ResNet",
        _blocks(weights, stages[1:]),
        f"width {stem.shape[0]}",
        f"temporal kernels {_text(stages)}",
        f"{nonlocal_blocks} non-local blocks" if nonlocal_blocks else "",
        _classes(weights),
    ]


def _describe_slowfast(weights: Mapping[str, Tensor]) -> list[str]:
    parts, widths, texts = ["SlowFast"], [], []
    for pathway in ("slow", "fast"):
        found = _kernels(weights, f"{pathway}.")
        if found is not None:
            stem, stages = found
            widths.append(str(stem.shape[0]))
            texts.append(f"{pathway} temporal kernels {_text(stages)}")
            if len(parts) == 1:
                parts.append(_blocks(weights, stages[1:]))
    fusion = weights.get("fuse1.conv.weight")
    known = fusion is not None and fusion.ndim == VIDEO_RANK
    return [
        *parts,
        f"widths {' + '.join(widths)}" if widths else "",
        *texts,
        f"fusion over {fusion.shape[2]} frames" if fusion is not None and known else "",
        _classes(weights),
    ]


def _describe_x3d(weights: Mapping[str, Tensor]) -> list[str]:
    blocks = {match[1] for name in weights if (match := re.match(r"(res\d\.block\d+)\.", name))}
    counts = [sum(block.startswith(f"res{stage}.") for block in blocks) for stage in (2, 3, 4, 5)]
    width = _channels(weights, "stem.conv_xy.weight")
    normed = any(name.startswith("res2.block0.shortcut.bn.") for name in weights)
    return [
        "X3D",
        f"{'-'.join(map(str, counts))} blocks",
        f"width {width}" if width else "",
        "" if normed else "no normalisation on the shortcut of res2",
        _classes(weights),
    ]


def _transformer_blocks(weights: Mapping[str, Tensor]) -> list[int]:
    return sorted({int(match[1]) for name in weights if (match := re.match(r"blocks\.(\d+)\.", name))})


def _length(weights: Mapping[str, Tensor], name: str) -> int | None:
    positions = weights.get(name)
    return positions.shape[1] if positions is not None and positions.ndim == 3 else None


def _describe_mvit(weights: Mapping[str, Tensor]) -> list[str]:
    blocks = _transformer_blocks(weights)
    pooled = [index for index in blocks if f"blocks.{index}.attn.pool_k.conv.weight" in weights]
    first, last = _channels(weights, "patch_embed.proj.weight"), _channels(weights, "norm.weight")
    places, frames = _length(weights, "positions.spatial"), _length(weights, "positions.temporal")
    all_pooled = "keys and values pooled in all blocks"
    return [
        "MViT",
        f"{len(blocks)} blocks",
        f"widths {first} to {last}" if first and last else "",
        all_pooled if pooled == blocks else f"keys and values pooled in blocks {_ranges(pooled)}",
        _positions(places, frames),
        _classes(weights),
    ]


def _describe_timesformer(weights: Mapping[str, Tensor]) -> list[str]:
    places, frames = _length(weights, "positions.spatial"), _length(weights, "positions.temporal")
    divided = any(".time_attn." in name for name in weights)
    width = _channels(weights, "norm.weight")
    kind = "divided space-time" if divided else "joint space-time" if frames else "space-only"
    return [
        "TimeSformer",
        f"{len(_transformer_blocks(weights))} blocks",
        f"width {width}" if width else "",
        f"{kind} attention",
        _positions(places - 1 if places else None, frames),
        _classes(weights),
    ]


def _positions(places: int | None, frames: int | None) -> str:
    if not places:
        return ""
    side = math.isqrt(places)
    grid = f"{side}x{side}" if side**2 == places else str(places)
    return f"positions of {grid} places" + (f" and {frames} frames" if frames else "")


def _ranges(numbers: list[int]) -> str:
    """Write numbers as ranges.

    Example:
        >>> _ranges([0, 1, 2, 5])
        '0-2, 5'
    """
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs) or "none"

# SPDX-License-Identifier: Apache-2.0
"""Start a 3-D ResNet or a TimeSformer from the weights of an image network.

3-D kernels are those of Carreira & Zisserman 2017, arXiv:1705.07750, section 2.4.1; attention over time starts as
``timesformer/models/helpers.py`` of facebookresearch/TimeSformer has it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import timm
import torch
from torch import Tensor, nn

from ..errors import CheckpointMismatchError
from .checkpoints import read_checkpoint
from .resnet3d import ResNet3d
from .timesformer import TimeSformer
from .transformer_layers import resize_line

__all__ = ("InflationReport", "inflate_from_timm")

# Our names, and those of timm's and torchvision's ResNet. Its 3x3 convolution carries the stride, as ours does.
NAMES = (
    (r"stem\.conv\.(\w+)", r"conv1.\1"),
    (r"stem\.bn\.(\w+)", r"bn1.\1"),
    (r"shortcut\.conv\.(\w+)", r"downsample.0.\1"),
    (r"shortcut\.bn\.(\w+)", r"downsample.1.\1"),
    (r"conv_a\.(\w+)", r"conv1.\1"),
    (r"conv_b\.(\w+)", r"conv2.\1"),
    (r"conv_c\.(\w+)", r"conv3.\1"),
    (r"bn_a\.(\w+)", r"bn1.\1"),
    (r"bn_b\.(\w+)", r"bn2.\1"),
    (r"bn_c\.(\w+)", r"bn3.\1"),
)

# Our names, and those of timm's vision transformers: attention over time starts as that over space. What it adds
# (time_fc) and the positions of frames have no counterpart.
VIT_NAMES = (
    (r"class_token", r"cls_token"),
    (r"positions\.spatial", r"pos_embed"),
    (r"(patch_embed\.proj\.\w+)", r"\1"),
    (r"(blocks\.\d+\.)(?:time_norm|norm1)\.(\w+)", r"\1norm1.\2"),
    (r"(blocks\.\d+\.)(?:time_attn|attn)\.(qkv|proj)\.(\w+)", r"\1attn.\2.\3"),
    (r"(blocks\.\d+\.(?:norm2|mlp\.fc[12])\.\w+)", r"\1"),
    (r"(norm\.\w+)", r"\1"),
)
CLASSIFIERS = ("fc.", "head.")
"""What the names of the image networks' classifiers begin with."""


@dataclass(frozen=True)
class InflationReport:
    """What :func:`inflate_from_timm` did.

    Attributes:
        backbone: name of the image network.
        inflated: names of the model's tensors that came from it.
        untouched: names of those that did not: the head, non-local blocks, what TimeSformer adds over time.
        unused: names of the image network's tensors that have no place in the model: its classifier.
    """

    backbone: str
    inflated: tuple[str, ...]
    untouched: tuple[str, ...]
    unused: tuple[str, ...]


def inflate_from_timm(
    model: ResNet3d | TimeSformer, backbone: str | nn.Module = "resnet50", pretrained: bool | str | Path = True
) -> InflationReport:
    """Copy the weights of a 2-D ResNet or vision transformer into a video network of the same depth and width.

    A kernel that sees ``k`` frames becomes ``k`` copies of the 2-D kernel divided by ``k``: on a clip that repeats one
    frame it gives what the 2-D network gives on the frame (except near the clip's ends, where zeros are padded).
    Normalisation is copied.

    TimeSformer's attention over time starts as a copy of that over space, but adds nothing except in the first block,
    until it is trained. Positions of another number of patches are resized as the official loader does.

    Args:
        model: the video network, changed in place; untouched if anything does not fit.
        backbone: name of a plain ResNet of timm (``resnet50`` and ``resnet101`` for bottlenecks, ``resnet18`` for basic
            blocks; ``vit_base_patch16_224`` for TimeSformer), or a ready module of timm or torchvision.
        pretrained: for a name: True takes timm's default weights (downloaded once), False its initialisation, a path
            weights in timm's naming from a file.

    Returns:
        Which tensors were inflated and which were not.

    Raises:
        CheckpointMismatchError: the two networks do not fit, e.g. ``width`` is not 64 or the kind of block differs.
        CheckpointError: the file cannot be read.

    Example:
        >>> from staticdropout.models.registry import create_model
        >>> model = create_model("slowonly_r18", num_classes=5, block="basic")
        >>> inflate_from_timm(model, "resnet18", pretrained=False).unused
        ('fc.weight', 'fc.bias')
    """
    if isinstance(backbone, str):
        flat = timm.create_model(backbone, pretrained=pretrained is True)
        name, source = backbone, flat.state_dict()
        if isinstance(pretrained, str | Path):
            source = read_checkpoint(pretrained)
            name = f"{backbone} from {str(pretrained)!r}"
    else:
        name, source = type(backbone).__name__, backbone.state_dict()

    target = model.state_dict()
    new: dict[str, Tensor] = {}
    used: set[str] = set()
    misfits: list[str] = []
    for key, tensor in target.items():
        flat_key = _translate(key, VIT_NAMES) if isinstance(model, TimeSformer) else _flat_name(key)
        if flat_key is None:
            continue
        flat_tensor = source.get(flat_key)
        if flat_tensor is None:
            if not key.endswith("num_batches_tracked"):
                misfits.append(f"{key} has no counterpart ({flat_key})")
            continue
        inflated = _inflate(flat_tensor, tensor)
        if inflated.shape != tensor.shape:
            misfits.append(f"{key} is {tuple(tensor.shape)}, {flat_key} is {tuple(flat_tensor.shape)}")
            continue
        new[key] = inflated
        used.add(flat_key)
    unused = tuple(key for key in source if key not in used)
    # A deeper 2-D network would otherwise be cut off without a word.
    misfits += [f"{key} has no place in the model" for key in unused if not key.startswith(CLASSIFIERS)]
    if misfits:
        more = f" and {len(misfits) - 3} more" if len(misfits) > 3 else ""
        raise CheckpointMismatchError(
            f"The image network {name} does not fit the model: {'; '.join(misfits[:3])}{more}. {_advice(model)}"
        )
    model.load_state_dict(new, strict=False)
    return InflationReport(name, tuple(new), tuple(key for key in target if key not in new), unused)


def _flat_name(key: str) -> str | None:
    """Translate one of our names into timm's; None for what a 2-D ResNet does not have."""
    prefix = ""
    if match := re.match(r"res(\d)\.block(\d+)\.", key):
        prefix = f"layer{int(match[1]) - 1}.{match[2]}."
        key = key.removeprefix(match[0])
    flat = _translate(key, NAMES)
    return None if flat is None else prefix + flat


def _translate(key: str, names: tuple[tuple[str, str], ...]) -> str | None:
    for pattern, replacement in names:
        if match := re.fullmatch(pattern, key):
            return match.expand(replacement)
    return None


def _advice(model: nn.Module) -> str:
    if isinstance(model, TimeSformer):
        return "Choose a vision transformer of the same depth, width and patch, e.g. vit_base_patch16_224."
    return (
        "Choose a plain ResNet of the same depth and kind of block (resnet50, resnet101: bottleneck; resnet18: basic), "
        "and a model of width 64 with 3 input channels."
    )


@torch.no_grad()
def _inflate(flat: Tensor, target: Tensor) -> Tensor:
    """Repeat a 2-D kernel ``(O, I, H, W)`` over the frames of ``(O, I, k, H, W)``, and fit positions ``(1, N, C)``."""
    if flat.ndim == 4 and target.ndim == 5:
        frames = target.shape[2]
        return (flat.float() / frames).unsqueeze(2).repeat(1, 1, frames, 1, 1)
    if flat.ndim == 3 and target.ndim == 3 and flat.shape[1] != target.shape[1]:
        return torch.cat([flat[:, :1], resize_line(flat[:, 1:], target.shape[1] - 1, "nearest")], dim=1)
    return flat

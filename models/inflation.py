# SPDX-License-Identifier: Apache-2.0
"""Start a 3-D ResNet from the weights of a 2-D one (Carreira & Zisserman 2017, arXiv:1705.07750, section 2.4.1)."""

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


@dataclass(frozen=True)
class InflationReport:
    """What :func:`inflate_from_timm` did.

    Attributes:
        backbone: name of the 2-D network.
        inflated: names of the model's tensors that came from it.
        untouched: names of those that did not: non-local blocks and the head.
        unused: names of the 2-D network's tensors that have no place in the model: its classifier.
    """

    backbone: str
    inflated: tuple[str, ...]
    untouched: tuple[str, ...]
    unused: tuple[str, ...]


def inflate_from_timm(
    model: ResNet3d, backbone: str | nn.Module = "resnet50", pretrained: bool | str | Path = True
) -> InflationReport:
    """Copy the weights of a 2-D ResNet into a 3-D one of the same depth, width and kind of block.

    A kernel that sees ``k`` frames becomes ``k`` copies of the 2-D kernel divided by ``k``: on a clip that repeats one
    frame it gives what the 2-D network gives on the frame (except near the clip's ends, where zeros are padded).
    Normalisation is copied.

    Args:
        model: the 3-D network, changed in place; untouched if anything does not fit.
        backbone: name of a plain ResNet of timm (``resnet50`` and ``resnet101`` for bottlenecks, ``resnet18`` for basic
            blocks), or a ready 2-D module of timm or torchvision.
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
        flat_key = _flat_name(key)
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
    misfits += [f"{key} has no place in the model" for key in unused if not key.startswith("fc.")]
    if misfits:
        more = f" and {len(misfits) - 3} more" if len(misfits) > 3 else ""
        raise CheckpointMismatchError(
            f"The 2-D network {name} does not fit the model: {'; '.join(misfits[:3])}{more}. Choose a plain ResNet of "
            "the same depth and kind of block (resnet50, resnet101: bottleneck; resnet18: basic), and a model of width "
            "64 with 3 input channels."
        )
    model.load_state_dict(new, strict=False)
    return InflationReport(name, tuple(new), tuple(key for key in target if key not in new), unused)


def _flat_name(key: str) -> str | None:
    """Translate one of our names into timm's; None for what a 2-D ResNet does not have."""
    prefix = ""
    if match := re.match(r"res(\d)\.block(\d+)\.", key):
        prefix = f"layer{int(match[1]) - 1}.{match[2]}."
        key = key.removeprefix(match[0])
    for pattern, replacement in NAMES:
        if match := re.fullmatch(pattern, key):
            return prefix + match.expand(replacement)
    return None


@torch.no_grad()
def _inflate(flat: Tensor, target: Tensor) -> Tensor:
    """Repeat a 2-D kernel ``(O, I, H, W)`` over the frames of ``(O, I, k, H, W)``; return anything else as it is."""
    if flat.ndim == 4 and target.ndim == 5:
        frames = target.shape[2]
        return (flat.float() / frames).unsqueeze(2).repeat(1, 1, frames, 1, 1)
    return flat

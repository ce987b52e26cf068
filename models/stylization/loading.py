# SPDX-License-Identifier: Apache-2.0
"""Loading a generator of few-shot patch-based stylization from any file that holds one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...errors import CheckpointMismatchError, OptionError, UnsafeCheckpointError
from ..checkpoints import describe_weights, detect_format, to_own_names
from ..checkpoints.reading import read_content, weights_in
from ..checkpoints.whole_modules import read_whole_module
from .generator import PatchGenerator

__all__ = ("generator_of", "load_generator", "read_generator")

_PREFIX = "generator."  # of the weights in a checkpoint of a training


def load_generator(path: str | Path) -> PatchGenerator:
    """Load a generator, in evaluation mode and on the CPU.

    Three kinds of files are understood, and in none of them anything is run: a checkpoint of
    ``staticdropout styles train``, a state dict, and a whole module as the authors of Texler et al. 2020 publish
    theirs. The form of the generator (input channels, blocks, widths, smoothers, tanh) is read off the weights.

    Args:
        path: the file.

    Returns:
        The generator; its weights are frozen.

    Raises:
        UnsafeCheckpointError: the file asks for code to be run; none of it was.
        CheckpointMismatchError: the file holds the weights of something else.
        CheckpointError: the file is missing, damaged, or holds no weights.

    Example:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile(suffix=".pth") as file:
        ...     torch.save(PatchGenerator(in_channels=6, blocks=2).state_dict(), file.name)
        ...     generator = load_generator(file.name)
        >>> generator.in_channels, len(generator.resnets), generator.training
        (6, 2, False)
    """
    return read_generator(path)[0]


def read_generator(path: str | Path) -> tuple[PatchGenerator, dict[str, Any]]:
    """Load a generator, and with it the settings of its training where the file has them.

    Args:
        path: the file, see :func:`load_generator`.

    Returns:
        The generator, and the ``hyper_parameters`` of a checkpoint of ``staticdropout styles train``, otherwise an
        empty dict.

    Raises:
        UnsafeCheckpointError: the file asks for code to be run; none of it was.
        CheckpointMismatchError: the file holds the weights of something else.
        CheckpointError: the file is missing, damaged, or holds no weights.
    """
    try:
        content = read_content(path)
    except UnsafeCheckpointError:
        if detect_format(path) == "pickle":
            raise
        # A whole module asks for its classes; what asks for more is refused here too.
        return generator_of(read_whole_module(path), path), {}
    settings: dict[str, Any] = {}
    if isinstance(content, Mapping) and isinstance(state := content.get("state_dict"), Mapping):
        own = {name.removeprefix(_PREFIX): value for name, value in state.items() if str(name).startswith(_PREFIX)}
        if own:
            found = content.get("hyper_parameters")
            settings = dict(found) if isinstance(found, Mapping) else {}
            content = own
    return generator_of(weights_in(content, path), path), settings


def generator_of(weights: Mapping[str, Tensor], path: str | Path) -> PatchGenerator:
    """Build the generator that a state dict belongs to.

    Args:
        weights: the state dict.
        path: where it comes from, for messages.

    Returns:
        The generator with these weights, frozen, in evaluation mode.

    Raises:
        CheckpointMismatchError: the weights are not those of such a generator.

    Example:
        >>> generator_of(PatchGenerator(smoothers=False, tanh=False).state_dict(), "file").conv_12
        Conv2d(64, 3, kernel_size=(1, 1), stride=(1, 1))
    """
    try:
        arguments = _arguments(weights)
        with torch.device("meta"):  # nothing is drawn or allocated: the weights take their places
            generator = PatchGenerator(**arguments)
        full = {name: value.clone() for name, value in weights.items()}
        generator.load_state_dict(full, assign=True)
    except (OptionError, RuntimeError) as error:
        raise CheckpointMismatchError(
            f"{str(path)!r} is not a generator of few-shot stylization: {_reason(error)}. Found {_found(weights)}; "
            "expected the weights of PatchGenerator (conv0.conv.weight … conv_12.0.weight). Train one with "
            "`staticdropout styles train`, or use any other network by staticdropout.perturbations.NetworkStyle."
        ) from error
    return generator.float().eval().requires_grad_(False)


def _arguments(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments of the generator by the shapes of its weights."""

    def kernel(name: str) -> torch.Size:
        if name not in weights or weights[name].ndim != 4:
            raise OptionError(f"there is no convolution {name}")
        return weights[name].shape

    stem, half, quarter = (kernel(f"conv{layer}.conv.weight")[0] for layer in range(3))
    blocks = {match[1] for name in weights if (match := re.match(r"resnets\.(\d+)\.", name))}
    return {
        "in_channels": kernel("conv0.conv.weight")[1],
        "blocks": len(blocks),
        "filters": (stem, half, quarter, quarter, kernel("upconv2.1.weight")[0], kernel("conv_11.0.weight")[0]),
        "smoothers": any(name.startswith("conv_11_a.") for name in weights),
        "tanh": "conv_12.0.weight" in weights,
    }


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines()]
    return " ".join(lines[1:3])[:300].rstrip(".") if len(lines) > 1 else lines[0].rstrip(".")


def _found(weights: Mapping[str, Tensor]) -> str:
    """What the weights are of instead."""
    if "net.conv_out.conv.weight" in weights:
        return "a discriminator of few-shot stylization"
    try:
        described = describe_weights(to_own_names(weights))
    except Exception:  # only words for a message: whatever fails here must not hide the message itself
        described = f"{len(weights)} tensors"
    return f"{described} ({', '.join(list(weights)[:3])} …)"

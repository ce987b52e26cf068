# SPDX-License-Identifier: Apache-2.0
"""Models and layers as tables for the terminal."""

from __future__ import annotations

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from ..errors import UnknownNameError
from .features import list_layers
from .layer_names import last_linear
from .registry import list_models, model_info

__all__ = ("print_layers", "print_models")


def print_models(pattern: str = "*") -> None:
    """Print the registered models that match a glob, with what is known about them.

    Raises:
        UnknownNameError: if none matches.
    """
    names = list_models(pattern)
    if not names:
        raise UnknownNameError("model", pattern, list_models())
    table = Table("model", "input", "crop", "parameters", "GMACs", "what it is")
    for name in names:
        info = model_info(name)
        table.add_row(
            name,
            f"{info.frames} x {info.stride}",
            str(info.crop),
            f"{info.params / 1e6:.2f} M" if info.params else "",
            f"{info.gmacs:.2f}" if info.gmacs else "",
            info.description,
        )
    console = Console()
    console.print(table)
    console.print(
        "input: frames x distance in frames; parameters with 400 classes; GMACs of one clip at the crop size."
    )


def print_layers(model: nn.Module, frames: int = 8, size: int = 112) -> None:
    """Print the layers that run in a forward pass of one clip, with their output shapes.

    Args:
        model: maps videos ``(1, 3, frames, size, size)`` with pixels in [0, 1].
        frames: frames of the clip.
        size: height and width of the clip in pixels.
    """
    table = Table("layer", "output shape", "module")
    modules = dict(model.named_modules())
    for name, shape in list_layers(model, torch.rand(1, 3, frames, size, size)).items():
        table.add_row(name, str(shape), type(modules.get(name)).__name__ if name in modules else "")
    console = Console()
    console.print(table)
    console.print(f"StaticDropout and BiasMonitor act by default on {last_linear(model)}[input].", markup=False)

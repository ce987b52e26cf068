# SPDX-License-Identifier: Apache-2.0
"""Models and layers as tables for the terminal."""

from __future__ import annotations

from contextlib import suppress

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table
from torch import Tensor, nn

from ..errors import LayerNotFoundError, UnknownNameError
from .analysis import analysis_layers
from .features import list_layers
from .layer_names import last_linear
from .registry import ModelInfo, list_models, model_info

__all__ = ("print_layers", "print_models")

TITLES = ("video classification", "video object segmentation (image + flow)")


def print_models(pattern: str = "*") -> None:
    """Print the registered models that match a glob, with what is known about them.

    Raises:
        UnknownNameError: if none matches.
    """
    names = list_models(pattern)
    if not names:
        raise UnknownNameError("model", pattern, list_models())
    infos = [model_info(name) for name in names]
    clips = [info for info in infos if info.task == "classification"]
    pictures = [info for info in infos if info.task == "segmentation"]
    titles = TITLES if clips and pictures else (None, None)
    console = Console()
    if clips:
        table = Table(_name_column(), "input", "crop", "parameters", "GMACs", "top-1", title=titles[0])
        for info in clips:
            top1 = ", ".join(f"{value} {data}" for data, value in info.top1.items())
            size = f"{info.frames} x {info.stride}"
            table.add_row(info.name, size, str(info.crop), _millions(info), _gmacs(info), top1)
        console.print(table)
        console.print(
            "input: frames x distance in frames; parameters with 400 classes; GMACs (the literature's FLOPs) of one "
            "clip at the crop size; top-1: published accuracy of the official weights in percent, over many views."
        )
        about = Table(_name_column(), "what it is, and where its official weights are described")
        for info in clips:
            about.add_row(info.name, "\n".join(filter(None, (info.description, info.checkpoint))))
        console.print(about)
    if pictures:
        table = Table(_name_column(), "frames", "height", "parameters", "GMACs", "what it is", title=titles[1])
        for info in pictures:
            frames, height = str(info.frames), str(info.crop)
            table.add_row(info.name, frames, height, _millions(info), _gmacs(info), info.description)
        console.print(table)
        console.print("frames of one sample, each an image and its flow, and their height; GMACs of one such sample.")


def _name_column() -> Column:
    return Column("model", no_wrap=True)  # names are there to be copied


def _millions(info: ModelInfo) -> str:
    return f"{info.params / 1e6:.2f} M" if info.params else ""


def _gmacs(info: ModelInfo) -> str:
    return f"{info.gmacs:.2f}" if info.gmacs else ""


def print_layers(model: nn.Module, *inputs: Tensor) -> None:
    """Print the layers that run in a forward pass, with their output shapes.

    Args:
        model: any module.
        inputs: what it is called with; for a module of this package, pixels in [0, 1].
    """
    table = Table("layer", "output shape", "module")
    modules = dict(model.named_modules())
    for name, shape in list_layers(model, *inputs).items():
        table.add_row(escape(name), str(shape), type(modules.get(name)).__name__ if name in modules else "")
    console = Console()
    console.print(table)
    with suppress(LayerNotFoundError):  # a model that is not of this package
        named = ", ".join(f"{name} = {layer}" for name, layer in analysis_layers(model).items())
        console.print(f'BiasMonitor(layers="paper") measures {named}.', markup=False, highlight=False)
    if len(inputs) == 1:
        console.print(f"StaticDropout and BiasMonitor act by default on {last_linear(model)}[input].", markup=False)
    else:
        console.print("Several inputs: name the layers for StaticDropout and BiasMonitor, globs allowed.")

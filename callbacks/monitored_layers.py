# SPDX-License-Identifier: Apache-2.0
"""Which layers a BiasMonitor measures, and what it calls them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from lightning.pytorch import LightningModule

from ..errors import OptionError
from ..models.analysis import analysis_layers
from ..models.layer_names import INPUT, find_layers
from .networks import classifier_of

__all__ = ("PAPER", "LayerOption", "monitored_layers", "read_layer_option")

PAPER = "paper"
"""Stands for the layers that the papers analyse."""

LayerOption: TypeAlias = str | Sequence[str] | Mapping[str, str] | None


def read_layer_option(layers: LayerOption) -> str | list[str] | dict[str, str] | None:
    """Copy the option ``layers``.

    Raises:
        OptionError: a mapping that is empty, or has a name that is none for a chart.
    """
    if layers is None or layers == PAPER:
        return PAPER if layers == PAPER else None
    if isinstance(layers, str):
        return [layers]
    if not isinstance(layers, Mapping):
        return list(layers)
    wrong = [name for name in layers if not name or "/" in name or name != name.strip()]
    if wrong or not layers:
        raise OptionError(
            f"layers must give each layer a name without '/', e.g. {{stage1: model.stem}}; got {dict(layers)}."
        )
    return dict(layers)


def monitored_layers(module: LightningModule, option: str | list[str] | dict[str, str] | None) -> dict[str, str]:
    """Return what each layer is called in charts and files, and its name in the module.

    Args:
        module: what is trained.
        option: what :func:`read_layer_option` gives.

    Raises:
        LayerNotFoundError: a pattern matches nothing, or there are no layers of the papers in this module.
        OptionError: one name is given to several layers.
    """
    if option == PAPER:
        option = analysis_layers(module)
    if isinstance(option, dict):
        found = {name: [layer.name for layer in find_layers(module, pattern)] for name, pattern in option.items()}
        for name, layers in found.items():
            if len(layers) > 1:
                listed = ", ".join(layers)
                raise OptionError(f"layers: {name} stands for {len(layers)} layers ({listed}). Give each its own name.")
        return {name: layers[0] for name, layers in found.items()}
    names = [layer.name for layer in find_layers(module, option or f"{classifier_of(module)}[{INPUT}]")]
    return {name: name for name in names}

# SPDX-License-Identifier: Apache-2.0
"""The layers that the papers analyse, by the names of their figures."""

from __future__ import annotations

import torch
from torch import nn

from ..errors import LayerNotFoundError
from .layer_names import module_names
from .registry import create_model, model_info

__all__ = ("analysis_layers",)


def analysis_layers(model: str | nn.Module) -> dict[str, str]:
    """Return the layers that Kowal et al. analyse (Fig. 3 to 5): the name in their figures, and the layer of the model.

    - 3-D ResNets and X3D: ``stage1`` (after the stem) to ``stage5``;
    - SlowFast: ``SF-Slow.stage1`` … and ``SF-Fast.stage1`` …, both before fusion, and ``SF-Fused.stage1`` …, the slow
      pathway after fusion;
    - MViT and TimeSformer: ``block0`` …;
    - segmentation networks: ``appearance2`` … and ``motion2`` …, the streams after the cross connection of a stage, and
      ``fusion2`` …, the fusion layers.

    Args:
        model: a name in the registry, or a module of which one of this package's networks is a part.

    Returns:
        Layer names as :func:`.capture` takes them, by name in the figures.

    Raises:
        UnknownNameError: no model has this name.
        LayerNotFoundError: no part of the module says which its layers are.

    Example:
        >>> analysis_layers("slowfast_r50_8x8")["SF-Fast.stage2"]
        'fast.res2'
        >>> list(analysis_layers("timesformer_divst_8x32"))[-1]
        'block11'
    """
    if isinstance(model, str):
        classes = 1 if model_info(model).task == "classification" else None
        with torch.device("meta"):
            model = create_model(model, classes)
    for prefix, part in [("", model), *module_names(model).items()]:
        found = getattr(part, "analysis_layers", None)
        if isinstance(found, dict):
            return {name: f"{prefix}.{layer}" if prefix else layer for name, layer in found.items()}
    raise LayerNotFoundError(f"paper (no part of {type(model).__name__} has analysis_layers)", module_names(model))

# SPDX-License-Identifier: Apache-2.0
"""How much a forward pass computes."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

__all__ = ("count_gmacs",)

aten = torch.ops.aten


def _batch_norm(shape: Any, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    return 2 * 2 * int(math.prod(shape))  # two operations for each multiply-add


def _layer_norm(shape: Any, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    return 2 * 5 * int(math.prod(shape))


NORMS = {
    aten.native_batch_norm: _batch_norm,
    aten.cudnn_batch_norm: _batch_norm,
    aten._native_batch_norm_legit_no_training: _batch_norm,
    aten.native_layer_norm: _layer_norm,
}


def count_gmacs(model: nn.Module, *inputs: torch.Tensor, norms: bool = True) -> float:
    """Count the multiply-adds of a forward pass in evaluation, in billions.

    Convolutions, linear layers, attention and, as fvcore 0.1.5 counts them, normalisations: 2 for each element of a
    batch normalisation, 5 of a layer normalisation. The video literature says FLOPs for this number.

    Args:
        model: any module; on the meta device nothing is computed.
        inputs: what it is called with.
        norms: count normalisations, too.

    Example:
        >>> from staticdropout.models.registry import create_model
        >>> with torch.device("meta"):
        ...     model, clip = create_model("x3d_m", num_classes=400), torch.empty(1, 3, 16, 224, 224)
        >>> round(count_gmacs(model, clip), 2), round(count_gmacs(model, clip, norms=False), 2)
        (4.9, 4.73)
    """
    modes = {module: module.training for module in model.modules()}
    counter = FlopCounterMode(display=False, custom_mapping=NORMS if norms else {})
    try:
        model.eval()
        with counter, torch.no_grad():
            model(*inputs)
    finally:
        for module, mode in modes.items():
            module.training = mode
    return counter.get_total_flops() / 2 / 1e9

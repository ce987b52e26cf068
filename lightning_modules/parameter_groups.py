# SPDX-License-Identifier: Apache-2.0
"""Parameters in groups, because normalisation layers are usually not decayed."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

__all__ = ("parameter_groups",)

NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


def parameter_groups(module: nn.Module, norm_weight_decay: float | None = 0.0) -> list[dict[str, Any]]:
    """Split trainable parameters into those of normalisation layers and all others.

    Args:
        module: any module.
        norm_weight_decay: weight decay of the first group (0 in the SlowFast recipes, ``BN.WEIGHT_DECAY``); with None
            there is one group and the optimizer's own weight decay holds for all.

    Returns:
        Parameter groups for an optimizer, none of them empty.

    Example:
        >>> groups = parameter_groups(nn.Sequential(nn.Conv3d(3, 8, 3), nn.BatchNorm3d(8)))
        >>> [(len(group["params"]), group.get("weight_decay")) for group in groups]
        [(2, None), (2, 0.0)]
    """
    norms = {id(p) for part in module.modules() if isinstance(part, NORMS) for p in part.parameters(recurse=False)}
    trainable = [parameter for parameter in module.parameters() if parameter.requires_grad]
    if norm_weight_decay is None:
        return [{"params": trainable}]
    groups: list[dict[str, Any]] = [
        {"params": [parameter for parameter in trainable if id(parameter) not in norms]},
        {"params": [parameter for parameter in trainable if id(parameter) in norms], "weight_decay": norm_weight_decay},
    ]
    return [group for group in groups if group["params"]]

# SPDX-License-Identifier: Apache-2.0
"""Parameters in groups: by decay (normalisation layers and positions usually have none) and by learning rate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from ..errors import OptionError, did_you_mean

__all__ = ("parameter_groups",)

NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


def parameter_groups(
    module: nn.Module,
    norm_weight_decay: float | None = 0.0,
    learning_rates: Mapping[str, float] | None = None,
) -> list[dict[str, Any]]:
    """Split trainable parameters into those of normalisation layers and all others, and by learning rate.

    Args:
        module: any module.
        norm_weight_decay: weight decay of normalisation layers (0 in the SlowFast recipes, ``BN.WEIGHT_DECAY``), and of
            the parameters that a part names in ``no_weight_decay()``, as timm's transformers do; with None the
            optimizer's own weight decay holds for all.
        learning_rates: learning rates by part, e.g. ``{"model.encoder": 1e-4}``. Of several names that fit a
            parameter, the longest counts; the optimizer's own learning rate holds for the rest.

    Returns:
        Parameter groups for an optimizer, none of them empty.

    Raises:
        OptionError: if a name in ``learning_rates`` is no part with trainable parameters.

    Example:
        >>> groups = parameter_groups(nn.Sequential(nn.Conv3d(3, 8, 3), nn.BatchNorm3d(8)))
        >>> [(len(group["params"]), group.get("weight_decay")) for group in groups]
        [(2, None), (2, 0.0)]
        >>> groups = parameter_groups(nn.ModuleDict({"encoder": nn.Linear(2, 2)}), None, {"encoder": 1e-4})
        >>> [(len(group["params"]), group["lr"]) for group in groups]
        [(2, 0.0001)]
    """
    rates = dict(learning_rates or {})
    norms = {id(p) for part in module.modules() if isinstance(part, NORMS) for p in part.parameters(recurse=False)}
    norms |= {id(p) for part in module.modules() for p in _marked(part)}
    trainable = [(name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad]
    groups: dict[tuple[str | None, bool], dict[str, Any]] = {}
    for name, parameter in trainable:
        part = max((part for part in rates if name == part or name.startswith(f"{part}.")), key=len, default=None)
        is_norm = norm_weight_decay is not None and id(parameter) in norms
        group = groups.setdefault((part, is_norm), {"params": []})
        group["params"].append(parameter)
        if part is not None:
            group["lr"] = rates[part]
        if is_norm:
            group["weight_decay"] = norm_weight_decay
    unused = set(rates) - {part for part, _ in groups}
    for part in sorted(unused):
        if not any(name.startswith(f"{part}.") or name == part for name, _ in trainable):
            parts = {name.rpartition(".")[0] for name, _ in trainable}
            raise OptionError(f"learning_rates: no trainable part is called {part!r}. {did_you_mean(part, parts)}")
    return sorted(groups.values(), key=lambda group: "weight_decay" in group)


def _marked(part: nn.Module) -> list[nn.Parameter]:
    """The parameters that a part asks not to be decayed; timm's parts also name some that they do not have."""
    ask = getattr(part, "no_weight_decay", None)
    names = set(ask()) if callable(ask) else set()
    return [parameter for name, parameter in part.named_parameters() if name in names] if names else []

# SPDX-License-Identifier: Apache-2.0
"""Batch normalisation over parts of a batch, as in SlowFast's multigrid training, as plain batch normalisation.

A ``SubBatchNorm3d`` keeps weight and bias itself, statistics of the whole batch in ``bn`` and those of the parts in
``split_bn``. SlowFast writes files with plain names; the state dict of a network in training has these.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

__all__ = ("plain_batchnorm",)

MARK = ".split_bn.running_mean"
WRAPPED_RANK = 4  # (C, 1, 1, 1), the shape in which weight and bias are multiplied and added


def plain_batchnorm(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename statistics, drop those of the parts, and make weight and bias vectors, as SlowFast does when it saves.

    Example:
        >>> import torch
        >>> wrapped = {
        ...     "bn.weight": torch.ones(2, 1, 1, 1), "bn.bias": torch.ones(2), "bn.bn.running_mean": torch.ones(2),
        ...     "bn.bn.running_var": torch.ones(2), "bn.bn.num_batches_tracked": torch.tensor(0),
        ...     "bn.split_bn.running_mean": torch.ones(4), "bn.split_bn.running_var": torch.ones(4),
        ...     "bn.split_bn.num_batches_tracked": torch.tensor(7),
        ... }
        >>> [(name.removeprefix("bn."), len(tensor.view(-1))) for name, tensor in plain_batchnorm(wrapped).items()]
        [('weight', 2), ('bias', 2), ('running_mean', 2), ('running_var', 2), ('num_batches_tracked', 1)]
    """
    wrappers = {name.removesuffix(MARK) for name in weights if name.endswith(MARK)}
    plain: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        inner, _, leaf = name.rpartition(".")
        wrapper, _, part = inner.rpartition(".")
        if wrapper in wrappers and part in ("bn", "split_bn"):
            # The counter is that of the parts: the other one never counts.
            if (part == "split_bn") == (leaf == "num_batches_tracked"):
                plain[f"{wrapper}.{leaf}"] = tensor
        elif leaf in ("weight", "bias") and _is_wrapped_vector(tensor, inner, weights):
            plain[name] = tensor.flatten()
        else:
            plain[name] = tensor
    return plain


def _is_wrapped_vector(tensor: Tensor, module: str, weights: Mapping[str, Tensor]) -> bool:
    statistics = (f"{module}.running_mean", f"{module}.bn.running_mean")
    normalises = any(name in weights for name in statistics)
    return normalises and tensor.ndim == WRAPPED_RANK and tensor.numel() == tensor.shape[0]

# SPDX-License-Identifier: Apache-2.0
"""The static/dynamic bias of one layer from pairs that share one factor each."""

from __future__ import annotations

import torch
from torch import Tensor

from .bias import FACTORS, LayerBias
from .bias_metric import BiasMetric, check_features
from .correlation import WEIGHT, merge_moments, pair_moments

__all__ = ("PairedBias",)


class PairedBias(BiasMetric):
    """:class:`~staticdropout.metrics.StaticDynamicBias` for pairs of inputs, each of which shares one factor.

    The authors' code samples pairs: some share their statics, others their dynamics, and no clip need be in both
    kinds. As input to ``update`` the metric accepts features averaged over space and time:

    - ``first`` and ``second`` ``(N, C)``, any floating type: the two sides of each pair,
    - ``factor`` ``(N,)`` int: what the pair shares, an index into ``FACTORS``: 0 static, 1 dynamic,
    - ``index`` ``(N,)`` int, optional: numbers that spread the pairs over the groups for the intervals, see there.

    As output of ``compute`` it returns a :class:`~staticdropout.metrics.bias.LayerBias`, whose ``num_clips`` counts
    pairs of both kinds. A factor with fewer than two pairs has the score 0.

    Args:
        num_channels: number of units of the layer, C.
        estimator: ``"paper"`` or ``"released"``.
        threshold: λ of Eq. 3.
        num_groups: groups of pairs for the intervals.
        kwargs: see :class:`torchmetrics.Metric`.

    Raises:
        ValueError: if a feature tensor is not ``(N, num_channels)`` or contains NaN or infinity, or a factor is neither
            0 nor 1.

    Example:
        >>> content, noise = torch.randn(2, 200, 2, generator=torch.Generator().manual_seed(0))
        >>> factor = torch.arange(200) % 2
        >>> metric = PairedBias(num_channels=2)
        >>> metric.update(content, torch.where(factor[:, None] == 0, content, noise), factor)
        >>> metric.compute().units.tolist()  # dynamic, static, joint, residual in percent
        [0.0, 100.0, 0.0, 0.0]
    """

    def update(self, first: Tensor, second: Tensor, factor: Tensor, index: Tensor | None = None) -> None:
        """Add a batch of pairs, given as the features ``(N, C)`` of both sides and the factor that each shares."""
        check_features({"first": first, "second": second}, (len(first), self.num_channels))
        if factor.shape != (len(first),) or not bool(((factor >= 0) & (factor < len(FACTORS))).all()):
            raise ValueError(
                f"Expected a factor for each of the {len(first)} pairs, 0 (static) or 1 (dynamic), found "
                f"{tuple(factor.shape)} with values {sorted(set(factor.flatten().tolist()))[:5]}."
            )
        device = self.moments.device
        if index is None:
            start = int(self.moments[:, :, WEIGHT, 0].sum().round())
            index = torch.arange(start, start + len(first))
        factor, group = factor.to(device), index.to(device) % self.num_groups
        sides = first.to(device), second.to(device)
        shared = []
        for number in range(len(FACTORS)):
            chosen = factor == number
            shared.append(pair_moments(sides[0][chosen], sides[1][chosen], group[chosen], self.num_groups))
        self.moments = merge_moments(torch.stack([self.moments, torch.stack(shared, dim=1)]))

    def compute(self) -> LayerBias:
        """Return the bias of the layer over all pairs of all ranks."""
        pairs = self.moments[:, :, WEIGHT, 0].sum().round().long()
        bias: LayerBias = super().compute()
        return bias._replace(num_clips=pairs)

# SPDX-License-Identifier: Apache-2.0
"""The static/dynamic bias of one layer as a torchmetrics metric."""

from __future__ import annotations

import torch
from torch import Tensor

from .bias_metric import BiasMetric, check_features
from .correlation import WEIGHT, merge_moments, pair_moments

__all__ = ("StaticDynamicBias",)


class StaticDynamicBias(BiasMetric):
    """Share of a layer and number of its units that encode static and dynamic information (Kowal et al., Sec. 3.2).

    As input to ``update`` the metric accepts the features of the three inputs of a triplet, averaged over space and
    time:

    - ``anchor`` ``(N, C)``, any floating type,
    - ``same_static`` ``(N, C)``: the clips that share only statics with the anchors,
    - ``same_dynamic`` ``(N, C)``: the clips that share only dynamics with the anchors,
    - ``index`` ``(N,)`` int, optional: the clips' numbers, which spread them over the jackknife groups: clip k goes
      to group ``k % num_groups``. With explicit numbers the intervals do not depend on batches and ranks either;
      without, clips are counted in order of arrival. Where several clips come from one video, give each the number of
      its *video*: clips that are alike have to be in one group, or the intervals come out too narrow.

    As output of ``compute`` it returns a :class:`~staticdropout.metrics.bias.LayerBias`.

    All moments are float64 and O(channels) in size; ranks are merged exactly, never by averaging correlations.

    What the numbers do not mean: a correlation is a lower bound on shared information, not its amount; shape that
    survives stylization counts as shared by the dynamic pair; and shares are relative, so a layer that encodes
    neither factor still gets about a third of each against ``identical``.

    Args:
        num_channels: number of units of the layer, C.
        estimator: ``"paper"`` (Eq. 1 and 2 as printed) or ``"released"`` (as the authors' code computes them).
        threshold: λ of Eq. 3.
        num_groups: groups of clips for the intervals. More groups make them steadier and, below twenty or so,
            narrower on average; memory and time grow with their number.
        kwargs: see :class:`torchmetrics.Metric`.

    Raises:
        ValueError: if a feature tensor is not ``(N, num_channels)`` or contains NaN or infinity.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> content, motion, noise = torch.randn(3, 200, 2, generator=generator)
        >>> metric = StaticDynamicBias(num_channels=2)
        >>> metric.update(content, content, noise)  # units that see content only
        >>> metric.compute().units.tolist()  # dynamic, static, joint, residual in percent
        [0.0, 100.0, 0.0, 0.0]
    """

    def update(self, anchor: Tensor, same_static: Tensor, same_dynamic: Tensor, index: Tensor | None = None) -> None:
        """Add a batch of triplets, given as features ``(N, C)`` of each of the three inputs."""
        sides = {"anchor": anchor, "same_static": same_static, "same_dynamic": same_dynamic}
        check_features(sides, (len(anchor), self.num_channels))
        if index is None:
            start = int(self.moments[:, 0, WEIGHT, 0].sum().round())
            index = torch.arange(start, start + len(anchor), device=self.moments.device)
        device = self.moments.device
        group = index.to(device) % self.num_groups
        pairs = [
            pair_moments(anchor.to(device), other.to(device), group, self.num_groups)
            for other in (same_static, same_dynamic)
        ]
        self.moments = merge_moments(torch.stack([self.moments, torch.stack(pairs, dim=1)]))

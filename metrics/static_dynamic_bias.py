# SPDX-License-Identifier: Apache-2.0
"""The static/dynamic bias of one layer as a torchmetrics metric."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from .bias import Estimator, LayerBias, check_estimator, layer_bias
from .correlation import WEIGHT, empty_moments, merge_moments, pair_moments

__all__ = ("StaticDynamicBias", "check_features")


def check_features(sides: Mapping[str, Tensor], shape: tuple[int, int]) -> None:
    """Check that features can be correlated.

    Args:
        sides: features by the name of what they are of.
        shape: that all must have, (N, C).

    Raises:
        ValueError: some have another shape, or NaN or infinity in them.

    Example:
        >>> check_features({"anchor": torch.zeros(2, 3)}, (2, 3))
    """
    for name, features in sides.items():
        if features.shape != shape:
            raise ValueError(f"{name}: expected shape {shape}, found {tuple(features.shape)}.")
        if not features.isfinite().all():
            raise ValueError(
                f"{name}: the features contain NaN or infinity, so nothing can be correlated. "
                "Check the model's weights and the precision it runs in."
            )


class StaticDynamicBias(Metric):
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

    is_differentiable = False
    higher_is_better = None
    full_state_update = False

    moments: Tensor

    def __init__(
        self,
        num_channels: int,
        estimator: Estimator = "paper",
        threshold: float = 0.5,
        num_groups: int = 20,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if num_channels < 1 or num_groups < 1:
            raise ValueError(f"num_channels and num_groups must be positive, found {num_channels} and {num_groups}.")
        check_estimator(estimator, threshold)
        self.num_channels = num_channels
        self.estimator: Estimator = estimator
        self.threshold = threshold
        self.num_groups = num_groups
        self.add_state("moments", empty_moments(num_groups, 2, num_channels), dist_reduce_fx=merge_moments)

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

    def compute(self) -> LayerBias:
        """Return the bias of the layer over all clips of all ranks."""
        return layer_bias(self.moments, self.estimator, self.threshold)

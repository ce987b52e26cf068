# SPDX-License-Identifier: Apache-2.0
"""What the metrics of static and dynamic bias share: options, the moments of a layer, and its bias."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torchmetrics import Metric

from .bias import Estimator, LayerBias, check_estimator, layer_bias
from .correlation import empty_moments, merge_moments

__all__ = ("BiasMetric", "check_features")


def check_features(sides: Mapping[str, Tensor], shape: tuple[int, int]) -> None:
    """Check that features can be correlated.

    Args:
        sides: features by the name of what they are of.
        shape: that all must have, (N, C).

    Raises:
        ValueError: some have another shape, or NaN or infinity in them.

    Example:
        >>> import torch
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


class BiasMetric(Metric):
    """Base of the metrics: moments of static and dynamic pairs in groups, which ``update`` of a subclass adds to.

    Args:
        num_channels: number of units of the layer, C.
        estimator: ``"paper"`` (Eq. 1 and 2 as printed) or ``"released"`` (as the authors' code computes them).
        threshold: λ of Eq. 3.
        num_groups: groups of clips for the intervals.
        kwargs: see :class:`torchmetrics.Metric`.

    Raises:
        ValueError: an option is out of range.
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

    def compute(self) -> LayerBias:
        """Return the bias of the layer over all clips of all ranks."""
        return layer_bias(self.moments, self.estimator, self.threshold)

# SPDX-License-Identifier: Apache-2.0
"""One result from the results of several seeds, as the authors' code reports them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import OptionError
from .bias import LayerBias
from .encodings import encode_units, unit_percentages

__all__ = ("combine_seeds", "seed_interval")


def seed_interval(values: Tensor) -> Tensor:
    """Half-width of the interval over seeds as the authors compute it: 1.96 times the population deviation / sqrt(n).

    With four seeds it is narrower than a 95 % interval: Student's t and the sample deviation would make it 1.9 times as
    wide. It tells how much the draws of pairs matter, not how much other clips would.

    Args:
        values: ``(n, ...)``, a row a seed.

    Returns:
        ``(...)``; NaN for one seed.

    Source:
        ``misc/mean_var_analysis.py`` of the authors' code.

    Example:
        >>> seed_interval(torch.tensor([10.0, 12.0, 10.0, 12.0], dtype=torch.float64)).item()
        0.98
    """
    if len(values) < 2:
        return torch.full_like(values.sum(0), math.nan)
    return 1.96 * values.std(0, correction=0) / math.sqrt(len(values))


def combine_seeds(results: Sequence[LayerBias], threshold: float = 0.5, units_of_first_seed: bool = False) -> LayerBias:
    """Return the mean over seeds, with the interval over seeds; of one seed its own result, with its own intervals.

    Args:
        results: of one layer, in the order of the seeds.
        threshold: λ, for the encoding of the units by their mean scores.
        units_of_first_seed: take all that concerns single units from the first seed alone, as the authors do.

    Returns:
        Shares and scores, also those of units, are means over seeds; a unit's encoding is that of its mean scores, and
        the interval of the percentages comes from those of the seeds. ``num_clips`` is the sum.

    Raises:
        OptionError: there is no result.

    Example:
        >>> from staticdropout.metrics import StaticDynamicBias
        >>> seeds = []
        >>> for seed in (1, 2):
        ...     metric = StaticDynamicBias(num_channels=3)
        ...     metric.update(*torch.randn(3, 50, 3, generator=torch.Generator().manual_seed(seed)))
        ...     seeds.append(metric.compute())
        >>> both = combine_seeds(seeds)
        >>> torch.allclose(both.shares, (seeds[0].shares + seeds[1].shares) / 2), both.num_clips.item()
        (True, 100)
    """
    if not results:
        raise OptionError("There is no result to combine. Measure with at least one seed.")
    first = results[0]
    if len(results) == 1:
        return first
    shares, units = (torch.stack([getattr(one, name) for one in results]) for name in ("shares", "units"))
    unit_scores = torch.stack([one.unit_scores for one in results]).mean(0)
    encoding = encode_units(unit_scores, threshold)
    combined = LayerBias(
        shares=shares.mean(0),
        shares_interval=seed_interval(shares),
        scores=torch.stack([one.scores for one in results]).mean(0),
        units=unit_percentages(encoding),
        units_interval=seed_interval(units),
        unit_scores=unit_scores,
        encoding=encoding,
        undefined=torch.stack([one.undefined for one in results]).amax(0),
        num_clips=torch.stack([one.num_clips for one in results]).sum(),
    )
    if not units_of_first_seed:
        return combined
    of_units = ("units", "units_interval", "unit_scores", "encoding", "undefined")
    return combined._replace(**{name: getattr(first, name) for name in of_units})

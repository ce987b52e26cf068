# SPDX-License-Identifier: Apache-2.0
"""From moments to static/dynamic bias: Eq. 1-3 of Kowal et al. as pure functions, with 95 % intervals.

Everywhere the moments of a layer are ``(..., 2, 6, C)``: the static pair (index 0), then the dynamic pair (index 1).
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from ..errors import OptionError
from .correlation import C_AB, M2_A, M2_B, MEAN_A, MEAN_B, WEIGHT, Correlation, correlation
from .encodings import ENCODINGS, encode_units, unit_percentages
from .intervals import encoding_interval, jackknife_bias, jackknife_interval, leave_one_out

__all__ = (
    "ENCODINGS",
    "FACTORS",
    "Estimator",
    "LayerBias",
    "check_estimator",
    "encode_units",
    "layer_bias",
    "layer_scores",
    "layer_shares",
    "unit_scores",
)

FACTORS = ("static", "dynamic")
Estimator = Literal["paper", "released"]


class LayerBias(NamedTuple):
    """What one layer encodes.

    Intervals are half-widths of 95 % intervals (:mod:`~staticdropout.metrics.intervals`), NaN where fewer than two
    groups have clips. They are about the value for infinitely many clips of the same kind.

    Attributes:
        shares: ``(3,)`` Eq. 1 in percent: static, dynamic, identical. They sum to 100.
        shares_interval: ``(3,)``.
        scores: ``(2,)`` the layer's ``S_F`` that enter the softmax: static, dynamic.
        units: ``(4,)`` units by encoding in percent, in the order of ``ENCODINGS``.
        units_interval: ``(4,)``.
        unit_scores: ``(2, C)`` Eq. 2: static and dynamic score of every unit.
        encoding: ``(C,)`` Eq. 3 as an index into ``ENCODINGS`` (``()`` for a layer of one channel, out of the metric).
        undefined: ``()`` number of units without a score in either factor.
        num_clips: ``()`` number of clips measured.
    """

    shares: Tensor
    shares_interval: Tensor
    scores: Tensor
    units: Tensor
    units_interval: Tensor
    unit_scores: Tensor
    encoding: Tensor
    undefined: Tensor
    num_clips: Tensor


def _released_covariance(moments: Tensor) -> tuple[Tensor, Tensor]:
    """Covariance and pooled variance of each factor and channel about the mean of both sides, ``(..., 2, C)`` each."""
    weight = moments[..., WEIGHT, :].clamp(min=1)
    half_shift = (moments[..., MEAN_A, :] - moments[..., MEAN_B, :]) / 2
    covariance = moments[..., C_AB, :] / weight - half_shift**2
    variance = (moments[..., M2_A, :] + moments[..., M2_B, :]) / (2 * weight) + half_shift**2
    return covariance, variance


def check_estimator(estimator: str, threshold: float) -> None:
    """Check the options of the measure.

    Raises:
        ValueError: for an unknown estimator or a threshold that no correlation can exceed or fall below.
    """
    if estimator not in get_args(Estimator):
        raise OptionError(f"There is no estimator {estimator!r}. Choose one of {', '.join(get_args(Estimator))}.")
    if not -1 < threshold < 1:
        raise OptionError(f"threshold={threshold} is not in (-1, 1): it is compared with correlations.")


def unit_scores(moments: Tensor, estimator: Estimator = "paper") -> Correlation:
    """Score of every unit for both factors (Eq. 2).

    ``paper`` is the Pearson correlation. ``released`` is what the authors' code computes (``utils.py: dim_est``):
    the covariance about the mean of *both* sides, divided by the variance of both sides pooled; it is smaller where
    the sides differ in mean or variance.

    Args:
        moments: ``(..., 2, 6, C)``.
        estimator: ``"paper"`` or ``"released"``.

    Returns:
        Scores and undefined mask, each ``(..., 2, C)``.
    """
    scores = correlation(moments)
    if estimator == "paper":
        return scores
    covariance, variance = _released_covariance(moments)
    ratio = covariance / torch.where(scores.undefined, 1.0, variance)
    return Correlation(torch.where(scores.undefined, 0.0, ratio), scores.undefined)


def layer_scores(moments: Tensor, estimator: Estimator = "paper") -> Tensor:
    """The layer's score ``S_F`` for both factors, the exponent of Eq. 1.

    ``paper``: the *mean* of the unit scores. The text writes a sum over the N channels, but also states
    ``S_identical = 1``, which only the mean satisfies (a sum would overflow the exponential). ``released``:
    covariances summed over channels, divided by the variance of all vectors of all factors summed over channels, so
    that channels of large variance dominate.

    Args:
        moments: ``(..., 2, 6, C)``.
        estimator: ``"paper"`` or ``"released"``.

    Returns:
        ``(..., 2)``: static, dynamic.
    """
    if estimator == "paper":
        return unit_scores(moments).score.mean(-1)
    covariance, _ = _released_covariance(moments)
    # Both sides of both factors in one pool: first each factor's two sides, then the factors.
    weight, mean = moments[..., WEIGHT, :], moments[..., (MEAN_A, MEAN_B), :].mean(-2)
    _, within = _released_covariance(moments)
    share = weight / weight.sum(-2, keepdim=True).clamp(min=1)
    overall = (share * mean).sum(-2, keepdim=True)
    variance = (share * (within + (mean - overall) ** 2)).sum((-2, -1))
    return covariance.sum(-1) / torch.where(variance > 0, variance, 1.0).unsqueeze(-1)


def layer_shares(scores: Tensor, num_units: int, estimator: Estimator = "paper") -> Tensor:
    """Share of a layer that encodes each factor, in percent (Eq. 1).

    ``identical`` is the correlation of a clip with itself, 1 by definition, and needs no forward pass. ``released``
    counts whole units as the authors' code does: the static and dynamic shares of the N units are rounded down, and
    identical takes the rest.

    Args:
        scores: ``(..., 2)`` ``S_static`` and ``S_dynamic``.
        num_units: N, the number of channels of the layer.
        estimator: ``"paper"`` or ``"released"``.

    Returns:
        ``(..., 3)``: static, dynamic, identical; sums to 100.

    Example:
        >>> layer_shares(torch.tensor([1.0, 1.0]), 512)
        tensor([33.3333, 33.3333, 33.3333])
        >>> layer_shares(torch.tensor([0.9, 0.1]), 10, "released")
        tensor([30., 10., 60.])
    """
    softmax = torch.cat([scores, torch.ones_like(scores[..., :1])], dim=-1).softmax(-1)
    if estimator == "paper":
        return 100 * softmax
    units = (softmax[..., :2] * num_units).floor()
    return 100 * torch.cat([units, num_units - units.sum(-1, keepdim=True)], dim=-1) / num_units


def _shares_interval(scores: Tensor, num_units: int, estimator: Estimator) -> Tensor:
    """Half-width of the 95 % interval of the layer's shares, from ``(1 + F, 2)`` scores: ``(3,)``.

    Jackknife spread and jackknife bias added up: the shares are reported as Eq. 1 gives them, bias and all.
    """
    exact = layer_shares(scores, num_units)
    half = jackknife_interval(exact[1:]) + jackknife_bias(exact[0], exact[1:]).abs()
    if estimator == "paper":
        return half
    # Whole units: two numbers at most h apart are rounded down to numbers at most ceil(h) apart. Identical takes what
    # two roundings leave.
    units = (half * num_units / 100).ceil() + half.new_tensor([0.0, 0.0, 1.0])
    return 100 * units / num_units


def layer_bias(groups: Tensor, estimator: Estimator = "paper", threshold: float = 0.5) -> LayerBias:
    """All results of a layer from the moments of its groups of clips.

    Args:
        groups: ``(G, 2, 6, C)`` moments of G disjoint groups of clips; the result is that of all clips together, the
            groups serve the intervals, which are NaN where leaving one out leaves fewer than two clips.
        estimator: ``"paper"`` (the formulas as printed, default) or ``"released"`` (as the authors' code computes
            them).
        threshold: λ of Eq. 3.

    Returns:
        The layer's bias.

    Raises:
        ValueError: for an unknown estimator.

    Example:
        >>> from staticdropout.metrics.correlation import pair_moments
        >>> anchor, noise = torch.randn(2, 400, 8, generator=torch.Generator().manual_seed(0))
        >>> groups = torch.stack([pair_moments(anchor, anchor), pair_moments(anchor, noise)], dim=1)
        >>> result = layer_bias(groups)
        >>> [ENCODINGS[i] for i in result.encoding.unique()]
        ['static']
    """
    check_estimator(estimator, threshold)
    # Row 0 holds all clips, row 1+g all but group g: one vectorised pass computes them all.
    moments = leave_one_out(groups)
    if bool((moments[1:, :, WEIGHT, 0] < 2).any()):
        moments = moments[:1]  # one pair has no correlation: what it leaves tells nothing about the spread
    num_units = groups.shape[-1]
    units = unit_scores(moments, estimator)
    scores = layer_scores(moments, estimator)
    shares = layer_shares(scores, num_units, estimator)
    encoding = encode_units(units.score[0], threshold)
    return LayerBias(
        shares=shares[0],
        shares_interval=_shares_interval(scores, num_units, estimator),
        scores=scores[0],
        units=unit_percentages(encoding),
        units_interval=encoding_interval(units.score, threshold),
        unit_scores=units.score[0],
        encoding=encoding,
        undefined=units.undefined[0].any(0).sum(),
        num_clips=moments[0, :, WEIGHT, 0].amax().round().long(),
    )

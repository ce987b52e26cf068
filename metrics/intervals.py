# SPDX-License-Identifier: Apache-2.0
"""95 % intervals of the measure, from groups of clips that are left out one at a time.

Shares of a layer are smooth in the moments: the delete-group jackknife gives their spread and their bias. Shares of
units (Eq. 3) are not: units far from λ never move, which makes the jackknife's interval empty, and units near λ move
with every clip, which makes it too wide and hides that noise drives units over λ. Their interval comes from redrawing
the noise of every score instead. ``docs/measure.md`` shows how often the intervals hold the truth.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .correlation import WEIGHT, empty_moments, merge_moments
from .encodings import encode_units, unit_percentages

__all__ = ("encoding_interval", "jackknife_bias", "jackknife_interval", "leave_one_out", "t_quantile")

DRAWS = 500
"""Redrawn layers; the 95 % quantile is then good to about one percentile."""

BIAS_FACTOR = 3.0
"""Redrawing adds noise to scores that are noisy already, so the percentages move less than they did the first time:
as much where scores spread evenly over λ, a quarter where they crowd at λ. Three times covers nearly all between."""

CROWDED = 5.0
"""Where redrawn noise moves a percentage by so many points on average, units crowd at λ and nothing but the worst case
is safe."""

CLOSE_TO_ONE = 1 - 1e-12


def leave_one_out(groups: Tensor) -> Tensor:
    """Moments of all clips, and of all but one group at a time.

    Args:
        groups: ``(G, 2, 6, C)`` moments of disjoint groups of clips; empty ones are ignored.

    Returns:
        ``(1 + F, 2, 6, C)`` for F groups with clips: row 0 holds all clips, row 1 + g all but filled group g. Just
        row 0 for fewer than two filled groups.

    Example:
        >>> from staticdropout.metrics.correlation import pair_moments
        >>> x = torch.randn(12, 3)
        >>> groups = pair_moments(x, x, torch.arange(12) % 4, 4).unsqueeze(1).expand(4, 2, 6, 3)
        >>> leave_one_out(groups)[:, 0, WEIGHT, 0].tolist()
        [12.0, 9.0, 9.0, 9.0, 9.0]
    """
    filled = list(groups[(groups[:, :, WEIGHT, 0] > 0).any(1)])
    everything = merge_moments(groups).unsqueeze(0)
    if len(filled) < 2:
        return everything
    # What lies before each group and what lies behind it: 3 F merges instead of F².
    before = [empty_moments(2, groups.shape[-1], device=groups.device)]
    behind = before.copy()
    for first, last in zip(filled[:-1], filled[:0:-1], strict=True):
        before.append(merge_moments(torch.stack([before[-1], first])))
        behind.append(merge_moments(torch.stack([last, behind[-1]])))
    return torch.cat([everything, merge_moments(torch.stack([torch.stack(before), torch.stack(behind[::-1])]))])


def t_quantile(degrees: int) -> float:
    """The 97.5 % quantile of Student's t, for 95 % intervals.

    Exact for one and two degrees of freedom, by Cornish-Fisher expansion above: off by at most 2 % for three degrees
    and by less than 1 % from four on.

    Example:
        >>> round(t_quantile(9), 2), round(t_quantile(1), 1)
        (2.26, 12.7)
    """
    if degrees == 1:
        return math.tan(math.pi * 0.475)
    if degrees == 2:
        return 0.95 * math.sqrt(2 / (1 - 0.95**2))
    z = 1.959963984540054
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return float(sum(term / degrees**power for power, term in enumerate(terms)))


def _standard_error(without: Tensor) -> Tensor:
    """Jackknife standard error of a statistic from its values without each group, ``(F, ...)`` to ``(...)``."""
    groups = len(without)
    return ((groups - 1) / groups * ((without - without.mean(0)) ** 2).sum(0)).sqrt()


def jackknife_interval(without: Tensor) -> Tensor:
    """Half-width of the 95 % interval of a smooth statistic, from its values with one group left out at a time.

    Args:
        without: ``(F, ...)``, the statistic without group g.

    Returns:
        ``(...)``; NaN for fewer than two groups.

    Example:
        >>> bool(jackknife_interval(torch.tensor([1.0])).isnan())
        True
    """
    if len(without) < 2:
        return torch.full_like(without.sum(0), math.nan)
    return t_quantile(len(without) - 1) * _standard_error(without)


def jackknife_bias(everything: Tensor, without: Tensor) -> Tensor:
    """By how much a smooth statistic of so many clips lies above its limit for infinitely many (Quenouille 1956).

    Sample correlations are a little too small. One unit's noise hides this; the mean over hundreds of units has so
    little noise that it does not.

    Args:
        everything: ``(...)`` the statistic of all clips.
        without: ``(F, ...)`` the statistic without group g.

    Returns:
        ``(...)``; NaN for fewer than two groups.

    Example:
        >>> x = torch.tensor([1.0, 2.0, 6.0])  # the bias of the variance with divisor N is -s² / N
        >>> without = torch.stack([x[torch.arange(3) != g].var(correction=0) for g in range(3)])
        >>> round(float(jackknife_bias(x.var(correction=0), without)), 4), round(float(-x.var() / 3), 4)
        (-2.3333, -2.3333)
    """
    if len(without) < 2:
        return torch.full_like(everything, math.nan)
    return (len(without) - 1) * (without.mean(0) - everything)


def encoding_interval(scores: Tensor, threshold: float) -> Tensor:
    """Half-width of the 95 % interval of the percentages of units by encoding (Eq. 3).

    The scores are freed of their jackknife bias, redrawn with noise of the size and of the correlation across units
    that leaving out groups shows (on the scale of Fisher's z, with the heavier tails of Student's t), and thresholded
    again. The half-width adds up

    - the 95 % quantile of the redrawn percentages' distance from their mean,
    - three times the shift of that mean, because noise near λ biases the percentages themselves,
    - the change by the scores' own bias.

    Where the shift is so large that the units must crowd at λ, the half-width is that of the worst case, in which
    every unit whose own interval holds λ may be on either side.

    The same scores give the same interval; global random states are left alone.

    Args:
        scores: ``(1 + F, 2, C)`` static and dynamic scores of all clips, then without each of F groups.
        threshold: λ.

    Returns:
        ``(4,)`` in the order of ``ENCODINGS``; NaN for fewer than two groups.

    Example:
        >>> scores = torch.tensor([[[0.9, 0.52]], [[0.91, 0.58]], [[0.89, 0.46]]]).expand(3, 2, 2)
        >>> (encoding_interval(scores, 0.5) > 40).tolist()  # joint for sure, and joint or not
        [True, True, True, True]
    """
    groups, channels = len(scores) - 1, scores.shape[-1]
    if groups < 2:
        return scores.new_full((4,), math.nan)
    z = scores.to(torch.float64).clamp(-CLOSE_TO_ONE, CLOSE_TO_ONE).atanh()
    level = math.atanh(threshold)
    deviation = math.sqrt((groups - 1) / groups) * (z[1:] - z[1:].mean(0))
    unbiased = z[0] - jackknife_bias(z[0], z[1:])
    generator = torch.Generator("cpu").manual_seed(0)
    normal = torch.randn(DRAWS, groups + groups - 1, generator=generator, dtype=torch.float64, device="cpu")
    spread = normal[:, groups:].square().mean(1, keepdim=True).sqrt()
    weights = (normal[:, :groups] / spread).to(z.device)
    rows = max(1, 2**21 // channels)  # draws at a time: 32 MB
    redrawn = torch.cat(
        [
            unit_percentages(encode_units(unbiased + torch.einsum("dg,gfc->dfc", part, deviation), level))
            for part in torch.split(weights, rows)
        ]
    )
    reported, corrected = (unit_percentages(encode_units(x, level)) for x in (z[0], unbiased))
    mean = redrawn.mean(0)
    shift = (mean - corrected).abs()
    half = (redrawn - mean).abs().quantile(0.95, dim=0) + BIAS_FACTOR * shift + (reported - corrected).abs()
    half = half.round(decimals=9)  # a mean of equal numbers is not quite that number
    if float(shift.max()) > CROWDED:
        reach = jackknife_interval(z[1:])
        half = torch.maximum(half, _worst_case(z[0] - reach > level, z[0] + reach > level, reported))
    return torch.minimum(half, torch.maximum(reported, 100 - reported))  # no percentage leaves 0 to 100


def _worst_case(surely: Tensor, perhaps: Tensor, percentages: Tensor) -> Tensor:
    """Largest change of the percentages if every undecided unit falls on the worse side of λ.

    ``surely`` and ``perhaps``: ``(2, C)``, whether a score lies above λ; ``percentages``: ``(4,)``.
    """
    least, most = [], []
    for above in ((False, True), (True, False), (True, True), (False, False)):  # static, dynamic: as ENCODINGS
        certain = [surely[f] if is_above else ~perhaps[f] for f, is_above in enumerate(above)]
        possible = [perhaps[f] if is_above else ~surely[f] for f, is_above in enumerate(above)]
        least.append(100 * (certain[0] & certain[1]).to(percentages).mean())
        most.append(100 * (possible[0] & possible[1]).to(percentages).mean())
    return torch.maximum(torch.stack(most) - percentages, percentages - torch.stack(least))

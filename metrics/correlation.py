# SPDX-License-Identifier: Apache-2.0
"""Streaming Pearson correlation between the two sides of many pairs, one value a channel.

What is kept of the clips seen so far is a tensor of *moments* ``(..., 6, C)`` in float64, whose six rows are the
weight (number of clips), the two means, the two sums of squared deviations and the sum of products of deviations.
Moments of disjoint sets of clips merge exactly (Chan, Golub and LeVeque 1979), so any split into batches, groups and
ranks gives the same correlation, in memory that depends on the number of channels alone. Correlations themselves are
never averaged: that would drop the variance between the parts.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ("Correlation", "correlation", "decay_moments", "empty_moments", "merge_moments", "pair_moments")

WEIGHT, MEAN_A, MEAN_B, M2_A, M2_B, C_AB = range(6)

RELATIVE_RESOLUTION = 1e-8
"""A channel whose standard deviation is below this share of its mean is constant: finer than float32 can tell."""


class Correlation(NamedTuple):
    """Pearson correlations with the channels in which there is none.

    Attributes:
        score: ``(..., C)`` in [-1, 1]; 0 where undefined.
        undefined: ``(..., C)`` bool, true where a side has no variance (or fewer than two clips were seen).
    """

    score: Tensor
    undefined: Tensor


def empty_moments(*shape: int, device: torch.device | str | None = None) -> Tensor:
    """Moments of no clip at all: zeros of shape ``(*shape[:-1], 6, shape[-1])``.

    Example:
        >>> empty_moments(10, 512).shape
        torch.Size([10, 6, 512])
    """
    return torch.zeros(*shape[:-1], 6, shape[-1], dtype=torch.float64, device=device)


def pair_moments(a: Tensor, b: Tensor, groups: Tensor | None = None, num_groups: int = 1) -> Tensor:
    """Moments of one batch of pairs, in one set or split into groups.

    Args:
        a: features of the first side, ``(N, C)``, any floating type; computed in float64.
        b: features of the second side, ``(N, C)``.
        groups: ``(N,)`` integers in ``[0, num_groups)``, the group of each pair; all in group 0 if left out.
        num_groups: how many groups there are.

    Returns:
        ``(num_groups, 6, C)`` float64.

    Raises:
        ValueError: if the shapes differ or are not ``(N, C)``.

    Example:
        >>> pair_moments(torch.tensor([[1.0], [3.0]]), torch.tensor([[0.0], [4.0]]))[0, :, 0].tolist()
        [2.0, 2.0, 2.0, 2.0, 8.0, 4.0]
    """
    if a.ndim != 2 or a.shape != b.shape:
        raise ValueError(
            f"Expected two feature tensors of one shape (N, C), found {tuple(a.shape)} and {tuple(b.shape)}."
        )
    a, b = a.to(torch.float64), b.to(torch.float64)
    if groups is None:
        groups = torch.zeros(len(a), dtype=torch.long, device=a.device)
    member = torch.nn.functional.one_hot(groups.to(a.device), num_groups).to(a).T  # (num_groups, N)
    weight = member.sum(1, keepdim=True)
    mean_a, mean_b = (member @ side / weight.clamp(min=1) for side in (a, b))
    deviation_a, deviation_b = a - mean_a[groups], b - mean_b[groups]
    squares = (member @ (x * y) for x, y in ((deviation_a,) * 2, (deviation_b,) * 2, (deviation_a, deviation_b)))
    return torch.stack([weight.expand_as(mean_a), mean_a, mean_b, *squares], dim=-2)


def merge_moments(moments: Tensor, dim: int = 0) -> Tensor:
    """Moments of the union of disjoint sets of clips.

    Args:
        moments: a stack of moments; dimension ``dim`` runs over the sets, the last two are ``(6, C)``.
        dim: the dimension to merge away (not one of the last two).

    Returns:
        The merged moments, without ``dim``.

    Example:
        >>> x, y = torch.randn(2, 50, 3)
        >>> parts = torch.cat([pair_moments(x[:20], y[:20]), pair_moments(x[20:], y[20:])])
        >>> torch.allclose(merge_moments(parts), pair_moments(x, y)[0])
        True
    """
    weights, mean_a, mean_b, m2_a, m2_b, c_ab = moments.movedim(dim, 0).unbind(-2)
    weight = weights.sum(0)
    share = weights / weight.clamp(min=torch.finfo(weight.dtype).tiny)
    merged_a, merged_b = (share * mean_a).sum(0), (share * mean_b).sum(0)
    shift_a, shift_b = mean_a - merged_a, mean_b - merged_b
    return torch.stack(
        [
            weight,
            merged_a,
            merged_b,
            (m2_a + weights * shift_a**2).sum(0),
            (m2_b + weights * shift_b**2).sum(0),
            (c_ab + weights * shift_a * shift_b).sum(0),
        ],
        dim=-2,
    )


def decay_moments(moments: Tensor, factor: float) -> Tensor:
    """Give the clips seen so far ``factor`` times their weight, so that later clips count for more.

    Decaying before every merge makes an exponential moving average of the *moments*, which needs no bias correction.

    Example:
        >>> decay_moments(pair_moments(torch.ones(4, 1), torch.ones(4, 1)), 0.5)[0, 0].item()
        2.0
    """
    scale = moments.new_full((6, 1), factor)
    scale[MEAN_A] = scale[MEAN_B] = 1.0
    return moments * scale


def correlation(moments: Tensor) -> Correlation:
    """Pearson correlation of each channel (Kowal et al., Eq. 2).

    Args:
        moments: ``(..., 6, C)``.

    Returns:
        Scores ``(..., C)`` in [-1, 1] and the mask of undefined channels, whose score is 0.

    Example:
        >>> x = torch.tensor([[1.0, 5.0], [2.0, 5.0], [3.0, 5.0]])
        >>> score, undefined = correlation(pair_moments(x, 2 * x)[0])
        >>> ([round(s, 9) for s in score.tolist()], undefined.tolist())
        ([1.0, 0.0], [False, True])
    """
    weight, mean_a, mean_b, m2_a, m2_b, c_ab = moments.unbind(-2)
    floor = RELATIVE_RESOLUTION**2 * weight
    undefined = (m2_a <= floor * mean_a**2) | (m2_b <= floor * mean_b**2)
    # Two square roots: the product of two small variances would underflow before its root is taken.
    scale = torch.where(undefined, 1.0, m2_a.sqrt() * m2_b.sqrt())
    score = torch.where(undefined, 0.0, c_ab / scale).clamp(-1.0, 1.0)
    return Correlation(score.nan_to_num(0.0), undefined | score.isnan())

# SPDX-License-Identifier: Apache-2.0
"""Which channels StaticDropout drops: the law of Kowal et al., Eq. 4, and its variants, as pure functions.

Eq. 4 gives every channel the weight ``exp(S_i)``. How many channels are drawn from these weights, and how, the paper
leaves open; each answer is a named option here. Everything is computed in float32 at least, since a softmax at low
temperature underflows in half precision, and the global random state is never touched.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Generator, Tensor

__all__ = ("Sampling", "ScoreTransform", "draw_dropped", "inclusion_probability", "num_dropped", "selection_logits")

ScoreTransform = Literal["none", "zscore", "rank"]
Sampling = Literal["multinomial", "multinomial_replacement", "bernoulli", "topk"]


def num_dropped(num_channels: int, rate: float) -> int:
    """How many channels the rate means: ``round(rate * C)``, and never all of them.

    Example:
        >>> num_dropped(512, 0.3), num_dropped(4, 0.99), num_dropped(4, 0.1)
        (154, 3, 0)
    """
    return min(int(rate * num_channels + 0.5), num_channels - 1)


def selection_logits(scores: Tensor, temperature: float = 1.0, transform: ScoreTransform = "none") -> Tensor:
    """Logarithm of the weight of every channel in the draw.

    Args:
        scores: static scores ``S_i``, ``(C,)`` in [-1, 1].
        temperature: divides the (transformed) scores; 1 is Eq. 4.
        transform: ``"none"`` (Eq. 4); ``"zscore"`` (mean 0, standard deviation 1) or ``"rank"`` (evenly spread over
            [0, 1]) make the strength of the preference independent of how widely the scores spread. Equal scores
            stay equal under each.

    Returns:
        ``(C,)`` float32.

    Example:
        >>> selection_logits(torch.tensor([0.2, 0.8, 0.8]), transform="rank")
        tensor([0.0000, 0.7500, 0.7500])
    """
    values = scores.to(torch.float32)
    if transform == "zscore":
        spread = values.std(correction=0)
        values = torch.where(spread > 1e-6, (values - values.mean()) / spread.clamp(min=1e-6), 0.0)
    elif transform == "rank":
        ordered = values.sort().values
        below = torch.searchsorted(ordered, values, right=False)
        not_above = torch.searchsorted(ordered, values, right=True)
        values = (below + not_above - 1) / (2 * max(len(values) - 1, 1))
    return values / temperature


def inclusion_probability(logits: Tensor, count: int, sampling: Sampling = "multinomial") -> Tensor:
    """Probability of every channel to be among the dropped.

    For draws without replacement there is no closed form; ``1 - exp(-c w_i)`` with ``c`` set so that the
    probabilities add up to ``count`` is within 0.02 of the truth. The other laws are exact.

    Args:
        logits: ``(C,)`` from :func:`selection_logits`.
        count: number of draws.
        sampling: see :func:`draw_dropped`.

    Returns:
        ``(C,)`` float64.

    Example:
        >>> inclusion_probability(torch.zeros(4), 2)
        tensor([0.5000, 0.5000, 0.5000, 0.5000], dtype=torch.float64)
    """
    weights = logits.to(torch.float64).softmax(0)
    if sampling == "multinomial_replacement":
        return 1 - (1 - weights) ** count
    if sampling == "bernoulli":
        return (count * weights).clamp(max=1.0)
    if sampling == "topk":
        return torch.zeros_like(weights).index_fill_(0, logits.topk(count).indices, 1.0)
    # Bisection on log c: the sum grows from 0 to C with c.
    low, high = weights.new_tensor(-50.0), weights.new_tensor(750.0)
    for _ in range(64):
        middle = (low + high) / 2
        too_many = (-torch.expm1(-middle.exp() * weights)).sum() > count
        low, high = torch.where(too_many, low, middle), torch.where(too_many, middle, high)
    return -torch.expm1(-low.exp() * weights)


def draw_dropped(
    logits: Tensor, rows: int, count: int, sampling: Sampling = "multinomial", generator: Generator | None = None
) -> Tensor:
    """Draw the channels to drop, independently for every row.

    ``multinomial`` draws exactly ``count`` channels a row without replacement, by the Gumbel top-k trick, which has
    the law of ``torch.multinomial(replacement=False)`` without its traps (zero weights, half precision).
    ``multinomial_replacement`` draws ``count`` times with replacement, as InfoDrop's code does, and so drops fewer
    channels. ``bernoulli`` drops each channel on its own with ``min(1, count * w_i)``. ``topk`` always drops the
    ``count`` highest.

    Args:
        logits: ``(C,)`` from :func:`selection_logits`.
        rows: number of rows, R.
        count: number of draws a row.
        sampling: the law.
        generator: source of randomness, on the device of ``logits``.

    Returns:
        ``(R, C)`` bool, true where dropped.

    Example:
        >>> draw_dropped(torch.zeros(8), 2, 3, generator=torch.Generator().manual_seed(0)).sum(1)
        tensor([3, 3])
    """
    channels = len(logits)
    dropped = torch.zeros(rows, channels, dtype=torch.bool, device=logits.device)
    if sampling == "bernoulli":
        uniform = torch.rand(rows, channels, device=logits.device, generator=generator)
        return uniform < inclusion_probability(logits, count, sampling)
    if sampling == "multinomial_replacement":
        weights = logits.softmax(0).expand(rows, channels)
        return dropped.scatter_(1, torch.multinomial(weights, count, replacement=True, generator=generator), True)
    keys = logits.expand(rows, channels)
    if sampling == "multinomial":
        noise = torch.empty(rows, channels, device=logits.device).exponential_(generator=generator)
        keys = keys - noise.log()
    # Which they are matters, not their order: sorting would take a third of the time of the draw.
    return dropped.scatter_(1, keys.topk(count, sorted=False).indices, True)

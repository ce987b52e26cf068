# SPDX-License-Identifier: Apache-2.0
"""Layers whose population scores are known: features of triplets, drawn unit by unit from mixtures of known variances.

Unit i answers to a clip with

    anchor        √s S + √d D + √j J + √y Y(style a) + √e E
    same static   √s S + √d D' + √j J + √y Y(style a) + √e E'
    same dynamic  √s S' + √d D + √j J + √y Y(style b) + √e E''

where S, D, J, E are standard normal, primes are fresh draws, styles a and b are two different ones of four, and the
weights s + d + j + y + e = 1 are the unit's own. Its population scores are therefore static s + j + y and dynamic
d + j - y / 3: the codes of two *different* ones of K styles are correlated by -1 / (K - 1).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from staticdropout.metrics import encode_units, layer_shares
from staticdropout.metrics.bias import Estimator
from staticdropout.metrics.encodings import unit_percentages

STATIC, DYNAMIC, JOINT, STYLE, NOISE = range(5)
CODES = torch.tensor([-3.0, -1.0, 1.0, 3.0]) / math.sqrt(5)
"""What a unit that tells four styles apart answers to each: mean 0, variance 1."""


@dataclass(frozen=True)
class Layer:
    """A kind of layer and of clips.

    Attributes:
        weights: ``(5, C)`` shares of a unit's variance: static, dynamic, joint, style, noise.
        shape: distribution of the answers: ``normal``, ``relu`` (of a standard normal), ``lognormal`` (skew 6).
        shared: share of the variance of S, D, J and E that all units have in common.
        cluster: clips of one video.
        likeness: share of the variance of S, D, J and E that clips of one video have in common.
        scale: ``(C,)`` standard deviation of each unit; matters to the estimator ``released`` alone.
    """

    weights: Tensor
    shape: str = "normal"
    shared: float = 0.1
    cluster: int = 1
    likeness: float = 0.0
    scale: Tensor = field(default_factory=lambda: torch.ones(1))

    def draw(
        self, clips: int, generator: torch.Generator, styles: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Features of a sample of clips: anchor, same static, same dynamic, ``(clips, C)`` each.

        ``styles``: ``(clips, 2)`` styles a and b of each clip, if they are not to be drawn.
        """
        units = self.weights.shape[1]

        def normal(count: int) -> Tensor:
            own = torch.randn(count, units, generator=generator)
            return _mix(own, torch.randn(count, 1, generator=generator), self.shared) if self.shared else own

        def latent(weight: Tensor) -> Tensor:
            drawn = normal(clips)
            if self.likeness:
                of_video = normal(-(-clips // self.cluster)).repeat_interleave(self.cluster, 0)[:clips]
                drawn = _mix(drawn, of_video, self.likeness)
            return drawn.mul_(weight.sqrt())

        w = self.weights
        joint, static, dynamic = latent(w[JOINT]), latent(w[STATIC]), latent(w[DYNAMIC])
        anchor = joint + static + dynamic + latent(w[NOISE])
        same_static = joint + static + latent(w[DYNAMIC] + w[NOISE])
        same_dynamic = joint + dynamic + latent(w[STATIC] + w[NOISE])
        if w[STYLE].any():
            styles = style_pairs(clips, generator) if styles is None else styles
            first, second = styles[:, :1], styles[:, 1:]
            code = w[STYLE].sqrt()
            anchor, same_static = anchor + code * CODES[first], same_static + code * CODES[first]
            same_dynamic = same_dynamic + code * CODES[second]
        sides = (anchor, same_static, same_dynamic)
        if self.shape == "relu":
            sides = (anchor.relu_(), same_static.relu_(), same_dynamic.relu_())
        elif self.shape == "lognormal":
            sides = (anchor.exp_(), same_static.exp_(), same_dynamic.exp_())
        return sides[0] * self.scale, sides[1] * self.scale, sides[2] * self.scale

    def scores(self) -> Tensor:
        """Population scores ``(2, C)``: static, dynamic."""
        w = self.weights.double()
        normal = torch.stack([w[STATIC] + w[JOINT] + w[STYLE], w[DYNAMIC] + w[JOINT] - w[STYLE] / 3]).clamp(-1, 1)
        if self.shape == "normal":
            return normal
        if w[STYLE].any():
            raise ValueError("Style codes are not normal: the score after a nonlinearity is not known.")
        if self.shape == "lognormal":
            return (normal.exp() - 1) / (math.e - 1)
        # Arc-cosine kernel of degree 1 (Cho and Saul 2009), about the mean of a rectified normal.
        mean = 1 / math.sqrt(2 * math.pi)
        product = ((1 - normal**2).sqrt() + normal * (math.pi - normal.acos())) / (2 * math.pi)
        return (product - mean**2) / (0.5 - mean**2)

    def shares(self, estimator: Estimator) -> Tensor:
        """Population shares ``(3,)`` in percent (Eq. 1)."""
        scores, units = self.scores(), self.weights.shape[1]
        variance = self.scale.double().square().expand(units) if estimator == "released" else torch.ones(units).double()
        return layer_shares((scores * variance).sum(-1) / variance.sum(), units, estimator)

    def units(self, threshold: float) -> Tensor:
        """Population percentages ``(4,)`` of units (Eq. 3)."""
        return unit_percentages(encode_units(self.scores(), threshold))


def style_pairs(clips: int, generator: torch.Generator) -> Tensor:
    """Two different ones of four styles for each clip, ``(clips, 2)``."""
    first = torch.randint(4, (clips, 1), generator=generator)
    return torch.cat([first, (first + torch.randint(1, 4, (clips, 1), generator=generator)) % 4], dim=1)


def _mix(own: Tensor, common: Tensor, share: float) -> Tensor:
    return own.mul_(math.sqrt(1 - share)).add_(common, alpha=math.sqrt(share))


def weights_of(kind: str, units: int) -> Tensor:
    """Weights ``(5, units)`` of a kind of layer, the same at every call.

    ``spread``: every mixture of static, dynamic, joint and noise is as likely. ``noisy``: the same with half of every
    unit's variance turned into noise. ``clear``: four kinds of units far from λ = 0.5. ``static``: static score 0.85
    and dynamic score 0 everywhere. ``crowd 0.6``: static score 0.6 everywhere. ``at λ``: static scores evenly between
    0.45 and 0.55. ``style``: as spread, and style codes.
    """
    generator = torch.Generator().manual_seed(7)
    weights = torch.zeros(5, units)
    if kind in ("spread", "noisy", "style"):
        weights = -torch.rand(5, units, generator=generator).log()
        if kind != "style":
            weights[STYLE] = 0
        weights = weights / weights.sum(0)
        if kind == "noisy":
            weights = 0.5 * weights
    elif kind == "clear":
        for number, part in enumerate((STATIC, DYNAMIC, JOINT)):
            weights[part, number::4] = 0.8
    elif kind == "static":
        weights[STATIC] = 0.85
    elif kind.startswith("crowd"):
        weights[STATIC] = float(kind.split()[1])
    elif kind == "at λ":
        weights[STATIC] = 0.45 + 0.1 * torch.rand(units, generator=generator)
    else:
        raise ValueError(f"There is no kind of layer {kind!r}.")
    weights[NOISE] += 1 - weights.sum(0)
    return weights


def layer(kind: str, units: int, **options: float | int | str) -> Layer:
    """A layer of a kind, with standard deviations of units that differ by a factor of two or so."""
    scale = (0.7 * torch.randn(units, generator=torch.Generator().manual_seed(8))).exp()
    return Layer(weights_of(kind, units), scale=scale, **options)  # type: ignore[arg-type]

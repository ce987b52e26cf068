# SPDX-License-Identifier: Apache-2.0
"""StaticDropout as a plain layer (Kowal et al., Sec. 5.2): dropout that prefers the channels that encode statics.

The paper fixes the static score (Eq. 2 between a clip and its shuffled copy), the softmax over it (Eq. 4), the rates
and the place (the input of the classifier). Everything else here is an option with a stated default, because the
text does not say.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Generator, Tensor, nn

from ..errors import OptionError
from ..metrics.correlation import Correlation, correlation, decay_moments, empty_moments, merge_moments, pair_moments
from .channel_selection import (
    Sampling,
    ScoreTransform,
    draw_dropped,
    inclusion_probability,
    num_dropped,
    selection_logits,
)

__all__ = ("Rescale", "StaticDropoutLayer", "drop_channels")

Rescale = Literal["keep", "inclusion", "none"]
Score = Literal["static", "static_minus_dynamic"]
ScoreEstimator = Literal["moments", "batch"]
Warmup = Literal["uniform", "none"]


def drop_channels(x: Tensor, dropped: Tensor, scale: Tensor | float = 1.0, channel_dim: int = 1) -> Tensor:
    """Set channels to zero and multiply the others.

    Args:
        x: features with the batch first, ``(B, C)``, ``(B, C, T, H, W)``, ``(B, T, H, W, C)`` …
        dropped: ``(B, C)`` or ``(1, C)`` bool.
        scale: a number or ``(C,)`` factors for the channels that stay.
        channel_dim: where the channels of ``x`` are.

    Returns:
        A tensor like ``x``.

    Example:
        >>> drop_channels(torch.ones(1, 3), torch.tensor([[True, False, False]]), 1.5)
        tensor([[0.0000, 1.5000, 1.5000]])
    """
    with torch.no_grad():
        shape = [1] * x.ndim
        shape[0], shape[channel_dim] = dropped.shape
        mask = (scale * ~dropped).to(x.dtype).view(shape)
    return x * mask


class StaticDropoutLayer(nn.Module):
    """Drops channels with a preference for those of high static score; the identity outside training and at rate 0.

    Scores come from :meth:`observe`. Until ``min_clips`` clips have been observed all scores count as equal, which
    is plain channel dropout with a fixed number of channels.

    Args:
        num_channels: C.
        rate: r, the share of channels dropped, in [0, 1): ``round(r * C)`` of them (the paper uses 0.1, 0.3, 0.5, 0.7).
        channel_dim: where the channels of the input are.
        score: ``"static"`` (the paper's) or ``"static_minus_dynamic"``: the static score less the dynamic one, which
            spares channels that answer to both factors. It lies in [-2, 2].
        temperature: of the softmax of Eq. 4; the paper's is 1. Lower is sharper; at 0.1 the same channels are
            dropped nearly always.
        score_transform: applied to the scores before the softmax; the paper's is ``"none"``.
            See :func:`~staticdropout.models.channel_selection.selection_logits`.
        sampling: how channels are drawn. Not stated in the paper; the default draws exactly ``round(r * C)`` without
            replacement, which makes r comparable with ordinary dropout. See
            :func:`~staticdropout.models.channel_selection.draw_dropped`.
        per_sample: a mask of its own for every row (default, as ordinary dropout: a clip, or a frame where a model
            folds frames into the batch), or one for the batch. Not stated
            in the paper.
        rescale: what happens to the channels that stay. Not stated in the paper. ``"keep"`` (default): divide by the
            expected share that stays, as ``nn.Dropout`` does. ``"inclusion"``: divide each channel by its own
            probability to stay, so that the expectation of any linear classifier is unchanged. ``"none"``: as
            InfoDrop; needs the final training without dropout.
        estimator: ``"moments"`` (default): scores from a moving average of the moments of all observed batches;
            ``"batch"``: from the last observed batch alone.
        momentum: weight of the past in the moving average; 0 is the same as ``estimator="batch"``. Not stated in the
            paper.
        min_clips: clips to observe before scores are used. Not stated in the paper.
        warmup: what happens until then: ``"uniform"`` (default), all channels are equally likely to be dropped; or
            ``"none"``, nothing is dropped. Not stated in the paper.
        eps: smallest probability to stay that ``rescale="inclusion"`` divides by.
        seed: seed of the masks. Mask n is a function of the seed, the rank and n alone, so training resumes exactly.
        rank: number of this process; ranks draw different masks.

    Raises:
        ValueError: for an option out of range.

    Example:
        >>> layer = StaticDropoutLayer(num_channels=10, rate=0.3, rescale="none")
        >>> layer(torch.ones(4, 10)).sum(1)
        tensor([7., 7., 7., 7.])
        >>> layer.eval()(torch.ones(4, 10)).sum(1)
        tensor([10., 10., 10., 10.])
    """

    moments: Tensor
    dynamic_moments: Tensor
    num_clips: Tensor
    num_masks: Tensor
    scores: Tensor
    undefined: Tensor
    not_finite: Tensor
    drop_counts: Tensor
    drop_rows: Tensor

    def __init__(
        self,
        num_channels: int,
        rate: float = 0.3,
        channel_dim: int = 1,
        score: Score = "static",
        temperature: float = 1.0,
        score_transform: ScoreTransform = "none",
        sampling: Sampling = "multinomial",
        per_sample: bool = True,
        rescale: Rescale = "keep",
        estimator: ScoreEstimator = "moments",
        momentum: float = 0.9,
        min_clips: int = 16,
        warmup: Warmup = "uniform",
        eps: float = 1e-6,
        seed: int = 0,
        rank: int = 0,
    ) -> None:
        super().__init__()
        check_options(rate, score, temperature, score_transform, sampling, rescale, estimator, momentum, warmup, eps)
        self.num_channels, self.rate, self.channel_dim = num_channels, rate, channel_dim
        self.score: Score = score
        self.temperature, self.score_transform, self.sampling = temperature, score_transform, sampling
        self.per_sample, self.rescale, self.eps = per_sample, rescale, eps
        self.momentum = momentum if estimator == "moments" else 0.0
        self.min_clips, self.warmup, self.seed, self.rank = min_clips, warmup, seed, rank
        self.count = num_dropped(num_channels, rate)
        if rate > 0 and self.count == 0:
            warnings.warn(
                f"rate={rate} of {num_channels} channels is less than one channel, so nothing is dropped. "
                f"Use a rate of at least {0.5 / num_channels:.3g}.",
                stacklevel=2,
            )
        self.register_buffer("moments", empty_moments(num_channels))
        if score == "static_minus_dynamic":
            self.register_buffer("dynamic_moments", empty_moments(num_channels))
        self.register_buffer("num_clips", torch.zeros((), dtype=torch.long))
        self.register_buffer("num_masks", torch.zeros((), dtype=torch.long))
        self.register_buffer("scores", torch.zeros(num_channels, dtype=torch.float64))
        self.register_buffer("undefined", torch.zeros(num_channels, dtype=torch.bool))
        self.register_buffer("not_finite", torch.zeros((), dtype=torch.long))
        self.register_buffer("drop_counts", torch.zeros(num_channels, dtype=torch.long))
        self.register_buffer("drop_rows", torch.zeros((), dtype=torch.long))
        self._masks_drawn = 0  # the same as num_masks, on the host, so that a training step needs no synchronisation
        self._generator: Generator | None = None
        self._refresh()

    def observe(self, clips: Tensor, shuffled: Tensor, restyled: Tensor | None = None) -> None:
        """Update the scores from features ``(N, C)`` of clips and of their shuffled copies.

        Args:
            clips: features of the clips.
            shuffled: features of copies that share only their statics with the clips.
            restyled: features of copies that share only their dynamics with them, for
                ``score="static_minus_dynamic"``.
        """
        dynamic = None if restyled is None else pair_moments(clips, restyled)[0]
        self.observe_moments(pair_moments(clips, shuffled)[0], dynamic)

    def observe_moments(self, moments: Tensor, dynamic_moments: Tensor | None = None) -> None:
        """Update the scores from the moments ``(6, C)`` of a batch, already merged over ranks.

        Raises:
            ValueError: there are no dynamic moments and ``score="static_minus_dynamic"`` needs them.
        """
        if self.score == "static_minus_dynamic" and dynamic_moments is None:
            raise ValueError(f"score={self.score!r} needs the moments of the dynamic pairs as well.")
        with torch.no_grad():
            # One overflow in one clip must not cost a channel its score for good: leave out what is not finite.
            moments = moments.to(self.moments.device)
            finite = moments.isfinite().all(0)
            if dynamic_moments is not None:
                dynamic_moments = dynamic_moments.to(self.moments.device)
                finite &= dynamic_moments.isfinite().all(0)
            self.not_finite.copy_((~finite).sum())
            moments = torch.where(finite, moments, 0.0)
            score, undefined = self._merge(self.moments, moments)
            if self.score == "static_minus_dynamic" and dynamic_moments is not None:
                dynamic, unknown = self._merge(self.dynamic_moments, torch.where(finite, dynamic_moments, 0.0))
                undefined |= unknown
                score = torch.where(undefined, 0.0, score - dynamic)
            self.num_clips += moments[0].max().round().long()
            self.scores.copy_(score)
            self.undefined.copy_(undefined)
            self._refresh()

    def _merge(self, past: Tensor, moments: Tensor) -> Correlation:
        """Merge the moments of a batch into those of the past, in place, and correlate."""
        past.copy_(merge_moments(torch.stack([decay_moments(past, self.momentum), moments])))
        return correlation(past)

    @property
    def ready(self) -> bool:
        """Whether enough clips have been observed for the scores to be used."""
        return int(self.num_clips) >= self.min_clips

    @property
    def inclusion(self) -> Tensor:
        """Probability of every channel to be dropped, ``(C,)`` float64."""
        return self._inclusion

    def _refresh(self) -> None:
        """Recompute what depends on the scores alone."""
        scores = self.scores if self.ready else torch.zeros_like(self.scores)
        # Equal scores have no highest: until there are scores, "topk" draws as well.
        self._law: Sampling = self.sampling if self.ready or self.sampling != "topk" else "multinomial"
        self._waiting = not self.ready
        self._logits = selection_logits(scores, self.temperature, self.score_transform)
        self._inclusion = inclusion_probability(self._logits, self.count, self._law)
        if self.rescale == "keep":
            self._scale = (1 / (1 - self._inclusion.mean())).to(torch.float32)
        elif self.rescale == "inclusion":
            self._scale = (1 / (1 - self._inclusion).clamp(min=self.eps)).to(torch.float32)
        else:
            self._scale = torch.ones((), device=scores.device)

    def _mask_generator(self, device: torch.device) -> Generator:
        if self._generator is None or self._generator.device != device:
            self._generator = Generator(device)
        digest = hashlib.blake2b(f"{self.seed}/{self.rank}/{self._masks_drawn}".encode(), digest_size=7).digest()
        return self._generator.manual_seed(int.from_bytes(digest, "little"))

    def forward(self, x: Tensor) -> Tensor:
        """Drop channels of ``x``, any shape with the batch first and ``num_channels`` channels at ``channel_dim``."""
        if not self.training or self.count == 0 or len(x) == 0 or (self._waiting and self.warmup == "none"):
            return x
        if x.shape[self.channel_dim] != self.num_channels:
            raise ValueError(
                f"Expected {self.num_channels} channels in dimension {self.channel_dim}, found shape {tuple(x.shape)}."
            )
        with torch.no_grad():
            # Moments are float64, which MPS has not: there the masks are drawn on the host.
            if self._logits.device != x.device and x.device.type != "mps":
                self.to(x.device)
            generator = self._mask_generator(self._logits.device)
            dropped = draw_dropped(self._logits, len(x) if self.per_sample else 1, self.count, self._law, generator)
            self._masks_drawn += 1
            self.num_masks += 1
            self.drop_counts += dropped.sum(0)
            self.drop_rows += len(dropped)
        return drop_channels(x, dropped.to(x.device), self._scale.to(x.device), self.channel_dim)

    def statistics(self) -> dict[str, float]:
        """Numbers that tell whether the rule is active, over the masks since the last :meth:`reset_counts`.

        Returns:
            ``score_mean``, ``score_p10``, ``score_p50``, ``score_p90`` of the scores; ``inclusion_ratio``, the largest
            over the smallest probability to be dropped (1 means plain channel dropout); ``dropped_share``;
            ``dropped_ratio``, how often the tenth of the channels with the highest scores was dropped, over how often
            (at least once) the tenth with the lowest was; ``dropped_score_excess``, the mean score of what was dropped
            minus that of all channels; ``undefined``, the number of channels without a score; ``not_finite``, the
            number of channels left out of the last estimate because of NaN or infinity.
        """
        quantiles = torch.quantile(self.scores, self.scores.new_tensor([0.1, 0.5, 0.9])).tolist()
        total = self.drop_counts.sum().clamp(min=1)
        excess = (self.drop_counts * self.scores).sum() / total - self.scores.mean()
        tenth = max(1, self.num_channels // 10)
        counts = self.drop_counts[self.scores.argsort()].double()
        highest, lowest = counts[-tenth:].sum(), counts[:tenth].sum()
        smallest = self._inclusion.min().clamp(min=torch.finfo(torch.float32).tiny)
        return {
            "score_mean": float(self.scores.mean()),
            "score_p10": quantiles[0],
            "score_p50": quantiles[1],
            "score_p90": quantiles[2],
            "inclusion_ratio": float(self._inclusion.max() / smallest) if self.count else 1.0,
            "dropped_share": float(self.drop_counts.sum() / (self.drop_rows.clamp(min=1) * self.num_channels)),
            "dropped_ratio": float(highest / lowest.clamp(min=1)) if int(highest + lowest) else 1.0,
            "dropped_score_excess": float(excess) if int(self.drop_rows) else 0.0,
            "undefined": float(self.undefined.sum()),
            "not_finite": float(self.not_finite),
        }

    def reset_counts(self) -> None:
        """Start counting dropped channels anew."""
        self.drop_counts.zero_()
        self.drop_rows.zero_()

    def _load_from_state_dict(self, *args: object, **kwargs: object) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._masks_drawn = int(self.num_masks)
        self._refresh()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> StaticDropoutLayer:
        """Move with the model, but keep the float64 of the moments when it is cast to another precision."""
        exact = {name: value for name, value in self.named_buffers() if value.dtype == torch.float64}
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, value in exact.items():
            setattr(self, name, value.to(getattr(self, name).device))
        self._refresh()
        return self

    def extra_repr(self) -> str:
        """Show the options that matter most."""
        return f"{self.num_channels}, rate={self.rate}, sampling={self.sampling!r}, rescale={self.rescale!r}"


def check_options(
    rate: float,
    score: str,
    temperature: float,
    score_transform: str,
    sampling: str,
    rescale: str,
    estimator: str,
    momentum: float,
    warmup: str,
    eps: float,
) -> None:
    """Check the options that do not depend on the model.

    Raises:
        ValueError: naming the option, what was found and what is allowed.
    """
    choices = {
        "score": (score, get_args(Score)),
        "score_transform": (score_transform, get_args(ScoreTransform)),
        "sampling": (sampling, get_args(Sampling)),
        "rescale": (rescale, get_args(Rescale)),
        "estimator": (estimator, get_args(ScoreEstimator)),
        "warmup": (warmup, get_args(Warmup)),
    }
    for name, (value, allowed) in choices.items():
        if value not in allowed:
            raise OptionError(f"{name}={value!r} is not one of {', '.join(map(repr, allowed))}.")
    if not 0 <= rate < 1:
        raise OptionError(f"rate={rate} is not in [0, 1): it is the share of channels to drop.")
    if not 0 <= momentum < 1:
        raise OptionError(f"momentum={momentum} is not in [0, 1).")
    if temperature <= 0 or eps <= 0:
        raise OptionError(f"temperature and eps must be positive, found {temperature} and {eps}.")
    if rescale == "inclusion" and sampling == "topk":
        raise OptionError("rescale='inclusion' divides by the probability to stay, which is 0 under sampling='topk'.")

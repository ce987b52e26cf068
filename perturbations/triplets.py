# SPDX-License-Identifier: Apache-2.0
"""Triplets: three inputs made from one clip, of which one pair shares only statics and the other only dynamics.

Source: Kowal et al., Sec. 3.1. (anchor, same_static) is the static pair: one style, frames shuffled. (anchor,
same_dynamic) is the dynamic pair: same frames, two styles. Three forward passes therefore serve both factors at all
layers.

What the dynamic pair shares is not motion alone: object contours survive every style, and contours are information of
a single frame, so that shape counts as dynamic. That holds for the paper's few-shot styles too. With the built-in
styles, results are not comparable number for number with the paper's; report ``VideoTriplets.description`` with them.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..errors import BatchError
from .shuffling import shuffle_frames
from .styles import FrameStyle, Style, StyleSet
from .styles.base import check_clip
from .styles.style_set import DEFAULT_STYLES

__all__ = ("Triplet", "TripletFunction", "VideoTriplets")

_TOLERANCE = 1e-3  # how far pixels may lie outside [0, 1]: rounding and interpolation, but no normalisation


class Triplet(NamedTuple):
    """Three inputs made from the same clips, alike in shape.

    Attributes:
        anchor: what both pairs have in common.
        same_static: shares only its statics with the anchor.
        same_dynamic: shares only its dynamics with the anchor.

    Example:
        >>> Triplet(anchor=1, same_static=2, same_dynamic=3)._fields
        ('anchor', 'same_static', 'same_dynamic')
    """

    anchor: Tensor
    same_static: Tensor
    same_dynamic: Tensor


TripletFunction = Callable[..., Triplet]
"""Any callable that maps a video (and, if it likes, ``keys``) to a ``Triplet``."""


class VideoTriplets:
    """Triplets of clips by styles and frame shuffling.

    The anchor is the clip in a random style; ``same_static`` the same styled frames, each clip in a random order of
    its own; ``same_dynamic`` the clip in another random style. Whatever is drawn for a clip depends on the seed and
    the clip's key alone: the same clip gets the same triplet at every measurement, in whatever batch, order or
    process. No global generator is touched.

    Args:
        styles: names of at least two styles, style objects, or a ``StyleSet``.
        seed: start of all draws, not negative.

    Raises:
        ValueError: there are fewer than two styles, or the seed is negative.

    Example:
        >>> triplets = VideoTriplets(styles=["chalk", "neon"], seed=1)
        >>> anchor, same_static, same_dynamic = triplets(torch.rand(2, 3, 4, 16, 16), keys=["a", "b"])
        >>> anchor.shape == same_static.shape == same_dynamic.shape
        True
        >>> triplets.description["style_names"]
        ['chalk', 'neon']
    """

    def __init__(
        self, styles: Sequence[str] | StyleSet | Sequence[str | FrameStyle | Style] = DEFAULT_STYLES, seed: int = 0
    ) -> None:
        self.styles = StyleSet.of(styles)
        if len(self.styles) < 2:
            raise ValueError(
                f"Triplets need at least two styles, found {list(self.styles.names)}: "
                "the dynamic pair shows a clip in two of them."
            )
        if seed < 0:
            raise ValueError(f"The seed must not be negative, found {seed}.")
        self.seed = seed

    @property
    def description(self) -> dict[str, object]:
        """Plain values that tell measurements with other styles or draws apart; for reports."""
        return {
            "triplets": type(self).__name__,
            "style_set": self.styles.name,
            "style_names": list(self.styles.names),
            "style_hash": self.styles.hash,
            "seed": self.seed,
        }

    def __repr__(self) -> str:
        return f"{type(self).__name__}(styles={list(self.styles.names)}, seed={self.seed})"

    @torch.no_grad()
    def __call__(self, video: Tensor, keys: Sequence[int | str] | Tensor | None = None) -> Triplet:
        """Make the triplets of a batch.

        Args:
            video: floating-point clips (B, 3, T, H, W), RGB in [0, 1], at least two frames, on any device.
            keys: a name or number for each clip, the same at every measurement: ids of the data set, or positions in
                it. The default is the positions 0 … B-1 in the batch, which fits a single batch only.

        Returns:
            Three batches like ``video`` in shape, dtype and device, without gradient.

        Raises:
            BatchError: the video is not as described, or the keys are not as many as the clips.
        """
        _check_video(video)
        names = _key_names(keys, video.shape[0])
        draws = [_Draws(self.seed, name, len(self.styles), video.shape[2]) for name in names]
        anchor, same_dynamic = torch.empty_like(video), torch.empty_like(video)
        for style in range(len(self.styles)):
            first = [i for i, draw in enumerate(draws) if draw.anchor == style]
            second = [i for i, draw in enumerate(draws) if draw.dynamic == style]
            if first or second:  # each style runs once, on all clips that need it
                rendered = self.styles.render(style, video[first + second]).to(video.dtype)
                anchor[first] = rendered[: len(first)]
                same_dynamic[second] = rendered[len(first) :]
        # Shuffled after styling: a style that looks at neighbouring frames must see them in their true order.
        permutations = torch.tensor([draw.permutation for draw in draws], dtype=torch.long).view(-1, video.shape[2])
        return Triplet(anchor, shuffle_frames(anchor, permutations), same_dynamic)


class _Draws:
    """What is drawn for one clip.

    Only raw 64-bit words are taken from NumPy, because their stream is guaranteed to stay; its ``permutation`` and
    ``integers`` may change between releases, and with them every triplet.
    """

    def __init__(self, seed: int, key: str, styles: int, length: int) -> None:
        self._bits = np.random.PCG64(np.random.SeedSequence([seed, zlib.crc32(key.encode())]))
        self.anchor = self._below(styles)
        self.dynamic = (self.anchor + 1 + self._below(styles - 1)) % styles
        identity = list(range(length))
        self.permutation = identity
        while self.permutation == identity:
            self.permutation = self._shuffle(length)

    def _below(self, bound: int) -> int:
        return int(self._bits.random_raw()) % bound  # the bias of the remainder is below 1e-17

    def _shuffle(self, length: int) -> list[int]:
        order = list(range(length))
        for last in range(length - 1, 0, -1):
            other = self._below(last + 1)
            order[last], order[other] = order[other], order[last]
        return order


def _key_names(keys: Sequence[int | str] | Tensor | None, batch: int) -> list[str]:
    if keys is None:
        return [str(position) for position in range(batch)]
    values = keys.tolist() if isinstance(keys, Tensor) else list(keys)
    if isinstance(keys, str) or len(values) != batch:
        raise BatchError(
            f"Expected one key for each of the {batch} clips, found {keys!r}. Pass a list of ids or positions."
        )
    return [str(value.item() if isinstance(value, (Tensor, np.generic)) else value) for value in values]


def _check_video(video: Tensor) -> None:
    check_clip(video)
    if video.shape[2] < 2:
        raise BatchError(
            f"Triplets need clips of at least 2 frames, found shape {tuple(video.shape)}: a single frame "
            "cannot be shuffled, so it has no static pair."
        )
    low, high = (float(value) for value in video.aminmax()) if video.numel() else (0.0, 0.0)
    if not (low >= -_TOLERANCE and high <= 1 + _TOLERANCE):  # written so that NaN fails as well
        hint = (
            "They look like 0 to 255: divide by 255."
            if low >= 0 and high > 16
            else "They look normalised: undo it first with video * std + mean, channel by channel."
        )
        raise BatchError(f"Expected pixels in [0, 1], found values from {low:.3g} to {high:.3g}. {hint}")

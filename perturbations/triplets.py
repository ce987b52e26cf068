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

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..errors import BatchError
from .keyed_draws import KeyedDraws, key_names
from .pixel_range import check_unit_range
from .shuffling import shuffle_frames
from .styles import FrameStyle, NetworkStyle, Style, StyleSet
from .styles.base import check_clip
from .styles.style_set import DEFAULT_STYLES

__all__ = ("StyledTriplets", "Triplet", "TripletFunction", "VideoTriplets")


class Triplet(NamedTuple):
    """Three inputs made from the same clips, alike in shape: tensors, or tuples of them for models of several inputs.

    Attributes:
        anchor: what both pairs have in common.
        same_static: shares only its statics with the anchor.
        same_dynamic: shares only its dynamics with the anchor.

    Example:
        >>> Triplet(anchor=1, same_static=2, same_dynamic=3)._fields
        ('anchor', 'same_static', 'same_dynamic')
    """

    anchor: Any
    same_static: Any
    same_dynamic: Any


TripletFunction = Callable[..., Triplet]
"""Any callable that maps a video (and, if it likes, ``keys``) to a ``Triplet``."""


class StyledTriplets:
    """What all triplets by styles share: the styles, the seed, and clips in two styles each.

    Args:
        styles: names of at least two styles, style objects, or a ``StyleSet``.
        seed: start of all draws, not negative.

    Raises:
        ValueError: there are fewer than two styles, or the seed is negative.

    Example:
        >>> triplets = StyledTriplets(styles=["chalk", "neon"], seed=1)
        >>> first, second = triplets.in_two_styles(torch.rand(1, 3, 1, 16, 16), [KeyedDraws(1, "a")])
        >>> first.shape == second.shape, torch.equal(first, second)
        (True, False)
    """

    def __init__(
        self,
        styles: Sequence[str] | StyleSet | Sequence[str | FrameStyle | NetworkStyle | Style] = DEFAULT_STYLES,
        seed: int = 0,
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

    def in_two_styles(self, clips: Tensor, draws: Sequence[KeyedDraws]) -> tuple[Tensor, Tensor]:
        """Render each clip in a random style, and in another random style.

        Args:
            clips: floating-point clips (B, 3, T, H, W), RGB in [0, 1].
            draws: where the randomness of each clip comes from; two numbers are taken from each.

        Returns:
            Two batches like ``clips`` in shape, dtype and device.
        """
        a = [draw.below(len(self.styles)) for draw in draws]
        b = [
            (style + 1 + draw.below(len(self.styles) - 1)) % len(self.styles)
            for style, draw in zip(a, draws, strict=True)
        ]
        in_a, in_b = torch.empty_like(clips), torch.empty_like(clips)
        for style in range(len(self.styles)):
            first = [i for i, drawn in enumerate(a) if drawn == style]
            second = [i for i, drawn in enumerate(b) if drawn == style]
            if first or second:  # each style runs once, on all clips that need it
                rendered = self.styles.render(style, clips[first + second]).to(clips.dtype)
                in_a[first] = rendered[: len(first)]
                in_b[second] = rendered[len(first) :]
        return in_a, in_b


class VideoTriplets(StyledTriplets):
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
        draws = [KeyedDraws(self.seed, name) for name in key_names(keys, video.shape[0])]
        anchor, same_dynamic = self.in_two_styles(video, draws)
        # Shuffled after styling: a style that looks at neighbouring frames must see them in their true order.
        length = video.shape[2]
        orders = torch.tensor([draw.permutation(length) for draw in draws], dtype=torch.long).view(-1, length)
        return Triplet(anchor, shuffle_frames(anchor, orders), same_dynamic)


def _check_video(video: Tensor) -> None:
    check_clip(video)
    if video.shape[2] < 2:
        raise BatchError(
            f"Triplets need clips of at least 2 frames, found shape {tuple(video.shape)}: a single frame "
            "cannot be shuffled, so it has no static pair."
        )
    check_unit_range(video)

# SPDX-License-Identifier: Apache-2.0
"""The pairs of clips that the paper's released code measures action recognition models on.

Source: ``dataset_factory/{ssv2,Diving48,StylizedActivityNet}.py``, ``main.py`` and ``config.py`` of
YorkUCVIL/Static-Dynamic-Interpretability; Kowal et al., Sec. 3.1 and 4.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import torch

from ...errors import OptionError
from ..keyed_draws import KeyedDraws
from .common import DYNAMIC, STATIC, any_order, check_counts, check_oddities, check_seeds, two_styles

__all__ = ("ACTION_ODDITIES", "ActionPair", "ActionProtocol", "Pathway", "ProtocolVideo")

ACTION_ODDITIES: dict[str, str] = {
    "any_short_segment": (
        "a video is left out where any of its segments is short, though only the first is looked at "
        "(StylizedActivityNet.py, get_stylized_activitynet_data)"
    ),
    "extra_batch": "the loop ends after batch floor(examples / batch size), counted from 0: one batch more (main.py)",
    "identity_shuffles": "torch.randperm may leave the frames in their order (__getitem__ of all three data sets)",
    "independent_pathways": (
        "the slow clip is subsampled from the window by itself, and the frames of slow and fast clip are permuted "
        "independently (__getitem__ of all three data sets, for SlowFast)"
    ),
    "redraw_start_at_zero": (
        "'if not start_frame': a start of 0 counts as none, and the second side of a dynamic pair draws its own "
        "(ssv2.py and Diving48.py, get_video_as_tensor)"
    ),
    "units_of_first_seed": "the encodings of units are those of one seed (run_main_vos.sh; main.py by one run)",
}
"""What the released code does and no sentence of the paper says, by the name that switches it on."""


class ProtocolVideo(NamedTuple):
    """A video as far as the protocol is concerned.

    Attributes:
        name: unique; everything that is drawn for the video depends on it.
        num_frames: how many frames it has.
        segments: its annotated segments in the order of the file, first frame (from 0) and one past the last
            (ActivityNet); None: clips are drawn from the whole video.
    """

    name: str
    num_frames: int
    segments: tuple[tuple[int, int], ...] | None = None


class Pathway(NamedTuple):
    """The slow clips of a pair.

    Attributes:
        frames_a: frames of the first side, from 0.
        frames_b: frames of the second side, before ``order``.
        order: permutation of the second side of a static pair; None for a dynamic pair.
    """

    frames_a: tuple[int, ...]
    frames_b: tuple[int, ...]
    order: tuple[int, ...] | None


class ActionPair(NamedTuple):
    """One pair of clips.

    Attributes:
        video: index of its video among those that were given.
        name: the video's name.
        factor: 0: the sides share statics, 1: they share dynamics.
        style_a: style of the first side, from 0.
        style_b: style of the second side; that of the first in a static pair.
        frames_a: frames of the first side, numbers from 0 in the video, after cycling and subsampling.
        frames_b: frames of the second side, before ``order``.
        order: permutation of the second side of a static pair, ``second[i] = frames_b[order[i]]``; None for a dynamic
            pair.
        slow: the clips of a slow pathway that is sampled by itself; None: there is none.
    """

    video: int
    name: str
    factor: int
    style_a: int
    style_b: int
    frames_a: tuple[int, ...]
    frames_b: tuple[int, ...]
    order: tuple[int, ...] | None
    slow: Pathway | None = None


@dataclass(frozen=True)
class ActionProtocol:
    """Draws pairs of clips as the released code does.

    Videos come in the order of their file, the first ``num_examples`` that are long enough, one pair each. The factor
    of a pair is drawn uniformly from two; the first style uniformly from all, the second from the others (dynamic pair)
    or the same (static pair). Of a video longer than ``window`` a window of so many frames is drawn uniformly; of any
    other the clip starts at a frame drawn uniformly from all but the last ``min_frames - 1``, and what is left of the
    video is cycled to the length of the window. Of a video with segments the window is the first segment, cycled or
    cut to its length. ``num_frames`` frames are spread evenly over the window, ends included. Both sides of a dynamic
    pair show the same frames; the second side of a static pair is the first one with its frames permuted.

    The released code takes its numbers from global generators that action recognition never seeds; here they depend on
    the seed and the video's name alone.

    Attributes:
        num_examples: pairs for each seed, at most; ``n_examples``.
        seeds: one measurement each.
        num_styles: how many styles there are.
        window: frames that a clip spans, no fewer than it has; ``n_sample_frames``: 64; X3D and MViT frames x rate,
            TimeSformer 256 (128 on Something-Something V2).
        num_frames: frames in a clip; of a SlowFast the fast ones.
        slow_frames: frames in a slow clip, for ``independent_pathways``.
        min_frames: frames that a video must have, and that are left from the start of a short one on.
        min_video: frames that a video with segments must have.
        min_segment: frames that its first segment must have.
        batch_size: that of the released loop, for ``extra_batch``.
        oddities: names out of ``ACTION_ODDITIES`` that are on.

    Raises:
        OptionError: a number is out of range.
        UnknownNameError: there is no such oddity.

    Example:
        >>> protocol = ActionProtocol(num_examples=2, window=16, num_frames=4)
        >>> first, second = protocol.draw([("a", 40), ("short", 5), ("b", 12)], seed=1)
        >>> first.name, second.name, len(first.frames_a), (first.order is None) == (first.factor == 1)
        ('a', 'b', 4, True)
    """

    num_examples: int = 3000
    seeds: tuple[int, ...] = (1, 2, 3, 4)
    num_styles: int = 4
    window: int = 64
    num_frames: int = 8
    slow_frames: int | None = None
    min_frames: int = 8
    min_video: int = 32
    min_segment: int = 16
    batch_size: int = 2
    oddities: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check the numbers and names."""
        check_counts(num_examples=self.num_examples, min_frames=self.min_frames, batch_size=self.batch_size)
        check_counts(min_video=self.min_video, min_segment=self.min_segment)
        check_counts(2, num_styles=self.num_styles, window=self.window, num_frames=self.num_frames)
        object.__setattr__(self, "seeds", check_seeds(self.seeds))
        object.__setattr__(self, "oddities", check_oddities(self.oddities, ACTION_ODDITIES))
        if ("independent_pathways" in self.oddities) != (self.slow_frames is not None):
            raise OptionError(
                "slow_frames and the oddity independent_pathways go together: they are for SlowFast; got "
                f"slow_frames={self.slow_frames} and the oddities {list(self.oddities)}."
            )
        if self.slow_frames is not None:
            check_counts(2, slow_frames=self.slow_frames)
        if max(self.num_frames, self.slow_frames or 0) > self.window:
            raise OptionError(
                f"window={self.window} must not be below num_frames={self.num_frames} and "
                f"slow_frames={self.slow_frames}: frames would be repeated, and a shuffled clip could be the same clip."
            )

    @property
    def pairs_wanted(self) -> int:
        """Pairs for each seed, where there are videos enough: ``num_examples``, with ``extra_batch`` a batch more."""
        if "extra_batch" in self.oddities:
            return (self.num_examples // self.batch_size + 1) * self.batch_size
        return self.num_examples

    @property
    def description(self) -> dict[str, object]:
        """Plain values that tell protocols apart; for reports."""
        slow = {} if self.slow_frames is None else {"slow_frames": self.slow_frames}
        return {
            "protocol": "kowal-action",
            "pairs_per_seed": self.pairs_wanted,
            "seeds": list(self.seeds),
            "num_styles": self.num_styles,
            "window": self.window,
            "num_frames": self.num_frames,
            **slow,
            "min_frames": self.min_frames,
            "oddities": list(self.oddities),
        }

    def takes(self, video: ProtocolVideo | tuple[str, int]) -> bool:
        """Whether a video is long enough.

        Example:
            >>> protocol = ActionProtocol()
            >>> protocol.takes(("a", 7)), protocol.takes(("b", 8)), protocol.takes(ProtocolVideo("c", 31, ((0, 31),)))
            (False, True, False)
        """
        _, num_frames, segments = ProtocolVideo(*video)
        if segments is None:
            return num_frames >= self.min_frames
        looked_at = segments if "any_short_segment" in self.oddities else segments[:1]
        lengths = [min(end, num_frames) - start for start, end in looked_at]
        return num_frames >= self.min_video and bool(lengths) and min(lengths) >= self.min_segment

    def draw(self, videos: Sequence[ProtocolVideo | tuple[str, int]], seed: int) -> list[ActionPair]:
        """Return the pairs of one seed.

        Args:
            videos: all that there are, in the order of the file; those that are too short are passed over.
            seed: one of ``seeds``, or any other that is not negative.
        """
        known = (ProtocolVideo(*video) for video in videos)
        taken = ((index, video) for index, video in enumerate(known) if self.takes(video))
        return [self._pair(index, video, seed) for index, video in islice(taken, self.pairs_wanted)]

    def _pair(self, index: int, video: ProtocolVideo, seed: int) -> ActionPair:
        draws = KeyedDraws(seed, f"kowal-action/{video.name}")
        factor = DYNAMIC if draws.below(2) else STATIC
        style_a, style_b = two_styles(draws, self.num_styles, same=factor == STATIC)
        first = second = self._window(video, draws)
        if factor == DYNAMIC and "redraw_start_at_zero" in self.oddities and not first[0] and video.segments is None:
            second = self._window(video, KeyedDraws(seed, f"kowal-action/{video.name}", stream=1))
        fast = self._pathway(first, second, self.num_frames, factor, draws)
        slow = None
        if self.slow_frames is not None:
            own = KeyedDraws(seed, f"kowal-action/{video.name}", stream=2)
            slow = self._pathway(first, second, self.slow_frames, factor, own)
        return ActionPair(index, video.name, factor, style_a, style_b, *fast, slow)

    def _window(self, video: ProtocolVideo, draws: KeyedDraws) -> list[int]:
        """The frames of a window, those of short videos again and again."""
        if video.segments is not None:
            start, end = video.segments[0]
            end = min(end, video.num_frames)
        elif video.num_frames > self.window:
            start = draws.below(video.num_frames - self.window + 1)
            end = start + self.window
        else:
            start, end = draws.below(video.num_frames - self.min_frames + 1), video.num_frames
        return [start + step % (end - start) for step in range(self.window)]

    def _pathway(self, first: list[int], second: list[int], count: int, factor: int, draws: KeyedDraws) -> Pathway:
        # in float32 and cut off, as PyTorchVideo's UniformTemporalSubsample has it
        chosen = torch.linspace(0, self.window - 1, count).clamp(0, self.window - 1).long().tolist()
        order = None
        if factor == STATIC:
            drawn = any_order if "identity_shuffles" in self.oddities else KeyedDraws.permutation
            order = tuple(drawn(draws, count))
        return Pathway(tuple(first[i] for i in chosen), tuple(second[i] for i in chosen), order)

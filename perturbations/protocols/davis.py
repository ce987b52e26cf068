# SPDX-License-Identifier: Apache-2.0
"""The pairs of frames that the paper's released code measures video object segmentation models on.

Source: ``dataset_factory/{StylizedDAVIS,vos_transforms}.py``, ``main_vos.py`` and ``run_main_vos.sh`` of
YorkUCVIL/Static-Dynamic-Interpretability; Kowal et al., Sec. 3.1 and 4.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ...errors import OptionError
from ..flow_jitter import ColourDraw, FlowJitter
from ..keyed_draws import KeyedDraws
from .common import DYNAMIC, STATIC, any_order, check_counts, check_oddities, check_seeds, two_styles

__all__ = ("DAVIS_ODDITIES", "DavisPair", "DavisProtocol", "SharedBoundsJitter")

DAVIS_ODDITIES: dict[str, str] = {
    "units_of_first_seed": "the encodings of units are those of one seed (run_main_vos.sh)",
    "zero_offset": (
        "the second frame of a clip may be the first one: randint(-10, 10) holds 0, and is taken modulo the length "
        "(StylizedDAVIS.py, __getitem__ of StylizedDAVIS and of StylizedDAVISFWBWSequence)"
    ),
}
"""What the released code does and no sentence of the paper says, by the name that switches it on."""


class SharedBoundsJitter(FlowJitter):
    """The jitter of the released code where it comes to forward and backward flow.

    As ``FlowJitter("paper")``, but both directions of a frame have the bounds in common; what is drawn within them is
    each direction's own (``vos_transforms.py``, ExtFlowColorJitter). For forward flow the two are the same.

    Args:
        seed: start of all draws, not negative.

    Example:
        >>> jitter = SharedBoundsJitter(seed=1)
        >>> jitter.draw("dog/00000") == FlowJitter("paper", seed=1).draw("dog/00000")
        True
        >>> jitter.draw("dog/00000", backward=True) == jitter.draw("dog/00000")
        False
    """

    def __init__(self, seed: int = 0) -> None:
        super().__init__("paper", seed)

    def _colour_draw(self, key: str, frame: int, direction: int) -> ColourDraw:
        draws = KeyedDraws(self.seed, key, stream=2 + 2 * frame)
        hue, saturation = draws.uniform(*self.hue), draws.uniform(*self.saturation)
        if direction:
            draws = KeyedDraws(self.seed, key, stream=3 + 2 * frame)
        factor = draws.uniform(max(0.0, 1 - saturation), 1 + saturation)
        return ColourDraw(draws.uniform(-hue, hue), factor, hue_first=draws.below(2) == 1)


class DavisPair(NamedTuple):
    """One pair of styled sequences; each of its frames is a pair of samples.

    Attributes:
        sequence: index of the sequence among those that were given.
        name: the sequence's name.
        repetition: how often the sequence was drawn before, from 0.
        factor: 0: the sides share statics (one style, the flow of the second side jittered), 1: they share dynamics
            (two styles, one flow).
        style_a: style of the first side, from 0.
        style_b: style of the second side.
        offset: from the first to the second frame of a clip, in usable frames, modulo their number; 0 for clips of one
            frame.
    """

    sequence: int
    name: str
    repetition: int
    factor: int
    style_a: int
    style_b: int
    offset: int = 0

    def key(self, stem: str) -> str:
        """The key under which the jitter of a frame is drawn: another one for each repetition.

        Example:
            >>> DavisPair(0, "dog", 2, 0, 1, 1).key("00004")
            'dog/00004/2'
        """
        return f"{self.name}/{stem}/{self.repetition}"


@dataclass(frozen=True)
class DavisProtocol:
    """Draws pairs of styled sequences as the released code does.

    Each sequence comes ``repetitions`` times, all in one random order. Factors are not drawn: they alternate in that
    order, and the first pair is static. The first style is drawn uniformly from all, the second from the others
    (dynamic pair) or the same (static pair). Every frame but the last, which has no flow, makes a pair of samples; of
    clips of two frames, which need backward flow too, neither does the first. The second frame of a clip lies at one
    offset for the whole pair, from -10 to 9, counted around in the usable frames, and never 0 (see ``zero_offset``).

    Flow always comes from the video without style. Only the second side of static pairs is jittered, every frame and
    direction by a draw of its own, see :meth:`jitter`.

    Attributes:
        repetitions: how often each sequence comes for each seed; ``nreps``.
        seeds: one measurement each.
        num_styles: how many styles there are.
        clip_frames: 1, or 2 for RTNet.
        max_offset: offsets lie in [-max_offset, max_offset - 1].
        oddities: names out of ``DAVIS_ODDITIES`` that are on.

    Raises:
        OptionError: a number is out of range.
        UnknownNameError: there is no such oddity.

    Example:
        >>> pairs = DavisProtocol(repetitions=2).draw([("dog", 60), ("cows", 104)], seed=1)
        >>> [pair.factor for pair in pairs], sorted(pair.name for pair in pairs)
        ([0, 1, 0, 1], ['cows', 'cows', 'dog', 'dog'])
    """

    repetitions: int = 5
    seeds: tuple[int, ...] = (1, 2, 3, 4)
    num_styles: int = 4
    clip_frames: int = 1
    max_offset: int = 10
    oddities: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check the numbers and names."""
        check_counts(repetitions=self.repetitions, max_offset=self.max_offset)
        check_counts(2, num_styles=self.num_styles)
        if self.clip_frames not in (1, 2):
            raise OptionError(f"clip_frames must be 1, or 2 for RTNet; got {self.clip_frames!r}.")
        object.__setattr__(self, "seeds", check_seeds(self.seeds))
        object.__setattr__(self, "oddities", check_oddities(self.oddities, DAVIS_ODDITIES))

    @property
    def description(self) -> dict[str, object]:
        """Plain values that tell protocols apart; for reports."""
        offsets: dict[str, object] = {}
        if self.clip_frames == 2:  # each frame of a clip is a sample of its own, as in main_vos.py (infer)
            offsets = {"offsets": [-self.max_offset, self.max_offset - 1], "frames_apart": True}
        return {
            "protocol": "kowal-davis",
            "repetitions": self.repetitions,
            "seeds": list(self.seeds),
            "num_styles": self.num_styles,
            "clip_frames": self.clip_frames,
            **offsets,
            "oddities": list(self.oddities),
        }

    def frames(self, length: int) -> range:
        """The usable frames of a sequence of so many: all but the last, and for clips of two frames all but the first.

        Example:
            >>> DavisProtocol().frames(5), DavisProtocol(clip_frames=2).frames(5)
            (range(0, 4), range(1, 4))
        """
        return range(self.clip_frames - 1, length - 1)

    def jitter(self, seed: int) -> SharedBoundsJitter:
        """What jitters the flow of the second side of static pairs; give it the keys of :meth:`DavisPair.key`."""
        return SharedBoundsJitter(seed)

    def draw(self, sequences: Sequence[tuple[str, int]], seed: int) -> list[DavisPair]:
        """Return the pairs of one seed.

        Args:
            sequences: names and numbers of frames, in the order of the file.
            seed: one of ``seeds``, or any other that is not negative.
        """
        order = any_order(KeyedDraws(seed, "kowal-davis"), len(sequences) * self.repetitions)
        pairs = []
        for place, number in enumerate(order):
            repetition, sequence = divmod(number, len(sequences))
            name, length = sequences[sequence]
            draws = KeyedDraws(seed, f"kowal-davis/{name}/{repetition}")
            factor = DYNAMIC if place % 2 else STATIC
            styles = two_styles(draws, self.num_styles, same=factor == STATIC)
            offset = self._offset(len(self.frames(length)), draws) if self.clip_frames == 2 else 0
            pairs.append(DavisPair(sequence, name, repetition, factor, *styles, offset))
        return pairs

    def _offset(self, usable: int, draws: KeyedDraws) -> int:
        offsets = list(range(-self.max_offset, self.max_offset))
        if "zero_offset" not in self.oddities:
            offsets = [offset for offset in offsets if offset % max(1, usable)] or [0]
        return offsets[draws.below(len(offsets))]

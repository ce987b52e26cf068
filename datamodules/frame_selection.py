# SPDX-License-Identifier: Apache-2.0
"""Which frames of some sequences are trained or evaluated on, which frame joins them, and which flow that takes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from .sequences import VideoSequence

__all__ = ("FrameRef", "flow_runs", "hashed_partner", "partners", "select_frames", "usable_positions")


class FrameRef(NamedTuple):
    """One frame of a sequence.

    Attributes:
        sequence: the video.
        position: index of the frame in it, from 0.
    """

    sequence: VideoSequence
    position: int

    @property
    def id(self) -> str:
        """``"<sequence>/<frame stem>"``."""
        return self.sequence.frame_id(self.position)

    @property
    def frame(self) -> Path:
        """The picture."""
        return self.sequence.frames[self.position]

    @property
    def mask(self) -> Path | None:
        """The file of its mask."""
        return self.sequence.masks[self.position]


def usable_positions(sequence: VideoSequence, gaps: Sequence[int] = (1,)) -> range:
    """Return the positions whose flow exists: all but the last for gap 1, all but the first for gap -1.

    Example:
        >>> video = VideoSequence("bear", (Path("0"), Path("1"), Path("2")), (None,) * 3)
        >>> usable_positions(video), usable_positions(video, gaps=(1, -1))
        (range(0, 2), range(1, 2))
    """
    return range(max(0, *(-gap for gap in gaps), 0), len(sequence) - max(0, *gaps, 0))


def select_frames(
    sequences: Iterable[VideoSequence], gaps: Sequence[int] = (1,), *, training: bool = False, every: int = 1
) -> list[FrameRef]:
    """Return the frames to use, sequence by sequence: those with flow and, in training, with a mask.

    Args:
        sequences: the videos of a split.
        gaps: the flow that a frame needs.
        training: leave out frames without mask.
        every: take every n-th of them in each sequence, from the first on.
    """
    selected = []
    for sequence in sequences:
        positions = usable_positions(sequence, gaps)
        kept = [position for position in positions if not training or sequence.masks[position] is not None]
        selected += [FrameRef(sequence, position) for position in kept[::every]]
    return selected


def partners(ref: FrameRef, max_offset: int, gaps: Sequence[int], *, training: bool) -> list[int]:
    """Return the positions that a second frame may have: at offsets in [-max_offset, max_offset - 1], with flow.

    In training they have a mask and the frame itself is one of them, as in RTNet's code. In evaluation it is one of
    them only where there is no other.
    """
    usable = usable_positions(ref.sequence, gaps)
    near = range(max(usable.start, ref.position - max_offset), min(usable.stop, ref.position + max_offset))
    if training:
        return [position for position in near if ref.sequence.masks[position] is not None]
    return [position for position in near if position != ref.position] or [ref.position]


def hashed_partner(ref: FrameRef, candidates: Sequence[int], seed: int = 0) -> int:
    """Return one of the candidates, the same for the same frame and seed whatever else is evaluated, and wherever.

    Example:
        >>> ref = FrameRef(VideoSequence("bear", (Path("00000.jpg"),), (None,)), 0)
        >>> hashed_partner(ref, range(20)) == hashed_partner(ref, range(20))
        True
    """
    digest = hashlib.blake2b(f"{seed}/{ref.id}".encode(), digest_size=8).digest()
    return candidates[int.from_bytes(digest, "big") % len(candidates)]


def flow_runs(refs: Iterable[FrameRef], gap: int) -> list[tuple[str, tuple[Path, ...]]]:
    """Return runs of neighbouring frames between which flow is needed, as (name of the sequence, frames).

    Flow of gap 1 between the frames of a run, all but its last, is that of ``refs`` and no other; for gap -1 all but
    its first. So flow of every 10th frame does not cost that of all.

    Args:
        refs: frames whose flow is needed, in any order; repeated ones count once.
        gap: 1 or -1.

    Example:
        >>> video = VideoSequence("bear", tuple(Path(f"{i}.jpg") for i in range(9)), (None,) * 9)
        >>> [[str(f) for f in frames] for _, frames in flow_runs([FrameRef(video, i) for i in (0, 1, 5)], gap=1)]
        [['0.jpg', '1.jpg', '2.jpg'], ['5.jpg', '6.jpg']]
    """
    wanted: dict[str, tuple[VideoSequence, set[int]]] = {}
    for ref in refs:
        wanted.setdefault(ref.sequence.name, (ref.sequence, set()))[1].add(ref.position)
    runs = []
    for name, (sequence, positions) in wanted.items():
        for first in sorted(position for position in positions if position - 1 not in positions):
            last = first
            while last + 1 in positions:
                last += 1
            runs.append((name, sequence.frames[first + min(gap, 0) : last + 1 + max(gap, 0)]))
    return runs

# SPDX-License-Identifier: Apache-2.0
"""What a split lists: a video, or a part of one."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal, NamedTuple

from ..errors import VideoDecodeError
from .readers import VideoReader

__all__ = ("Entry", "Span", "part_of")


class Span(NamedTuple):
    """A part of a video, from ``start`` up to, and without, ``end``.

    Attributes:
        start: where it begins; below 0 is the beginning of the video.
        end: where it ends; beyond the video is the video's end.
        unit: ``"seconds"`` or ``"frames"``.
    """

    start: float
    end: float
    unit: Literal["seconds", "frames"] = "seconds"

    def frames(self, length: int, fps: float) -> range:
        """The frames that are shown in the span; empty where there is none.

        Args:
            length: frames in the video.
            fps: frames a second of the video; only used for seconds.

        Example:
            >>> Span(1.0, 2.5).frames(100, fps=10.0)
            range(10, 25)
            >>> Span(90, 120, "frames").frames(100, fps=10.0)
            range(90, 100)
        """
        rate = fps if self.unit == "seconds" else 1.0
        # frame i is shown from i / fps to (i + 1) / fps; what rounding adds to a border is no frame more
        first = max(0, math.floor(self.start * rate + 1e-6))
        last = min(length, math.ceil(self.end * rate - 1e-6))
        return range(first, max(first, last))

    def __str__(self) -> str:
        return f"{self.start:g} to {self.end:g} {self.unit}"


class Entry(NamedTuple):
    """One video of a split, or a part of one.

    Attributes:
        id: its name in the annotations; of several parts of one video ``<video>/<number>``.
        path: the video file or the folder of frames.
        label: its class, from 0; -1 where it is not known (a test split without answers).
        span: the part of the video that it is; None: the whole.
    """

    id: str
    path: Path
    label: int
    span: Span | None = None


def part_of(video: VideoReader, entry: Entry, reader: str) -> range:
    """The frames of an open video that belong to an entry: all of them, or those of its span.

    Raises:
        VideoDecodeError: there is none.
    """
    length = len(video)
    if length < 1:
        raise VideoDecodeError(entry.path, reader, "it has no frames", "Fetch it again.")
    if entry.span is None:
        return range(length)
    part = entry.span.frames(length, video.fps)
    if not part:
        found = f"no frame of it lies in {entry.span}: it has {length} frames, {video.fps:g} a second"
        hint = "Check that the file is the whole video that the annotation means, and fetch it again if not."
        raise VideoDecodeError(entry.path, reader, found, hint)
    return part

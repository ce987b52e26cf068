# SPDX-License-Identifier: Apache-2.0
"""What every video reader offers, and the few things that all of them do alike."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ...errors import ReaderNotAvailableError, VideoDecodeError

__all__ = (
    "Frames",
    "Indices",
    "ReaderFaultError",
    "VideoReader",
    "as_read_error",
    "checked_frames",
    "checked_indices",
    "checked_size",
    "scaled_size",
)

# time stamps, source lines and functions of the decoder before its message
_WHERE = re.compile(r"^(\[[\d:]+\] \S+:\d+: |[\w<> ]+, \S+\.(?:cpp|h):\d+, )+")

_MAX_PIXELS = 1 << 26  # 8192 x 8192, twice an 8K video; a damaged header can ask for memory without end

Frames: TypeAlias = NDArray[np.uint8]
Indices: TypeAlias = Sequence[int] | NDArray[np.int64]


@runtime_checkable
class VideoReader(Protocol):
    """An open video: ``len(reader)`` frames, ``reader.fps`` frames a second, frames by index.

    Frame numbers count displayed frames from 0, and the picture is upright: a rotation in the file's metadata is
    applied.
    """

    fps: float

    def __len__(self) -> int:
        """Number of frames."""
        ...

    def get_batch(self, indices: Indices) -> Frames:
        """Decode frames.

        Args:
            indices: frame numbers in ``[0, len(reader))``, in any order, repeats allowed.

        Returns:
            RGB frames of shape ``(len(indices), H, W, 3)``, uint8 in [0, 255].

        Raises:
            IndexError: a frame number is out of range.
            VideoDecodeError: the file cannot be decoded there.
        """
        ...


class ReaderFaultError(VideoDecodeError):
    """A file at which one reader fails by a fault of its own: the file may be sound, and another reader may manage.

    Attributes:
        kind: what the fault is, the same for every file that has it.
    """

    def __init__(self, path: str | Path, reader: str = "", reason: str = "", hint: str = "", kind: str = "") -> None:
        super().__init__(path, reader, reason, hint)
        self.kind = kind or reason


def scaled_size(height: int, width: int, short_side: int | None) -> tuple[int, int]:
    """Size after scaling the shorter side down to ``short_side`` pixels: aspect kept, never enlarged.

    Example:
        >>> scaled_size(1080, 1920, 256)
        (256, 455)
        >>> scaled_size(240, 427, 256)
        (240, 427)
    """
    short = min(height, width)
    if short_side is None or short <= short_side:
        return height, width
    return max(1, round(height * short_side / short)), max(1, round(width * short_side / short))


def checked_indices(indices: Indices, length: int) -> list[int]:
    """The indices as plain integers; IndexError where there is none, or one is outside ``[0, length)``.

    Example:
        >>> checked_indices([2, 0, 2], 3)
        [2, 0, 2]
    """
    plain = [int(i) for i in indices]
    if not plain:
        raise IndexError("No frame was asked for.")
    wrong = [i for i in plain if not 0 <= i < length]
    if wrong:
        raise IndexError(f"Frame {wrong[0]} was asked for, but the video has {length} frames (0 to {length - 1}).")
    return plain


def checked_size(height: int, width: int, path: Path, reader: str, hint: str) -> tuple[int, int]:
    """The size of a picture, after making sure that it is one that a video can have.

    Raises:
        VideoDecodeError: it has more than 67 million pixels.
    """
    if height * width > _MAX_PIXELS:
        found = f"its header is damaged: it asks for pictures of {width}x{height} pixels"
        raise VideoDecodeError(path, reader, found, hint)
    return height, width


def checked_frames(frames: Frames, count: int, path: Path, reader: str, hint: str) -> Frames:
    """The frames, after making sure that they are ``count`` RGB pictures (decord 0.6 hands out others at times).

    Raises:
        ReaderFaultError: they are not.
    """
    if frames.ndim != 4 or frames.shape[0] != count or frames.shape[3] != 3 or frames.dtype != np.uint8:
        found = f"the decoder gave an array {frames.shape} of {frames.dtype}, not ({count}, H, W, 3) of uint8"
        raise ReaderFaultError(path, reader, found, hint, kind="an array of the wrong shape")
    return frames


@contextmanager
def as_read_error(
    path: Path,
    reader: str,
    hint: str,
    known: Mapping[str, str] | None = None,
    faults: Mapping[str, str] | None = None,
) -> Iterator[None]:
    """Turn whatever a decoder raises into a VideoDecodeError.

    Args:
        path: the video.
        reader: name of the reader.
        hint: the next step.
        known: from a piece of the decoder's message to a reason in plain words; without one that fits, the reason is
            the first line of the message.
        faults: the same for messages that tell of a fault of the reader; they become a :class:`ReaderFaultError`.
    """
    try:
        yield
    except (VideoDecodeError, ReaderNotAvailableError):
        raise
    except Exception as error:
        # Decoders have their own error classes (decord derives from Exception alone), so nothing narrower would do.
        # Damaged headers ask for more memory than there is: MemoryError is one of them.
        message = str(error)
        for piece, reason in (faults or {}).items():
            if piece in message:
                raise ReaderFaultError(path, reader, reason, hint) from error
        lines = [line for line in message.splitlines() if line.strip()]
        first = (lines[0] if lines else "") or type(error).__name__
        plain = (text for piece, text in (known or {}).items() if piece in message)
        raise VideoDecodeError(path, reader, next(plain, _WHERE.sub("", first))[:300], hint) from error

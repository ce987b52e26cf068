# SPDX-License-Identifier: Apache-2.0
"""A reader that gives up when its decoder hangs, and that survives the way into another process."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from ...errors import VideoDecodeError
from .base import Frames, Indices, VideoReader
from .time_limit import VARIABLE, TimeLimitError, run_within

__all__ = ("LimitedReader",)

_FRAMES = 64  # more frames than this in one call have proportionally more time

Result = TypeVar("Result")


class LimitedReader:
    """A :class:`VideoReader` that raises VideoDecodeError when the reader inside takes too long.

    Used in another process than the one that opened it (a worker that was forked or that received it), it opens the
    video again there: decord's readers deadlock otherwise (dmlc/decord#294).

    Args:
        path: the video.
        name: name of the reader, for messages.
        open_reader: opens the video; a function that can be pickled.
        seconds: limit for opening, and for every 64 frames of a call; 0: none.

    Raises:
        VideoDecodeError: the video cannot be opened in time.
    """

    def __init__(self, path: Path, name: str, open_reader: Callable[[], VideoReader], seconds: float) -> None:
        self._path, self._name, self._open_reader, self._seconds = path, name, open_reader, seconds
        self._open()

    def _open(self) -> None:
        def opened() -> tuple[VideoReader, int, float]:
            reader = self._open_reader()
            return reader, len(reader), reader.fps

        self._reader, self._length, self.fps = self._within(self._seconds, "to be opened", opened)
        self._process = os.getpid()

    def _within(self, seconds: float, what: str, function: Callable[[], Result]) -> Result:
        try:
            return run_within(seconds, str(self._path), function)
        except TimeLimitError as error:
            reason = f"it took longer than {seconds:g} seconds {what}"
            if error.earlier:
                reason = "an earlier attempt to read it hangs to this moment"
            hint = (
                "Leave it out (--data.on_error skip), try another reader, or allow more time with the environment "
                f"variable {VARIABLE}=seconds (0: no limit)."
            )
            raise VideoDecodeError(self._path, self._name, reason, hint) from None

    def __reduce__(self) -> tuple[Any, ...]:
        return LimitedReader, (self._path, self._name, self._open_reader, self._seconds)

    def __len__(self) -> int:
        return self._length

    def get_batch(self, indices: Indices) -> Frames:
        """Decode frames; see :class:`VideoReader`."""
        if self._process != os.getpid():
            self._open()
        reader, seconds = self._reader, self._seconds * max(1.0, len(indices) / _FRAMES)
        return self._within(seconds, f"to read {len(indices)} frames", lambda: reader.get_batch(indices))

# SPDX-License-Identifier: Apache-2.0
"""Videos through decord (https://github.com/dmlc/decord)."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ...errors import ReaderNotAvailableError
from .base import (
    Frames,
    Indices,
    ReaderFaultError,
    as_read_error,
    checked_frames,
    checked_indices,
    checked_size,
    scaled_size,
)
from .traits import read_traits

__all__ = ("DecordReader",)

_HINT = (
    "Another reader may manage: --data.reader pyav (pip install av). `staticdropout data check` lists all such files."
)
_MISSING = (
    "The video reader 'decord' is not available: {found}. On x86-64 Linux and Windows `pip install decord` brings it; "
    "elsewhere it has no wheels: choose --data.reader pyav (pip install av) or --data.reader torchcodec."
)
# decord takes the length of a padded row, divided by the width, for the number of channels: these widths then fail
_BAD_WIDTHS = frozenset({1, 2, 3, 4, 6, 8, 12, 16, 24, 48, 72})
_FAULTS = {
    "from_size == to_size": f"decord 0.6 cannot hand out pictures of this width (nor of any in {sorted(_BAD_WIDTHS)})",
    "cannot find video stream": "it has no video stream, or one in a codec that decord 0.6 does not know, such as AV1",
    "Failed to measure duration": "its header has neither duration nor frame count",
    "recovered from nearest frames": "some of its frames do not decode, and decord 0.6 would repeat others instead",
}
_KNOWN = {
    "Error sending packet": "its data are corrupt",
    "run_.load()": "its data are corrupt",
    "to handle EOF": "its data end before the frames that its header promises",
    "Error getting frame at": "a frame of it cannot be decoded",
    "Cannot create buffer source": "its first picture cannot be decoded",
    "Error reading ": "it is not a video, or its header is damaged",
}
_ABSURD = "its header is damaged: it contradicts itself, or promises more frames than the file has bytes"
_TRANSPORT_STREAM = "decord 0.6 loses the first frames of MPEG transport streams"


@functools.cache
def _decord() -> tuple[Any, Any]:
    """The module decord, and its reader in a form that can be forgotten in another process."""
    # A damaged stream makes decord ask for the next packet 10240 times for each missing frame; give up sooner.
    # It reads the variable when a video is opened, so a value set by the user is respected.
    os.environ.setdefault("DECORD_EOF_RETRY_MAX", "1024")
    try:
        decord = importlib.import_module("decord")
    except (ImportError, OSError, RuntimeError) as error:  # OSError: its shared library does not load
        raise ReaderNotAvailableError(_MISSING.format(found=error)) from error
    decord.logging.set_level(decord.logging.QUIET)  # what FFmpeg prints is in the exception as well

    class Reader(decord.VideoReader):  # type: ignore[misc, name-defined]
        def __init__(self, *args: Any, **options: Any) -> None:
            self._process = os.getpid()
            super().__init__(*args, **options)

        def __del__(self) -> None:
            # A forked worker inherits the readers of its parent but not their threads, and would wait for these for
            # ever as soon as the garbage collector comes by (dmlc/decord#294).
            if self._process == os.getpid():
                super().__del__()

    return decord, Reader


class DecordReader:
    """A video opened with decord, on the CPU with one thread (the DataLoader's workers are the parallelism).

    Open it where it is used: a decord reader that crosses into a worker process deadlocks (dmlc/decord#294). decord
    jumps to key frames, which gives exact frame numbers in VP9 and most H.264; files in which a jump would put it off
    by a frame or more (see :attr:`Traits.jumpable`) are decoded in order from the start, which is exact as well.

    Args:
        path: the video file.
        short_side: decode at this shorter side in pixels where the video is larger; None: as it is.

    Raises:
        ReaderNotAvailableError: decord is not installed.
        ReaderFaultError: decord cannot read files of this kind, but another reader may.
        VideoDecodeError: the file cannot be opened.
    """

    name = "decord"

    def __init__(self, path: str | Path, short_side: int | None = None) -> None:
        self._decord, self._class = _decord()
        self._path = Path(path)
        self._size: dict[str, int] = {}  # that decord scales to
        self._shrink_to: tuple[int, int] | None = None  # a size that decord itself fails at
        with as_read_error(self._path, self.name, _HINT, _KNOWN, _FAULTS):
            traits = read_traits(path)
            if traits.absurd:  # decord makes a table for so many frames, and the process dies where memory ends
                raise ReaderFaultError(path, self.name, _ABSURD, _HINT)
            if traits.container == "mpegts":
                raise ReaderFaultError(path, self.name, _TRANSPORT_STREAM, _HINT)
            self._in_order = not traits.jumpable or traits.hidden
            # how often decord may repeat a frame in the place of one that does not decode: up to twice where the last
            # packets may be without a picture, at will (-1) where frames are hidden, or else never (a share of them)
            self._repeats = -1 if traits.hidden else 2 if self._in_order else 1e-6
            self._next: int | None = 0  # the frame that comes next in order; None: only a new start is sure
            self._measured = short_side is not None or traits.picture is not None
            if traits.picture is not None:
                self._scale_to(checked_size(*traits.picture, self._path, self.name, _HINT), short_side)
            self._reader = self._open()
            if short_side is not None and traits.picture is None:
                # The first frame, not the header, tells the size: it has the rotation applied.
                first = self._array(self._reader.get_batch([0]))
                self._next = None
                height, width = self._checked(first, 1).shape[1:3]
                self._scale_to((height, width), short_side)
                if self._size:
                    self._reader, self._next = self._open(), 0
            self.fps = float(self._reader.get_avg_fps())

    @staticmethod
    def require() -> None:
        """Raise ReaderNotAvailableError where decord is not installed.

        It is looked for, not imported: decord imported before the first CUDA tensor exists can crash the process
        (dmlc/decord#293), so the import waits until a video is read.
        """
        if importlib.util.find_spec("decord") is None:
            raise ReaderNotAvailableError(_MISSING.format(found="it is not installed"))

    def _scale_to(self, picture: tuple[int, int], short_side: int | None) -> None:
        size = scaled_size(*picture, short_side)
        if size != picture and size[1] in _BAD_WIDTHS:
            self._shrink_to = size
        elif size != picture:
            self._size = {"height": size[0], "width": size[1]}

    def _open(self) -> Any:
        options = {"ctx": self._decord.cpu(0), "num_threads": 1, "fault_tol": self._repeats, **self._size}
        return self._class(str(self._path), **options)

    @staticmethod
    def _array(batch: Any) -> Frames:
        # decord.bridge.set_bridge, called by other code in the process, changes the type that comes back
        array: Frames = np.asarray(batch.asnumpy() if hasattr(batch, "asnumpy") else batch)
        return array

    def __len__(self) -> int:
        return len(self._reader)

    def get_batch(self, indices: Indices) -> Frames:
        """Decode frames; see :class:`VideoReader`."""
        wanted = checked_indices(indices, len(self))
        with as_read_error(self._path, self.name, _HINT, _KNOWN, _FAULTS):
            frames = self._read_on(wanted) if self._in_order else self._jump(wanted)
            if self._shrink_to is not None:
                height, width = self._shrink_to
                frames = np.stack(
                    [cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA) for frame in frames]
                )
            return self._checked(frames, len(wanted))

    def _checked(self, frames: Frames, count: int) -> Frames:
        checked = checked_frames(frames, count, self._path, self.name, _HINT)
        checked_size(checked.shape[1], checked.shape[2], self._path, self.name, _HINT)
        return checked

    def _jump(self, wanted: list[int]) -> Frames:
        if self._measured or len(wanted) == 1:
            return self._array(self._reader.get_batch(wanted))
        first = self._checked(self._array(self._reader.get_batch(wanted[:1])), 1)  # before memory is taken for them all
        self._measured = True
        return np.concatenate((first, self._array(self._reader.get_batch(wanted[1:]))))

    def _read_on(self, wanted: list[int]) -> Frames:
        """Decode frame after frame up to the last one wanted: decord's own ``skip_frames`` jumps as well."""
        if self._next is None or min(wanted) < self._next:
            self._reader, self._next = self._open(), 0
        start, self._next = self._next, None
        needed, frames = set(wanted), {}
        for i in range(start, max(wanted) + 1):
            frame = self._reader.next()
            if i in needed:
                frames[i] = self._checked(self._array(frame)[np.newaxis], 1)[0]
        self._next = max(wanted) + 1
        return np.stack([frames[i] for i in wanted])

# SPDX-License-Identifier: Apache-2.0
"""Videos through decord (https://github.com/dmlc/decord)."""

from __future__ import annotations

import importlib
import importlib.util
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ...errors import ReaderNotAvailableError
from .base import Frames, Indices, as_read_error, checked_frames, checked_indices, scaled_size

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
_KNOWN = {
    "from_size == to_size": f"decord 0.6 cannot hand out pictures of this width (nor of any in {sorted(_BAD_WIDTHS)})",
    "cannot find video stream": "it has no video stream, or one in a codec that decord 0.6 does not know, such as AV1",
    "Failed to measure duration": "its header has neither duration nor frame count",
    "Error sending packet": "its data are corrupt",
}


def _decord() -> Any:
    # A damaged stream makes decord ask for the next packet 10240 times for each missing frame; give up sooner.
    # It reads the variable when a video is opened, so a value set by the user is respected.
    os.environ.setdefault("DECORD_EOF_RETRY_MAX", "1024")
    try:
        decord = importlib.import_module("decord")
    except (ImportError, OSError, RuntimeError) as error:  # OSError: its shared library does not load
        raise ReaderNotAvailableError(_MISSING.format(found=error)) from error
    decord.logging.set_level(decord.logging.QUIET)  # what FFmpeg prints is in the exception as well
    return decord


class DecordReader:
    """A video opened with decord, on the CPU with one thread (the DataLoader's workers are the parallelism).

    Open it where it is used: a decord reader that crosses into a worker process deadlocks (dmlc/decord#294). In VP9 and
    H.264 its frame numbers are exact. In HEVC, and in AVI with B-frames, decord 0.6 can be off by one frame after a
    jump; the pyav reader is exact there too.

    Args:
        path: the video file.
        short_side: decode at this shorter side in pixels where the video is larger; None: as it is.

    Raises:
        ReaderNotAvailableError: decord is not installed.
        VideoDecodeError: the file cannot be opened.
    """

    name = "decord"

    def __init__(self, path: str | Path, short_side: int | None = None) -> None:
        decord = _decord()
        self._path = Path(path)
        self._shrink_to: tuple[int, int] | None = None  # a size that decord itself fails at
        with as_read_error(self._path, self.name, _HINT, _KNOWN):
            self._reader = decord.VideoReader(str(path), ctx=decord.cpu(0), num_threads=1)
            if short_side is not None:
                # The first frame, not the header, tells the size: it has the rotation applied.
                first = self._array(self._reader.get_batch([0]))
                height, width = checked_frames(first, 1, self._path, self.name, _HINT).shape[1:3]
                size = scaled_size(height, width, short_side)
                if size != (height, width) and size[1] in _BAD_WIDTHS:
                    self._shrink_to = size
                elif size != (height, width):
                    self._reader = decord.VideoReader(
                        str(path), ctx=decord.cpu(0), num_threads=1, height=size[0], width=size[1]
                    )
            self.fps = float(self._reader.get_avg_fps())

    @staticmethod
    def require() -> None:
        """Raise ReaderNotAvailableError where decord is not installed.

        It is looked for, not imported: decord imported before the first CUDA tensor exists can crash the process
        (dmlc/decord#293), so the import waits until a video is read.
        """
        if importlib.util.find_spec("decord") is None:
            raise ReaderNotAvailableError(_MISSING.format(found="it is not installed"))

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
        with as_read_error(self._path, self.name, _HINT, _KNOWN):
            frames = self._array(self._reader.get_batch(wanted))
            if self._shrink_to is not None:
                height, width = self._shrink_to
                frames = np.stack(
                    [cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA) for frame in frames]
                )
            return checked_frames(frames, len(wanted), self._path, self.name, _HINT)

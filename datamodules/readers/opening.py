# SPDX-License-Identifier: Apache-2.0
"""Open a video: what every reader needs checked first, the time limit, and the reader that takes over from decord."""

from __future__ import annotations

import functools
from pathlib import Path

from ...errors import VideoDecodeError
from .base import VideoReader
from .fallback import FallbackReader
from .limited_reader import LimitedReader
from .registry import READERS, resolve_reader
from .time_limit import time_limit_in_seconds
from .traits import read_traits

__all__ = ("open_video",)

_OF_FILES = ("decord", "pyav", "torchcodec")


def open_video(
    path: str | Path, reader: str = "decord", short_side: int | None = None, time_limit: float | None = None
) -> VideoReader:
    """Open a video file, or a folder of frames.

    With ``decord``, a file that it is known to fail at is read by another installed reader, with a warning (see
    ``docs/videos.md``). The other readers are used for every file.

    Args:
        path: the file; for the reader ``frames`` the folder.
        reader: ``decord``, ``torchcodec``, ``pyav`` or ``frames``.
        short_side: decode at this shorter side in pixels where the video is larger (aspect kept, never enlarged).
        time_limit: seconds that opening, and every 64 frames of a call, may take; 0: no limit; None: the environment
            variable STATICDROPOUT_VIDEO_TIMEOUT, or else 60.

    Returns:
        An open reader. Its calls run in a helper thread, so that one which hangs is an error and not the end of the
        training.

    Raises:
        UnknownNameError: there is no reader of this name.
        ReaderNotAvailableError: the reader's library is not installed or does not load.
        OptionError: the time limit is not a number from 0 on.
        VideoDecodeError: the video is not there, cannot be opened, or took too long.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for i in range(1, 4):
        ...         Image.new("RGB", (40, 30)).save(f"{folder}/{i:04d}.jpg")
        ...     video = open_video(folder, reader="frames", short_side=15)
        ...     len(video), video.get_batch([0, 2]).shape
        (3, (2, 15, 20, 3))
    """
    name, path = resolve_reader(reader), Path(path)
    open_reader = functools.partial(_open, path, name, short_side)
    return LimitedReader(path, name, open_reader, time_limit_in_seconds(time_limit))


def _open(path: Path, name: str, short_side: int | None) -> VideoReader:
    if not path.exists():
        hint = "Check the folder, or run `staticdropout data check`."
        raise VideoDecodeError(path, name, "there is no such file", hint)
    if name in _OF_FILES:
        _check_file(path, name)
    if name == "decord":
        return FallbackReader(path, short_side)
    return READERS[name](path, short_side=short_side)


def _check_file(path: Path, name: str) -> None:
    if path.is_dir():
        raise VideoDecodeError(path, name, "it is a folder", "Folders of frames are read with --data.reader frames.")
    try:
        traits = read_traits(path)
    except OSError as error:
        raise VideoDecodeError(path, name, str(error), "Check that the file may be read.") from error
    if traits.size == 0:
        raise VideoDecodeError(path, name, "the file is empty (0 bytes)", "Its download broke off: fetch it again.")
    if traits.missing:
        # a decoder would show what is there and make up the rest of the last picture
        found = f"the file is cut off: {traits.size} bytes of {traits.found.end} that its header promises"
        hint = "Fetch it again; or make a shorter video of what is there: ffmpeg -i FILE -c copy NEW."
        raise VideoDecodeError(path, name, found, hint)

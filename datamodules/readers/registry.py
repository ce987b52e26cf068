# SPDX-License-Identifier: Apache-2.0
"""Video readers by name."""

from __future__ import annotations

import functools
import warnings
from pathlib import Path
from typing import Protocol

from ...errors import ReaderNotAvailableError, UnknownNameError, VideoDecodeError
from .base import VideoReader
from .decord_reader import DecordReader
from .frames_reader import FramesReader
from .pyav_reader import PyAVReader
from .torchcodec_reader import TorchCodecReader

__all__ = ("READERS", "ReaderClass", "open_video", "resolve_reader")


class ReaderClass(Protocol):
    """A class of readers: called with a path and a short side it opens a video; ``require`` tells whether it can."""

    def __call__(self, path: str | Path, short_side: int | None = None) -> VideoReader:
        """Open a video."""
        ...

    def require(self) -> None:
        """Raise ReaderNotAvailableError where the library behind the reader is absent."""
        ...


READERS: dict[str, ReaderClass] = {
    "decord": DecordReader,
    "frames": FramesReader,
    "pyav": PyAVReader,
    "torchcodec": TorchCodecReader,
}
"""The readers by name. Put your own class in here to use it as ``--data.reader NAME``."""

_INSTEAD_OF_DECORD = ("torchcodec", "pyav")


@functools.cache  # so that the warning comes once in a process
def resolve_reader(name: str = "decord") -> str:
    """Return the name of the reader that will be used when ``name`` is asked for.

    That is ``name`` itself, except that another installed reader takes the place of decord where decord is not
    installed (it has no wheels for ARM or recent macOS); a warning says so once.

    Raises:
        UnknownNameError: there is no reader of this name.
        ReaderNotAvailableError: its library is not installed, and for decord no other one is either.

    Example:
        >>> resolve_reader("frames")
        'frames'
    """
    if name not in READERS:
        raise UnknownNameError("video reader", name, READERS)
    try:
        READERS[name].require()
    except ReaderNotAvailableError:
        if name != "decord":
            raise
        for other in _INSTEAD_OF_DECORD:
            try:
                READERS[other].require()
            except ReaderNotAvailableError:
                continue
            warnings.warn(
                f"The video reader 'decord' is not installed here, {other!r} takes its place. "
                f"Choose it by name (--data.reader {other}) to silence this.",
                stacklevel=2,
            )
            return other
        raise
    return name


def open_video(path: str | Path, reader: str = "decord", short_side: int | None = None) -> VideoReader:
    """Open a video file, or a folder of frames.

    Args:
        path: the file; for the reader ``frames`` the folder.
        reader: ``decord``, ``torchcodec``, ``pyav`` or ``frames``.
        short_side: decode at this shorter side in pixels where the video is larger (aspect kept, never enlarged).

    Returns:
        An open reader. Use it in the process and for the call that opened it, and open it anew the next time.

    Raises:
        UnknownNameError: there is no reader of this name.
        ReaderNotAvailableError: the reader's library is not installed or does not load.
        VideoDecodeError: the video is not there or cannot be opened.

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
    if not path.exists():
        raise VideoDecodeError(
            path, name, "there is no such file", "Check the folder, or run `staticdropout data check`."
        )
    if path.is_dir() and name in ("decord", "pyav", "torchcodec"):
        raise VideoDecodeError(path, name, "it is a folder", "Folders of frames are read with --data.reader frames.")
    if path.is_file() and path.stat().st_size == 0:
        raise VideoDecodeError(path, name, "the file is empty (0 bytes)", "Its download broke off: fetch it again.")
    return READERS[name](path, short_side=short_side)

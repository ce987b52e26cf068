# SPDX-License-Identifier: Apache-2.0
"""Video readers by name."""

from __future__ import annotations

import functools
import warnings
from pathlib import Path
from typing import Protocol

from ...errors import ReaderNotAvailableError, UnknownNameError
from .base import VideoReader
from .decord_reader import DecordReader
from .frames_reader import FramesReader
from .pyav_reader import PyAVReader
from .torchcodec_reader import TorchCodecReader

__all__ = ("READERS", "ReaderClass", "resolve_reader")


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

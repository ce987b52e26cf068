# SPDX-License-Identifier: Apache-2.0
"""Another reader for the files at which decord is known to fail."""

from __future__ import annotations

import warnings
from pathlib import Path

from ...errors import ReaderNotAvailableError, VideoDecodeError
from .base import Frames, Indices, ReaderFaultError, VideoReader
from .registry import READERS
from .traits import Traits, read_traits

__all__ = ("FallbackReader",)

_FIRST = "decord"
_OTHERS = ("torchcodec", "pyav")
_ANYWHERE = ("pyav",)  # torchcodec numbers frames wrongly in MPEG streams and AVI, and counts hidden ones in VP8
_CONTAINERS = ("mp4", "matroska", "avi")
_TAIL = 2  # frames that readers may differ in their count
_INSTALL = "Another reader that is installed takes over by itself: pip install av."

_warned: set[str] = set()  # kinds of fault


def _known_beforehand(traits: Traits) -> str:
    """The fault that decord is sure to have at a file, though it would read it; empty: none."""
    if traits.container not in _CONTAINERS:
        return "decord 0.6 is trusted with MP4, MOV, WebM, Matroska and AVI only"
    if traits.hidden:
        return "decord 0.6 counts frames that are never shown (an edit list or VP8 hides them)"
    return ""


def _takers(traits: Traits) -> tuple[str, ...]:
    """The readers that may take decord's place, in this order."""
    vp8 = traits.container == "matroska" and traits.hidden
    avi = traits.container == "avi" and not traits.jumpable
    return _ANYWHERE if vp8 or avi or traits.container not in _CONTAINERS else _OTHERS


class FallbackReader:
    """decord, or one other reader in its place where the file is one that decord is known to fail at.

    The other reader is torchcodec or else pyav, whichever is installed. It takes over once: where it fails as well, the
    file counts as unreadable. A warning names file, fault and reader, once for each kind of fault in a process. Where
    no other reader is installed, decord does what it can.

    Args:
        path: the video file.
        short_side: decode at this shorter side in pixels where the video is larger; None: as it is.

    Attributes:
        reader: name of the reader in use.

    Raises:
        VideoDecodeError: neither reader can read the file.
    """

    def __init__(self, path: str | Path, short_side: int | None = None) -> None:
        self._path, self._short_side = Path(path), short_side
        self.reader, self._fault = _FIRST, ReaderFaultError(path)
        try:
            traits = read_traits(path)
        except OSError as error:
            raise VideoDecodeError(path, _FIRST, str(error), "Check that the file may be read.") from error
        self._others = _takers(traits)
        reason = _known_beforehand(traits)
        reader = self._other(ReaderFaultError(path, _FIRST, reason)) if reason else None
        self._reader = reader if reader is not None else self._first()
        self._length, self.fps = len(self._reader), self._reader.fps

    def _first(self) -> VideoReader:
        try:
            return READERS[_FIRST](self._path, short_side=self._short_side)
        except ReaderFaultError as fault:
            return self._in_its_place(fault)

    def _in_its_place(self, fault: ReaderFaultError) -> VideoReader:
        reader = self._other(fault)
        if reader is None:
            raise VideoDecodeError(self._path, _FIRST, fault.reason, _INSTALL) from fault
        return reader

    def _other(self, fault: ReaderFaultError) -> VideoReader | None:
        """The video opened with another reader; None where none is installed."""
        for name in self._others:
            try:
                reader = READERS[name](self._path, short_side=self._short_side)
            except ReaderNotAvailableError:
                continue
            except VideoDecodeError as error:
                raise self._both(fault, error) from error
            self.reader, self._fault = name, fault
            if fault.kind not in _warned:
                _warned.add(fault.kind)
                warnings.warn(
                    f"The video reader 'decord' fails at {str(self._path)!r}: {fault.reason}. {name!r} takes its place "
                    f"there, and without a warning at other files like it.",
                    stacklevel=2,
                )
            return reader
        return None

    def _both(self, fault: ReaderFaultError, error: VideoDecodeError) -> VideoDecodeError:
        reason = f"{fault.reason}; reader {error.reader!r} took over and failed as well: {error.reason}"
        return VideoDecodeError(self._path, _FIRST, reason, error.hint)

    def __len__(self) -> int:
        return self._length

    def get_batch(self, indices: Indices) -> Frames:
        """Decode frames; see :class:`VideoReader`."""
        if self.reader == _FIRST:
            try:
                return self._reader.get_batch(indices)
            except ReaderFaultError as fault:
                self._reader = self._in_its_place(fault)
        try:
            return self._reader.get_batch(self._within(indices))
        except VideoDecodeError as error:
            raise self._both(self._fault, error) from error

    def _within(self, indices: Indices) -> Indices:
        """The indices, where decord has counted a frame or two more than the reader in its place has."""
        length = len(self._reader)
        if length >= self._length or not all(0 <= i < self._length for i in indices):
            return indices
        if self._length - length > _TAIL:
            counted = f"decord counts {self._length} frames, {self.reader} {length}"
            raise VideoDecodeError(self._path, self.reader, counted, f"Choose --data.reader {self.reader}.")
        return [min(int(i), length - 1) for i in indices]

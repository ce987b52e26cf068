# SPDX-License-Identifier: Apache-2.0
"""Recognise the container of a video by its first bytes, and what its header tells."""

from __future__ import annotations

import functools
import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from .avi_traits import describe_avi
from .description import Description
from .matroska_traits import describe_matroska
from .mp4_traits import describe_mp4

__all__ = ("Traits", "read_traits")

_HEAD = 65536  # bytes: holds the track headers of WebM, Matroska and AVI, and the first picture
_FIRST_BOXES = {b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"}
_TS_PACKETS = ((188, 0), (192, 4), (204, 0))  # lengths of MPEG-TS packets, and where in them the sync byte stands
_TS_SYNC = 0x47
_HEVC = {"hvc1", "hev1", "V_MPEGH/ISO/HEVC"}

Parser = Callable[[BinaryIO, bytes, int], Description]
_PARSERS: dict[str, Parser] = {"avi": describe_avi, "matroska": describe_matroska, "mp4": describe_mp4}


@dataclass(frozen=True)
class Traits:
    """What is known of a file before a decoder opens it.

    Attributes:
        container: ``mp4`` (also MOV), ``matroska`` (also WebM), ``avi``, ``mpegts``, ``mpegps`` or ``other``.
        size: bytes in the file.
        found: what its header tells.
    """

    container: str
    size: int
    found: Description

    @property
    def jumpable(self) -> bool:
        """Whether a decoder that jumps to a key frame counts frames right; False where that is not known."""
        return self.found.jumpable

    @property
    def hidden(self) -> bool:
        """Whether the frame count may include frames that are never shown."""
        return self.found.hidden

    @property
    def hevc(self) -> bool:
        """Whether the video is HEVC (H.265)."""
        return self.found.codec in _HEVC

    @property
    def picture(self) -> tuple[int, int] | None:
        """Height and width of the first picture as it is shown; None: only a decoder can tell."""
        return self.found.picture if all(self.found.picture) else None

    @property
    def missing(self) -> int:
        """Bytes that the header promises and the file does not hold: it was cut off."""
        return max(0, self.found.end - self.size)

    @property
    def absurd(self) -> bool:
        """Whether the header is damaged, or promises more frames or seconds than the file has bytes."""
        return self.found.frames > self.size


def _container(head: bytes) -> str:
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return "matroska"
    if head[4:8] in _FIRST_BOXES:
        return "mp4"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "avi"
    if head[:4] == b"\x00\x00\x01\xba":
        return "mpegps"
    for length, start in _TS_PACKETS:
        if len(head) > start + 2 * length and {head[start + i * length] for i in range(3)} == {_TS_SYNC}:
            return "mpegts"
    return "other"


@functools.lru_cache(maxsize=16)  # policy and reader ask for the same file one after the other
def _read(path: str, size: int, changed: int) -> Traits:
    with Path(path).open("rb") as file:
        head = file.read(_HEAD)
        container = _container(head)
        try:
            found = _PARSERS[container](file, head, size) if container in _PARSERS else Description()
        except (struct.error, IndexError, ValueError, OverflowError):
            found = Description(frames=math.inf)
    return Traits(container, size, found)


def read_traits(path: str | Path) -> Traits:
    """Read the header of a video file: a tenth of a millisecond, and no decoder involved.

    Raises:
        OSError: the file cannot be opened or read.

    Example:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile() as file:
        ...     _ = file.write(b"RIFF" + bytes(4) + b"AVI ")
        ...     file.flush()
        ...     read_traits(file.name).container
        'avi'
    """
    status = Path(path).stat()
    return _read(str(path), status.st_size, status.st_mtime_ns)

# SPDX-License-Identifier: Apache-2.0
"""The header of an AVI file."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import replace
from typing import BinaryIO

from .description import Description
from .mpeg4_visual import has_no_b_frames

__all__ = ("codec_is_jumpable", "describe_avi")

_INTRA = {"MJPG", "MJPA", "AVRN", "DMB1", "HFYU", "FFVH", "FFV1", "DIB ", "RAW ", "\0\0\0\0", "CVID", "DVSD"}
_FORWARD = {"DIV3", "DIV4", "MP42", "MP43"}  # old Microsoft codecs, which have no B-frames
_MPEG4 = {"XVID", "DIVX", "DX50", "FMP4", "MP4V", "DIV1", "3IV2", "M4S2", "RMP4"}
_UNKNOWN = 0xFFFFFF00  # sizes from here on are what a program writes that cannot go back to fill them in


def codec_is_jumpable(fourcc: str, head: bytes) -> bool:
    """Whether decoding can start at every key frame of this codec, frame numbers being counted in stored order."""
    name = fourcc.upper()
    return name in _INTRA or name in _FORWARD or (name in _MPEG4 and has_no_b_frames(head))


def _chunks(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """The chunks between two bytes: name, first byte, length as stated (which may reach beyond ``data``)."""
    while start + 8 <= min(end, len(data)):
        name, length = struct.unpack_from("<4sI", data, start)
        yield name, start + 8, length
        start += 8 + length + length % 2


def describe_avi(file: BinaryIO, head: bytes, size: int) -> Description:
    """Describe an AVI file by its first bytes; see :class:`Description`."""
    found, end = Description(), 0
    for name, at, length in _chunks(head, 12, len(head)):
        kind = head[at : at + 4]
        if (name, kind) == (b"LIST", b"movi"):
            end = at + length if 4 < length < _UNKNOWN else 0
            break
        if (name, kind) == (b"LIST", b"hdrl"):
            found = _header(head, at + 4, at + length)
    return replace(found, end=end)


def _header(head: bytes, start: int, end: int) -> Description:
    found: list[Description] = []
    for _, stream, length in _chunks(head, start, end):
        if head[stream : stream + 4] != b"strl":
            continue
        parts = {name: at for name, at, _ in _chunks(head, stream + 4, stream + length)}
        at = parts.get(b"strh", -1)
        if at < 0 or head[at : at + 4] != b"vids":
            continue
        (promised,) = struct.unpack_from("<I", head, at + 32)
        fourcc = head[parts[b"strf"] + 16 : parts[b"strf"] + 20].decode("latin-1") if b"strf" in parts else ""
        found.append(Description(codec_is_jumpable(fourcc, head), frames=promised, codec=fourcc))
    return found[0] if found else Description()

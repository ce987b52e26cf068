# SPDX-License-Identifier: Apache-2.0
"""The header of a Matroska or WebM file."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import replace
from typing import BinaryIO

from .avi_traits import codec_is_jumpable
from .description import Description
from .mpeg4_visual import has_no_b_frames

__all__ = ("describe_matroska",)

_SEGMENT, _INFO, _TRACKS, _TRACK, _CLUSTER = 0x18538067, 0x1549A966, 0x1654AE6B, 0xAE, 0x1F43B675
_SCALE, _DURATION, _TYPE, _CODEC, _PRIVATE = 0x2AD7B1, 0x4489, 0x83, 0x86, 0x63A2
_VIDEO = 1
_VP8 = "V_VP8"  # counts frames that are never shown (alt-ref), and a jump can land on one
_JUMPABLE = ("V_VP9", "V_AV1", "V_MJPEG", "V_PRORES", "V_FFV1", "V_UNCOMPRESSED")
# x264 states its options in the first picture: all key frames start afresh where both of these are off
_CLOSED = re.compile(rb"x264 - core.{0,1500}?open_gop=0.{0,400}?intra_refresh=0", re.DOTALL)


def _number(data: bytes, at: int, keep_marker: bool) -> tuple[int, int]:
    """An EBML number of variable length, and the byte after it; -1: a size that is not known."""
    width = 9 - data[at].bit_length()
    value = int.from_bytes(data[at : at + width], "big")
    if not keep_marker:
        value &= (1 << (7 * width)) - 1
        if value == (1 << (7 * width)) - 1:
            value = -1
    return value, at + width


def _elements(data: bytes, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """The elements between two bytes: id, first byte, size as stated (-1: not known)."""
    while start < min(end, len(data)):
        kind, at = _number(data, start, keep_marker=True)
        length, at = _number(data, at, keep_marker=False)
        yield kind, at, length
        if length < 0:
            return
        start = at + length


def describe_matroska(file: BinaryIO, head: bytes, size: int) -> Description:
    """Describe a Matroska or WebM file by its first bytes; see :class:`Description`."""
    for kind, start, length in _elements(head, 0, len(head)):
        if kind == _SEGMENT:
            end = start + length if length >= 0 else 0
            found = Description(end=end)
            try:
                for part, at, extent in _elements(head, start, len(head)):
                    if part == _INFO:
                        found = replace(found, frames=_seconds(head, at, at + extent))
                    elif part == _TRACKS:
                        jumpable, codec = _tracks(head, at, at + extent)
                        found = replace(found, jumpable=jumpable, hidden=codec == _VP8, codec=codec)
                    elif part == _CLUSTER:
                        break
            except (IndexError, struct.error):  # a file of some bytes: what it should have been is still known
                pass
            return found
    return Description()


def _seconds(head: bytes, start: int, end: int) -> float:
    scale, duration = 1_000_000, 0.0
    for kind, at, length in _elements(head, start, end):
        if kind == _SCALE:
            scale = int.from_bytes(head[at : at + length], "big")
        elif kind == _DURATION:
            (duration,) = struct.unpack_from(">d" if length == 8 else ">f", head, at)
    return duration * scale / 1e9


def _tracks(head: bytes, start: int, end: int) -> tuple[bool, str]:
    """Whether all video tracks are jumpable, and the codec of the first."""
    jumpable, codec = True, ""
    for kind, at, length in _elements(head, start, end):
        if kind != _TRACK:
            continue
        fields = {field: head[first : first + extent] for field, first, extent in _elements(head, at, at + length)}
        if int.from_bytes(fields.get(_TYPE, b""), "big") == _VIDEO:
            name = fields.get(_CODEC, b"").decode("latin-1")
            jumpable = jumpable and _codec_is_jumpable(name, fields.get(_PRIVATE, b""), head)
            codec = codec or name
    return jumpable and bool(codec), codec


def _codec_is_jumpable(codec: str, private: bytes, head: bytes) -> bool:
    if codec == "V_MPEG4/ISO/AVC":
        return _CLOSED.search(head) is not None
    if codec in ("V_MPEG4/ISO/SP", "V_MPEG4/ISO/ASP", "V_MPEG4/ISO/AP"):
        return has_no_b_frames(private)
    if codec == "V_MS/VFW/FOURCC":
        return codec_is_jumpable(private[16:20].decode("latin-1"), head)
    return codec.startswith(_JUMPABLE)

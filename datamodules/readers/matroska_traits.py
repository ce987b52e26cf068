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
from .vp9_header import vp9_size

__all__ = ("describe_matroska",)

_SEGMENT, _INFO, _TRACKS, _TRACK, _CLUSTER = 0x18538067, 0x1549A966, 0x1654AE6B, 0xAE, 0x1F43B675
_SCALE, _DURATION, _TYPE, _CODEC, _PRIVATE = 0x2AD7B1, 0x4489, 0x83, 0x86, 0x63A2
_SEEK, _TAGS, _BLOCK_GROUP, _BLOCKS = 0x114D9B74, 0x1254C367, 0xA0, (0xA3, 0xA1)
_NUMBER, _PICTURE, _ENCODINGS = 0xD7, 0xE0, 0x6D80
_CHANGED = {0x7670, 0x54AA, 0x54BB, 0x54CC, 0x54DD}  # projection (it can turn the picture) and cropping
_VIDEO = 1
_VP9 = "V_VP9"
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
            found, parts = Description(end=end), set[int]()
            videos: list[dict[int, bytes]] = []
            try:
                for part, at, extent in _elements(head, start, len(head)):
                    if part == _INFO:
                        found = replace(found, frames=_seconds(head, at, at + extent))
                    elif part == _TRACKS:
                        videos = _videos(head, at, at + extent)
                        jumpable, codec = _codecs(videos, head)
                        found = replace(found, jumpable=jumpable, hidden=codec == _VP8, codec=codec)
                    elif part == _CLUSTER:
                        if not _may_be_turned(head[start:at], parts):
                            found = replace(found, picture=_first_picture(head, videos, at))
                        break
                    parts.add(part)
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


def _videos(head: bytes, start: int, end: int) -> list[dict[int, bytes]]:
    """The fields of each video track."""
    tracks = [
        {field: head[first : first + extent] for field, first, extent in _elements(head, at, at + length)}
        for kind, at, length in _elements(head, start, end)
        if kind == _TRACK
    ]
    return [fields for fields in tracks if int.from_bytes(fields.get(_TYPE, b""), "big") == _VIDEO]


def _codecs(videos: list[dict[int, bytes]], head: bytes) -> tuple[bool, str]:
    """Whether all video tracks are jumpable, and the codec of the first."""
    names = [fields.get(_CODEC, b"").decode("latin-1") for fields in videos]
    each = zip(names, videos, strict=True)
    jumpable = all(_codec_is_jumpable(name, fields.get(_PRIVATE, b""), head) for name, fields in each)
    codec = next(filter(None, names), "")
    return jumpable and bool(codec), codec


def _may_be_turned(before: bytes, parts: set[int]) -> bool:
    """Whether a tag may ask for a rotation, which decord obeys, by what stands before the pictures."""
    tags, seek = (kind.to_bytes(4, "big") for kind in (_TAGS, _SEEK))
    behind = _TAGS not in parts and tags in before  # the index says that there are tags
    return behind or before.count(seek) > 1 or b"rotate" in before.lower()


def _first_picture(head: bytes, videos: list[dict[int, bytes]], cluster: int) -> tuple[int, int]:
    """Height and width of the first picture, where it is VP9 and shown as it is stored; (0, 0) elsewhere."""
    if len(videos) != 1 or videos[0].get(_CODEC) != _VP9.encode() or _ENCODINGS in videos[0]:
        return 0, 0
    picture = videos[0].get(_PICTURE, b"")
    if any(kind in _CHANGED for kind, _, _ in _elements(picture, 0, len(picture))):
        return 0, 0
    for kind, at, length in _elements(head, cluster, len(head)):
        blocks = _elements(head, at, at + length) if kind == _BLOCK_GROUP else [(kind, at, length)]
        for block, first, _ in blocks:
            if block in _BLOCKS:
                track, first = _number(head, first, keep_marker=False)
                if track == int.from_bytes(videos[0].get(_NUMBER, b""), "big"):
                    laced = head[first + 2] & 6  # several frames in a block: usual in sound only
                    return (0, 0) if laced else vp9_size(head[first + 3 : first + 12])
    return 0, 0


def _codec_is_jumpable(codec: str, private: bytes, head: bytes) -> bool:
    if codec == "V_MPEG4/ISO/AVC":
        return _CLOSED.search(head) is not None
    if codec in ("V_MPEG4/ISO/SP", "V_MPEG4/ISO/ASP", "V_MPEG4/ISO/AP"):
        return has_no_b_frames(private)
    if codec == "V_MS/VFW/FOURCC":
        return codec_is_jumpable(private[16:20].decode("latin-1"), head)
    return codec.startswith(_JUMPABLE)

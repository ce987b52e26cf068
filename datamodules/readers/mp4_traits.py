# SPDX-License-Identifier: Apache-2.0
"""The header of an MP4 or MOV file."""

from __future__ import annotations

import math
import struct
from dataclasses import replace
from typing import BinaryIO

from .description import Description
from .mp4_boxes import Box, SampleTables, child, children, top_level
from .mpeg4_visual import has_no_b_frames

__all__ = ("describe_mp4",)

_MAX_HEADER = 1 << 26  # 64 MiB: the tables of days of video
_JUMPABLE = {b"vp09", b"av01", b"jpeg", b"mjpa", b"mjpb", b"png ", b"apch", b"apcn", b"apcs", b"apco", b"ap4h"}
_AVC = {b"avc1", b"avc3"}
_MAX_CHECKED = 64  # key frames that are looked at
_IDR = 5  # NAL unit types of H.264: 1 to 5 are slices, 5 those of a picture that starts afresh


def describe_mp4(file: BinaryIO, head: bytes, size: int) -> Description:
    """Describe an MP4 or MOV file by its boxes, wherever they stand; see :class:`Description`."""
    end, moov = 0, None
    for box in top_level(file, size):
        if box.kind in (b"mdat", b"moov"):
            end = max(end, box.end)
        if box.kind == b"moov" and moov is None:
            moov = box
    if moov is None or moov.end > size or moov.end - moov.start > _MAX_HEADER:
        return Description(end=end)
    file.seek(moov.start)
    data = file.read(moov.end - moov.start)
    try:
        return replace(_tracks(file, data), end=end)
    except (struct.error, IndexError, ValueError):  # where the file should end is still known
        return Description(frames=math.inf, end=end)


def _tracks(file: BinaryIO, data: bytes) -> Description:
    """All video tracks as one, since readers choose among them: jumpable where all are, hidden where one is."""
    whole = Box(b"moov", 0, len(data))
    movie_scale, duration = _scale(data, child(data, whole, b"mvhd"))
    found: list[Description] = []
    for track in children(data, 0, len(data)):
        handler = child(data, track, b"mdia", b"hdlr") if track.kind == b"trak" else None
        if handler is None or data[handler.start + 8 : handler.start + 12] != b"vide":
            continue
        table = child(data, track, b"mdia", b"minf", b"stbl")
        if table is not None:
            tables, codecs = SampleTables(data, table), child(data, table, b"stsd")
            jumpable, hidden = _jumpable(file, data, codecs, tables), _hidden(data, track, tables, movie_scale)
            codec = data[codecs.start + 12 : codecs.start + 16].decode("latin-1") if codecs is not None else ""
            found.append(Description(jumpable, hidden, tables.count, codec))
    if not found:
        return Description()
    frames = max(one.frames for one in found)
    return Description(
        jumpable=all(one.jumpable for one in found),
        hidden=any(one.hidden for one in found),
        frames=frames or duration / max(1, movie_scale),  # a file in fragments has no count up front
        codec=found[0].codec,
    )


def _scale(data: bytes, header: Box | None) -> tuple[int, int]:
    """Time scale and duration of a ``mvhd`` or ``mdhd`` box."""
    if header is None:
        return 0, 0
    long = data[header.start] == 1
    scale, duration = struct.unpack_from(">IQ" if long else ">II", data, header.start + (20 if long else 12))
    return int(scale), int(duration)


def _hidden(data: bytes, track: Box, tables: SampleTables, movie_scale: int) -> bool:
    """Whether the edit list leaves out frames at the start or at the end."""
    box = child(data, track, b"edts", b"elst")
    if box is None or not tables.count:
        return False
    layout, step = (">Qq", 20) if data[box.start] == 1 else (">Ii", 12)
    starts = range(box.start + 8, box.end - step + 1, step)
    entries = (struct.unpack_from(layout, data, at) for at in starts)
    shown = [(length, time) for length, time in entries if time >= 0]  # -1: nothing is shown for a while
    if len(shown) != 1:
        return len(shown) > 1
    length, time = shown[0]
    # encoders with B-frames shift all pictures by the first one's delay, and an edit that takes it back hides nothing
    if time > tables.first_shift:
        return True
    scale, duration = _scale(data, child(data, track, b"mdia", b"mdhd"))
    if not (movie_scale and length):
        return False
    slack = max(duration / tables.count, scale / movie_scale)  # a frame, or what the coarser clock rounds away
    return bool(length / movie_scale * scale < duration - time - slack)


def _jumpable(file: BinaryIO, data: bytes, description: Box | None, tables: SampleTables) -> bool:
    if description is None:
        return False
    entries = list(children(data, description.start + 8, description.end))
    kinds = {entry.kind for entry in entries}
    if kinds and kinds <= _JUMPABLE:
        return True
    text = data[description.start : description.end]
    if kinds == {b"mp4v"}:
        return has_no_b_frames(text)
    if len(entries) != 1 or not kinds <= _AVC or not tables.count:
        return False
    if tables.all_sync:
        return True
    config = text.find(b"avcC")
    width = (text[config + 8] & 3) + 1 if config >= 0 else 4
    samples = tables.sync_samples()[:_MAX_CHECKED]
    return bool(len(samples)) and all(_starts_afresh(file, int(at), width) for at in tables.offsets(samples))


def _starts_afresh(file: BinaryIO, at: int, width: int) -> bool:
    """Whether the picture at a byte of the file is one of H.264 that refers to none before it."""
    for _ in range(16):  # parameter sets and messages stand before the picture
        file.seek(at)
        header = file.read(width + 1)
        kind = header[width] & 31
        if 1 <= kind <= _IDR:
            return kind == _IDR
        at += width + int.from_bytes(header[:width], "big")
    return False

# SPDX-License-Identifier: Apache-2.0
"""The boxes of an MP4 or MOV file, and the tables of samples in them (ISO/IEC 14496-12)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

__all__ = ("Box", "Integers", "SampleTables", "child", "children", "integers", "top_level")

Integers = NDArray[np.int64]
_MAX_BOXES = 4096  # at the top level of a file; one in fragments has two a fragment


@dataclass(frozen=True)
class Box:
    """A box: its four letters, and where its content starts and ends."""

    kind: bytes
    start: int
    end: int


def _box(header: bytes, at: int, limit: int) -> Box:
    length, kind = struct.unpack_from(">I4s", header)
    size = 8
    if length == 1:
        (length,), size = struct.unpack_from(">Q", header, 8), 16
    elif length == 0:
        length = limit - at
    if length < size:
        raise ValueError(f"a box of {length} bytes")
    return Box(kind, at + size, at + length)


def top_level(file: BinaryIO, size: int) -> Iterator[Box]:
    """The boxes of a file; the last one may reach beyond its end, where the file was cut off."""
    at = 0
    for _ in range(_MAX_BOXES):
        if at + 8 > size:
            return
        file.seek(at)
        box = _box(file.read(16), at, size)
        yield box
        at = box.end


def children(data: bytes, start: int, end: int) -> Iterator[Box]:
    """The boxes between two bytes; ValueError where one reaches beyond."""
    while start + 8 <= end:
        box = _box(data[start : start + 16], start, end)
        if box.end > end:
            raise ValueError(f"a box {box.kind!r} larger than the one around it")
        yield box
        start = box.end


def child(data: bytes, parent: Box, *kinds: bytes) -> Box | None:
    """The first box below a box, one level for each of ``kinds``."""
    for kind in kinds:
        found = next((box for box in children(data, parent.start, parent.end) if box.kind == kind), None)
        if found is None:
            return None
        parent = found
    return parent


def integers(data: bytes, box: Box | None, skip: int = 8, width: int = 4) -> Integers:
    """The unsigned integers of a box after ``skip`` bytes (version, flags, count); none where there is no box."""
    if box is None:
        return np.empty(0, np.int64)
    start = min(box.start + skip, box.end)
    count = (box.end - start) // width
    return np.frombuffer(data, f">u{width}", count, start).astype(np.int64)


class SampleTables:
    """Where the samples (frames) of a track lie in the file.

    Args:
        data: the bytes that hold the ``moov`` box.
        table: the track's ``stbl`` box.
    """

    def __init__(self, data: bytes, table: Box) -> None:
        boxes = {box.kind: box for box in children(data, table.start, table.end)}
        self._data, self._boxes = data, boxes
        times = integers(data, boxes.get(b"stts"))
        stated = integers(data, boxes.get(b"stts"), skip=4)[:1].sum()
        if 2 * stated > len(times):  # decoders read as many entries as stated, whatever follows the box
            raise ValueError(f"a table of times with {stated} entries in a box for {len(times) // 2}")
        shifts = integers(data, boxes.get(b"ctts"))
        sizes = integers(data, boxes.get(b"stsz"), skip=4)
        self.count = int(max(times[0::2].sum(), sizes[1] if len(sizes) > 1 else 0))
        self.first_shift = int(shifts[1]) if len(shifts) > 1 else 0
        self.all_sync = b"stss" not in boxes
        self._sizes = sizes[2:] if len(sizes) > 2 else sizes[:1]

    def sync_samples(self) -> Integers:
        """Numbers, from 0, of the samples marked as key frames."""
        return integers(self._data, self._boxes.get(b"stss")) - 1

    def offsets(self, samples: Integers) -> Integers:
        """The byte of the file at which each sample starts; ValueError where the tables contradict each other."""
        runs = integers(self._data, self._boxes.get(b"stsc")).reshape(-1, 3)
        chunks = integers(self._data, self._boxes.get(b"stco"))
        if not len(chunks):
            chunks = integers(self._data, self._boxes.get(b"co64"), width=8)
        first, each = runs[:, 0] - 1, runs[:, 1]
        if not len(runs) or (each < 1).any() or (samples < 0).any():
            raise ValueError("no table of chunks")
        starts = np.concatenate(([0], np.cumsum(np.diff(first) * each[:-1])))  # first sample of each run
        run = np.searchsorted(starts, samples, side="right") - 1
        within = samples - starts[run]
        leading = samples - within % each[run]  # the first sample of the chunk
        chunk = first[run] + within // each[run]
        if len(self._sizes) > 1:
            sums = np.concatenate(([0], np.cumsum(self._sizes)))
            before = sums[samples] - sums[leading]
        else:
            before = (samples - leading) * self._sizes[0]
        return np.asarray(chunks[chunk] + before, np.int64)

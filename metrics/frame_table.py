# SPDX-License-Identifier: Apache-2.0
"""A metric that keeps a row of numbers for every frame it has seen, so that sequences are put together at the end."""

from __future__ import annotations

import math
from abc import ABC
from collections.abc import Iterable, Sequence, Sized
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from ..errors import BatchError

__all__ = ("FrameRow", "FrameTable", "by_sequence", "check_lengths", "mean_of", "missing_frames")

NAME_BYTES = 128
"""Room for a sequence's name in UTF-8: rows of all ranks have the same width."""


class FrameRow(NamedTuple):
    """What is kept of one frame.

    Attributes:
        sequence: name of its sequence.
        position: its index in the sequence, from 0.
        num_frames: length of the sequence; 0 where it was not given.
        values: the metric's numbers.
    """

    sequence: str
    position: int
    num_frames: int
    values: tuple[float, ...]


class FrameTable(Metric, ABC):
    """Base of metrics over the frames of sequences.

    The states are tensors that ranks concatenate, so any split of the frames over batches and ranks, in any order,
    gives the same rows. A frame that is given again, as a distributed sampler does with some, is there once, with its
    latest numbers. About 160 bytes a frame.

    Args:
        num_values: how many numbers a frame has.
        kwargs: see :class:`torchmetrics.Metric`.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    names: list[Tensor]
    numbers: list[Tensor]

    def __init__(self, num_values: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_values = num_values
        self.add_state("names", [], dist_reduce_fx="cat")
        self.add_state("numbers", [], dist_reduce_fx="cat")
        self._add_no_rows()

    def reset(self) -> None:
        """Forget all frames."""
        super().reset()
        self._add_no_rows()

    def _add_no_rows(self) -> None:
        # Float64 numbers are kept as the int64 of the same bits: metrics move to the model's device, and an Apple GPU
        # has no float64.
        # A rank without frames must still bring tensors of the right width and type to the merge.
        self.names.append(torch.empty(0, NAME_BYTES, dtype=torch.uint8, device=self.device))
        self.numbers.append(torch.empty(0, 2 + self.num_values, dtype=torch.int64, device=self.device))

    def add_rows(
        self,
        sequence: Sequence[str],
        position: Tensor,
        num_frames: Tensor | None,
        values: Sequence[Sequence[float]],
    ) -> None:
        """Keep the rows of a batch; see :class:`FrameRow`.

        Raises:
            BatchError: if a position lies outside its sequence, or a name is too long.
        """
        places = position.to("cpu", torch.float64)
        lengths = torch.zeros_like(places) if num_frames is None else num_frames.to(places)
        for name, place, length in zip(sequence, places.tolist(), lengths.tolist(), strict=True):
            if place < 0 or (num_frames is not None and place >= length):
                raise BatchError(f"Frame {place:.0f} of {name!r} lies outside its {length:.0f} frames, counted from 0.")
        table = torch.tensor(values, dtype=torch.float64).reshape(len(values), self.num_values)
        rows = torch.cat([places.reshape(-1, 1), lengths.reshape(-1, 1), table], dim=1)
        self.names.append(_encode(sequence).to(self.device))
        self.numbers.append(rows.view(torch.int64).to(self.device))

    def rows(self) -> list[FrameRow]:
        """Every frame once, sorted by sequence and position."""
        names, numbers = (
            dim_zero_cat(self.names).cpu().numpy(),
            dim_zero_cat(self.numbers).cpu().view(torch.float64).tolist(),
        )
        table: dict[tuple[str, int], FrameRow] = {}
        for letters, (position, num_frames, *values) in zip(names, numbers, strict=True):
            sequence = letters.tobytes().rstrip(b"\0").decode()
            row = FrameRow(sequence, int(position), int(num_frames), tuple(values))
            table[sequence, row.position] = row
        return [table[key] for key in sorted(table)]


def check_lengths(**entries: Sized | None) -> None:
    """Check that the entries of a batch speak of the same number of frames; None is an entry that was left out.

    Raises:
        BatchError: naming the lengths if they differ.

    Example:
        >>> check_lengths(prediction=torch.rand(2, 8, 8), sequence=["dog", "dog"], num_frames=None)
    """
    lengths = {name: len(entry) for name, entry in entries.items() if entry is not None}
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise BatchError(f"Expected one entry for every frame, found different lengths: {found}.")


def _encode(names: Sequence[str]) -> Tensor:
    """Names as ``(N, NAME_BYTES)`` uint8."""
    letters = [name.encode() for name in names]
    for name, encoded in zip(names, letters, strict=True):
        if len(encoded) > NAME_BYTES:
            raise BatchError(f"The name of sequence {name!r} is longer than {NAME_BYTES} bytes. Shorten it.")
    padded = bytearray(b"".join(encoded.ljust(NAME_BYTES, b"\0") for encoded in letters))
    empty = torch.empty(0, dtype=torch.uint8)
    return (torch.frombuffer(padded, dtype=torch.uint8) if padded else empty).reshape(-1, NAME_BYTES)


def by_sequence(rows: Iterable[FrameRow]) -> dict[str, list[FrameRow]]:
    """Rows of each sequence, in the order they come.

    Example:
        >>> rows = [FrameRow("dog", 1, 4, (0.5,)), FrameRow("dog", 2, 4, (0.7,)), FrameRow("cat", 1, 3, (0.9,))]
        >>> {sequence: len(frames) for sequence, frames in by_sequence(rows).items()}
        {'dog': 2, 'cat': 1}
    """
    groups: dict[str, list[FrameRow]] = {}
    for row in rows:
        groups.setdefault(row.sequence, []).append(row)
    return groups


def missing_frames(rows: Iterable[FrameRow], start: int, stop: int) -> dict[str, tuple[int, ...]]:
    """Positions from ``start`` to the length plus ``stop`` (not included) that have no row, of each sequence seen.

    Example:
        >>> missing_frames([FrameRow("dog", 2, 6, ())], start=1, stop=-1)
        {'dog': (1, 3, 4)}
    """
    missing = {}
    for sequence, group in by_sequence(rows).items():
        expected = range(start, max(row.num_frames for row in group) + stop)
        gap = sorted(set(expected) - {row.position for row in group})
        if gap:
            missing[sequence] = tuple(gap)
    return missing


def mean_of(values: Iterable[float]) -> float:
    """Mean, NaN of nothing.

    Example:
        >>> mean_of([0.25, 0.75]), mean_of([])
        (0.5, nan)
    """
    numbers = list(values)
    return math.fsum(numbers) / len(numbers) if numbers else math.nan

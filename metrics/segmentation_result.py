# SPDX-License-Identifier: Apache-2.0
"""What the measures of DAVIS give: numbers of a frame, of a sequence and of all sequences."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ("FrameScores", "SegmentationResult", "SequenceScores")


class FrameScores(NamedTuple):
    """J and F of one frame.

    Attributes:
        sequence: name of its sequence.
        position: its index in the sequence, from 0.
        j: region similarity in [0, 1].
        f: contour accuracy in [0, 1].
    """

    sequence: str
    position: int
    j: float
    f: float


class SequenceScores(NamedTuple):
    """Statistics of J and F over the frames of one sequence, see :func:`~staticdropout.metrics.sequence_statistics`.

    Attributes:
        j_mean: mean of J.
        j_recall: share of frames with J above 0.5.
        j_decay: loss of J from the first to the last quarter of the frames.
        f_mean: mean of F.
        f_recall: share of frames with F above 0.5.
        f_decay: loss of F from the first to the last quarter of the frames.
        jf_mean: J&F, the mean of ``j_mean`` and ``f_mean``.
        num_frames: number of frames measured.
    """

    j_mean: float
    j_recall: float
    j_decay: float
    f_mean: float
    f_recall: float
    f_decay: float
    jf_mean: float
    num_frames: int


class SegmentationResult(NamedTuple):
    """The measures of DAVIS over all sequences.

    Attributes:
        j_mean: mean over sequences of their mean J, as officially (frames of short sequences count more); in [0, 1].
        j_recall: mean over sequences.
        j_decay: mean over sequences.
        f_mean: mean over sequences of their mean F.
        f_recall: mean over sequences.
        f_decay: mean over sequences.
        jf_mean: J&F, the mean of ``j_mean`` and ``f_mean``.
        num_frames: number of frames measured.
        sequences: the statistics of each sequence that has a measured frame, by name.
        missing: positions that should have been measured but were never given, by sequence; empty when complete. With
            frames missing, the numbers are not those of the benchmark.
        frames: J and F of every measured frame, sorted by sequence and position.
    """

    j_mean: float
    j_recall: float
    j_decay: float
    f_mean: float
    f_recall: float
    f_decay: float
    jf_mean: float
    num_frames: int
    sequences: dict[str, SequenceScores]
    missing: dict[str, tuple[int, ...]]
    frames: tuple[FrameScores, ...]

    def scalars(self) -> dict[str, float]:
        """The overall numbers in percent, named for loggers: ``J``, ``J_recall``, ``J_decay``, ``F`` …, ``JF``."""
        names = ("J", "J_recall", "J_decay", "F", "F_recall", "F_decay", "JF")
        return {name: 100 * value for name, value in zip(names, self[:7], strict=True)}

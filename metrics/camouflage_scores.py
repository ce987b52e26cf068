# SPDX-License-Identifier: Apache-2.0
"""The measures of MoCA over the frames of sequences as a torchmetrics metric: overlap of boxes and success rates."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from torch import Tensor
from torchmetrics.utilities import rank_zero_warn

from ..errors import BatchError
from .box_overlap import BoxRule, box_iou, check_box_options, predicted_box, scale_box
from .frame_table import FrameRow, FrameTable, by_sequence, check_lengths, mean_of, missing_frames

__all__ = ("MOTIONS", "SUCCESS_THRESHOLDS", "CamouflageResult", "CamouflageScores", "FrameOverlap", "OverlapScores")

MOTIONS = ("locomotion", "deformation", "static")
"""Motion types of MoCA by their number in the annotations."""

SUCCESS_THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)
"""Overlaps above which a frame counts as a success."""


class FrameOverlap(NamedTuple):
    """Overlap of the boxes in one frame.

    Attributes:
        sequence: name of its sequence.
        position: its index in the sequence, from 0.
        motion: motion type, an index into ``MOTIONS``, or -1.
        iou: intersection over union of the predicted and the true box; 0 where nothing was predicted.
    """

    sequence: str
    position: int
    motion: int
    iou: float


class OverlapScores(NamedTuple):
    """Overlap and success over some frames.

    Attributes:
        mean_iou: mean over sequences of the mean overlap of their frames; in [0, 1].
        success_rates: share of all frames with an overlap above each of ``SUCCESS_THRESHOLDS``.
        mean_success_rate: mean of the five.
        num_frames: number of frames measured.
    """

    mean_iou: float
    success_rates: tuple[float, ...]
    mean_success_rate: float
    num_frames: int


class CamouflageResult(NamedTuple):
    """The measures of MoCA over all sequences.

    Attributes:
        mean_iou: mean over sequences of the mean overlap of their frames (each sequence counts the same); in [0, 1].
        success_rates: share of all frames (each frame counts the same) above each of ``SUCCESS_THRESHOLDS``.
        mean_success_rate: mean of the five.
        num_frames: number of frames measured.
        motions: the same over the frames of one motion type, by name; types without a frame are absent.
        sequences: the same over the frames of one sequence, by name.
        missing: positions that were never given, by sequence, except the last frame, which has no flow.
        frames: the overlap in every measured frame, sorted by sequence and position.
    """

    mean_iou: float
    success_rates: tuple[float, ...]
    mean_success_rate: float
    num_frames: int
    motions: dict[str, OverlapScores]
    sequences: dict[str, OverlapScores]
    missing: dict[str, tuple[int, ...]]
    frames: tuple[FrameOverlap, ...]

    def scalars(self) -> dict[str, float]:
        """The overall numbers in percent, named for loggers: ``mIoU``, ``success``, ``success_0.5`` to ``_0.9``."""
        rates = {f"success_{tau}": rate for tau, rate in zip(SUCCESS_THRESHOLDS, self.success_rates, strict=True)}
        numbers = {"mIoU": self.mean_iou, "success": self.mean_success_rate, **rates}
        return {name: 100 * value for name, value in numbers.items()}


class CamouflageScores(FrameTable):
    """Overlap of predicted and annotated boxes on MoCA (Lamdouar et al. 2020), by frame, sequence, motion and overall.

    As input to ``update`` the metric accepts, for N frames,

    - ``prediction``: N tensors ``(H, W)`` of any size: foreground probabilities in [0, 1], or masks (bool, or integers
      of which every value but 0 is foreground); a tensor ``(N, H, W)`` will do,
    - ``box`` ``(N, 4)`` x, y, width, height; NaN for a frame without annotation,
    - ``box_size`` ``(N, 2)`` int: (H, W) of the picture that the box is in,
    - ``sequence``: N names of sequences,
    - ``motion`` ``(N,)`` int: motion type, an index into ``MOTIONS``, or -1 if unknown,
    - ``position`` ``(N,)`` int: index of each frame in its sequence, from 0,
    - ``num_frames`` ``(N,)`` int, optional: length of each frame's sequence, to find frames that are missing.

    As output of ``compute`` it returns a :class:`CamouflageResult`, or None, with a warning, if no frame was measured.

    Every frame that is given counts, the first one too; the last has no flow, so nobody predicts it. Two protocols are
    in use: motiongrouping's, ``box_rule="largest", threshold=0.1``, and the study's that the paper reports,
    ``box_rule="mass", threshold=0.2``. The order of frames, batches and ranks does not matter, and a frame given twice
    counts once.

    Args:
        box_rule: which region of a mask becomes the box, see :func:`~staticdropout.metrics.predicted_box`.
        threshold: a pixel is foreground above this probability.
        kwargs: see :class:`torchmetrics.Metric`.

    Raises:
        UnknownNameError: for an unknown rule.
        OptionError: for a threshold out of range.
        BatchError: by ``update``: for logits, NaN, or entries that do not fit together.

    Example:
        >>> import torch
        >>> mask = torch.zeros(2, 36, 64, dtype=torch.bool)
        >>> mask[:, 10:20, 20:40] = True
        >>> box, size = torch.tensor([[400.0, 200.0, 400.0, 200.0]] * 2), torch.tensor([[720, 1280]] * 2)
        >>> metric = CamouflageScores()
        >>> metric.update(mask, box, size, ["crab"] * 2, torch.tensor([0, 0]), torch.arange(2))
        >>> metric.compute().scalars()["mIoU"]
        100.0
    """

    def __init__(self, box_rule: BoxRule = "mass", threshold: float = 0.2, **kwargs: Any) -> None:
        super().__init__(num_values=2, **kwargs)
        check_box_options(box_rule, threshold)
        self.box_rule: BoxRule = box_rule
        self.threshold = threshold

    def update(
        self,
        prediction: Sequence[Tensor] | Tensor,
        box: Tensor,
        box_size: Tensor,
        sequence: Sequence[str],
        motion: Tensor,
        position: Tensor,
        num_frames: Tensor | None = None,
    ) -> None:
        """Add the frames of a batch."""
        frames = len(prediction)
        check_lengths(prediction=prediction, sequence=sequence, position=position, num_frames=num_frames)
        if box.shape != (frames, 4) or box_size.shape != (frames, 2) or motion.shape != (frames,):
            raise BatchError(
                f"For {frames} predictions expected box ({frames}, 4), box_size ({frames}, 2) and motion ({frames},), "
                f"found {tuple(box.shape)}, {tuple(box_size.shape)} and {tuple(motion.shape)}."
            )
        boxes, sizes = box.detach().cpu().double(), box_size.tolist()
        overlaps = [self._measure(*frame) for frame in zip(prediction, boxes, sizes, strict=True)]
        values = list(zip(motion.tolist(), overlaps, strict=True))
        self.add_rows(sequence, position, num_frames, values)

    def _measure(self, prediction: Tensor, box: Tensor, size: list[int]) -> float:
        if box.isnan().any():
            return math.nan
        found = predicted_box(prediction, self.threshold, self.box_rule)
        if found is None:
            return 0.0
        height, width = prediction.shape
        return float(box_iou(scale_box(found, (height, width), (size[0], size[1])), box))

    def compute(self) -> CamouflageResult | None:
        """Return the scores over all frames of all ranks."""
        rows = self.rows()
        measured = [row for row in rows if not math.isnan(row.values[1])]
        if not measured:
            rank_zero_warn(
                f"CamouflageScores measured no frame: {len(rows)} were given{', none with a box' if rows else ''}.",
                UserWarning,
            )
            return None
        frames = tuple(FrameOverlap(row.sequence, row.position, int(row.values[0]), row.values[1]) for row in measured)
        motions = {
            name: _overlap_scores(of_type)
            for index, name in enumerate(MOTIONS)
            if (of_type := [row for row in measured if row.values[0] == index])
        }
        sequences = {name: _overlap_scores(group) for name, group in by_sequence(measured).items()}
        missing = missing_frames(rows, 0, -1)
        return CamouflageResult(*_overlap_scores(measured), motions, sequences, missing, frames)


def _overlap_scores(rows: Iterable[FrameRow]) -> OverlapScores:
    groups = [[row.values[1] for row in group] for group in by_sequence(rows).values()]
    overlaps = [overlap for group in groups for overlap in group]
    rates = tuple(mean_of(overlap > tau for overlap in overlaps) for tau in SUCCESS_THRESHOLDS)
    return OverlapScores(mean_of(mean_of(group) for group in groups), rates, mean_of(rates), len(overlaps))

# SPDX-License-Identifier: Apache-2.0
"""The measures of DAVIS, region similarity J and contour accuracy F, over the frames of sequences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torchmetrics.utilities import rank_zero_warn

from ..errors import BatchError, OptionError
from .contour_accuracy import check_tolerance, contour_accuracy
from .frame_table import FrameTable, by_sequence, check_lengths, mean_of, missing_frames
from .masks import soft_mask
from .region_similarity import region_similarity
from .segmentation_result import FrameScores, SegmentationResult, SequenceScores
from .sequence_statistics import SequenceStatistics, sequence_statistics

__all__ = ("SegmentationScores",)


class SegmentationScores(FrameTable):
    """Region similarity J and contour accuracy F of DAVIS (Perazzi et al. 2016), by frame, by sequence and overall.

    As input to ``update`` the metric accepts, for N frames,

    - ``prediction``: N tensors ``(H0, W0)`` of the annotations' sizes: foreground probabilities in [0, 1], or masks
      (bool, or integers of which every value but 0 is foreground); a tensor ``(N, H0, W0)`` will do,
    - ``mask``: N tensors ``(H0, W0)`` in {0, 1}, None for a frame without annotation,
    - ``sequence``: N names of sequences,
    - ``position`` ``(N,)`` int: index of each frame in its sequence, from 0,
    - ``num_frames`` ``(N,)`` int: length of each frame's sequence.

    As output of ``compute`` it returns a :class:`~staticdropout.metrics.SegmentationResult`, or None and a warning if
    no frame was measured.

    The order of frames, batches and ranks does not matter, and a frame given twice counts once. As in the official
    evaluation, the first and the last frame of a sequence are left out, and overall numbers are means over sequences.
    Measuring a frame of 480 x 854 takes about 3 ms on one CPU core.

    Args:
        threshold: a pixel is foreground above this probability.
        tolerance: of outlines, see :func:`~staticdropout.metrics.contour_accuracy`.
        skip_ends: leave out the first and the last frame of each sequence.
        kwargs: see :class:`torchmetrics.Metric`.

    Raises:
        OptionError: for an option out of range.
        BatchError: by ``update``: for a prediction of another size than its mask, logits, NaN, or entries that do not
            fit together.

    Example:
        >>> import torch
        >>> mask = torch.zeros(4, 48, 64, dtype=torch.uint8)
        >>> mask[:, 8:40, 16:48] = 1
        >>> metric = SegmentationScores()
        >>> metric.update(mask * 0.9, mask, ["dog"] * 4, torch.arange(4), torch.full((4,), 4))
        >>> result = metric.compute()
        >>> result.j_mean, result.num_frames, result.missing
        (1.0, 2, {})
        >>> result.scalars()["JF"]
        100.0
    """

    def __init__(self, threshold: float = 0.5, tolerance: float = 0.008, skip_ends: bool = True, **kwargs: Any) -> None:
        super().__init__(num_values=2, **kwargs)
        if not 0 <= threshold < 1:
            raise OptionError(f"threshold={threshold} must lie in [0, 1): it is compared with probabilities.")
        check_tolerance(tolerance)
        self.threshold = threshold
        self.tolerance = tolerance
        self.skip_ends = skip_ends

    def update(
        self,
        prediction: Sequence[Tensor] | Tensor,
        mask: Sequence[Tensor | None] | Tensor,
        sequence: Sequence[str],
        position: Tensor,
        num_frames: Tensor,
    ) -> None:
        """Add the frames of a batch."""
        check_lengths(prediction=prediction, mask=mask, sequence=sequence, position=position, num_frames=num_frames)
        places = zip(sequence, position.tolist(), num_frames.tolist(), strict=True)
        values = [
            (math.nan, math.nan)
            if true is None or self._is_end(place, length)
            else self._measure(one, true, name, place)
            for one, true, (name, place, length) in zip(prediction, mask, places, strict=True)
        ]
        self.add_rows(sequence, position, num_frames, values)

    def _is_end(self, position: int, num_frames: int) -> bool:
        return self.skip_ends and position in (0, num_frames - 1)

    def _measure(self, prediction: Tensor, mask: Tensor, sequence: str, position: int) -> tuple[float, float]:
        where = f"frame {position} of {sequence!r}"
        soft = soft_mask(prediction, f"The prediction of {where}")
        if soft.shape != mask.shape:
            raise BatchError(
                f"The prediction of {where} is {tuple(soft.shape)}, its mask {tuple(mask.shape)}. Resize predictions "
                "to the annotation's size before they are measured."
            )
        foreground = soft > self.threshold if soft.is_floating_point() else soft
        foreground, mask = foreground.cpu(), mask.cpu()
        return float(region_similarity(foreground, mask)), float(contour_accuracy(foreground, mask, self.tolerance).f)

    def compute(self) -> SegmentationResult | None:
        """Return the scores over all frames of all ranks."""
        rows = self.rows()
        measured = [row for row in rows if not math.isnan(row.values[0])]
        if not measured:
            rank_zero_warn(
                f"SegmentationScores measured no frame: {len(rows)} were given"
                f"{', all without annotation or at the ends of their sequences' if rows else ''}.",
                UserWarning,
            )
            return None
        frames = tuple(FrameScores(row.sequence, row.position, *row.values) for row in measured)
        sequences = {
            name: _sequence_scores([row.values for row in group]) for name, group in by_sequence(measured).items()
        }
        j_means, f_means = (
            SequenceStatistics(*(mean_of(scores[column] for scores in sequences.values()) for column in columns))
            for columns in (range(3), range(3, 6))
        )
        ends = int(self.skip_ends)
        missing = missing_frames(rows, ends, -ends)
        both = (j_means.mean + f_means.mean) / 2
        return SegmentationResult(*j_means, *f_means, both, len(measured), sequences, missing, frames)


def _sequence_scores(values: Sequence[tuple[float, ...]]) -> SequenceScores:
    j, f = (sequence_statistics(column) for column in zip(*values, strict=True))
    return SequenceScores(*j, *f, (j.mean + f.mean) / 2, len(values))

# SPDX-License-Identifier: Apache-2.0
"""From a network's logits to the scores of a validation or test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import MeanMetric

from ..errors import BatchError
from ..metrics import CamouflageResult, CamouflageScores, SegmentationResult, SegmentationScores
from ..metrics.box_overlap import mask_box
from .segmentation_loss import SegmentationLoss

__all__ = ("SegmentationEvaluation", "mask_probabilities")


def mask_probabilities(
    logits: Tensor,
    sizes: Sequence[Sequence[int] | None],
    align_corners: bool = False,
    stretch: bool = False,
) -> list[Tensor]:
    """Turn mask logits into probabilities at the annotations' own sizes.

    Args:
        logits: ``(B, 1, h, w)``, or ``(B, 2, 1, h, w)`` for clips, of which the first frame counts.
        sizes: of each annotation, (H0, W0); None leaves the mask at the network's size.
        align_corners: how the bilinear resizing counts pixels; RTNet's code aligns corners.
        stretch: stretch each map to [0, 1], as RTNet's code does before it saves one.

    Returns:
        B tensors ``(H0, W0)`` in [0, 1].

    Example:
        >>> mask_probabilities(torch.zeros(1, 1, 2, 2), [(1, 3)])
        [tensor([[0.5000, 0.5000, 0.5000]])]
    """
    probability = logits.detach().float().sigmoid()
    if probability.ndim == 5:
        probability = probability[:, 0]
    masks = []
    for single, size in zip(probability, sizes, strict=True):
        mask = single[None]
        if size is not None:
            mask = F.interpolate(mask, tuple(size), mode="bilinear", align_corners=align_corners)
        if stretch:
            mask = (mask - mask.amin()) / (mask.amax() - mask.amin()).clamp(min=1e-8)
        masks.append(mask[0, 0])
    return masks


class SegmentationEvaluation(nn.Module):
    """Loss and scores of one loop over labelled frames; every rank takes part, whatever frames it has seen.

    Args:
        scores: the metric of the frames' masks or boxes.
    """

    def __init__(self, scores: SegmentationScores | CamouflageScores) -> None:
        super().__init__()
        self.scores = scores
        self.mean_loss = MeanMetric()

    def update(
        self, outputs: Mapping[str, Tensor], probability: list[Tensor], batch: Mapping[str, Any], loss: SegmentationLoss
    ) -> None:
        """Add the frames of a batch.

        Args:
            outputs: logits of the network by name.
            probability: masks as :func:`mask_probabilities` gives them.
            batch: of the loader, on the device.
            loss: of the training; computed on the first frames of clips that have an annotation.
        """
        annotations = batch.get("annotation")
        labelled = [n for n in range(len(probability)) if annotations is None or annotations[n] is not None]
        if "mask" in batch and labelled:
            first = {name: _first_frame(output[labelled]) for name, output in outputs.items()}
            self.mean_loss.update(loss(first, _first_frame(batch["mask"][labelled])), weight=len(labelled))
        place: dict[str, Any] = {name: batch.get(name) for name in ("sequence", "position", "num_frames")}
        if isinstance(self.scores, CamouflageScores):
            box, box_size, motion = _true_boxes(batch)
            self.scores.update(probability, box, box_size, motion=motion, **place)
        elif annotations is not None:
            self.scores.update(probability, annotations, **place)

    def compute(self, world_size: int = 1) -> tuple[SegmentationResult | CamouflageResult | None, dict[str, float]]:
        """The result with all its sequences, None if nothing was scored, and the numbers to log; then begin anew.

        Args:
            world_size: number of ranks; with several, each of them has to call this.
        """
        if world_size > 1:  # a rank without labelled frames brings nothing to the merge, but takes part
            self.mean_loss.update(0.0, weight=0.0)
        numbers = {}
        if self.mean_loss.update_called and not (mean := self.mean_loss.compute()).isnan():
            numbers["loss"] = float(mean)
        result = self.scores.compute() if world_size > 1 or self.scores.update_called else None
        self.scores.reset()
        self.mean_loss.reset()
        return result, numbers | (result.scalars() if result is not None else {})


def _first_frame(maps: Tensor) -> Tensor:
    """Of clips ``(B, 2, 1, H, W)`` the first frame."""
    return maps[:, 0] if maps.ndim == 5 else maps


def _true_boxes(batch: Mapping[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
    """The true boxes of a batch, the sizes of the pictures that they are in, and the types of motion.

    Raises:
        BatchError: if the batch has neither boxes nor annotations.
    """
    if "box" in batch:
        return batch["box"], batch["box_size"], batch["motion"]
    if "annotation" not in batch:
        raise BatchError(f"scores='moca' needs boxes or annotations in the batch, found {sorted(batch)}.")
    sizes = [(1, 1) if mask is None else tuple(mask.shape) for mask in batch["annotation"]]
    boxes = torch.stack([mask_box(mask) for mask in batch["annotation"]])
    return boxes, torch.tensor(sizes), torch.full((len(sizes),), -1)

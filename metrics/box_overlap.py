# SPDX-License-Identifier: Apache-2.0
"""From a predicted mask to a box, and the overlap of boxes: the protocol of MoCA for camouflaged animals.

As in the evaluation of motiongrouping (Yang et al. 2021, ``MoCA_eval.py``) and its copy in the study that the paper
builds on; the two differ in which region of a mask becomes the box, and in the threshold. Boxes are x, y (of the upper
left corner), width and height.
"""

from __future__ import annotations

from typing import Literal, get_args

import cv2
import numpy as np
import torch
from torch import Tensor

from ..errors import BatchError, OptionError, UnknownNameError
from .masks import soft_mask

__all__ = ("BoxRule", "box_iou", "check_box_options", "invert_background", "mask_box", "predicted_box", "scale_box")

BoxRule = Literal["largest", "mass"]


def check_box_options(rule: str, threshold: float) -> None:
    """Check the options that turn a mask into a box.

    Raises:
        UnknownNameError: for an unknown rule.
        OptionError: for a threshold that no probability can exceed or fall below.
    """
    if rule not in get_args(BoxRule):
        raise UnknownNameError("box rule", rule, get_args(BoxRule))
    if not 0 <= threshold < 1:
        raise OptionError(f"threshold={threshold} must lie in [0, 1): it is compared with probabilities.")


def invert_background(prediction: Tensor) -> Tensor:
    """Swap foreground and background where more than half of the border pixels are foreground (above 0.5).

    Args:
        prediction: ``(H, W)`` mask or foreground probabilities in [0, 1].

    Returns:
        ``(H, W)`` of the same kind; the prediction itself where nothing is swapped.

    Raises:
        BatchError: see :func:`~staticdropout.metrics.masks.soft_mask`.

    Example:
        >>> frame = torch.ones(3, 4)
        >>> frame[1, 2] = 0
        >>> invert_background(frame)
        tensor([[0., 0., 0., 0.],
                [0., 0., 1., 0.],
                [0., 0., 0., 0.]])
    """
    soft = soft_mask(prediction)
    foreground = soft > 0.5 if soft.is_floating_point() else soft
    inside = torch.zeros_like(foreground)
    inside[1:-1, 1:-1] = True
    if 2 * int((foreground & ~inside).sum()) <= int((~inside).sum()):
        return soft
    return 1 - soft if soft.is_floating_point() else ~soft


def predicted_box(prediction: Tensor, threshold: float = 0.2, rule: BoxRule = "largest") -> Tensor | None:
    """The box around one region of a predicted mask.

    Swapped first where :func:`invert_background` says so; then regions are the connected parts (with diagonal
    neighbours) above the threshold, and one is kept.

    Args:
        prediction: ``(H, W)`` foreground probabilities in [0, 1], or a mask.
        threshold: foreground is above this probability; 0.2 in the study, 0.1 in motiongrouping.
        rule: ``"largest"`` keeps the region whose box has the largest area (motiongrouping), ``"mass"`` the one whose
            box holds the most foreground pixels, of whichever region (the study).

    Returns:
        ``(4,)`` float64 x, y, width, height in pixels of the prediction, or None where nothing is foreground.

    Raises:
        BatchError: if the prediction is neither a mask nor probabilities.
        UnknownNameError: for an unknown rule.
        OptionError: for a threshold out of range.

    Example:
        >>> mask = torch.zeros(20, 20, dtype=torch.bool)
        >>> mask[range(2, 10), range(2, 10)] = True  # a thin diagonal: a large box of few pixels
        >>> mask[12:17, 12:17] = True
        >>> predicted_box(mask, rule="largest").tolist(), predicted_box(mask, rule="mass").tolist()
        ([2.0, 2.0, 8.0, 8.0], [12.0, 12.0, 5.0, 5.0])
    """
    check_box_options(rule, threshold)
    soft = invert_background(prediction)
    foreground = (soft > threshold if soft.is_floating_point() else soft).cpu().numpy().astype(np.uint8)
    outlines, _ = cv2.findContours(foreground, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    if not outlines:
        return None
    boxes = np.array([cv2.boundingRect(outline) for outline in outlines])
    x, y, width, height = boxes.T
    size = width * height
    if rule == "mass":
        total = cv2.integral(foreground)  # foreground pixels above and left of each corner
        size = total[y + height, x + width] - total[y, x + width] - total[y + height, x] + total[y, x]
    return torch.from_numpy(boxes[np.argmax(size)].astype(np.float64))


def mask_box(mask: Tensor | None) -> Tensor:
    """The box around everything in a true mask, for data sets that have masks in place of boxes (MoCA-Mask).

    Args:
        mask: ``(H, W)``, foreground above 0; None for a frame without annotation.

    Returns:
        ``(4,)`` float64 x, y, width, height in pixels; NaN where there is no mask, or nothing in it.

    Example:
        >>> mask = torch.zeros(8, 8, dtype=torch.uint8)
        >>> mask[2:4, 3:7] = 1
        >>> mask_box(mask).tolist()
        [3.0, 2.0, 4.0, 2.0]
    """
    if mask is None or not bool((mask > 0).any()):
        return torch.full((4,), torch.nan, dtype=torch.float64)
    return torch.tensor(cv2.boundingRect((mask > 0).cpu().numpy().astype(np.uint8)), dtype=torch.float64)


def scale_box(box: Tensor, size: tuple[int, int], new_size: tuple[int, int]) -> Tensor:
    """A box in a picture that is resized.

    Args:
        box: ``(..., 4)`` x, y, width, height in pixels.
        size: (H, W) of the picture that the box is in.
        new_size: (H, W) of the picture that it shall be in.

    Returns:
        ``(..., 4)``.

    Example:
        >>> scale_box(torch.tensor([10.0, 20.0, 30.0, 40.0]), (360, 640), (720, 1280)).tolist()
        [20.0, 40.0, 60.0, 80.0]
    """
    vertical, horizontal = new_size[0] / size[0], new_size[1] / size[1]
    return box * box.new_tensor([horizontal, vertical, horizontal, vertical])


def box_iou(box: Tensor, other: Tensor) -> Tensor:
    """Intersection over union of boxes, pair by pair.

    Corners left of or above the picture are moved to its edge, with width and height kept, as MoCA's evaluation does
    with its annotations.

    Args:
        box: ``(..., 4)`` x, y, width, height.
        other: ``(..., 4)``.

    Returns:
        ``(...)`` in [0, 1]; 0 where the boxes do not overlap.

    Raises:
        BatchError: if the boxes do not have four numbers.

    Example:
        >>> box_iou(torch.tensor([0.0, 0.0, 2.0, 2.0]), torch.tensor([1.0, 0.0, 2.0, 2.0]))
        tensor(0.3333)
    """
    if box.shape[-1:] != (4,) or other.shape[-1:] != (4,):
        raise BatchError(f"Boxes have x, y, width and height, found {tuple(box.shape)} and {tuple(other.shape)}.")
    start, extent = box[..., :2].clamp(min=0), box[..., 2:]
    other_start, other_extent = other[..., :2].clamp(min=0), other[..., 2:]
    common = torch.minimum(start + extent, other_start + other_extent) - torch.maximum(start, other_start)
    overlap = common.clamp(min=0).prod(-1)
    union = extent.prod(-1) + other_extent.prod(-1) - overlap
    return torch.where(overlap > 0, overlap / union, 0.0)

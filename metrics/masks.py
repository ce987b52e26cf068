# SPDX-License-Identifier: Apache-2.0
"""Masks and predictions in the forms that files, loaders and networks give them, checked."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import BatchError

__all__ = ("MaskLike", "as_masks", "mask_pair", "soft_mask")

MaskLike = Tensor | NDArray[np.generic]


def as_masks(masks: MaskLike, name: str = "mask") -> NDArray[np.bool_]:
    """Masks as booleans on the host: every value but 0 is foreground, as in the official evaluations of DAVIS.

    Args:
        masks: ``(..., H, W)`` bool, integers (0 and 1, 0 and 255 …), or floats that are all 0 or 1.
        name: how an error calls them.

    Returns:
        ``(..., H, W)``.

    Raises:
        BatchError: for anything else, such as probabilities, which need a threshold first.

    Example:
        >>> as_masks(torch.tensor([[0, 255]], dtype=torch.uint8))
        array([[False,  True]])
    """
    if isinstance(masks, Tensor):
        masks = (masks.detach().float() if masks.is_floating_point() else masks).cpu().numpy()
    if masks.ndim < 2 or 0 in masks.shape[-2:]:
        raise BatchError(f"{name}: expected pictures (..., H, W), found shape {tuple(masks.shape)}.")
    if masks.dtype.kind == "f" and not ((masks == 0) | (masks == 1)).all():
        raise BatchError(f"{name}: these floats are no mask of 0 and 1. Compare probabilities with a threshold first.")
    if masks.dtype.kind not in "buif":
        raise BatchError(f"{name}: expected bool, integers or floats, found {masks.dtype}.")
    return masks.astype(np.bool_, copy=False)


def mask_pair(prediction: MaskLike, mask: MaskLike) -> tuple[NDArray[np.bool_], NDArray[np.bool_], tuple[int, ...]]:
    """Predicted and true masks, ``(N, H, W)`` each, and the shape that was in front of ``(H, W)``.

    Raises:
        BatchError: if they are no masks, or their shapes differ.
    """
    predicted, true = as_masks(prediction, "prediction"), as_masks(mask, "mask")
    if predicted.shape != true.shape:
        raise BatchError(
            f"The prediction {predicted.shape} and the mask {true.shape} differ in shape. Resize the prediction to "
            "the mask's size."
        )
    size = true.shape[-2:]
    return predicted.reshape(-1, *size), true.reshape(-1, *size), true.shape[:-2]


def soft_mask(prediction: Tensor, name: str = "prediction") -> Tensor:
    """One predicted picture, as a mask or as foreground probabilities.

    Args:
        prediction: ``(H, W)`` foreground probabilities in [0, 1], or a mask: bool, or integers of which at most one
            is not 0.
        name: how an error calls it.

    Returns:
        ``(H, W)`` bool, or floats in [0, 1] as they came, on the same device.

    Raises:
        BatchError: for logits, NaN, 8-bit probabilities, and pictures with other dimensions.

    Example:
        >>> soft_mask(torch.tensor([[0, 255]], dtype=torch.uint8))
        tensor([[False,  True]])
    """
    prediction = prediction.detach()
    if prediction.ndim != 2 or 0 in prediction.shape:
        raise BatchError(f"{name}: expected one picture (H, W), found shape {tuple(prediction.shape)}.")
    if prediction.dtype == torch.bool:
        return prediction
    if not prediction.is_floating_point():
        mask = prediction != 0
        if not (~mask | (prediction == prediction.max())).all():
            raise BatchError(
                f"{name}: these integers are no mask, they have several values beside 0. Give a mask of 0 and 1, or "
                "probabilities in [0, 1] (8-bit ones divided by 255)."
            )
        return mask
    # Resizing rounds, so a probability may end a little outside; NaN is not inside either.
    if not ((prediction >= -1e-3) & (prediction <= 1 + 1e-3)).all():
        raise BatchError(
            f"{name}: expected probabilities in [0, 1], found values from {float(prediction.min()):.4g} to "
            f"{float(prediction.max()):.4g}. Apply a sigmoid to logits; NaN comes from the network."
        )
    return prediction

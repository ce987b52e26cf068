# SPDX-License-Identifier: Apache-2.0
"""The check that pixels are floats in [0, 1], with a word on what they may be instead."""

from __future__ import annotations

from torch import Tensor

from ..errors import BatchError

__all__ = ("check_unit_range",)

_TOLERANCE = 1e-3  # how far pixels may lie outside [0, 1]: rounding and interpolation, but no normalisation


def check_unit_range(pixels: Tensor, name: str = "pixels") -> None:
    """Check that a tensor of any shape holds floating-point numbers in [0, 1], give or take 0.001.

    Args:
        pixels: what to check.
        name: what the message calls them.

    Raises:
        BatchError: it does not; the message says what was found and how to change it.

    Example:
        >>> import torch
        >>> check_unit_range(torch.rand(2, 3))
    """
    if not pixels.is_floating_point():
        raise BatchError(f"Expected floating-point {name} in [0, 1], found {pixels.dtype}. Use {name}.float() / 255.")
    low, high = (float(value) for value in pixels.aminmax()) if pixels.numel() else (0.0, 0.0)
    if not (low >= -_TOLERANCE and high <= 1 + _TOLERANCE):  # written so that NaN fails as well
        hint = (
            "They look like 0 to 255: divide by 255."
            if low >= 0 and high > 16
            else "They look normalised: undo it first with video * std + mean, channel by channel."
        )
        raise BatchError(f"Expected {name} in [0, 1], found values from {low:.3g} to {high:.3g}. {hint}")

# SPDX-License-Identifier: Apache-2.0
"""Between what a batch holds and RGB pixels in [0, 1]: layout, range, type, memory order, and back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from ..errors import BatchError, OptionError

__all__ = ("Layout", "check_normalisation", "from_pixels", "guess_layout", "is_coloured", "to_pixels")

Layout = Literal["BCTHW", "BTCHW", "BTHWC"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
GREY = (0.299, 0.587, 0.114)  # brightness of R, G and B (ITU-R BT.601)
OVERSHOOT = 0.1  # bicubic resizing leaves the unit range by less

Numbers = Sequence[float] | None


def check_normalisation(mean: Numbers, std: Numbers) -> None:
    """Check what a user says about normalised pixels.

    Raises:
        OptionError: if mean or std is missing, they differ in length, or a deviation is not positive.
    """
    if (mean is None) != (std is None):
        raise OptionError("VideoInputs: mean and std belong together; give both, as in your data module.")
    if mean is not None and std is not None:
        if len(mean) != len(std) or len(mean) not in (1, 3):
            raise OptionError(f"VideoInputs: mean and std are one number a channel, found {len(mean)} and {len(std)}.")
        if min(std) <= 0:
            raise OptionError(f"VideoInputs: std={list(std)} must be positive.")


def _layouts_with(shape: Sequence[int], channels: int) -> list[Layout]:
    return [layout for layout in LAYOUTS if shape[layout.index("C")] == channels]


def is_coloured(shape: Sequence[int]) -> bool:
    """Whether one of the dimensions in which layouts have channels is of size 3.

    Example:
        >>> is_coloured((2, 3, 8, 16, 16)), is_coloured((2, 1, 8, 16, 16))
        (True, False)
    """
    return bool(_layouts_with(shape, 3))


def guess_layout(shape: Sequence[int]) -> Layout:
    """The layout in which a video of this shape has 3 channels or, where none has, a grey one.

    Raises:
        BatchError: if it is none, or more than one.

    Example:
        >>> guess_layout((2, 8, 3, 16, 16)), guess_layout((2, 1, 8, 16, 16))
        ('BTCHW', 'BCTHW')
    """
    for channels in (3, 1):
        matches = _layouts_with(shape, channels)
        if len(matches) == 1:
            return matches[0]
        if matches:
            break
    found = f"{len(matches)} dimensions have size {channels}" if matches else "no dimension has size 3 or 1"
    raise BatchError(
        f"Cannot tell the layout of a video of shape {tuple(shape)}: {found}. "
        "Set inputs=VideoInputs(layout='BCTHW'), 'BTCHW' or 'BTHWC'."
    )


def to_pixels(video: Tensor, layout: Layout, mean: Numbers = None, std: Numbers = None) -> Tensor:
    """Read a video as pixels.

    Args:
        video: 5-D; floats in [0, 1] or normalised, or integers up to 255.
        layout: of the video, with 3 channels or a grey one.
        mean: what was subtracted from floats in [0, 1]; integers are taken as they are.
        std: what they were then divided by.

    Returns:
        ``(B, 3, T, H, W)`` float32 in [0, 1].

    Raises:
        BatchError: if the video has other channels, or its values are not such pixels.

    Example:
        >>> to_pixels(torch.full((1, 2, 1, 4, 4), 255, dtype=torch.uint8), "BTCHW").shape
        torch.Size([1, 3, 2, 4, 4])
    """
    pixels = video.permute([layout.index(axis) for axis in "BCTHW"])
    channels = pixels.shape[1]
    if channels not in (1, 3):
        raise BatchError(
            f"Styles need RGB or grey pixels, but a video of shape {tuple(video.shape)} has {channels} channels in "
            f"layout {layout}. Set inputs=VideoInputs(layout=...) if the channels are elsewhere; for other inputs "
            "give BiasMonitor triplets=..., a function of the batch."
        )
    if not pixels.is_floating_point():
        if pixels.dtype != torch.uint8 and int(pixels.max()) > 255:
            raise BatchError(
                f"Expected whole numbers up to 255 as pixels, found {int(pixels.max())}. Scale them first."
            )
        pixels, mean, std = pixels.float() / 255, None, None
    pixels = pixels.float()
    if mean is not None and std is not None:
        if len(mean) > channels:
            raise BatchError(f"The video has {channels} channel, but mean and std are for {len(mean)}. Give one each.")
        pixels = pixels * _constant(std, pixels) + _constant(mean, pixels)
    low, high = (float(bound) for bound in pixels.aminmax())
    if not (low >= -OVERSHOOT and high <= 1 + OVERSHOOT):
        raise BatchError(_advice(low, high, normalised=mean is not None))
    return pixels.clamp(0, 1).expand(-1, 3, -1, -1, -1)


def from_pixels(pixels: Tensor, like: Tensor, layout: Layout, mean: Numbers = None, std: Numbers = None) -> Tensor:
    """Turn pixels ``(B, 3, T, H, W)`` into what a batch holds: range, channels, layout, type, order in memory.

    Args:
        pixels: in [0, 1].
        like: a video of the batch, of the same size.
        layout: its layout.
        mean: as in :func:`to_pixels`.
        std: likewise.

    Example:
        >>> video = torch.zeros(1, 2, 3, 4, 4)
        >>> from_pixels(torch.ones(1, 3, 2, 4, 4), video, "BTCHW").is_contiguous()
        True
    """
    if like.shape[layout.index("C")] == 1:
        pixels = (pixels * _constant(GREY, pixels)).sum(1, keepdim=True)
    if not like.is_floating_point():
        pixels = (pixels * 255).round()
    elif mean is not None and std is not None:
        pixels = (pixels - _constant(mean, pixels)) / _constant(std, pixels)
    # Ordered in memory as what the model gets in training: it may call view().
    return torch.empty_like(like).copy_(pixels.permute(["BCTHW".index(axis) for axis in layout]))


def _constant(values: Sequence[float], like: Tensor) -> Tensor:
    return like.new_tensor(values).view(1, -1, 1, 1, 1)


def _advice(low: float, high: float, normalised: bool) -> str:
    """What to do about values that are no pixels."""
    found = f"found values from {low:.3g} to {high:.3g}"
    theirs = "set inputs=VideoInputs(mean=..., std=...) as in your data module"
    if not math.isfinite(low + high):
        return f"Expected pixels in [0, 1], {found}. Look for NaN or infinity in your data."
    if normalised:
        return f"Expected pixels in [0, 1] after undoing mean and std, {found}. To undo them right, {theirs}."
    if low >= 0:
        fix = "For floats up to 255 set inputs=VideoInputs(mean=[0], std=[1 / 255])."
    elif low >= -1 - OVERSHOOT and high <= 1 + OVERSHOOT:
        fix = (
            f"For values from -1 to 1 set inputs=VideoInputs(mean=[0.5], std=[0.5]); if normalised otherwise, {theirs}."
        )
    else:
        fix = f"If they are normalised, {theirs}."
    return f"Expected pixels in [0, 1], {found}. {fix}"

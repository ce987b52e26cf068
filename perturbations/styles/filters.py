# SPDX-License-Identifier: Apache-2.0
"""Small filters and pointwise maps that the built-in styles share.

All work on a batch of frames ``(N, C, H, W)`` in float32. They are made of shifted additions and pointwise operations
only: no convolution or matrix product, whose summation order (and, on a GPU, whose TF32 rounding) depends on the
batch size and on global settings. A frame therefore comes out the same in whatever batch, chunk or position of the
image it is computed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ("blend", "box_blur", "core", "difference", "gaussian_blur", "luminance", "ramp", "ring_sum")

_LUMA = (0.299, 0.587, 0.114)  # Rec. 601, as OpenCV and most codecs weigh RGB


def luminance(frames: Tensor) -> Tensor:
    """Return the Rec. 601 luminance ``(N, 1, H, W)`` of RGB frames ``(N, 3, H, W)``, in the unit of the frames.

    Example:
        >>> luminance(torch.ones(1, 3, 2, 2)).shape
        torch.Size([1, 1, 2, 2])
    """
    total = frames[:, 0:1] * _LUMA[0]
    total.add_(frames[:, 1:2], alpha=_LUMA[1])
    return total.add_(frames[:, 2:3], alpha=_LUMA[2])


def _weighted_shifts(padded: Tensor, weights: Sequence[float], dim: int, dilation: int = 1) -> Tensor:
    """Sum ``weights[i] * padded shifted by i * dilation`` along ``dim``; shorter by the filter's reach."""
    size = padded.shape[dim] - (len(weights) - 1) * dilation
    total = padded.narrow(dim, 0, size) * weights[0]
    for i, weight in enumerate(weights[1:], start=1):
        total.add_(padded.narrow(dim, i * dilation, size), alpha=weight)
    return total


def _separable(frames: Tensor, weights: Sequence[float], dilation: int = 1) -> Tensor:
    """Apply an odd filter along width and height; the border repeats the outermost pixel."""
    reach = (len(weights) - 1) // 2 * dilation
    padded = F.pad(frames, (reach,) * 4, mode="replicate")
    return _weighted_shifts(_weighted_shifts(padded, weights, 2, dilation), weights, 3, dilation)


def gaussian_blur(frames: Tensor, sigma: float) -> Tensor:
    """Blur with a Gaussian of standard deviation ``sigma`` pixels, cut off at three sigma; the border is repeated.

    Example:
        >>> gaussian_blur(torch.full((1, 1, 4, 4), 0.5), sigma=1.0).allclose(torch.tensor(0.5))
        True
    """
    radius = max(1, round(3 * sigma))
    weights = [math.exp(-0.5 * (i / sigma) ** 2) for i in range(-radius, radius + 1)]
    total = sum(weights)
    return _separable(frames, [weight / total for weight in weights])


def box_blur(frames: Tensor, radius: int) -> Tensor:
    """Return the mean over a square of side ``2 * radius + 1`` around every pixel; the border is repeated.

    Example:
        >>> box_blur(torch.arange(9.0).reshape(1, 1, 3, 3), radius=1)[0, 0, 1, 1].round(decimals=4)
        tensor(4.)
    """
    side = 2 * radius + 1
    return _separable(frames, [1 / side] * side)


def ring_sum(frames: Tensor, distance: int) -> Tensor:
    """Return the sum over a 3x3 grid with spacing ``distance`` around every pixel; the border is repeated.

    Applied to window means, it sums over nine overlapping windows around the pixel.

    Example:
        >>> ring_sum(torch.ones(1, 1, 5, 5), distance=2)[0, 0, 0, 0]
        tensor(9.)
    """
    return _separable(frames, [1.0, 1.0, 1.0], dilation=distance)


def difference(frames: Tensor, dx: float, dy: float) -> Tensor:
    """Return the central difference in direction ``(dx, dy)``, in brightness per pixel; the border is repeated.

    Example:
        >>> difference(torch.arange(9.0).reshape(1, 1, 3, 3), dx=1.0, dy=0.0)[0, 0, 1, 1]
        tensor(1.)
    """
    padded = F.pad(frames, (1, 1, 1, 1), mode="replicate")
    horizontal = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]
    vertical = padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
    return horizontal.mul_(0.5 * dx).add_(vertical, alpha=0.5 * dy)


def core(values: Tensor, dead_zone: float) -> Tensor:
    """Pull values toward zero by ``dead_zone`` and set smaller ones to zero, so that noise leaves no trace.

    Example:
        >>> core(torch.tensor([-0.5, 0.1, 0.5]), dead_zone=0.25)
        tensor([-0.2500,  0.0000,  0.2500])
    """
    return F.softshrink(values, dead_zone)


def ramp(values: Tensor, knots: Sequence[float], colours: Sequence[Sequence[float]]) -> Tensor:
    """Colour scalar frames by a piecewise linear palette.

    Args:
        values: frames ``(N, 1, H, W)``; values beyond the outer knots get the outer colours.
        knots: increasing positions of the colours.
        colours: an RGB colour in [0, 1] for every knot.

    Returns:
        RGB frames ``(N, 3, H, W)``.

    Example:
        >>> ramp(torch.full((1, 1, 1, 1), 0.5), [0.0, 1.0], [(0, 0, 0), (1.0, 0.5, 0)]).flatten()
        tensor([0.5000, 0.2500, 0.0000])
    """
    n, _, height, width = values.shape
    first = torch.tensor(colours[0], dtype=values.dtype, device=values.device)
    image = first.view(1, 3, 1, 1).repeat(n, 1, height, width)
    # Each segment adds its rise, clamped to the segment: without a lookup by index, the map is continuous.
    for low, high, start, end in zip(knots[:-1], knots[1:], colours[:-1], colours[1:], strict=True):
        step = (values - low).mul_(1 / (high - low)).clamp_(0, 1)
        for channel in range(3):
            image[:, channel : channel + 1].add_(step, alpha=end[channel] - start[channel])
    return image


def blend(image: Tensor, colour: Sequence[float], share: Tensor) -> Tensor:
    """Mix a colour into RGB frames.

    Args:
        image: frames (N, 3, H, W); they are not changed.
        colour: RGB in [0, 1].
        share: how much of the colour at each pixel, (N, 1, H, W) in [0, 1].

    Example:
        >>> blend(torch.zeros(1, 3, 1, 1), (1.0, 0.5, 0.0), torch.full((1, 1, 1, 1), 0.5)).flatten()
        tensor([0.5000, 0.2500, 0.0000])
    """
    paint = torch.tensor(colour, dtype=image.dtype, device=image.device).view(1, 3, 1, 1)
    return torch.addcmul(image, paint - image, share)

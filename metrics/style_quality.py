# SPDX-License-Identifier: Apache-2.0
"""What a style changes and what it keeps: colour, motion, flicker, and what a single frame tells.

Pure functions of pixels; they know no style, no estimator of optical flow and no network. Clips are ``(3, T, H, W)``,
frames ``(N, 3, H, W)``, floats in [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from .correlation import correlation, pair_moments

__all__ = (
    "EstimateFlow",
    "add_noise",
    "flicker",
    "flow_error",
    "hellinger",
    "mean_correlation",
    "mean_of_defined",
    "noisy_still",
    "static_descriptor",
    "warped_pair",
)

EstimateFlow = Callable[[Tensor], Tensor]
"""From uint8 frames ``(T, 3, H, W)`` to the flow from each to the next, ``(T - 1, 2, H, W)`` in pixels."""

BINS = 8  # a colour channel
CELLS = 32  # a side, for edges: the same number of values at every scale


def hellinger(a: Tensor, b: Tensor) -> float:
    """Hellinger distance between the colours of two clips, by their RGB histograms of 8 x 8 x 8 bins.

    Args:
        a: ``(3, ...)`` in [0, 1]; values outside are clamped.
        b: the same, of any other shape behind the channels.

    Returns:
        ``sqrt(1 - sum(sqrt(p * q)))``: 0 for the same colours in the same shares, 1 where no colour occurs in both.

    Example:
        >>> hellinger(torch.zeros(3, 1, 4, 4), torch.zeros(3, 2, 4, 4)), hellinger(torch.zeros(3, 4), torch.ones(3, 4))
        (0.0, 1.0)
    """
    p, q = (_histogram(clip) for clip in (a, b))
    return float((1 - (p * q).sqrt().sum()).clamp(min=0).sqrt())


def _histogram(clip: Tensor) -> Tensor:
    red, green, blue = (clip.clamp(0, 1) * (BINS - 0.001)).long()
    counts = torch.bincount((red * BINS**2 + green * BINS + blue).flatten(), minlength=BINS**3).double()
    return counts / counts.sum()


def add_noise(pixels: Tensor, seed: int, sigma: float = 1 / 255) -> Tensor:
    """Pixels with Gaussian noise, as a sensor's, clamped to [0, 1]. The global generator is not touched.

    Args:
        pixels: any shape, in [0, 1].
        seed: of the noise.
        sigma: its standard deviation.

    Example:
        >>> grey = torch.full((3, 1, 64, 64), 0.5)
        >>> round(float((add_noise(grey, seed=0) - grey).std()) * 255, 1)
        1.0
    """
    noise = torch.randn(pixels.shape, generator=torch.Generator().manual_seed(seed)) * sigma
    return (pixels + noise.to(pixels)).clamp(0, 1)


def warped_pair(frame: Tensor, seed: int, length: float = 3.0, sigma: float = 1 / 255) -> tuple[Tensor, Tensor]:
    """A frame that has moved in a way that is known: smoothly, with some noise.

    The flow is a bicubic surface through 4 x 4 random vectors, scaled to its mean length.

    Args:
        frame: ``(3, H, W)`` in [0, 1], on the CPU.
        seed: of the flow and the noise; the global generator is not touched.
        length: mean length of the flow in pixels.
        sigma: standard deviation of the noise, which only the warped copy has.

    Returns:
        A clip ``(3, 2, H, W)`` of the warped copy and the frame itself, and the flow ``(2, H, W)`` from the former to
        the latter, in pixels: u to the right, v downwards.

    Example:
        >>> pair, flow = warped_pair(torch.rand(3, 64, 80), seed=0)
        >>> pair.shape, flow.shape, round(float(flow.norm(dim=0).mean()), 4)
        (torch.Size([3, 2, 64, 80]), torch.Size([2, 64, 80]), 3.0)
    """
    generator = torch.Generator().manual_seed(seed)
    height, width = frame.shape[-2:]
    coarse = torch.randn(1, 2, 4, 4, generator=generator)
    flow = F.interpolate(coarse, (height, width), mode="bicubic", align_corners=True)
    flow = flow * length / flow.norm(dim=1).mean()
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    grid = torch.stack([(x + flow[0, 0]) * 2 / (width - 1) - 1, (y + flow[0, 1]) * 2 / (height - 1) - 1], dim=-1)
    warped = F.grid_sample(frame[None], grid[None], mode="bicubic", align_corners=True, padding_mode="reflection")[0]
    noisy = warped + torch.randn(warped.shape, generator=generator) * sigma
    return torch.stack([noisy.clamp(0, 1), frame], dim=1), flow[0]


def flow_error(pair: Tensor, flow: Tensor, estimate: EstimateFlow, margin: int = 16) -> float:
    """How far off an estimator of flow is where the flow is known.

    Args:
        pair: the clip of :func:`warped_pair`, styled or not.
        flow: the flow that came with it.
        estimate: the estimator.
        margin: pixels at the border that do not count, where the warped copy shows mirrored content; less in frames
            that are not four margins wide.

    Returns:
        The median end-point error in pixels.

    Example:
        >>> pair, flow = warped_pair(torch.rand(3, 64, 64), seed=0)
        >>> flow_error(pair, flow, lambda frames: torch.zeros(1, 2, 64, 64)) > 1
        True
    """
    frames = (pair.transpose(0, 1) * 255).round().to(torch.uint8)
    error = (estimate(frames)[0] - flow).norm(dim=0)
    margin = min(margin, min(error.shape) // 4)
    return float(error[margin : error.shape[0] - margin, margin : error.shape[1] - margin].median())


def flicker(clip: Tensor) -> float:
    """Mean absolute difference of successive frames of a clip ``(3, T, H, W)``; 0 for a still.

    Example:
        >>> round(flicker(torch.tensor([0.0, 0.5, 0.0]).view(1, 3, 1, 1).expand(3, 3, 2, 2)), 3)
        0.5
    """
    return float(clip.diff(dim=1).abs().mean()) if clip.shape[1] > 1 else 0.0


def noisy_still(frame: Tensor, seed: int, sigma: float = 1 / 255) -> Tensor:
    """A clip of two copies of a frame that differ by noise alone: what changes in it does so without any motion.

    Args:
        frame: ``(3, H, W)`` in [0, 1].
        seed: of the noise; the global generator is not touched.
        sigma: its standard deviation.

    Returns:
        ``(3, 2, H, W)``.

    Example:
        >>> flicker(noisy_still(torch.full((3, 8, 8), 0.5), seed=0)) > flicker(torch.full((3, 2, 8, 8), 0.5))
        True
    """
    return add_noise(torch.stack([frame, frame], dim=1), seed, sigma)


def static_descriptor(frames: Tensor) -> Tensor:
    """What can be told of single frames without any weights: colours and edges in four cells.

    Mean and spread of each colour, mean of two opponent colours, and mean strength of edges in four directions at
    three scales, in each quarter of the frame.

    Args:
        frames: ``(N, 3, H, W)`` in [0, 1], at least 12 pixels a side.

    Returns:
        ``(N, 80)`` float64.

    Example:
        >>> static_descriptor(torch.rand(2, 3, 64, 64)).shape
        torch.Size([2, 80])
    """
    grey = frames.mean(1, keepdim=True)
    maps = [frames, (frames[:, :1] - frames[:, 1:2]).abs(), (frames[:, :2].mean(1, keepdim=True) - frames[:, 2:]).abs()]
    for scale in (1, 2, 4):
        level = F.avg_pool2d(grey, scale)
        dx = level[..., 1:-1, 2:] - level[..., 1:-1, :-2]
        dy = level[..., 2:, 1:-1] - level[..., :-2, 1:-1]
        maps += [F.adaptive_avg_pool2d(edge.abs(), CELLS) for edge in (dx, dy, dx + dy, dx - dy)]
    means = [F.adaptive_avg_pool2d(part, 2).flatten(1) for part in maps]
    spreads = F.adaptive_avg_pool2d(frames**2, 2).flatten(1) - means[0] ** 2
    return torch.cat([*means, spreads.clamp(min=0).sqrt()], dim=1).double()


def mean_correlation(a: Tensor, b: Tensor) -> float:
    """Mean over units of the Pearson correlation between two sides of the same stills.

    Args:
        a: ``(N, C)``, a row a still.
        b: the same stills otherwise, ``(N, C)``.

    Returns:
        The mean over the units that vary on both sides; NaN where none does.

    Raises:
        ValueError: the shapes differ.

    Example:
        >>> x = torch.tensor([[0.0, 0.0, 5.0], [1.0, 1.0, 5.0]])
        >>> [round(mean_correlation(x, y), 6) for y in (x * torch.tensor([2.0, -1.0, 1.0]), x)]
        [0.0, 1.0]
    """
    return mean_of_defined(pair_moments(a, b)[0])


def mean_of_defined(moments: Tensor) -> float:
    """Mean correlation of moments ``(6, C)`` over the units that vary on both sides; NaN where none does.

    Example:
        >>> mean_of_defined(pair_moments(torch.ones(3, 2), torch.rand(3, 2))[0])
        nan
    """
    score, undefined = correlation(moments)
    return float(score[~undefined].mean())

# SPDX-License-Identifier: Apache-2.0
"""Taking the noise out of a clip along the paths of its pixels, so that a network does not turn it into flicker."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..errors import BatchError, OptionError
from .pixel_sampling import pixel_positions, sample_bilinear

__all__ = ("check_flow", "filter_over_time")


@torch.no_grad()
def filter_over_time(
    frames: Tensor, forward: Tensor, backward: Tensor, window: int = 15, sigma_divisor: float = 16
) -> Tensor:
    """Average each pixel with the same point of the scene in the frames before and after.

    A bilateral filter over time that follows motion, as Texler et al. 2020 recommend against noise in the source,
    which a style network amplifies (``_tools/bilateralAdv``): the point is followed from frame to frame by the optical
    flow, and each neighbour counts by ``exp(-dt^2 / 2 sigma_t^2)`` for its distance in time, with ``sigma_t = window /
    3``, and by ``exp(-dc^2 / 2 sigma_c^2)`` for its distance in colour, with ``sigma_c`` the largest distance of two
    colours divided by ``sigma_divisor``. So noise is averaged, and where the flow is wrong or something comes into
    view, the pixel stays as it is.

    Two details differ from the official tool: there the weights in time of the frames before are in reverse order, so
    that the farthest counts most, and colours are cut to whole numbers at each step.

    Args:
        frames: (T, 3, H, W), RGB in [0, 1].
        forward: flow from each frame to the next (T-1, 2, H, W) in pixels, u to the right, v downwards.
        backward: flow from each frame but the first to the one before (T-1, 2, H, W).
        window: how many frames to use on each side; fewer at the ends of a clip.
        sigma_divisor: larger values average fewer colours.

    Returns:
        The filtered frames, shape, type and device of ``frames``.

    Raises:
        BatchError: the frames or flows do not fit together.
        OptionError: ``window`` is negative or ``sigma_divisor`` not positive.

    Example:
        >>> frames, still = torch.full((3, 3, 8, 8), 0.5), torch.zeros(2, 2, 8, 8)
        >>> frames[1] += 0.03
        >>> filtered = filter_over_time(frames, still, still)
        >>> bool(filtered[1].mean() < 0.52)
        True
    """
    check_flow(frames, forward, backward)
    if window < 0 or sigma_divisor <= 0:
        raise OptionError(
            f"window must not be negative and sigma_divisor must be positive; found {window} and {sigma_divisor}."
        )
    source = frames.float()
    total, weights = source.clone(), torch.ones_like(source[:, :1])
    sigma_time, sigma_colour = window / 3, math.sqrt(3) / sigma_divisor
    start = pixel_positions(frames.shape[2], frames.shape[3], frames.device)
    for flow, later in ((forward.to(source), True), (backward.to(source), False)):
        positions = start.expand(len(frames), -1, -1, -1)
        for distance in range(1, min(window, len(frames) - 1) + 1):
            # Frame i is followed to frame i + distance, or i - distance; those whose neighbour exists are kept.
            positions = positions[:-1] if later else positions[1:]
            steps = flow[distance - 1 :] if later else flow[: len(flow) - distance + 1]
            positions = positions + sample_bilinear(steps, positions)
            neighbours = sample_bilinear(source[distance:] if later else source[:-distance], positions)
            here = slice(0, -distance) if later else slice(distance, None)
            colour = (neighbours - source[here]).square().sum(dim=1, keepdim=True)
            weight = torch.exp(-(distance**2) / (2 * sigma_time**2) - colour / (2 * sigma_colour**2))
            total[here] += weight * neighbours
            weights[here] += weight
    return (total / weights).to(frames.dtype)


def check_flow(frames: Tensor, forward: Tensor, backward: Tensor) -> None:
    """Check that two flows fit frames.

    Args:
        frames: what should be (T, 3, H, W) floats.
        forward: what should be (T-1, 2, H, W).
        backward: the same.

    Raises:
        BatchError: they do not; the message says what was found.

    Example:
        >>> check_flow(torch.zeros(2, 3, 4, 4), torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 4, 4))
    """
    if frames.ndim != 4 or frames.shape[1] != 3 or not frames.is_floating_point():
        raise BatchError(
            f"Expected frames (T, 3, H, W) of floats in [0, 1], found {tuple(frames.shape)} of {frames.dtype}."
        )
    expected = (len(frames) - 1, 2, *frames.shape[2:])
    for name, flow in (("forward", forward), ("backward", backward)):
        if tuple(flow.shape) != expected:
            raise BatchError(f"Expected {name} flow of shape {expected} for these frames, found {tuple(flow.shape)}.")

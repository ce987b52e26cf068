# SPDX-License-Identifier: Apache-2.0
"""Guide pictures: coloured dots that move with the scene and tell a style network where in it a patch lies.

A network that is trained on small patches cannot tell two patches of sky apart, though they may be painted
differently. Dots of random colours make every place unique, and optical flow moves them with the scene.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import BatchError, OptionError
from .keyed_draws import KeyedDraws
from .pixel_sampling import sample_bilinear

__all__ = ("draw_guides", "follow_points", "scatter_points")

_MASK = 64 / 255  # brighter pixels of a mask count
_REACH = 3  # dots end at this many sigma
_TRIES = 30  # neighbours that are tried around a point before it counts as surrounded

Points = NDArray[np.float32]


def draw_guides(
    size: tuple[int, int],
    length: int,
    keyframes: Mapping[int, Tensor],
    forward: Tensor,
    backward: Tensor,
    radius: float = 10,
    sigma: float = 10,
    seed: int = 1337,
) -> Tensor:
    """Draw a guide picture for every frame of a clip.

    As Texler et al. 2020 do (``_tools/gauss``): points are scattered over the mask of each keyframe, each gets a
    colour, flow carries them to the frames after and before, and in each frame a point is drawn by mixing its colour
    into the picture with weight ``exp(-d^2 / sigma^2)`` at distance ``d``, within a box of 3 sigma on each side. Dots
    of the first keyframe lie on top of those of later ones, and the rest is black. The official tool draws from C's
    ``rand``; here the draws are others, and the same on every machine.

    Args:
        size: height and width in pixels.
        length: number of frames.
        keyframes: masks (H, W) by number of frame, bool or with pixels above 64 of 255 (uint8) or of 1 (floats) in it.
        forward: flow from each frame to the next (T-1, 2, H, W) in pixels, u to the right, v downwards.
        backward: flow from each frame but the first to the one before (T-1, 2, H, W).
        radius: no two points of a keyframe are closer than this, in pixels.
        sigma: size of the dots in pixels; the authors use 10 and 15.
        seed: start of the draws, not negative.

    Returns:
        Guide pictures (T, 3, H, W), RGB in [0, 1], on the CPU.

    Raises:
        BatchError: a mask or flow does not fit the size, or a keyframe lies outside the clip.
        OptionError: there is no keyframe, ``length`` is not positive, or ``radius`` or ``sigma`` is not positive.

    Example:
        >>> still, mask = torch.zeros(2, 2, 32, 48), torch.ones(32, 48, dtype=torch.bool)
        >>> guides = draw_guides((32, 48), 3, {0: mask}, still, still)
        >>> guides.shape, bool((guides[0] == guides[2]).all())
        (torch.Size([3, 3, 32, 48]), True)
    """
    _check(size, length, keyframes, (forward, backward), radius, sigma)
    pictures = np.zeros((length, *size, 3), np.float32)
    for key in sorted(keyframes, reverse=True):
        points = scatter_points(_as_mask(keyframes[key]), radius, seed, key)
        draws = KeyedDraws(seed, f"colours of {key}")
        colours = [tuple(draws.below(255) / 255 for _ in range(3)) for _ in points]
        for picture, places in zip(pictures, follow_points(points, key, forward, backward), strict=True):
            for place, colour in zip(places, colours, strict=True):
                _draw_dot(picture, place, colour, sigma)
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous()


def scatter_points(mask: NDArray[np.bool_], radius: float, seed: int, key: int = 0) -> Points:
    """Scatter points over a picture, nowhere closer than ``radius``, and keep those in a mask.

    Bridson, "Fast Poisson Disk Sampling in Arbitrary Dimensions", SIGGRAPH sketches 2007.

    Args:
        mask: (H, W), where points may be.
        radius: the smallest distance, in pixels.
        seed: start of the draws.
        key: tells several pictures of one seed apart.

    Returns:
        Points (n, 2), x and y, cut to whole pixels.

    Example:
        >>> points = scatter_points(np.ones((40, 40), bool), 10, seed=0)
        >>> bool(len(points) > 8)
        True
    """
    height, width = mask.shape
    draws = KeyedDraws(seed, f"points of {key}")
    cell = radius / math.sqrt(2)  # a cell of this size has room for one point
    columns, rows = int((width - 1) / cell) + 1, int((height - 1) / cell) + 1
    taken: dict[tuple[int, int], tuple[float, float]] = {}
    points: list[tuple[float, float]] = []

    def place(x: float, y: float) -> None:
        taken[int(y / cell), int(x / cell)] = (x, y)
        points.append((x, y))

    def is_free(x: float, y: float) -> bool:
        row, column = int(y / cell), int(x / cell)
        near = (
            taken.get((r, c))
            for r in range(max(0, row - 2), min(rows, row + 3))
            for c in range(max(0, column - 2), min(columns, column + 3))
        )
        return all((x - p[0]) ** 2 + (y - p[1]) ** 2 >= radius**2 for p in near if p is not None)

    place(draws.uniform(0, width - 1), draws.uniform(0, height - 1))
    active = [0]
    while active:
        chosen = draws.below(len(active))
        x0, y0 = points[active[chosen]]
        for _ in range(_TRIES):
            angle, distance = draws.uniform(0, 2 * math.pi), radius * math.sqrt(draws.uniform(1, 4))
            x, y = x0 + distance * math.cos(angle), y0 + distance * math.sin(angle)
            if 0 <= x <= width - 1 and 0 <= y <= height - 1 and is_free(x, y):
                active.append(len(points))
                place(x, y)
                break
        else:
            active[chosen] = active[-1]
            active.pop()
    pixels = np.asarray(points, np.float32).astype(np.int64)
    return pixels[mask[pixels[:, 1], pixels[:, 0]]].astype(np.float32)


def follow_points(points: Points, key: int, forward: Tensor, backward: Tensor) -> list[Points]:
    """Carry points of one frame along the flow to all frames.

    Args:
        points: (n, 2) x and y in frame ``key``.
        key: the number of their frame.
        forward: flow from each frame to the next (T-1, 2, H, W).
        backward: flow from each frame but the first to the one before (T-1, 2, H, W).

    Returns:
        Their places in each of the T frames; they may leave the picture.

    Example:
        >>> right = torch.zeros(2, 2, 8, 8)
        >>> right[:, 0] = 1.5
        >>> [places[0].tolist() for places in follow_points(np.float32([[2, 3]]), 1, right, -right)]
        [[0.5, 3.0], [2.0, 3.0], [3.5, 3.0]]
    """
    start = torch.from_numpy(points).t().reshape(1, 2, 1, -1)
    places = {key: start}
    for flow, frames, step in (
        (forward, range(key, len(forward)), 1),
        (backward, range(key - 1, -1, -1), -1),
    ):
        here = start
        for index in frames:  # the flow between frames index and index + 1
            here = here + sample_bilinear(flow[index : index + 1].float().cpu(), here)
            places[index + 1 if step > 0 else index] = here
    return [places[frame].reshape(2, -1).t().numpy() for frame in range(len(forward) + 1)]


def _draw_dot(picture: NDArray[np.float32], place: Points, colour: tuple[float, ...], sigma: float) -> None:
    reach = int(_REACH * sigma)
    height, width = picture.shape[:2]
    x, y = float(place[0]), float(place[1])
    left, right = max(0, math.ceil(x - reach)), min(width, math.floor(x + reach) + 1)
    top, bottom = max(0, math.ceil(y - reach)), min(height, math.floor(y + reach) + 1)
    if left >= right or top >= bottom:
        return
    across = np.exp(-(((np.arange(left, right) - x) / sigma) ** 2))
    down = np.exp(-(((np.arange(top, bottom) - y) / sigma) ** 2))
    weight = np.outer(down, across).astype(np.float32)[..., None]
    box = picture[top:bottom, left:right]
    box += weight * (np.asarray(colour, np.float32) - box)


def _as_mask(mask: Tensor) -> NDArray[np.bool_]:
    bright = mask if mask.dtype == torch.bool else mask > (_MASK if mask.is_floating_point() else _MASK * 255)
    found: NDArray[np.bool_] = bright.cpu().numpy()
    return found


def _check(
    size: tuple[int, int],
    length: int,
    keyframes: Mapping[int, Tensor],
    flows: tuple[Tensor, Tensor],
    radius: float,
    sigma: float,
) -> None:
    if not keyframes or length < 1:
        raise OptionError(f"Guides need a keyframe and a frame; found {len(keyframes)} and {length}.")
    if not (radius >= 1 and sigma > 0):
        raise OptionError(f"radius must be at least 1 and sigma positive; found {radius} and {sigma}.")
    for key, mask in keyframes.items():
        if not 0 <= key < length:
            raise BatchError(f"The keyframe {key} is not among the {length} frames. Count from 0.")
        if tuple(mask.shape) != tuple(size):
            raise BatchError(f"The mask of keyframe {key} has shape {tuple(mask.shape)}, expected {tuple(size)}.")
    for name, flow in zip(("forward", "backward"), flows, strict=True):
        if tuple(flow.shape) != (length - 1, 2, *size):
            expected = (length - 1, 2, *size)
            raise BatchError(f"Expected {name} flow of shape {expected} for these frames, found {tuple(flow.shape)}.")

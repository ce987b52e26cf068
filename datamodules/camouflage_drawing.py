# SPDX-License-Identifier: Apache-2.0
"""The pictures of the generated segmentation data set: an object whose motion gives it away and whose looks may not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from ..errors import OptionError, UnknownNameError
from .camouflage_textures import Array, Texture, draw_look, draw_salient_look, join, over, paint, ramp

__all__ = ("KINDS", "DrawnSequence", "Kind", "check_drawing", "draw_sequence")

Kind = Literal["camouflaged", "salient"]
KINDS: tuple[Kind, ...] = get_args(Kind)
_MIN_SIDE = 48  # pixels; in smaller pictures the texture is too coarse for the object
_SIDE = 96  # the shorter side, in pixels, for which the lengths below are stated; they grow with the picture
_RADII = (0.14, 0.24)  # smallest and largest mean radius of an object, as shares of the shorter side
_PAN = (0.4, 1.0)  # speed of the background, in pixels a frame
_SPEED = 3.0  # largest speed of the object
_LEAD = 1.1  # by how much the object is faster than the background at least
_SWAY = 10.0  # how far the background moves, to either side, before it turns
_EDGE = 0.7  # half width of a visible edge, in pixels at every size
_CLEARANCE = 4.0  # smallest distance of distractor and object
_TRIES = 100  # to find places for both


class DrawnSequence(NamedTuple):
    """A sequence and what is known of it: frames, masks and flow (see :func:`draw_sequence`)."""

    frames: NDArray[np.uint8]
    masks: NDArray[np.uint8]
    flow: NDArray[np.float32]


@dataclass(frozen=True)
class _Blob:
    """A smooth closed outline around the origin: its radius as a Fourier series of the angle."""

    radius: float
    amplitudes: Array
    phases: Array

    def _outline(self, angles: Array) -> tuple[Array, Array]:
        """Radius of the outline at some angles, and its derivative by the angle."""
        radius, slope = np.ones_like(angles), np.zeros_like(angles)
        for order, (amplitude, phase) in enumerate(zip(self.amplitudes, self.phases, strict=True), start=2):
            radius += amplitude * np.cos(order * angles + phase)
            slope -= amplitude * order * np.sin(order * angles + phase)
        return self.radius * radius, self.radius * slope

    def depth(self, x: Array, y: Array) -> Array:
        """Distance from the outline in pixels (to first order), positive inside; exactly 0 on the outline."""
        outline, slope = self._outline(np.arctan2(y, x))
        return np.asarray((outline - np.hypot(x, y)) / np.hypot(1, slope / outline))

    @property
    def reach(self) -> float:
        """The largest distance of the outline from the origin."""
        return float(self._outline(np.linspace(0, 2 * np.pi, 360))[0].max())


def _blob(scale: float, rng: np.random.Generator) -> _Blob:
    radius = _SIDE * scale * _RADII[0] * (_RADII[1] / _RADII[0]) ** rng.uniform()
    amplitudes = rng.uniform(-1, 1, 4) * (0.18, 0.12, 0.07, 0.04)
    return _Blob(radius, amplitudes, rng.uniform(0, 2 * np.pi, 4))


def _walk(start: Array, low: Array, high: Array, speed: float, headings: Array) -> Array:
    """Positions (T, 2) on a path of steps of one length that is thrown back at the walls of a box."""
    path, mirror = [start], np.ones(2)
    for step in speed * np.stack([np.cos(headings), np.sin(headings)], axis=1):
        following = path[-1] + mirror * step
        mirror = np.where((following < low) | (following > high), -mirror, mirror)
        path.append(path[-1] + mirror * step)
    return np.stack(path)


@dataclass(frozen=True)
class _Plan:
    """Where things are: offsets (T, 2) of the background, outlines and centres (T, 2) of object and distractor."""

    pan: Array
    blob: _Blob
    path: Array
    other: _Blob
    other_path: Array

    @property
    def clearance(self) -> float:
        """A distance in pixels that object and distractor always keep; negative where they may touch."""
        distances = np.hypot(*(self.path - self.other_path).T)
        return float(distances.min()) - self.blob.reach - self.other.reach


def _plan(size: tuple[int, int], num_frames: int, scale: float, rng: np.random.Generator) -> _Plan:
    ends = np.array([size[1] - 1, size[0] - 1], np.float64)
    direction, pan_speed = rng.uniform(0, 2 * np.pi), rng.uniform(*_PAN)
    sway = np.full(2, _SWAY * scale)
    pan = _walk(np.zeros(2), -sway, sway, scale * pan_speed, np.full(num_frames - 1, direction))
    blob, other = _blob(scale, rng), _blob(scale, rng)
    speed = scale * rng.uniform(pan_speed + _LEAD, _SPEED)
    heading = direction + rng.uniform(np.pi / 3, 5 * np.pi / 3)  # at least 60 degrees away from the background's
    headings = heading + rng.uniform(-0.5, 0.5) * np.sin(0.6 * np.arange(num_frames - 1))
    low, high = np.full(2, blob.reach), ends - blob.reach
    path = _walk(rng.uniform(low, high), low, high, speed, headings)
    inside = other.reach + sway
    return _Plan(pan, blob, path, other, rng.uniform(inside, ends - inside) + pan)


def check_drawing(num_frames: int, height: int, width: int) -> None:
    """Refuse what :func:`draw_sequence` cannot draw, without drawing it.

    Raises:
        OptionError: a number is out of range.

    Example:
        >>> check_drawing(2, 48, 48)
    """
    if num_frames < 2:
        raise OptionError(f"num_frames must be at least 2, so that something can move; got {num_frames}.")
    if min(height, width) < _MIN_SIDE:
        raise OptionError(f"height and width must be at least {_MIN_SIDE} pixels; got {height} and {width}.")


def draw_sequence(
    kind: Kind,
    *,
    num_frames: int,
    height: int,
    width: int,
    distractor: bool = False,
    rng: np.random.Generator,
) -> DrawnSequence:
    """Draw one sequence: an object that moves over a background that moves more slowly and otherwise.

    The object is a random smooth shape; it moves rigidly on a path that bends and is thrown back before it leaves the
    picture. A ``camouflaged`` object shows another sample of the very noise that the background shows. At its rim the
    two are joined band by band, over a seam that grows with the wavelength, with weights whose squares add up to one:
    mean, variance and sharpness stay the same across the rim, and a single frame hardly tells where the object is. A
    ``salient`` object has another colour and texture, and is seen in every frame.

    Lengths grow with the picture; for a shorter side of 96 pixels, objects have radii of about 13 to 23 pixels and move
    by 1.5 to 3 pixels a frame, the background by 0.4 to 1, to and fro; the two motions set out in directions at least
    60 degrees apart and always differ by more than 1 pixel a frame.

    Args:
        kind: ``camouflaged`` or ``salient``.
        num_frames: frames in the sequence, at least 2.
        height: of the picture, in pixels, at least 48.
        width: of the picture, in pixels, at least 48.
        distractor: add a thing that looks as salient objects do but moves with the background: it is not the object
            and not in the masks. It keeps clear of the object where the picture leaves room for that.
        rng: source of randomness.

    Returns:
        RGB frames ``(T, H, W, 3)``, uint8; masks ``(T, H, W)``, uint8 in {0, 1}; flow ``(T - 1, 2, H, W)``, float32:
        how far each pixel of a frame moves until the next one, (x, y) in pixels.

    Raises:
        UnknownNameError: there is no such kind.
        OptionError: a number is out of range.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> drawn = draw_sequence("camouflaged", num_frames=3, height=48, width=64, rng=rng)
        >>> drawn.frames.shape, drawn.masks.shape, drawn.flow.shape
        ((3, 48, 64, 3), (3, 48, 64), (2, 2, 48, 64))
    """
    if kind not in KINDS:
        raise UnknownNameError("kind of sequence", kind, KINDS)
    check_drawing(num_frames, height, width)
    size, scale = (height, width), min(height, width) / _SIDE
    plan = _plan(size, num_frames, scale, rng)
    for _ in range(_TRIES if distractor else 0):
        if plan.clearance >= _CLEARANCE * scale:
            break
        plan = max(plan, _plan(size, num_frames, scale, rng), key=lambda candidate: candidate.clearance)
    look = draw_look(rng)
    salient = draw_salient_look(look, rng)
    ground, texture, other_texture = (Texture(size, max(scale, 1.0), rng) for _ in range(3))
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    frames = np.empty((num_frames, height, width, 3), np.uint8)
    masks = np.empty((num_frames, height, width), np.uint8)
    for number, (pan, centre, other) in enumerate(zip(plan.pan, plan.path, plan.other_path, strict=True)):
        depth = plan.blob.depth(x - centre[0], y - centre[1])
        behind, inside = ground.at(*pan), texture.at(*centre)
        cover = ramp(depth, _EDGE)[..., None]
        if kind == "camouflaged":
            picture = paint(look, join(behind, inside, depth, max(scale, 1.0), plan.blob.radius))
        else:
            picture = over(paint(look, behind), paint(salient, inside), cover)
        if distractor:
            other_cover = ramp(plan.other.depth(x - other[0], y - other[1]), _EDGE)[..., None]
            picture = over(picture, paint(salient, other_texture.at(*other)), other_cover * (1 - cover))
        frames[number] = np.clip(picture, 0, 255).round()
        masks[number] = depth > 0
    steps, pan_steps = (np.diff(path, axis=0)[..., None, None] for path in (plan.path, plan.pan))
    flow = np.where(masks[:-1, None] > 0, steps, pan_steps)
    return DrawnSequence(frames, masks, flow.astype(np.float32))

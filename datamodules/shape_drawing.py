# SPDX-License-Identifier: Apache-2.0
"""The pictures of the generated data set: what a thing looks like, how it moves, and one clip as an array of frames."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ("APPEARANCES", "MOTIONS", "Appearance", "Motion", "draw_clip")

_SPRITE = 48  # pixels of the largest drawing of an object; smaller copies come from a pyramid
_SIZES = (0.22, 0.5)  # smallest and largest object, as shares of the picture's height


class Motion(NamedTuple):
    """A class: the official template, and which of the object's coordinates grow (1) or shrink (-1) over a clip."""

    template: str
    right: int = 0
    down: int = 0
    closer: int = 0
    turn: int = 0


class Appearance(NamedTuple):
    """What an object looks like (RGB), and the tint of the background that goes with it."""

    name: str
    shape: str
    texture: str
    colour: tuple[int, int, int]
    background: tuple[int, int, int]


# Templates in the wording of Something-Something V2. Each of the first six has its time reversal beside it.
MOTIONS = (
    Motion("Pushing [something] from left to right", right=1),
    Motion("Pushing [something] from right to left", right=-1),
    Motion("Moving [something] up", down=-1),
    Motion("Moving [something] down", down=1),
    Motion("Moving [something] away from the camera", closer=-1),
    Motion("Moving [something] towards the camera", closer=1),
    Motion("Spinning [something] so it continues spinning", turn=1),
    Motion("Holding [something]"),
)

APPEARANCES = (
    Appearance("red striped disc", "disc", "striped", (214, 52, 48), (186, 216, 232)),
    Appearance("blue and white square", "square", "halved", (40, 92, 200), (240, 222, 178)),
    Appearance("yellow dotted triangle", "triangle", "dotted", (242, 190, 30), (190, 184, 226)),
    Appearance("green and white star", "star", "halved", (38, 148, 74), (244, 206, 214)),
    Appearance("purple striped cross", "cross", "striped", (138, 58, 172), (206, 232, 192)),
    Appearance("orange and white ring", "ring", "halved", (240, 122, 24), (178, 206, 204)),
    Appearance("black dotted diamond", "diamond", "dotted", (46, 46, 54), (248, 238, 210)),
    Appearance("pink striped hexagon", "hexagon", "striped", (232, 84, 152), (196, 196, 196)),
)


def _polygon(angles: NDArray[np.float64], radii: NDArray[np.float64]) -> NDArray[np.float64]:
    return 0.5 + np.stack([radii * np.sin(angles), -radii * np.cos(angles)], axis=1)


def _regular(corners: int, start: float = 0.0) -> NDArray[np.float64]:
    return _polygon(start + 2 * np.pi * np.arange(corners) / corners, np.full(corners, 0.48))


def _outline(shape: str) -> NDArray[np.float64]:
    """Corners of a shape in the unit square."""
    if shape == "star":
        return _polygon(np.pi * np.arange(10) / 5, np.where(np.arange(10) % 2 == 0, 0.48, 0.22))
    if shape == "cross":
        a, b, c, d = 0.06, 0.34, 0.66, 0.94
        corners = [(b, a), (c, a), (c, b), (d, b), (d, c), (c, c), (c, d), (b, d), (b, c), (a, c), (a, b), (b, b)]
        return np.array(corners)
    corners_of = {"triangle": (3, 0.0), "square": (4, math.pi / 4), "diamond": (4, 0.0), "hexagon": (6, 0.0)}
    return _regular(*corners_of.get(shape, (60, 0.0)))


def _mask(shape: str, size: int) -> NDArray[np.uint8]:
    mask = np.zeros((size, size), np.uint8)
    corners = np.round(_outline(shape) * size * 16).astype(np.int32)
    cv2.fillPoly(mask, [corners], 255, cv2.LINE_AA, shift=4)
    if shape == "ring":
        cv2.circle(mask, (size * 8, size * 8), round(size * 3.4), 0, -1, cv2.LINE_AA, shift=4)
    return mask


def _texture(texture: str, size: int) -> NDArray[np.float32]:
    """Share of white, (size, size): every texture shows a rotation, also of a disc."""
    y, x = np.mgrid[0:size, 0:size] / size
    if texture == "striped":
        white = np.sin(2 * np.pi * 2.5 * y) > 0.35
    elif texture == "halved":
        white = x > 0.5
    else:
        white = np.hypot((x * 2.7 + 0.2) % 1 - 0.5, (y * 2.7 + 0.45) % 1 - 0.5) < 0.3
    return np.asarray(cv2.GaussianBlur((0.85 * white).astype(np.float32), (0, 0), 0.7), np.float32)


def _sprite(appearance: Appearance) -> list[NDArray[np.float32]]:
    """RGBA drawings with premultiplied colour, each half the size of the one before."""
    mask = _mask(appearance.shape, _SPRITE).astype(np.float32)[..., None] / 255
    white = _texture(appearance.texture, _SPRITE)[..., None]
    inside = np.array(appearance.colour, np.float32) * (1 - white) + 255 * white
    # a darker rim keeps the object legible on every background
    rim = cv2.erode(mask, np.ones((3, 3), np.uint8), iterations=2)[..., None]
    inside = inside * rim + np.array(appearance.colour, np.float32) * 0.45 * (1 - rim)
    sprite = np.concatenate([inside * mask, mask], axis=2).astype(np.float32)
    return [sprite, np.asarray(cv2.pyrDown(sprite), np.float32)]


def _paste(
    picture: NDArray[np.float32], sprites: list[NDArray[np.float32]], x: float, y: float, s: float, a: float
) -> None:
    """Draw a sprite of ``s`` pixels, turned by ``a`` radians, centred at (x, y), going around at the edges."""
    height, width = picture.shape[:2]
    sprite = sprites[0] if s > 0.6 * _SPRITE else sprites[1]
    scale, half = s / sprite.shape[0], (sprite.shape[0] - 1) / 2
    reach = 0.5 * s
    for shift_x in (-width, 0, width):
        for shift_y in (-height, 0, height):
            cx, cy = x + shift_x, y + shift_y
            left, top = max(math.floor(cx - reach) - 1, 0), max(math.floor(cy - reach) - 1, 0)
            right, bottom = min(math.ceil(cx + reach) + 2, width), min(math.ceil(cy + reach) + 2, height)
            if left >= right or top >= bottom:
                continue
            cos, sin = scale * math.cos(a), scale * math.sin(a)
            matrix = np.array(
                [[cos, -sin, cx - left - (cos - sin) * half], [sin, cos, cy - top - (sin + cos) * half]], np.float64
            )
            layer = cv2.warpAffine(sprite, matrix, (right - left, bottom - top), flags=cv2.INTER_LINEAR)
            region = picture[top:bottom, left:right]
            region *= 1 - layer[..., 3:]
            region += layer[..., :3]


def _background(tint: tuple[int, int, int], height: int, width: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """A wall and a table in one tint, unevenly lit."""
    colour = np.array(tint, np.float32)
    light = 1 + 0.06 * rng.uniform(-1, 1, (3, 3)).astype(np.float32)
    picture = cv2.resize(light, (width, height), interpolation=cv2.INTER_CUBIC)[..., None] * colour
    edge = round(height * rng.uniform(0.55, 0.75))
    picture[edge:] *= 0.86
    picture[edge : edge + 1] *= 0.9
    return picture


@dataclass(frozen=True)
class _Path:
    """Position, size and angle of the object at the beginning, each uniform over its period, and the speed."""

    x: float
    y: float
    size: float
    angle: float
    travel: float

    def at(self, motion: Motion, share: float) -> tuple[float, float, float, float]:
        way = self.travel * share
        x, y = (self.x + motion.right * way) % 1, (self.y + motion.down * way) % 1
        size = _SIZES[0] * (_SIZES[1] / _SIZES[0]) ** ((self.size + motion.closer * way) % 1)
        return x, y, size, 2 * np.pi * (self.angle + motion.turn * way)


def draw_clip(
    motion: Motion,
    appearance: Appearance,
    *,
    num_frames: int,
    height: int,
    width: int,
    rng: np.random.Generator,
) -> NDArray[np.uint8]:
    """Draw one clip: an object that moves, two that do not, a background.

    Position, size and angle of the object start anywhere in their period with equal probability and go around in it
    (an object that leaves at the right enters at the left; one that has become smallest is largest again). At every
    moment they are therefore distributed alike in all classes: a single frame tells nothing about the motion, and all
    frames without their order tell nothing that distinguishes a motion from its reversal.

    Args:
        motion: one of MOTIONS.
        appearance: one of APPEARANCES: the object's looks and the background's tint.
        num_frames: frames in the clip.
        height: of the picture, in pixels.
        width: of the picture, in pixels.
        rng: source of randomness.

    Returns:
        RGB frames of shape ``(num_frames, height, width, 3)``, uint8.

    Example:
        >>> draw_clip(MOTIONS[0], APPEARANCES[0], num_frames=4, height=36, width=40, rng=np.random.default_rng(0)).shape
        (4, 36, 40, 3)
    """
    scene = _background(appearance.background, height, width, rng)
    for other in rng.choice(len(APPEARANCES), 2, replace=False):
        x, y, angle = rng.uniform(0, 1, 3)
        red, green, blue = (c // 2 + 80 for c in APPEARANCES[other].colour)
        muted = APPEARANCES[other]._replace(colour=(red, green, blue))
        _paste(scene, _sprite(muted), x * width, y * height, rng.uniform(0.14, 0.2) * height, 2 * np.pi * angle)
    x, y, size, angle = rng.uniform(0, 1, 4)
    path = _Path(x, y, size, angle, travel=rng.uniform(0.5, 0.9))
    sprite = _sprite(appearance)
    frames = np.empty((num_frames, height, width, 3), np.uint8)
    for number in range(num_frames):
        x, y, size, angle = path.at(motion, number / max(num_frames - 1, 1))
        picture = scene.copy()
        _paste(picture, sprite, x * width, y * height, size * height, angle)
        frames[number] = np.clip(picture, 0, 255).round()
    return frames

# SPDX-License-Identifier: Apache-2.0
"""What objects and backgrounds of the generated segmentation data set look like: coloured noise, moved and joined."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ("Array", "Look", "Texture", "draw_look", "draw_salient_look", "join", "over", "paint", "ramp")

_WAVELENGTHS = (5.0, 9.0, 16.0)  # of the bands of a texture, in pixels at scale 1, and their weights
_WEIGHTS = (0.5, 0.6, 0.6)
_BLEND = 0.75  # half width of the seam of a camouflaged object, in wavelengths of a band

Array = NDArray[np.float64]


class Look(NamedTuple):
    """A noise process: mean colour, how the three independent noises mix into RGB, and the weights of the bands."""

    colour: Array
    mixing: Array
    weights: tuple[float, ...]


class Texture:
    """A sample of a stationary Gaussian noise on a torus, in bands, kept as a spectrum.

    Moving it multiplies the spectrum by phases: unlike interpolation this leaves it equally sharp at every fraction of
    a pixel, so that sharpness does not tell apart what moves in different ways.

    Args:
        size: height and width of the picture, in pixels.
        scale: by how much wavelengths are longer than at scale 1.
        rng: source of randomness.

    Example:
        >>> Texture((48, 64), 1.0, np.random.default_rng(0)).at(0.5, 2).shape
        (3, 3, 48, 64)
    """

    def __init__(self, size: tuple[int, int], scale: float, rng: np.random.Generator) -> None:
        # larger than the picture, so that nothing leaves on one side and enters on the other at once
        height, width = (32 * math.ceil((side + _WAVELENGTHS[-1] * scale) / 32) for side in size)
        self._fy, self._fx = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
        frequency = np.hypot(self._fy, self._fx)
        frequency[0, 0] = 1e-9
        noise = np.fft.rfft2(rng.standard_normal((len(_WAVELENGTHS), 3, height, width)))
        bands = np.array(_WAVELENGTHS)[:, None, None] * scale
        rings = np.exp(-(np.log2(frequency * bands) ** 2) / (2 * 0.35**2)) * (frequency < 0.45)
        # a column of the half spectrum stands for two of the whole one
        power = (np.where((self._fx > 0) & (self._fx < 0.5), 2.0, 1.0) * rings**2).sum(axis=(1, 2)) / (height * width)
        self._spectrum = noise * (rings / np.sqrt(power)[:, None, None])[:, None]
        self._size, self._torus = size, (height, width)

    def at(self, x: float, y: float) -> Array:
        """Bands of variance 1, (bands, 3, H, W), of the texture moved by (x, y) pixels."""
        phases = np.exp(-2j * np.pi * (self._fx * x + self._fy * y))
        return np.fft.irfft2(self._spectrum * phases, s=self._torus)[..., : self._size[0], : self._size[1]]


def draw_look(rng: np.random.Generator) -> Look:
    """Draw a greyish colour of middle brightness, so that hardly a pixel leaves the range of 8 bits, and its noise.

    Example:
        >>> look = draw_look(np.random.default_rng(0))
        >>> look.colour.shape, look.mixing.shape, look.weights
        ((3,), (3, 3), (0.5, 0.6, 0.6))
    """
    colour = rng.uniform(100, 150) + rng.uniform(-18, 18, 3)
    mixing = np.column_stack([np.full(3, 30.0), *(rng.uniform(3, 8) * _hue(rng) for _ in range(2))])
    return Look(colour, mixing, _WEIGHTS)


def draw_salient_look(other: Look, rng: np.random.Generator) -> Look:
    """Draw a look far from another one: a saturated colour, darker or brighter, with a faint coarse texture.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> draw_salient_look(draw_look(rng), rng).weights
        (0.2, 0.4, 0.9)
    """
    step = rng.uniform(40, 55) * rng.choice((-1, 1))
    colour = other.colour.mean() + step + rng.uniform(70, 85) * _hue(rng)
    return Look(np.clip(colour, 20, 235), other.mixing * 0.5, (0.2, 0.4, 0.9))


def _hue(rng: np.random.Generator) -> Array:
    """A direction of unit length in the plane of equal brightness (the mean of R, G and B)."""
    angle = rng.uniform(0, 2 * np.pi)
    return np.asarray(np.cos(angle + np.array([0, 2, 4]) * np.pi / 3) * math.sqrt(2 / 3))


def paint(look: Look, bands: Array) -> Array:
    """RGB floats (H, W, 3), 0 to 255 but for rare pixels, from bands (bands, 3, H, W) of noise of variance 1.

    Example:
        >>> look = draw_look(np.random.default_rng(0))
        >>> bool((paint(look, np.zeros((3, 3, 4, 5))) == look.colour).all())
        True
    """
    noise = np.tensordot(np.array(look.weights), bands, axes=1)
    return np.moveaxis(np.tensordot(look.mixing, noise, axes=1), 0, -1) + look.colour


def over(picture: Array, thing: Array, cover: Array) -> Array:
    """Lay a thing over a picture: RGB (H, W, 3) of both, and how much of the thing is seen, (H, W, 1) in [0, 1].

    Example:
        >>> over(np.full((1, 2, 3), 100.0), np.full((1, 2, 3), 200.0), np.array([[[0.0], [0.5]]]))[0, :, 0]
        array([100., 150.])
    """
    return np.asarray(picture * (1 - cover) + thing * cover)


def join(behind: Array, inside: Array, depth: Array, scale: float, radius: float) -> Array:
    """Join two samples of one noise where depth is 0, so that every band stays as it was in statistics.

    The weights of the two have squares that add up to one, as the variance of a sum of independent noises asks.

    Args:
        behind: bands (bands, 3, H, W) to see where depth is negative.
        inside: bands of the same shape to see where it is positive.
        depth: distance (H, W) from the seam, in pixels.
        scale: that of the textures; the seam of a band is as wide as its wavelength is long.
        radius: of the object, in pixels; no seam is wider to either side than 0.6 of it.

    Returns:
        Bands of the same shape.

    Example:
        >>> depth = np.array([[-20.0, 0.0, 20.0]])
        >>> join(np.ones((3, 3, 1, 3)), np.zeros((3, 3, 1, 3)), depth, scale=1.0, radius=30.0)[0, 0].round(3)
        array([[1.   , 0.707, 0.   ]])
    """
    joined = np.empty_like(behind)
    for number, wavelength in enumerate(_WAVELENGTHS):
        angle = np.pi / 2 * ramp(depth, min(_BLEND * wavelength * scale, 0.6 * radius))
        joined[number] = np.sin(angle) * inside[number] + np.cos(angle) * behind[number]
    return joined


def ramp(depth: Array, half_width: float) -> Array:
    """0 outside, 1 inside, smooth over a seam of the given half width (in pixels, as depth is).

    Example:
        >>> ramp(np.array([-3.0, -1.0, 0.0, 1.0, 3.0]), 2.0)
        array([0.     , 0.15625, 0.5    , 0.84375, 1.     ])
    """
    share = np.clip(depth / (2 * half_width) + 0.5, 0, 1)
    return np.asarray(share * share * (3 - 2 * share))

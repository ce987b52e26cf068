# SPDX-License-Identifier: Apache-2.0
"""Frames and masks read from picture files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .readers.base import as_read_error

__all__ = ("binary_mask", "picture_size", "read_layer", "read_mask", "read_mask_values", "read_picture")

_WHITE_16 = 65535
_HINT = "Fetch it again, or look through the data set with `staticdropout data check`."


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    with as_read_error(path, "frames", _HINT), Image.open(path) as picture:
        yield picture


def picture_size(path: Path) -> tuple[int, int]:
    """Return the height and width of a picture from its header.

    Raises:
        VideoDecodeError: it is not there or not a picture.
    """
    with _opened(path) as picture:
        return picture.height, picture.width


def read_picture(path: Path) -> NDArray[np.uint8]:
    """Return a picture as RGB of shape (H, W, 3), uint8.

    Grey pictures of 16 bits are scaled to 8. Of a picture with an alpha channel comes what it looks like on black.

    Raises:
        VideoDecodeError: it is not there or cannot be decoded, or its values have no known range.
    """
    with _opened(path) as opened:
        picture = _of_eight_bits(opened)
        if not picture.has_transparency_data:
            return np.array(picture.convert("RGB"))
    colours, alpha = read_layer(path)
    on_black: NDArray[np.uint8] = (colours * (alpha[..., None] / 255)).round().astype(np.uint8)
    return on_black


def read_layer(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the colours (H, W, 3) and the alpha channel (H, W) of a picture, uint8; without one, alpha is 255.

    Raises:
        VideoDecodeError: it is not there or cannot be decoded, or its values have no known range.
    """
    with _opened(path) as picture:
        pixels = np.array(_of_eight_bits(picture).convert("RGBA"))
    return pixels[..., :3], pixels[..., 3]


def _of_eight_bits(picture: Image.Image) -> Image.Image:
    """The picture, scaled if it is grey with 16 bits: Pillow would cut its values off at 255.

    Raises:
        ValueError: its values are wider still, so that nothing says what is white.
    """
    if not _is_wide(picture):
        return picture
    values = np.array(picture)
    if picture.mode == "F" or values.min() < 0 or values.max() > _WHITE_16:
        raise ValueError(f"its pixels (mode {picture.mode}) go beyond 16 bits; save it with 8 bits")
    return Image.fromarray(_scaled(values))


def _is_wide(picture: Image.Image) -> bool:
    return picture.mode in ("I", "F") or picture.mode.startswith("I;16")  # Pillow 10 reads PNGs of 16 bits as I


def _scaled(values: NDArray[np.integer]) -> NDArray[np.uint8]:
    """16 bits as 8, white as white."""
    scaled: NDArray[np.uint8] = ((values.astype(np.int64) + 128) // 257).astype(np.uint8)
    return scaled


def read_mask_values(path: Path) -> tuple[NDArray[np.integer], bool]:
    """Return the values of a mask file, and whether they are indices of a palette.

    Palette indices and grey values come as they are, (H, W). Of a colour picture comes the largest channel. Grey of 16
    bits is scaled to 8 where it goes up to 32 896 or more, the upper half: it is a picture of a mask then, as in
    :func:`binary_mask`, and otherwise numbers of objects.

    Raises:
        VideoDecodeError: the file is not there or cannot be decoded.
    """
    with _opened(path) as picture:
        values = np.array(picture)
        indexed = picture.mode == "P"
        colours = 3 if picture.mode.startswith("RGB") else 1  # without the alpha channel of RGBA and LA
        if _is_wide(picture) and 128 * 257 <= values.max(initial=0) <= _WHITE_16:
            values = _scaled(values)
    values = values[..., :colours].max(-1) if values.ndim == 3 else values
    return (values.astype(np.uint8) if values.dtype == bool else values), indexed


def binary_mask(values: NDArray[np.integer], void: int | None = None) -> NDArray[np.uint8]:
    """Return 1 where the values of a mask mean foreground, else 0.

    Every value but 0 and ``void`` is foreground. Masks in grey that go up to 128 or more are pictures of a mask (0 to
    255), in which only values above 127 are: lossy copies have grey edges. Give them without ``void``.

    Args:
        values: (H, W).
        void: value of pixels that are neither foreground nor background; they become 0.

    Example:
        >>> binary_mask(np.array([[0, 1, 7, 255]]), void=255).tolist()
        [[0, 1, 1, 0]]
        >>> binary_mask(np.array([[0, 3, 250, 255]])).tolist()
        [[0, 0, 1, 1]]
    """
    threshold = 127 if void is None and values.max(initial=0) > 127 else 0
    foreground: NDArray[np.uint8] = ((values > threshold) & (values != void)).astype(np.uint8)
    return foreground


def read_mask(path: Path, void: int | None = None) -> NDArray[np.uint8]:
    """Return a mask as (H, W), 1 for the foreground.

    Args:
        path: a PNG with a palette (every object has its index), in grey (0 and 255) or in colour.
        void: palette index of pixels that are neither foreground nor background; they become background. It does not
            apply to masks without a palette, where 255 is the usual foreground.

    Raises:
        VideoDecodeError: the file is not there or cannot be decoded.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "mask.png")
        ...     Image.fromarray(np.array([[0, 255]], np.uint8)).save(file)
        ...     read_mask(file, void=255).tolist()
        [[0, 1]]
    """
    values, indexed = read_mask_values(path)
    return binary_mask(values, void if indexed else None)

# SPDX-License-Identifier: Apache-2.0
"""Videos that lie as folders of pictures."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from PIL import Image

from ...errors import VideoDecodeError
from ..picture_folders import PICTURES
from .base import Frames, Indices, as_read_error, checked_frames, checked_indices, scaled_size

__all__ = ("FramesReader",)

_HINT = "Extract the frames again, or leave the clip out with --data.on_error skip."


def _number(path: Path) -> tuple[int, str]:
    digits = re.findall(r"\d+", path.stem)
    return (int(digits[-1]) if digits else -1), path.name


class FramesReader:
    """A folder of JPEG or PNG files, one a frame, ordered by the number in their names (``0001.jpg``, ``img_10.png``).

    Args:
        path: the folder.
        short_side: decode at this shorter side in pixels where the pictures are larger; None: as they are. JPEG is
            decoded at a fraction of its size where that is enough, which is much faster.

    Attributes:
        fps: 12, the rate of Something-Something V2: a folder of frames does not tell its own.

    Raises:
        VideoDecodeError: there is no such folder, or no picture in it.
    """

    name = "frames"

    def __init__(self, path: str | Path, short_side: int | None = None) -> None:
        self._path, self.fps = Path(path), 12.0
        if not self._path.is_dir():
            found = "it is a file, not a folder of frames" if self._path.is_file() else "there is no such folder"
            raise VideoDecodeError(self._path, self.name, found, "Video files are read with --data.reader decord.")
        # hidden files are no frames: macOS leaves ._0001.jpg beside 0001.jpg on other file systems
        files = (f for f in self._path.iterdir() if f.suffix.lower() in PICTURES and not f.name.startswith("."))
        self._files = sorted(files, key=_number)
        if not self._files:
            raise VideoDecodeError(self._path, self.name, "the folder holds no .jpg or .png file", _HINT)
        with as_read_error(self._files[0], self.name, _HINT), Image.open(self._files[0]) as image:
            self._size = scaled_size(image.height, image.width, short_side)
            self._original = (image.height, image.width)

    @staticmethod
    def require() -> None:
        """Nothing is required: Pillow is always there."""

    def __len__(self) -> int:
        return len(self._files)

    def _read(self, file: Path) -> Frames:
        height, width = self._size
        with as_read_error(file, self.name, _HINT), Image.open(file) as image:
            if (image.height, image.width) != self._original:
                found = f"it is {image.width}x{image.height}, the first frame {self._original[1]}x{self._original[0]}"
                raise VideoDecodeError(file, self.name, found, _HINT)
            if self._size == self._original:
                return np.asarray(image.convert("RGB"))
            # draft: the JPEG decoder itself gives 1/2, 1/4 or 1/8 of the size, still at least the size asked for
            image.draft("RGB", (width, height))
            return np.asarray(image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR))

    def get_batch(self, indices: Indices) -> Frames:
        """Read frames; see :class:`VideoReader`."""
        wanted = checked_indices(indices, len(self))
        pictures = {i: self._read(self._files[i]) for i in set(wanted)}
        frames = np.stack([pictures[i] for i in wanted])
        return checked_frames(frames, len(wanted), self._path, self.name, _HINT)

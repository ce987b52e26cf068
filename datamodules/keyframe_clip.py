# SPDX-License-Identifier: Apache-2.0
"""The clip that painted keyframes belong to: a folder of frames, or a video."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import AnnotationError, DatasetNotFoundError
from .keyframe_files import pictures_in
from .pictures import read_picture
from .readers import open_video, resolve_reader

__all__ = ("KeyframeClip",)


class KeyframeClip:
    """The frames of a clip, by position.

    Args:
        path: a folder of PNG or JPEG files, or a video.
        reader: of videos: decord, torchcodec or pyav.

    Attributes:
        names: of the frames; those of the files, or the numbers of a video's frames from 00000 on.

    Raises:
        DatasetNotFoundError: there is no such file, or no picture in the folder.
        VideoDecodeError: the video cannot be opened.
    """

    def __init__(self, path: str | Path, reader: str = "decord") -> None:
        self.path = Path(path)
        self.names: tuple[str, ...] = ()
        self._files: list[Path] = []
        if self.path.is_dir():
            files = pictures_in(self.path)
            self.names, self._files = tuple(files), list(files.values())
        elif self.path.exists():
            self._reader = resolve_reader(reader)
            self.names = tuple(f"{number:05d}" for number in range(len(open_video(self.path, self._reader))))
        if not self.names:
            hint = "Name a video, or a folder of PNG or JPEG files, with frames."
            raise DatasetNotFoundError(self.path, ["the frames of the clip"], hint)

    def __len__(self) -> int:
        return len(self.names)

    def read(self, positions: Sequence[int] | None = None) -> Tensor:
        """Read frames as ``(T, 3, H, W)`` uint8; all of them by default.

        Raises:
            VideoDecodeError: they cannot be read.
            AnnotationError: they differ in size.
        """
        wanted = range(len(self)) if positions is None else positions
        frames = self._read_files(wanted) if self._files else open_video(self.path, self._reader).get_batch(wanted)
        return torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2)

    def _read_files(self, positions: Sequence[int]) -> NDArray[np.uint8]:
        pictures = [read_picture(self._files[position]) for position in positions]
        sizes = {picture.shape[:2] for picture in pictures}
        if len(sizes) > 1:
            found = ", ".join(sorted(f"{width}x{height}" for height, width in sizes))
            raise AnnotationError(f"The frames in {str(self.path)!r} differ in size: {found}. Make them all the same.")
        return np.stack(pictures)

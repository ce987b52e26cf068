# SPDX-License-Identifier: Apache-2.0
"""Whole videos, chunk by chunk and in order, for jobs that read every frame once: the data set."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from ..errors import VideoDecodeError
from .frame_patterns import FramePattern
from .pictures import read_picture
from .readers import VideoReader, open_video
from .readers.base import Frames, Indices, checked_indices
from .style_sources import SourceVideo

__all__ = ("StyleTask", "WholeVideoDataset", "indices_at_rate")


class StyleTask(NamedTuple):
    """A video with the styles that are still to be made of it.

    Attributes:
        video: the video.
        styles: positions of the styles, from 0.
        folders: for each of them the folder that the frames go to.
        refused: why the video is not to be read; empty where it is.
    """

    video: SourceVideo
    styles: tuple[int, ...]
    folders: tuple[Path, ...]
    refused: str = ""


def indices_at_rate(length: int, fps: float, target_fps: float | None) -> list[int]:
    """The frames that a video shows at the times 0, 1 / target_fps, 2 / target_fps and so on.

    Args:
        length: frames in the video.
        fps: frames a second of the video.
        target_fps: frames a second wanted; frames are repeated where it is more than the video has. None: all frames.

    Example:
        >>> indices_at_rate(10, fps=10.0, target_fps=4.0)
        [0, 2, 5, 7]
        >>> indices_at_rate(3, fps=10.0, target_fps=None)
        [0, 1, 2]
    """
    if target_fps is None:
        return list(range(length))
    # a tiny number more, so that what rounding takes away is no frame less
    count = max(1, math.ceil(length * target_fps / fps - 1e-6))
    return [min(length - 1, math.floor(number * fps / target_fps + 1e-6)) for number in range(count)]


class _Pictures:
    """A sequence of picture files as a :class:`VideoReader`."""

    fps = math.nan

    def __init__(self, frames: Sequence[Path]) -> None:
        self._frames = frames
        self._shape: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self._frames)

    def get_batch(self, indices: Indices) -> Frames:
        pictures = [self._read(self._frames[index]) for index in checked_indices(indices, len(self))]
        return np.stack(pictures)

    def _read(self, file: Path) -> Frames:
        picture = read_picture(file)
        self._shape = self._shape or picture.shape
        if picture.shape != self._shape:
            (height, width), (first_height, first_width) = picture.shape[:2], self._shape[:2]
            found = f"it is {width}x{height}, the first frame {first_width}x{first_height}"
            raise VideoDecodeError(file, "frames", found, "Extract the frames of the sequence again.")
        return picture


class WholeVideoDataset(IterableDataset[dict[str, Any]]):
    """Chunks of whole videos, in order: each video once, by one worker of the loader, its chunks one after another.

    A chunk is ``{"video": (1, 3, T, H, W) uint8, "id": str, "first": int, "last": bool, "styles": list of int,
    "folders": list of str, "files": list of lists of str}`` and what was given as ``more``. ``first`` is the position
    of the chunk's first frame among those of the video, from 0; ``last`` tells the last chunk of the video; ``styles``
    are the positions of those that are missing, ``folders`` and ``files`` where the frames of each go and what they are
    called.

    A video that is refused, or cannot be read, at its beginning or later, gives with ``on_error="skip"`` a chunk
    without ``"video"`` and with ``"skipped"``, a list of (id, reason); it is the last one of that video.

    Args:
        tasks: the videos.
        names: the names of the styles.
        pattern: of the frames' files.
        reader: name of the video reader.
        target_fps: see :func:`indices_at_rate`.
        short_side: decode larger videos at this shorter side in pixels; None: as they are.
        chunk_pixels: about how many pixels a chunk has at most; it has one frame at least. None: the whole video.
        on_error: ``"raise"`` or ``"skip"``.
        more: entries that every chunk has.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> pattern = FramePattern.of("ssv2")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for i in range(1, 6):
        ...         Image.new("RGB", (40, 30)).save(f"{folder}/{i:04d}.jpg")
        ...     task = StyleTask(SourceVideo("7", Path(folder)), (0,), (Path("out/style_1/7"),))
        ...     data = WholeVideoDataset([task], ["neon"], pattern, reader="frames", chunk_pixels=3 * 40 * 30)
        ...     [(chunk["video"].shape[2], chunk["first"], chunk["last"], chunk["files"][0][0]) for chunk in data]
        [(3, 0, False, '000001.jpg'), (2, 3, True, '000004.jpg')]
    """

    def __init__(
        self,
        tasks: Sequence[StyleTask],
        names: Sequence[str],
        pattern: FramePattern,
        *,
        reader: str = "decord",
        target_fps: float | None = None,
        short_side: int | None = None,
        chunk_pixels: int | None = 4_000_000,
        on_error: Literal["skip", "raise"] = "skip",
        more: dict[str, Any] | None = None,
    ) -> None:
        self.tasks, self.names, self.pattern = tasks, names, pattern
        self.reader, self.target_fps, self.short_side = reader, target_fps, short_side
        self.chunk_pixels, self.on_error, self.more = chunk_pixels, on_error, more or {}

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Go through the videos of this worker."""
        worker = get_worker_info()
        own = self.tasks if worker is None else self.tasks[worker.id :: worker.num_workers]
        for task in own:
            try:
                if not task.refused:
                    yield from self._chunks(task)
            except VideoDecodeError as error:
                if self.on_error == "raise":
                    raise
                yield self._skipped(task, error.reason or str(error))
            if task.refused:
                yield self._skipped(task, task.refused)

    def _skipped(self, task: StyleTask, reason: str) -> dict[str, Any]:
        return {"id": task.video.name, "last": True, "skipped": [(task.video.name, reason)], **self.more}

    def _chunks(self, task: StyleTask) -> Iterator[dict[str, Any]]:
        video = self._open(task.video)
        indices = indices_at_rate(len(video), self._fps(video, task.video), self.target_fps)
        first = video.get_batch(indices[:1])  # tells the size
        pixels = first.shape[1] * first.shape[2]
        count = len(indices) if self.chunk_pixels is None else max(1, self.chunk_pixels // pixels)
        for start in range(0, len(indices), count):
            wanted = indices[start : start + count]
            if start:
                frames = video.get_batch(wanted)
            else:
                frames = np.concatenate((first, video.get_batch(wanted[1:]))) if len(wanted) > 1 else first
            yield {
                "video": _as_clip(frames),
                "id": task.video.name,
                "first": start,
                "last": start + count >= len(indices),
                "styles": list(task.styles),
                "folders": [str(folder) for folder in task.folders],
                "files": [self._file_names(task.video, style, start, len(wanted)) for style in task.styles],
                **self.more,
            }

    def _open(self, video: SourceVideo) -> VideoReader:
        opened = (
            _Pictures(video.frames)
            if video.frames
            else open_video(video.path, reader=self.reader, short_side=self.short_side)
        )
        if not len(opened):
            raise VideoDecodeError(video.path, self.reader, "it has no frames", "Fetch it again.")
        return opened

    def _fps(self, opened: VideoReader, video: SourceVideo) -> float:
        if self.target_fps is not None and not (math.isfinite(opened.fps) and opened.fps > 0):
            hint = "Take every frame of such videos: target_fps 0."
            raise VideoDecodeError(video.path, self.reader, f"its frame rate is {opened.fps}", hint)
        return opened.fps

    def _file_names(self, video: SourceVideo, style: int, start: int, count: int) -> list[str]:
        frames: list[int] | list[str] = (
            [path.stem for path in video.frames[start : start + count]]
            if self.pattern.by_stem
            else list(range(self.pattern.first_frame + start, self.pattern.first_frame + start + count))
        )
        return [self.pattern.file_name(frame, self.names[style], style + 1) for frame in frames]


def _as_clip(frames: Frames) -> Tensor:
    """Frames (T, H, W, 3) as a clip (1, 3, T, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(frames)).permute(3, 0, 1, 2)[None]

# SPDX-License-Identifier: Apache-2.0
"""A few clips out of whatever videos there are: a data set, a folder of videos or of frames, or one video."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from ..datamodules import open_video
from ..datamodules.entries import Entry, part_of
from ..datamodules.layouts import LayoutProblem, fits_layout, list_sequences, list_splits
from ..datamodules.pictures import read_picture
from ..datamodules.readers import resolve_reader
from ..datamodules.sampling import dense_indices
from ..datamodules.video_files import SUFFIXES, VideoFiles
from ..datamodules.video_layouts import detect_video_layout, video_source
from ..errors import DatasetNotFoundError, VideoDecodeError

__all__ = ("ClipDraw", "VideoPlace", "find_videos")

_Name = TypeVar("_Name", bound=str)


@dataclass(frozen=True)
class VideoPlace:
    """Where a video lies.

    Attributes:
        entry: its file or folder, and which part of it is meant.
        reader: of the file or folder.
        pictures: the frames one by one, where a data set lists them; the reader is not used then.
    """

    entry: Entry
    reader: str
    pictures: tuple[Path, ...] = ()

    def clips(self, most: int, num_frames: int, stride: int, size: int) -> list[Tensor]:
        """Read up to ``most`` clips ``(3, T, size, size)`` in [0, 1] that do not overlap, spread over the video.

        Raises:
            VideoDecodeError: the video cannot be read.
        """
        if self.pictures:
            part: Sequence[int] = range(len(self.pictures))
        else:
            video = open_video(self.entry.path, reader=self.reader, short_side=size)
            part = part_of(video, self.entry, self.reader)
        count = min(most, max(1, len(part) // (num_frames * stride)))
        clips = []
        for window in dense_indices(len(part), num_frames, stride, num_clips=count):
            chosen = [part[index] for index in window]
            if self.pictures:
                pictures = {index: read_picture(self.pictures[index]) for index in set(chosen)}
                frames = np.stack([pictures[index] for index in chosen])
            else:
                frames = video.get_batch(chosen)
            clips.append(_square(torch.from_numpy(frames), size))
        return clips


def _square(frames: Tensor, size: int) -> Tensor:
    video = frames.permute(0, 3, 1, 2).float() / 255
    square: Tensor = F.center_crop(F.resize(video, [size], antialias=True), [size, size])
    return square.clamp(0, 1).transpose(0, 1).contiguous()


def find_videos(data: str | Path, reader: str = "decord", enough: int = 1) -> list[VideoPlace]:
    """Find the videos of a place.

    Args:
        data: folder of a data set in a known layout, a folder of videos or of folders of frames, however deep, a
            folder of frames, or a video file.
        reader: of video files; ``frames`` looks for folders of frames first.
        enough: how many videos of a data set will do: its validation split is taken alone where it has as many, and
            the others after it where it has not.

    Raises:
        DatasetNotFoundError: there is nothing of the kind.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for file in ("a/b.mp4", "c.webm", "notes.txt"):
        ...         Path(folder, file).parent.mkdir(exist_ok=True)
        ...         Path(folder, file).touch()
        ...     [place.entry.id for place in find_videos(folder)]
        ['b', 'c']
    """
    path, reader = Path(data), resolve_reader(reader)
    if path.is_file():
        return [VideoPlace(Entry(path.stem, path, -1), "decord" if reader == "frames" else reader)]
    if (layout := detect_video_layout(path)) is not None:
        source = video_source(layout, path, reader)
        return _of_splits(
            source.splits(), enough, lambda split: [VideoPlace(entry, reader) for entry in source.entries(split)]
        )
    if fits_layout(path) is not None:
        return _of_splits(list_splits(path), enough, lambda split: _sequences(path, split))
    files = VideoFiles([path]).paths if path.is_dir() and reader != "frames" else set()
    found = [VideoPlace(Entry(file.stem, file, -1), reader) for file in sorted(files)]
    if not found and path.is_dir():
        folders = VideoFiles([path.parent], frames=True).paths & {path} or VideoFiles([path], frames=True).paths
        found = [VideoPlace(Entry(folder.name, folder, -1), "frames") for folder in sorted(folders)]
    if not found:
        expected = ["a data set in a known layout", f"videos ({', '.join(SUFFIXES)})", "folders of .jpg or .png frames"]
        raise DatasetNotFoundError(path, expected, "Name a folder of clips like those that you measure on.")
    return found


def _of_splits(splits: Sequence[_Name], enough: int, read: Callable[[_Name], list[VideoPlace]]) -> list[VideoPlace]:
    found: list[VideoPlace] = []
    for split in sorted(splits, key=lambda split: not split.startswith("val")):
        if len(found) < enough:
            found += read(split)
    return found


def _sequences(root: Path, split: str) -> list[VideoPlace]:
    def go_on(problem: LayoutProblem) -> None:
        """Missing masks do not matter, missing frames are passed over."""

    found = list_sequences(root, split=split, on_problem=go_on)
    return [VideoPlace(Entry(item.name, item.frames[0].parent, -1), "frames", item.frames) for item in found]


@dataclass
class ClipDraw:
    """Clips of some of the videos, the same at every call; unreadable videos are left out and noted.

    Args:
        videos: where to draw from.
        num_clips: how many; where there are fewer videos, several of one.
        num_frames: frames of a clip.
        stride: distance of its frames in the video.
        size: side of the square clips in pixels.

    Attributes:
        skipped: what could not be read so far, with the reason.
        used: how many videos gave clips so far.
    """

    videos: Sequence[VideoPlace]
    num_clips: int
    num_frames: int
    stride: int
    size: int
    skipped: list[VideoDecodeError] = field(default_factory=list)
    used: int = 0

    def __iter__(self) -> Iterator[Tensor]:
        """Yield clips ``(3, T, size, size)`` in [0, 1]; fewer than asked for where the videos do not give more."""
        self.skipped, self.used, wanted = [], 0, self.num_clips
        order = torch.randperm(len(self.videos), generator=torch.Generator().manual_seed(0)).tolist()
        for rank, index in enumerate(order):
            if not wanted:
                return
            try:
                clips = self.videos[index].clips(
                    math.ceil(wanted / (len(order) - rank)), self.num_frames, self.stride, self.size
                )
            except VideoDecodeError as error:
                self.skipped.append(error)
                continue
            self.used += 1
            wanted -= len(clips)
            yield from clips

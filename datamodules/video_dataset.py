# SPDX-License-Identifier: Apache-2.0
"""A map-style data set of videos, and the collate function that knows about clips that could not be read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..errors import VideoDecodeError
from ..perturbations import draw_permutations, shuffled_by_key
from .draws import Draw, drawn
from .entries import Entry, part_of
from .readers import VideoReader, open_video
from .sampling import Sampling, sample_clips
from .transforms import ClipTransform

__all__ = ("Entry", "VideoCollate", "VideoDataset")


class VideoDataset(Dataset[dict[str, Any]]):
    """Clips of videos, as dicts ``{"video", "label", "id"}``.

    ``"video"`` is uint8 of shape ``(C, T, H, W)``, or ``(V, C, T, H, W)`` with V = ``num_clips`` x crops views where
    that is more than one (the crops of the first clip, then those of the second, …).

    A video that cannot be read raises VideoDecodeError with ``on_error="raise"``. With ``"skip"``, training takes the
    next readable entry of the list in its place, so that batches keep their size (ranks stay in step under DDP);
    evaluation leaves it out: the item then has no ``"video"``. Both add ``"skipped"``, a list of (id, reason). Where
    no entry of the whole list can be read, VideoDecodeError is raised all the same.

    Args:
        entries: the videos.
        transform: from a uint8 clip ``(T, C, H, W)`` to ``(C, T, H, W)`` or, with several crops, ``(V, C, T, H, W)``.
        num_frames: frames in a clip.
        sampling: ``"segment"``, ``"dense"`` or ``"window"``, see :mod:`.sampling`.
        stride: distance of neighbouring frames with ``sampling="dense"`` and ``"window"``.
        training: sample frames at random, and replace what cannot be read.
        num_clips: clips along time in evaluation.
        reader: name of the video reader.
        short_side: decode larger videos at this shorter side in pixels; None: as they are.
        on_error: ``"raise"`` or ``"skip"``.
        target_fps: frames a second that the stride counts in, whatever the video has; None: the stride counts frames of
            the video.
        shuffle_frames: put the frames of each clip into another order: at random in training, in evaluation always the
            same one for an entry. Never the order they came in.
        generator: source of the sampled frames in training; None: torch's global one, from which the transform draws in
            any case. With None, an item that is asked for by a :class:`.Draw` depends on the draw alone.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> from staticdropout.datamodules import EvalTransform
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for i in range(1, 5):
        ...         Image.new("RGB", (40, 30)).save(f"{folder}/{i:04d}.jpg")
        ...     entries = [Entry("7", Path(folder), 3)]
        ...     item = VideoDataset(entries, EvalTransform(24, short_side=24), num_frames=2, reader="frames")[0]
        >>> item["video"].shape, item["label"], item["id"]
        (torch.Size([3, 2, 24, 24]), 3, '7')
    """

    def __init__(
        self,
        entries: Sequence[Entry],
        transform: ClipTransform,
        *,
        num_frames: int = 8,
        sampling: Sampling = "segment",
        stride: int = 1,
        training: bool = False,
        num_clips: int = 1,
        reader: str = "decord",
        short_side: int | None = None,
        on_error: Literal["skip", "raise"] = "raise",
        target_fps: float | None = None,
        shuffle_frames: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        self.entries, self.transform, self.reader = entries, transform, reader
        self.num_frames, self.sampling, self.stride = num_frames, sampling, stride
        self.training, self.num_clips = training, num_clips
        self.short_side, self.on_error, self.generator = short_side, on_error, generator
        self.target_fps, self.shuffle_frames = target_fps, shuffle_frames
        self._some_readable = False

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def item_shape(self) -> tuple[int, ...]:
        """Shape of an item's ``"video"``."""
        size, views = self.transform.crop_size, self.num_clips * self.transform.num_views
        clip = (3, self.num_frames, size, size)
        return clip if views == 1 else (views, *clip)

    def __getitem__(self, asked: Draw | int) -> dict[str, Any]:
        """Return the clip of the entry that is asked for."""
        with drawn(asked) as index:
            return self._item(index)

    def _item(self, index: int) -> dict[str, Any]:
        entry = self.entries[index]
        try:
            item: dict[str, Any] = {"video": self._load(entry), "label": entry.label, "id": entry.id}
        except VideoDecodeError as error:
            if self.on_error == "raise":
                raise
            return self._without(index, error)
        self._some_readable = True
        return item

    def _without(self, index: int, error: VideoDecodeError) -> dict[str, Any]:
        entry = self.entries[index]
        skipped = [(entry.id, error.reason)]
        if not self.training and self._some_readable:
            return {"label": entry.label, "id": entry.id, "skipped": skipped}
        for step in range(1, len(self.entries)):
            other = self.entries[(index + step) % len(self.entries)]
            try:
                video = self._load(other)
            except VideoDecodeError as failure:
                skipped.append((other.id, failure.reason))
                continue
            self._some_readable = True
            if self.training:
                return {"video": video, "label": other.label, "id": other.id, "skipped": skipped}
            return {"label": entry.label, "id": entry.id, "skipped": skipped[:1]}
        raise VideoDecodeError(
            entry.path,
            self.reader,
            f"{error.reason.rstrip('.')}; and none of the {len(self.entries)} videos of this split could be read",
            "Check the video folder (--data.video_dir) and the reader, or run `staticdropout data check`.",
        ) from error

    def _load(self, entry: Entry) -> Tensor:
        video = open_video(entry.path, reader=self.reader, short_side=self.short_side)
        part = part_of(video, entry, self.reader)
        indices = part.start + sample_clips(
            len(part),
            self.num_frames,
            sampling=self.sampling,
            stride=self.stride * self._speed(video, entry),
            training=self.training,
            num_clips=self.num_clips,
            generator=self.generator,
        )
        # all clips in one call: a frame that several of them need is decoded once by most readers
        frames = torch.from_numpy(video.get_batch(indices.reshape(-1))).permute(0, 3, 1, 2)
        parts = torch.split(frames, self.num_frames)
        if self.shuffle_frames:
            parts = tuple(self._shuffled(clip, f"{entry.id}#{number}") for number, clip in enumerate(parts))
        clips = [self.transform(clip) for clip in parts]
        if self.num_clips == 1:
            return clips[0]
        return torch.cat(clips) if self.transform.num_views > 1 else torch.stack(clips)

    def _speed(self, video: VideoReader, entry: Entry) -> float:
        """Frames of the video for one that the stride counts."""
        if self.target_fps is None:
            return 1.0
        if not (math.isfinite(video.fps) and video.fps > 0):
            hint = "Count the stride in its own frames: --data.target_fps null."
            raise VideoDecodeError(entry.path, self.reader, f"its frame rate is {video.fps}", hint)
        return video.fps / self.target_fps

    def _shuffled(self, clip: Tensor, key: str) -> Tensor:
        if not self.training:
            return shuffled_by_key(clip[None], [key], time_dim=1)[0]
        order = draw_permutations(1, len(clip), self.generator or torch.default_generator)[0]
        return clip[order]


class VideoCollate:
    """Make a batch of items of a :class:`VideoDataset`.

    The batch is ``{"video": (B, …) uint8, "label": (B,) int64, "id": list of str}``; ``"skipped"``, a list of pairs
    (id, reason), is there only when something was skipped. Items without a video are left out, so that B can be
    smaller than the loader's batch size, and 0 where nothing could be read: ``"video"`` then has the shape ``(0,
    *item_shape)``. Items of a :class:`.ViewedDataset` give ``"views"`` ``(B, V, …)``, too.

    Args:
        item_shape: shape of one item's video.

    Example:
        >>> batch = VideoCollate((3, 8, 32, 32))([{"label": 0, "id": "7", "skipped": [("7", "it is empty")]}])
        >>> batch["video"].shape, batch["id"], batch["skipped"]
        (torch.Size([0, 3, 8, 32, 32]), [], [('7', 'it is empty')])
    """

    def __init__(self, item_shape: Sequence[int]) -> None:
        self.item_shape = tuple(item_shape)

    def __call__(self, items: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Collate items."""
        read = [item for item in items if "video" in item]
        batch: dict[str, Any] = {
            "video": torch.stack([item["video"] for item in read])
            if read
            else torch.empty((0, *self.item_shape), dtype=torch.uint8),
            "label": torch.tensor([item["label"] for item in read], dtype=torch.int64),
            "id": [item["id"] for item in read],
        }
        if read and "views" in read[0]:
            batch["views"] = torch.stack([item["views"] for item in read])
        skipped = [pair for item in items for pair in item.get("skipped", ())]
        if skipped:
            batch["skipped"] = skipped
        return batch

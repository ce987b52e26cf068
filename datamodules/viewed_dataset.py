# SPDX-License-Identifier: Apache-2.0
"""One centred clip of every video, and beside it the many views on which it is classified."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch.utils.data import Dataset

from .entries import Entry
from .video_dataset import VideoDataset

__all__ = ("ViewedDataset",)


class ViewedDataset(Dataset[dict[str, Any]]):
    """Items of one data set with the views of another one of the same entries as ``"views"``.

    A video whose views cannot be read is left out, as one whose clip cannot.

    Args:
        clips: gives ``"video"``, one clip ``(C, T, H, W)``.
        views: gives the views ``(V, C, T, H, W)`` of the same entries, in the same order.

    Example:
        >>> from staticdropout.datamodules import EvalTransform
        >>> clips, views = (VideoDataset([], EvalTransform(32, short_side=32, num_crops=n)) for n in (1, 3))
        >>> ViewedDataset(clips, views).item_shape
        (3, 8, 32, 32)
    """

    def __init__(self, clips: VideoDataset, views: VideoDataset) -> None:
        self.clips, self.views = clips, views

    def __len__(self) -> int:
        return len(self.clips)

    @property
    def entries(self) -> Sequence[Entry]:
        """The videos."""
        return self.clips.entries

    @property
    def item_shape(self) -> tuple[int, ...]:
        """Shape of an item's ``"video"``."""
        return self.clips.item_shape

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return the clip and the views of an entry."""
        item = self.clips[index]
        if "video" not in item:
            return item
        views = self.views[index]
        return {**item, "views": views["video"]} if "video" in views else views

# SPDX-License-Identifier: Apache-2.0
"""What a data set of videos tells: its classes, its splits, and the entries of each split."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar, Literal, TypeAlias

from .entries import Entry
from .video_files import VideoFiles

__all__ = ("Split", "VideoSource")

Split: TypeAlias = Literal["train", "validation", "test"]


class VideoSource(ABC):
    """A data set on disk, in one layout. Nothing is read before it is asked for.

    Args:
        root: folder of the data set.
        reader: the video reader that will be used; ``frames`` looks for folders of frames.
        labels_dir: folder of the annotation files; None: guessed below root.
        video_dir: folder of the videos or frame folders; None: guessed below root.

    Attributes:
        title: name of the data set, for messages.
        incomplete: whether videos that are not on disk are nothing unusual, as where they come from YouTube.
    """

    title: ClassVar[str]
    incomplete: ClassVar[bool] = False

    def __init__(
        self,
        root: str | Path,
        reader: str = "decord",
        labels_dir: str | Path | None = None,
        video_dir: str | Path | None = None,
    ) -> None:
        self.root, self.reader = Path(root), reader
        self.labels_dir = None if labels_dir is None else Path(labels_dir)
        self.video_dir = None if video_dir is None else Path(video_dir)
        self._files: VideoFiles | None = None  # of the split that was read last, where they were searched for

    @classmethod
    def found_at(cls, root: Path) -> bool:
        """Whether ``root`` holds the annotations of such a data set."""
        raise NotImplementedError

    @abstractmethod
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes in the order of their indices.

        Raises:
            DatasetNotFoundError: the file that tells is absent.
            AnnotationError: it is not in the official format.
        """

    @abstractmethod
    def splits(self) -> tuple[Split, ...]:
        """The splits that there are annotations of."""

    @abstractmethod
    def entries(self, split: Split) -> list[Entry]:
        """The entries of a split in the order of the annotations, whether or not their files are there.

        Raises:
            DatasetNotFoundError: the annotations of the split, or the folder of videos, are absent.
            AnnotationError: they are not in the official format, or name a class that there is not.
        """

    def is_there(self, entry: Entry) -> bool:
        """Whether the file of an entry, from the split that was read last, is on disk."""
        return entry.path.exists() if self._files is None else entry.path in self._files.paths

    def describe_videos(self) -> str:
        """What was found in the place of the videos of the split that was read last, as a sentence."""
        if self._files is None:
            return ""
        example = f", such as {min(self._files.paths).name}" if self._files.paths else ""
        return f"Below {str(self._files.folder)!r} lie {len(self._files.paths)} videos{example}. "

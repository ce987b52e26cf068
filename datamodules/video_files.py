# SPDX-License-Identifier: Apache-2.0
"""The videos below a folder by their names, however deep they lie: one look at the disk for all entries of a split."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from .picture_folders import PICTURES

__all__ = ("SUFFIXES", "VideoFiles", "video_folders")

SUFFIXES = (".mp4", ".mkv", ".webm", ".avi", ".mov")
_DEPTH = 4  # folders below each other; links can go round in circles


def _plain(name: str) -> str:
    """A class name as folders may have it: ``playing_guitar`` for ``playing guitar``."""
    return name.replace("_", " ").strip().casefold()


class VideoFiles:
    """The videos below some folders.

    Args:
        folders: where to look, with all that lies below; the first that holds any video is taken.
        frames: look for folders of frames, those that have ``.jpg`` or ``.png`` files in them, not for video files.

    Attributes:
        folder: the folder that was taken, or the first where none holds a video.
        paths: all that was found.
    """

    def __init__(self, folders: Sequence[Path], frames: bool = False) -> None:
        self.folder, self.paths = folders[0], set[Path]()
        self._suffix = "" if frames else SUFFIXES[0]
        self._named: dict[str, list[Path]] = {}
        for folder in folders:
            found = _frame_folders(folder) if frames else _videos(folder)
            for path in sorted(found):
                self._named.setdefault(path.name if frames else path.stem, []).append(path)
                self.paths.add(path)
            if self.paths:
                self.folder = folder
                self._suffix = "" if frames else path.suffix
                break

    def __len__(self) -> int:
        return len(self.paths)

    def find(self, names: Sequence[str], inside: str | None = None) -> Path:
        """The file of the first of these names (without suffix) that there is; one that is not there, if there is none.

        Args:
            names: names that the video may have.
            inside: folder in which it may lie; it decides where several files have the same name.
        """
        for name in names:
            paths = self._named.get(name)
            if paths:
                same = (path for path in paths if inside is not None and _plain(path.parent.name) == _plain(inside))
                return next(same, paths[0])
        return self.folder / f"{names[0]}{self._suffix}"


def _videos(folder: Path) -> Iterator[Path]:
    for parent, below, files in os.walk(folder, followlinks=True):
        if len(Path(parent).relative_to(folder).parts) >= _DEPTH:
            below.clear()
        yield from (Path(parent, file) for file in files if file.lower().endswith(SUFFIXES))


def _frame_folders(folder: Path, depth: int = _DEPTH) -> Iterator[Path]:
    if not folder.is_dir():
        return
    with os.scandir(folder) as items:
        below = [Path(item.path) for item in items if item.is_dir()]
    for path in below:
        with os.scandir(path) as items:  # the first few tell: a folder may hold a thousand frames
            pictures = any(item.name.lower().endswith(PICTURES) for item in islice(items, 4))
        if pictures:
            yield path
        elif depth > 1:
            yield from _frame_folders(path, depth - 1)


def video_folders(root: Path, video_dir: Path | None, names: Sequence[str], *inside: str) -> list[Path]:
    """The folders to look for the videos of a split in, the most exact first.

    Args:
        root: folder of the data set.
        video_dir: folder of the videos, where it was given.
        names: what a folder of this split alone may be called.
        inside: what a folder of videos may be called.

    Example:
        >>> [folder.as_posix() for folder in video_folders(Path("k"), None, ["val"], "videos")]
        ['k/videos/val', 'k/val', 'k/videos', 'k']
    """
    bases = [video_dir] if video_dir is not None else [*(root / name for name in inside), root]
    own = [base / name for base in bases for name in names]
    return [folder for folder in [*own, *bases] if folder.is_dir()] or [*own, *bases]

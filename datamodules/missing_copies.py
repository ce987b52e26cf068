# SPDX-License-Identifier: Apache-2.0
"""What styled copies of videos lack on disk, and what a run that was ended has left of them half done."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from ..files import UNFINISHED
from .whole_video_chunks import StyleTask

__all__ = ("remove_unfinished", "still_missing")


def still_missing(task: StyleTask, suffix: str) -> StyleTask:
    """Return the same video with the styles that it has no frames in.

    A folder gets its name when it is whole; one without frames of its own is none.

    Args:
        task: a video with styles and their folders.
        suffix: the ending of frames.
    """
    pairs = zip(task.styles, task.folders, strict=True)
    missing = [(style, folder) for style, folder in pairs if not _holds_frames(folder, suffix)]
    return task._replace(styles=tuple(style for style, _ in missing), folders=tuple(folder for _, folder in missing))


def _holds_frames(folder: Path, suffix: str) -> bool:
    try:
        with os.scandir(folder) as items:
            return any(item.name.endswith(suffix) and not item.name.startswith(".") for item in items)
    except (FileNotFoundError, NotADirectoryError):
        return False


def remove_unfinished(folders: Iterable[Path]) -> None:
    """Remove the hidden folders and files that a run which was ended has left in these folders."""
    for folder in folders:
        if folder.is_dir():
            for path in folder.glob(f".*{UNFINISHED}"):
                with suppress(OSError):  # one that cannot be removed does no harm
                    shutil.rmtree(path) if path.is_dir() else path.unlink()

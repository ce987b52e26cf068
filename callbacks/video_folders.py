# SPDX-License-Identifier: Apache-2.0
"""Folders of frames that have their names when they are whole."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path

from ..files import UNFINISHED

__all__ = ("VideoFolders",)

_KEPT = 40  # characters of a name in that of a hidden folder, which must not be too long for the file system


class VideoFolders:
    """The folders of a video, one a style: hidden while it is written, under their names when it is whole.

    Args:
        folders: the final folders.

    Attributes:
        targets: the final folders.
        places: those to write into, beside them.

    Example:
        >>> import tempfile
        >>> video = VideoFolders([f"{tempfile.mkdtemp()}/style_1/7"])
        >>> video.begin()
        >>> (video.places[0] / "000001.jpg").touch()
        >>> video.targets[0].exists()
        False
        >>> video.finish()
        >>> [path.name for path in video.targets[0].iterdir()]
        ['000001.jpg']
    """

    def __init__(self, folders: Sequence[str]) -> None:
        self.targets = [Path(folder) for folder in folders]
        token = uuid.uuid4().hex[:8]
        self.places = [folder.parent / f".{folder.name[:_KEPT]}.{token}{UNFINISHED}" for folder in self.targets]

    def begin(self) -> None:
        """Make the folders to write into."""
        for place in self.places:
            place.mkdir(parents=True)

    def finish(self) -> None:
        """Give the folders their final names; those that another run has finished meanwhile stay.

        Raises:
            OSError: a folder cannot get its name, and the one of that name holds none of the same files.
        """
        for place, target in zip(self.places, self.targets, strict=True):
            try:
                place.rename(target)
            except OSError:
                if not any((target / path.name).is_file() for path in place.iterdir()):
                    raise
                shutil.rmtree(place)

    def discard(self) -> None:
        """Remove what has no final name."""
        for place in self.places:
            shutil.rmtree(place, ignore_errors=True)

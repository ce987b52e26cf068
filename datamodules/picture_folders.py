# SPDX-License-Identifier: Apache-2.0
"""Folders of pictures, and the first picture in one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ("PICTURES", "first_picture", "picture_folders")

PICTURES = (".jpg", ".jpeg", ".png")
"""Endings of pictures."""

_DEPTH = 4  # folders that a video's name may be spread over; links can go round in circles


def picture_folders(base: Path, below: str = "", depth: int = _DEPTH) -> Iterator[str]:
    """Find the folders below a folder that hold a picture; one in another that has pictures is not looked at.

    Args:
        base: the folder.
        below: where to look, relative to it.
        depth: how many folders deep.

    Returns:
        Paths relative to ``base``; hidden folders and pictures do not count.
    """
    if not (folder := base / below).is_dir():
        return
    pictures, folders = False, []
    with os.scandir(folder) as items:
        for item in items:
            if item.name.startswith("."):
                continue
            if item.name.lower().endswith(PICTURES):
                pictures = True
                break
            if item.is_dir():
                folders.append(item.name)
    if pictures:
        yield below
    elif depth:
        for name in folders:
            yield from picture_folders(base, f"{below}/{name}".lstrip("/"), depth - 1)


def first_picture(top: Path) -> Path | None:
    """Return a picture in a folder or, where it has none, in those below it; None where there is none at all."""
    for parent, below, files in os.walk(top):
        below[:] = sorted(name for name in below if not name.startswith("."))
        pictures = [name for name in files if name.lower().endswith(PICTURES) and not name.startswith(".")]
        if pictures:
            return Path(parent, min(pictures))
    return None

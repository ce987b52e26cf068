# SPDX-License-Identifier: Apache-2.0
"""TAO-VOS, masks for the videos of TAO.

Two trees are read. Masks beside the frames of TAO, as TAO and TAO-VOS are downloaded::

    annotations_vos/<split>/Annotations/<source>/<video>/<frame>.png
    frames/<split>/<source>/<video>/<frame>.jpg

and the one in which each split has both, as DAVIS does::

    <split>/Annotations/<source>/<video>/<frame>.png
    <split>/JPEGImages/<source>/<video>/<frame>.jpg

with or without the folder of the source. ``ImageSets/<split>.txt``, where it exists, names the videos to take, one in
each line; otherwise all are taken. The masks stand at one frame in a second, the frames may stand closer: flow is that
of neighbouring frames as they lie on the disk. Frames have names of many kinds (``frame0391``, time stamps), so their
numbers tell nothing about missing ones; a mask without its picture is reported.
"""

from __future__ import annotations

import os
from pathlib import Path

from ...errors import AnnotationError
from ..sequences import VideoSequence
from .common import OnProblem, list_pictures, pair_masks
from .davis import VOID

__all__ = ("folders_of_pictures", "read_tao_vos", "tao_vos_splits")

_SPLITS = ("train", "val", "valid", "test")


def _folders(root: Path, split: str) -> tuple[Path, Path]:
    """Where the pictures and the masks of a split lie."""
    if (root / "annotations_vos").is_dir():
        return root / "frames" / split, root / "annotations_vos" / split / "Annotations"
    return root / split / "JPEGImages", root / split / "Annotations"


def tao_vos_splits(root: Path) -> tuple[str, ...]:
    """Return the splits that have masks."""
    return tuple(split for split in _SPLITS if _folders(root, split)[1].is_dir())


def folders_of_pictures(folder: Path, suffixes: tuple[str, ...]) -> list[str]:
    """Return the folders below ``folder`` with a file of such a suffix in them, relative to it, sorted.

    Example:
        >>> folders_of_pictures(Path("/nowhere"), (".png",))
        []
    """
    found = (
        Path(parent).relative_to(folder).as_posix()
        for parent, _, files in os.walk(folder)
        if any(name.lower().endswith(suffixes) and not name.startswith(".") for name in files)
    )
    return sorted(found)


def read_tao_vos(root: Path, split: str, on_problem: OnProblem) -> list[VideoSequence]:
    """Read a split of TAO-VOS, in the order of its list or of the names.

    Raises:
        AnnotationError: there are no masks, or the list is empty.
    """
    pictures, masks = _folders(root, split)
    listing = root / "ImageSets" / f"{split}.txt"
    if listing.is_file():
        names = [line.strip() for line in listing.read_text(encoding="utf-8").splitlines() if line.strip()]
        where = listing
    else:
        names, where = folders_of_pictures(masks, (".png",)), masks
    if not names:
        raise AnnotationError(f"The {split} split of {str(root)!r} is empty: {str(where)!r} names no videos.")
    sequences = []
    for name in names:
        folders = (pictures / name, masks / name)
        frames, found = list_pictures(folders[0]), list_pictures(folders[1])
        sequences.append(pair_masks(name, frames, found, folders, on_problem, void=VOID))
    return sequences

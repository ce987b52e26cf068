# SPDX-License-Identifier: Apache-2.0
"""ImageNet-VID with masks.

ImageNet-VID itself has boxes, which this layout does not turn into masks. What is read is the set of masks that
FusionSeg made from them, in the tree in which the released analysis code of "Quantifying and Learning Static vs.
Dynamic Information" reads it: PNG files, anything above 0 is foreground, whose folders mirror those of the pictures::

    ILSVRC2015/Data/VID/<split>/[<part>/]<video>/000000.JPEG
    segmentation/ILSVRC2015/Data/VID/<split>/[<part>/]<video>/000000.png

``<part>`` is the official ``ILSVRC2015_VID_train_0000``; pictures may lie in one where the masks do not. Without
``ILSVRC2015/`` in front works too. Only videos with masks are taken.
"""

from __future__ import annotations

from pathlib import Path

from ...errors import AnnotationError
from ..sequences import VideoSequence
from .common import OnProblem, list_pictures, pair_masks, report_gaps
from .tao_vos import folders_of_pictures

__all__ = ("imagenet_vid_splits", "read_imagenet_vid")

_TREES = ("ILSVRC2015/Data/VID", "Data/VID")


def _tree(root: Path) -> Path:
    return next((root / tree for tree in _TREES if (root / tree).is_dir()), root / _TREES[0])


def _masks(root: Path) -> Path:
    trees = [root / "segmentation" / tree for tree in _TREES]
    return next((tree for tree in trees if tree.is_dir()), trees[0])


def imagenet_vid_splits(root: Path) -> tuple[str, ...]:
    """Return the splits that have a folder of masks."""
    folder = _masks(root)
    return tuple(sorted(path.name for path in folder.iterdir() if path.is_dir())) if folder.is_dir() else ()


def read_imagenet_vid(root: Path, split: str, on_problem: OnProblem) -> list[VideoSequence]:
    """Read the videos of a split that have masks, in the order of their names.

    Raises:
        AnnotationError: there are no masks.
    """
    pictures, masks = _tree(root) / split, _masks(root) / split
    names = folders_of_pictures(masks, (".png",))
    if not names:
        raise AnnotationError(f"The {split} split of {str(root)!r} is empty: no PNG files below {str(masks)!r}.")
    parts = sorted(path.name for path in pictures.iterdir() if path.is_dir()) if pictures.is_dir() else []
    sequences = []
    for name in names:
        places = [pictures / name, *(pictures / part / name for part in parts)]
        folder = next((place for place in places if place.is_dir()), places[0])
        frames = list_pictures(folder)
        report_gaps(name, frames, folder, on_problem)
        folders = (folder, masks / name)
        sequences.append(pair_masks(name, frames, list_pictures(folders[1]), folders, on_problem))
    return sequences

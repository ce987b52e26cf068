# SPDX-License-Identifier: Apache-2.0
"""YouTube-VOS: ``{train,valid,test}/{JPEGImages,Annotations}/<video>/00005.jpg`` and ``meta.json`` in each split.

``meta.json`` is ``{"videos": {"003234408d": {"objects": {"1": {"category": …, "frames": ["00000", "00005", …]}}}}}``:
it names, for each object, the frames in which the object is labelled. Masks have a palette, as in DAVIS 2017. Only the
training split has masks beyond those of the first frames.
"""

from __future__ import annotations

import json
from pathlib import Path

from ...errors import AnnotationError
from ..sequences import VideoSequence
from .common import LayoutProblem, OnProblem, list_pictures, pair_masks
from .davis import VOID

__all__ = ("read_youtube_vos", "youtube_vos_splits")

_SPLITS = ("train", "valid", "test")
_EXPECTED = '{"videos": {"<video>": {"objects": {"1": {"frames": ["00000", …]}}}}}'


def youtube_vos_splits(root: Path) -> tuple[str, ...]:
    """Return the splits that have a ``meta.json``; where ``root`` is itself a split's folder, ``("all",)``."""
    if (root / "meta.json").is_file():
        return ("all",)
    return tuple(split for split in _SPLITS if (root / split / "meta.json").is_file())


def _labelled_frames(file: Path) -> dict[str, set[str]]:
    """The frames with a label of each video."""
    try:
        videos = json.loads(file.read_text(encoding="utf-8"))["videos"]
        return {
            name: {str(frame) for item in video["objects"].values() for frame in item["frames"]}
            for name, video in videos.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise AnnotationError(f"{str(file)!r} is not in the official format: expected {_EXPECTED}.") from error


def read_youtube_vos(root: Path, split: str, on_problem: OnProblem) -> list[VideoSequence]:
    """Read a split of YouTube-VOS, in the order of ``meta.json``.

    Raises:
        AnnotationError: ``meta.json`` is in another format, or names no videos.
    """
    folder = root if split == "all" else root / split
    labelled = _labelled_frames(folder / "meta.json")
    if not labelled:
        raise AnnotationError(f"{str(folder / 'meta.json')!r} names no videos: expected {_EXPECTED}.")
    # where the split's folder was given, its name tells whether this is training data
    trained_on = (folder.name if split == "all" else split) not in ("valid", "test")
    sequences = []
    for name, stems in labelled.items():
        folders = (folder / "JPEGImages" / name, folder / "Annotations" / name)
        frames, masks = list_pictures(folders[0]), list_pictures(folders[1])
        for stem in sorted(stems - frames.keys() - masks.keys() if frames else ()):
            message = (
                f"Frame {stem} of sequence {name!r} is missing: {str(folder / 'meta.json')!r} lists it, expected "
                f"{str(folders[0] / f'{stem}.jpg')!r}. Fetch the data set again."
            )
            on_problem(LayoutProblem(name, stem, "missing frame", message, folders[0] / f"{stem}.jpg"))
        sequences.append(
            pair_masks(
                name,
                frames,
                masks,
                folders,
                on_problem,
                required=sorted(stems),
                needs_masks=trained_on,
                void=VOID,
            )
        )
    return sequences

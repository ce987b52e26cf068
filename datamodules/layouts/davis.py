# SPDX-License-Identifier: Apache-2.0
"""DAVIS 2016 and DAVIS 2017.

Both keep pictures in ``JPEGImages/480p/<sequence>/00000.jpg`` and masks in ``Annotations/480p/<sequence>/00000.png``.
DAVIS 2016 lists frames in ``ImageSets/480p/{train,val,trainval}.txt``, a picture and its mask in each line; its masks
are grey, 0 and 255. DAVIS 2017 lists sequences in ``ImageSets/2017/{train,val,test-dev}.txt``; its masks have a
palette, where 255 is void and any other index but 0 an object. The download of 2017 also carries lists of sequences
for 2016 (``ImageSets/2016``), which are read too.
"""

from __future__ import annotations

import re
from pathlib import Path

from ...errors import AnnotationError, DatasetNotFoundError
from ..sequences import VideoSequence
from .common import LayoutProblem, OnProblem, list_pictures, pair_masks, report_gaps

__all__ = ("davis2016_splits", "davis2017_splits", "read_davis2016", "read_davis2017")

VOID = 255

_PICTURES, _MASKS = Path("JPEGImages/480p"), Path("Annotations/480p")
_FRAME_LINE = re.compile(
    r"/?JPEGImages/480p/(?P<sequence>[^/\s]+)/(?P<stem>[^/\s]+)\.jpg\s+"
    r"/?Annotations/480p/(?P=sequence)/(?P=stem)\.png"
)
_FRAME_EXPECTED = "/JPEGImages/480p/bear/00000.jpg /Annotations/480p/bear/00000.png"


def _lists(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(file.stem for file in folder.glob("*.txt") if not file.name.startswith(".")))


def _lines(file: Path) -> list[tuple[int, str]]:
    """The lines of a list that are not empty, with their numbers from 1."""
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise AnnotationError(f"{str(file)!r} is not a text file: expected a list, one entry in each line.") from error
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
    if not lines:
        raise AnnotationError(f"The list {str(file)!r} is empty: expected one entry in each line.")
    return lines


def _refuse_line(file: Path, number: int, line: str, expected: str) -> AnnotationError:
    return AnnotationError(
        f"Line {number} of {str(file)!r} is not in a known format: found {line!r:.120}, expected {expected!r}."
    )


def davis2016_splits(root: Path) -> tuple[str, ...]:
    """Return the splits that have a list in ``ImageSets/480p`` or, without that folder, in ``ImageSets/2016``."""
    return _lists(root / "ImageSets/480p") or _lists(root / "ImageSets/2016")


def davis2017_splits(root: Path) -> tuple[str, ...]:
    """Return the splits that have a list in ``ImageSets/2017``; without lists ``("all",)``, all folders."""
    return _lists(root / "ImageSets/2017") or ("all",)


def read_davis2016(root: Path, split: str, on_problem: OnProblem) -> list[VideoSequence]:
    """Read a split of DAVIS 2016, in the order of its list.

    Raises:
        AnnotationError: a line of the list is in another format, or the list is empty.
    """
    file = root / "ImageSets/480p" / f"{split}.txt"
    if not file.is_file():
        names = _names(root / "ImageSets/2016" / f"{split}.txt", root)
        return [_dense(root, name, on_problem, needs_masks=True) for name in names]
    listed: dict[str, list[str]] = {}
    for number, line in _lines(file):
        match = _FRAME_LINE.fullmatch(line)
        if match is None:
            raise _refuse_line(file, number, line, _FRAME_EXPECTED)
        listed.setdefault(match["sequence"], []).append(match["stem"])
    sequences = []
    for name, stems in listed.items():
        pictures, masks = list_pictures(root / _PICTURES / name), list_pictures(root / _MASKS / name)
        for stem in stems:
            if stem not in pictures:
                path = root / _PICTURES / name / f"{stem}.jpg"
                message = (
                    f"Frame {stem} of sequence {name!r} is missing: {file.name} lists it, expected {str(path)!r}. "
                    "Fetch the data set again, or see all problems with `staticdropout data check`."
                )
                on_problem(LayoutProblem(name, stem, "missing frame", message, path))
        report_gaps(name, stems, file, on_problem)
        frames = {stem: pictures[stem] for stem in stems if stem in pictures}
        found = {stem: masks[stem] for stem in frames if stem in masks}
        folders = (root / _PICTURES / name, root / _MASKS / name)
        sequences.append(pair_masks(name, frames, found, folders, on_problem, required=stems))
    return sequences


def read_davis2017(root: Path, split: str, on_problem: OnProblem) -> list[VideoSequence]:
    """Read a split of DAVIS 2017, in the order of its list; without lists every folder, in the order of names.

    The lists of training and validation promise a mask for every frame. The test splits have a mask for the first
    frame at most, and without lists it is enough that a sequence has any.

    Raises:
        AnnotationError: the list is empty, or a line is not the name of a folder.
        DatasetNotFoundError: there are neither lists nor folders.
    """
    file = root / "ImageSets/2017" / f"{split}.txt"
    if file.is_file():
        needs_masks = not split.startswith("test")
        return [_dense(root, name, on_problem, needs_masks=needs_masks) for name in _names(file, root)]
    folder = root / _PICTURES
    names = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    if not names:
        raise DatasetNotFoundError(root, [_PICTURES / "<sequence>", file.relative_to(root)], "It is DAVIS 2017's.")
    return [_dense(root, name, on_problem, needs_masks=True, every_mask=False) for name in names]


def _names(file: Path, root: Path) -> list[str]:
    names = []
    for number, line in _lines(file):
        if len(line.split()) != 1 or "/" in line or "\\" in line:
            raise _refuse_line(file, number, line, "bear")
        if not (root / _PICTURES / line).is_dir():
            raise AnnotationError(
                f"Line {number} of {str(file)!r} names the sequence {line!r}, but there is no folder "
                f"{str(root / _PICTURES / line)!r}: the download is not complete."
            )
        names.append(line)
    return names


def _dense(
    root: Path, name: str, on_problem: OnProblem, *, needs_masks: bool, every_mask: bool = True
) -> VideoSequence:
    folders = (root / _PICTURES / name, root / _MASKS / name)
    frames, masks = list_pictures(folders[0]), list_pictures(folders[1])
    report_gaps(name, frames, folders[0], on_problem)
    required = frames if every_mask else ()
    return pair_masks(name, frames, masks, folders, on_problem, required=required, needs_masks=needs_masks, void=VOID)

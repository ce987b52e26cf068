# SPDX-License-Identifier: Apache-2.0
"""What the layouts share: problems and what becomes of them, folders of pictures, frames paired with masks."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

from ...errors import AnnotationError
from ..picture_folders import PICTURES
from ..sequences import VideoSequence

__all__ = (
    "LayoutProblem",
    "OnProblem",
    "list_pictures",
    "pair_masks",
    "refuse",
    "refuse_missing_frames",
    "report_gaps",
)

_CHECK = "Fetch the data set again, or see all problems with `staticdropout data check`."


class LayoutProblem(NamedTuple):
    """Something about a sequence that keeps it from being trained on as it is.

    Attributes:
        sequence: its name.
        frame: stem of the frame; empty where the whole sequence is meant.
        kind: what is wrong.
        message: the same as a sentence with what was expected and the next step.
        path: the file or folder that was looked for.
    """

    sequence: str
    frame: str
    kind: Literal["no masks", "missing mask", "missing frame"]
    message: str
    path: Path


OnProblem: TypeAlias = Callable[[LayoutProblem], None]
"""What to do with a problem: raise an error, or note it and go on."""


def refuse(problem: LayoutProblem) -> None:
    """Raise AnnotationError for any problem."""
    raise AnnotationError(problem.message)


def refuse_missing_frames(problem: LayoutProblem) -> None:
    """Raise AnnotationError for a missing frame; masks do not matter, as for optical flow."""
    if problem.kind == "missing frame":
        raise AnnotationError(problem.message)


def _natural(stem: str) -> list[tuple[int, str]]:
    """Sort key by which frame9 comes before frame10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", stem)]


def list_pictures(folder: Path) -> dict[str, Path]:
    """Return the pictures of a folder by stem, in the order of their numbers; empty where there is no folder.

    Example:
        >>> list_pictures(Path("/nowhere"))
        {}
    """
    if not folder.is_dir():
        return {}
    found = (path for path in folder.iterdir() if path.suffix.lower() in PICTURES and not path.name.startswith("."))
    return {path.stem: path for path in sorted(found, key=lambda path: (_natural(path.stem), path.suffix))}


def report_gaps(name: str, stems: Iterable[str], folder: Path, on_problem: OnProblem = refuse) -> None:
    """Report every place where the numbers of the frames jump by more than their usual step.

    Names that are not numbers are not looked at.

    Example:
        >>> report_gaps("bear", ["00003", "00004", "00006"], Path("bear"))
        Traceback (most recent call last):
            ...
        staticdropout.errors.AnnotationError: Frame 00005 of sequence 'bear' is missing: in 'bear' 00004 is followed...
    """
    stems = list(stems)
    if len(stems) < 3 or not all(stem.isdecimal() for stem in stems):
        return
    step = min(int(after) - int(before) for before, after in itertools.pairwise(stems))
    for before, after in itertools.pairwise(stems):
        if int(after) - int(before) > step:
            missing = str(int(before) + step).zfill(len(before))
            message = (
                f"Frame {missing} of sequence {name!r} is missing: in {str(folder)!r} {before} is followed by {after}, "
                f"expected a step of {step}. {_CHECK}"
            )
            on_problem(LayoutProblem(name, missing, "missing frame", message, folder))


def pair_masks(
    name: str,
    frames: Mapping[str, Path],
    masks: Mapping[str, Path],
    folders: tuple[Path, Path],
    on_problem: OnProblem = refuse,
    *,
    required: Iterable[str] = (),
    needs_masks: bool = True,
    void: int | None = None,
) -> VideoSequence:
    """Make a sequence of the pictures and masks of a video, paired by stem.

    Args:
        name: of the sequence.
        frames: pictures by stem, in order.
        masks: masks by stem.
        folders: where pictures and where masks were looked for, for messages.
        on_problem: called with a sequence without pictures or masks, a mask without a picture, a missing mask.
        required: stems that must have a mask.
        needs_masks: whether a sequence without any mask is a problem.
        void: see VideoSequence.
    """
    if not frames:
        message = f"Sequence {name!r} has no frames: {str(folders[0])!r} holds no pictures. {_CHECK}"
        on_problem(LayoutProblem(name, "", "missing frame", message, folders[0]))
    for stem in masks:
        if frames and stem not in frames:
            message = (
                f"Frame {stem} of sequence {name!r} is missing: it has a mask, {str(masks[stem])!r}, but no picture in "
                f"{str(folders[0])!r}. {_CHECK}"
            )
            on_problem(LayoutProblem(name, stem, "missing frame", message, folders[0]))
    if needs_masks and frames and not masks:
        message = f"Sequence {name!r} has no masks: expected PNG files in {str(folders[1])!r}. {_CHECK}"
        on_problem(LayoutProblem(name, "", "no masks", message, folders[1]))
    elif needs_masks:
        for stem in required:
            if stem not in masks and stem in frames:
                message = (
                    f"The mask of frame {stem} of sequence {name!r} is missing: expected "
                    f"{str(folders[1] / f'{stem}.png')!r}. {_CHECK}"
                )
                on_problem(LayoutProblem(name, stem, "missing mask", message, folders[1] / f"{stem}.png"))
    return VideoSequence(name, tuple(frames.values()), tuple(masks.get(stem) for stem in frames), void=void)

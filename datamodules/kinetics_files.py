# SPDX-License-Identifier: Apache-2.0
"""The files that list Kinetics: the official csv files, "path label" lists, lists of classes."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ..errors import AnnotationError
from .annotation_files import read_json, read_lines
from .video_files import SUFFIXES
from .video_source import Split

__all__ = ("FOLDERS", "Clip", "find_classes", "find_list", "is_official", "read_classes", "read_csv", "read_list")

_ALIASES: dict[Split, str] = {
    "train": "train(?:ing)?",
    "validation": "val|valid|validate|validation",
    "test": "test(?:ing)?",
}
_NAME = (
    r"(?:(?:kinetics|k)[-_]?)?(?:[467]00)?(?:[-_]2020)?[-_]?"
    r"(?:{})(?:[-_]list)?(?:[-_]videos|[-_]rawframes)?\.(?:csv|txt)"
)
FOLDERS: dict[Split, tuple[str, ...]] = {
    "train": ("train", "training", "videos_train", "train_256"),
    "validation": ("val", "validation", "validate", "valid", "videos_val", "val_256"),
    "test": ("test", "testing", "videos_test", "test_256"),
}
"""What folders with the videos of one split are called."""

_CLASSES = r"(?:label_map.*|class(?:es|_names)?|kinetics.*class.*)\.(?:txt|json)"
_LINE = re.compile(r"^(.+?)[\s,;]+(\d+)$")
_FRAMES_LINE = re.compile(r"^(.+?)[\s,;]+\d+[\s,;]+(\d+)$")
_HEADER = {"youtube_id", "time_start", "time_end"}


class Clip(NamedTuple):
    """A row of an official csv file; the label is None where the file has no such column."""

    youtube_id: str
    start: int
    end: int
    label: str | None

    @property
    def name(self) -> str:
        """The usual name of its file, ``<id>_<start>_<end>`` with six digits each."""
        return f"{self.youtube_id}_{self.start:06d}_{self.end:06d}"


def _first(folders: Sequence[Path], pattern: str) -> Path | None:
    expression = re.compile(pattern, re.IGNORECASE)
    for folder in folders:
        if folder.is_dir():
            files = [file for file in folder.iterdir() if expression.fullmatch(file.name) and file.is_file()]
            if files:  # csv before txt, the plainest name first
                return min(files, key=lambda file: (file.suffix.lower() != ".csv", len(file.name), file.name))
    return None


def find_list(folders: Sequence[Path], split: Split) -> Path | None:
    """The file that lists a split, or else one called ``list.txt``, which then stands for every split.

    Example:
        >>> find_list([Path("/nowhere")], "train") is None
        True
    """
    return _first(folders, _NAME.format(_ALIASES[split])) or _first(folders, r"list\.(?:csv|txt)")


def find_classes(folders: Sequence[Path]) -> Path | None:
    """The file with the names of the classes, as ``label_map_k400.txt``."""
    return _first(folders, _CLASSES)


def is_official(file: Path) -> bool:
    """Whether a file is an official csv file, by its line of headings."""
    with file.open(encoding="utf-8-sig", errors="replace") as lines:
        return {"youtube_id"} <= set(lines.readline().strip().replace('"', "").split(","))


def read_csv(file: Path) -> list[Clip]:
    """The rows of an official csv file: ``label,youtube_id,time_start,time_end,split`` and what columns there are more.

    Raises:
        AnnotationError: columns are missing, or times are no numbers.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines)
            missing = sorted(_HEADER - set(reader.fieldnames or ()))
            if missing:
                raise AnnotationError(
                    f"{str(file)!r} has no column {', '.join(missing)}; its first line is {reader.fieldnames}. The "
                    "official files begin with label,youtube_id,time_start,time_end,split."
                )
            rows = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise AnnotationError(f"{str(file)!r} is not a csv file in UTF-8 ({error}). Fetch it again.") from error
    clips = []
    for number, row in enumerate(rows, start=2):
        try:
            times = int(float(row["time_start"])), int(float(row["time_end"]))
        except (TypeError, ValueError) as error:
            raise AnnotationError(
                f"Line {number} of {str(file)!r} has the times {row['time_start']!r} and {row['time_end']!r}: expected "
                "whole seconds, as in abseiling,0wR5jVB-WPk,417,427,val. Fetch the file again."
            ) from error
        clips.append(Clip(row["youtube_id"], *times, row.get("label")))
    return clips


def read_list(file: Path, frames: bool = False) -> list[tuple[str, int]]:
    """The lines ``path label`` or ``path,label`` of a list; with ``frames`` also ``folder number_of_frames label``.

    Raises:
        AnnotationError: a line is something else.
    """
    entries = []
    for number, line in enumerate(read_lines(file), start=1):
        found = (_FRAMES_LINE.match(line) if frames else None) or _LINE.match(line)
        if found is None or (not frames and _LINE.match(found[1]) and not found[1].lower().endswith(SUFFIXES)):
            raise AnnotationError(
                f"Line {number} of {str(file)!r} is {line!r:.100}: expected the path of a video and the number of its "
                "class, as in train/some_video.mp4 57, or an official csv file with its line of headings."
            )
        entries.append((found[1].strip().strip('"'), int(found[2])))
    return entries


def read_classes(file: Path) -> tuple[str, ...]:
    """Names of the classes: a line each, a JSON list, or a JSON object from name to index.

    Raises:
        AnnotationError: it is none of them, or a name or an index comes twice.
    """
    if file.suffix.lower() != ".json":
        names = read_lines(file)
    else:
        data = read_json(file)
        if isinstance(data, dict) and sorted(data.values(), key=str) == sorted(range(len(data)), key=str):
            data = sorted(data, key=data.__getitem__)
        if not isinstance(data, list) or not all(isinstance(name, str) for name in data):
            raise AnnotationError(
                f"{str(file)!r} holds no names of classes: expected a list of names, or an object from name to index "
                'such as {"abseiling": 0, …}, or a text file with a name in each line.'
            )
        names = [name.strip('"') for name in data]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not names:
        found = f"{twice[0]!r} comes twice" if twice else "it is empty"
        raise AnnotationError(f"{str(file)!r} is no list of classes: {found}. Expected a different name in each line.")
    return tuple(names)

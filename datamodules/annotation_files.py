# SPDX-License-Identifier: Apache-2.0
"""Finding and reading annotation files, alike for all data sets of videos."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ..errors import AnnotationError, DatasetNotFoundError, did_you_mean

__all__ = ("class_index", "find_file", "label_folders", "read_json", "read_lines", "require_file")


def label_folders(root: Path, labels_dir: Path | None, *more: str) -> list[Path]:
    """Where annotation files may lie: in ``labels_dir`` alone where that is given, or else in the usual places.

    Example:
        >>> [folder.as_posix() for folder in label_folders(Path("k400"), None)]
        ['k400/annotations', 'k400/labels', 'k400']
    """
    if labels_dir is not None:
        return [labels_dir]
    return [*(root / name for name in more), root / "annotations", root / "labels", root]


def find_file(folders: Iterable[Path], names: Sequence[str]) -> Path | None:
    """The first file that there is: of all names in one folder before the next folder."""
    return next((folder / name for folder in folders for name in names if (folder / name).is_file()), None)


def require_file(root: Path, folders: Sequence[Path], names: Sequence[str], hint: str) -> Path:
    """The same as :func:`find_file`.

    Raises:
        DatasetNotFoundError: there is none.
    """
    file = find_file(folders, names)
    if file is None:
        expected = [folders[0] / name for name in names[:3]]
        raise DatasetNotFoundError(
            root, [path.relative_to(root) if path.is_relative_to(root) else path for path in expected], hint
        )
    return file


def read_lines(file: Path) -> list[str]:
    """The lines of a text file that are not empty, without spaces around them.

    Raises:
        AnnotationError: it is not UTF-8 text.
    """
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()  # some programs write a byte order mark
    except UnicodeDecodeError as error:
        raise AnnotationError(f"{str(file)!r} is not text in UTF-8 ({error}). Fetch it again.") from error
    return [line.strip() for line in lines if line.strip()]


def read_json(file: Path) -> Any:
    """What a JSON file holds.

    Raises:
        AnnotationError: it is not JSON.
    """
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise AnnotationError(f"{str(file)!r} is not JSON ({error}). Fetch it again.") from error


def class_index(name: str, indices: dict[str, int], where: str) -> int:
    """The index of a class by its name.

    Raises:
        AnnotationError: no class has this name.
    """
    if name not in indices:
        raise AnnotationError(f"{where}: no class is called {name!r}. {did_you_mean(name, indices)}")
    return indices[name]

# SPDX-License-Identifier: Apache-2.0
"""Accuracy by class, as the table that a run leaves behind: written as CSV, and read again."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import AnnotationError

__all__ = ("ClassTable", "class_table_csv", "read_class_table")

ABOUT = ("model", "stage", "epoch", "step", "checkpoint")
"""Columns that say what was evaluated, the same in every row."""


class ClassTable(NamedTuple):
    """What one evaluation says about every class.

    Attributes:
        names: of the classes, N of them, each once.
        train_clips: ``(N,)`` training clips of each class; NaN where not known.
        clips: ``(N,)`` evaluated clips of each class; NaN where not known.
        accuracy: ``(N,)`` in percent; NaN for classes without evaluated clips.
        about: what was evaluated: ``model``, ``stage``, ``epoch``, ``step``, ``checkpoint``, as far as it is known.
    """

    names: tuple[str, ...]
    train_clips: NDArray[np.float64]
    clips: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    about: dict[str, str]

    def select(self, names: Sequence[str]) -> ClassTable:
        """The same table with its classes in another order, or some of them."""
        rows = {name: row for row, name in enumerate(self.names)}
        index = [rows[name] for name in names]
        return ClassTable(tuple(names), self.train_clips[index], self.clips[index], self.accuracy[index], self.about)

    def top1(self) -> float:
        """Share of all clips that are classified correctly, in percent; NaN where the numbers of clips are unknown.

        Example:
            >>> some = np.array([3.0, 1.0])
            >>> ClassTable(("a", "b"), some, some, np.array([100.0, 0.0]), {}).top1()
            75.0
        """
        if np.isnan(self.clips).any() or not self.clips.sum():
            return math.nan
        return float((np.nan_to_num(self.accuracy) * self.clips).sum() / self.clips.sum())


def class_table_csv(
    names: Sequence[str],
    train_clips: Sequence[int] | None,
    counts: Sequence[Sequence[int]],
    about: Mapping[str, object] | None = None,
) -> str:
    r"""Write the results of one evaluation, one row a class.

    Args:
        names: of the classes in the order of their indices, N of them.
        train_clips: training clips of each class; None where that is not known, which leaves the cells empty.
        counts: ``(N, 2)`` correctly classified clips and all evaluated clips of each class.
        about: what was evaluated, repeated in every row, so that one file tells it all and tables of several runs can
            be put together.

    Returns:
        The CSV with the columns ``index, class, train_clips, clips, correct, accuracy`` (in percent, empty without
        clips) and those of ``about``.

    Example:
        >>> class_table_csv(["push", "pull"], [40, 3], [(3, 4), (0, 0)], {"stage": "val"}).splitlines()[1:]
        ['0,push,40,4,3,75.0,val', '1,pull,3,0,0,,val']
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    about = about or {}
    writer.writerow(["index", "class", "train_clips", "clips", "correct", "accuracy", *about])
    for index, (name, (correct, clips)) in enumerate(zip(names, counts, strict=True)):
        accuracy: float | str = round(100 * correct / clips, 4) if clips else ""
        known = "" if train_clips is None else train_clips[index]
        writer.writerow([index, name, known, clips, correct, accuracy, *about.values()])
    return buffer.getvalue()


def read_class_table(path: str | Path, scored: bool = True) -> ClassTable:
    r"""Read the results of one evaluation: a file of this package, or any CSV with a row a class.

    Needed are the columns ``class`` and ``accuracy`` (in percent; empty for a class without clips). ``train_clips``,
    ``clips`` and ``correct`` are used where they are there; ``correct / clips`` then is the accuracy, which needs no
    column of its own. Other columns are ignored.

    Args:
        path: the CSV, UTF-8.
        scored: False for a table of frequencies alone, which then needs ``train_clips`` and no accuracy.

    Raises:
        AnnotationError: if the file cannot be read, a column or a number is missing, or a class is there twice.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "mine.csv")
        >>> _ = path.write_text("class,train_clips,accuracy\npush,40,75\npull,3,\n")
        >>> read_class_table(path).accuracy
        array([75., nan])
    """
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows, columns = list(reader), reader.fieldnames or []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise AnnotationError(f"The table of classes {str(path)!r} cannot be read: {error}. {_EXPECTED}") from error
    counted = {"clips", "correct"} <= set(columns)
    needed = counted or "accuracy" in columns if scored else "train_clips" in columns
    if "class" not in columns or not needed or not rows:
        head = ", ".join(str(column)[:40] for column in columns[:10])
        found = f"the columns {head or '(none)'} and {len(rows)} rows"
        raise AnnotationError(f"{str(path)!r} is not a table of classes: found {found}. {_EXPECTED}")
    names = tuple((row["class"] or "").strip() for row in rows)
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise AnnotationError(f"{str(path)!r} has the class {twice[0]!r} more than once. {_EXPECTED}")
    train_clips, clips = (_numbers(path, rows, column) for column in ("train_clips", "clips"))
    if counted:
        with np.errstate(divide="ignore", invalid="ignore"):
            accuracy = 100 * _numbers(path, rows, "correct") / clips
    else:
        accuracy = _numbers(path, rows, "accuracy")
        accuracy[clips == 0] = math.nan
        if 0 < np.nanmax(accuracy, initial=0) <= 1:
            raise AnnotationError(f"The accuracies of {str(path)!r} look like fractions. Give them in percent.")
    if scored and not np.isfinite(accuracy).any():
        raise AnnotationError(f"{str(path)!r} has no class with an accuracy, so there is nothing to compare.")
    if (accuracy[np.isfinite(accuracy)] > 100).any():
        raise AnnotationError(f"{str(path)!r} has accuracies above 100 percent. {_EXPECTED}")
    about = {column: rows[0][column] for column in ABOUT if rows[0].get(column)}
    return ClassTable(names, train_clips, clips, accuracy, about)


_EXPECTED = (
    "Expected a CSV with a row a class and the columns class, train_clips, accuracy (in percent) and, if known, clips; "
    "ClassReport writes such files."
)


def _numbers(path: str | Path, rows: Sequence[Mapping[str, str | None]], column: str) -> NDArray[np.float64]:
    """A column as numbers; NaN where it is empty or not there."""
    values = []
    for row in rows:
        text = (row.get(column) or "").strip()
        try:
            value = float(text) if text else math.nan
        except ValueError:
            value = -1.0
        if value < 0 or math.isinf(value):
            raise AnnotationError(
                f"{str(path)!r} has {text!r} as {column} of the class {row['class']!r}. Expected a number of at least "
                "0, or an empty cell where it is not known."
            )
        values.append(value)
    return np.array(values)

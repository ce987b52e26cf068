# SPDX-License-Identifier: Apache-2.0
"""Accuracy by class as CSV: what is written is read again, and other files are told from it."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path

import numpy as np
import pytest

from staticdropout.errors import AnnotationError
from staticdropout.metrics import class_table_csv, read_class_table

NAMES = ['Putting [something], "carefully"', "Ziehen über\nden Tisch", "never seen"]
ABOUT = {"model": "slowfast_r50_8x8", "stage": "val", "epoch": 3, "step": 120, "checkpoint": "a,b.ckpt"}


def written(folder: Path, content: str) -> Path:
    path = folder / "table.csv"
    path.write_text(content, encoding="utf-8")
    return path


@pytest.mark.parametrize("train_clips", [[40, 3, 0], None])
def test_what_is_written_is_read_again(tmp_path: Path, train_clips: list[int] | None) -> None:
    table = read_class_table(written(tmp_path, class_table_csv(NAMES, train_clips, [(3, 4), (1, 3), (0, 0)], ABOUT)))
    assert list(table.names) == NAMES
    np.testing.assert_array_equal(table.train_clips, train_clips or [math.nan] * 3)
    np.testing.assert_array_equal(table.clips, [4, 3, 0])
    np.testing.assert_allclose(table.accuracy, [75, 100 / 3, math.nan])
    assert table.about == {key: str(value) for key, value in ABOUT.items()}
    assert table.top1() == pytest.approx(100 * 4 / 7)


def test_the_file_says_the_same_to_any_reader_of_csv() -> None:
    rows = list(csv.DictReader(io.StringIO(class_table_csv(NAMES, [40, 3, 0], [(3, 4), (1, 3), (0, 0)], ABOUT))))
    assert [row["class"] for row in rows] == NAMES
    assert [row["accuracy"] for row in rows] == ["75.0", "33.3333", ""]
    assert {row["checkpoint"] for row in rows} == {"a,b.ckpt"}
    assert [row["index"] for row in rows] == ["0", "1", "2"]


def test_a_users_own_table_needs_class_and_accuracy_alone(tmp_path: Path) -> None:
    table = read_class_table(written(tmp_path, "\ufeffaccuracy,mine,class\n55.5,x,push\n,y,pull\n"))
    assert table.names == ("push", "pull")
    np.testing.assert_array_equal(table.accuracy, [55.5, math.nan])
    assert np.isnan(table.train_clips).all()
    assert math.isnan(table.top1())
    assert table.about == {}


def test_an_accuracy_of_no_clips_is_unknown(tmp_path: Path) -> None:
    table = read_class_table(written(tmp_path, "class,accuracy,clips\na,0,0\nb,50,4\n"))
    assert math.isnan(table.accuracy[0])
    assert table.top1() == 50


def test_frequencies_alone_need_no_accuracy(tmp_path: Path) -> None:
    path = written(tmp_path, "class,train_clips\na,5\nb,70\n")
    np.testing.assert_array_equal(read_class_table(path, scored=False).train_clips, [5, 70])
    with pytest.raises(AnnotationError, match="is not a table of classes"):
        read_class_table(path)
    with pytest.raises(AnnotationError, match="is not a table of classes"):
        read_class_table(written(tmp_path, "class,accuracy\na,50\n"), scored=False)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"found the columns \(none\) and 0 rows"),
        ("class,accuracy\n", "and 0 rows. Expected a CSV with a row a class"),
        ("step,loss\n1,0.5\n", "found the columns step, loss and 1 rows"),
        ("class,accuracy\na,50\nb,60\na,70\n", "the class 'a' more than once"),
        ("class,accuracy\na,good\n", "'good' as accuracy of the class 'a'"),
        ("class,accuracy\na,-3\n", "'-3' as accuracy"),
        ("class,accuracy\na,inf\n", "'inf' as accuracy"),
        ("class,accuracy\na,0.5\nb,0.91\n", "look like fractions. Give them in percent"),
        ("class,accuracy\na,150\n", "above 100 percent"),
        ("class,clips,correct\na,3,4\n", "above 100 percent"),
        ("class,accuracy\na,\nb,\n", "no class with an accuracy"),
        ("class,clips,correct\na,0,0\n", "no class with an accuracy"),
    ],
)
def test_other_files_are_refused_with_what_was_found(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(AnnotationError, match=message):
        read_class_table(written(tmp_path, content))


def test_what_is_no_text_or_not_there_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n\x00\xff\xfe")
    for wrong in (path, tmp_path, tmp_path / "missing.csv"):
        with pytest.raises(AnnotationError, match="cannot be read"):
            read_class_table(wrong)

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import csv
import io
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from sequences import HEIGHT, MAKERS, WIDTH, davis2016, square_mask, write_flow, write_picture

from staticdropout.cli import main
from staticdropout.datamodules import check_segmentation, list_sequences, run_segmentation_check
from staticdropout.errors import AnnotationError, DatasetNotFoundError, OptionError


def quiet() -> Console:
    return Console(file=io.StringIO(), width=200)


def text(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.fixture
def broken_root(tmp_path: Path) -> Path:
    """One of each problem."""
    root = davis2016(tmp_path / "DAVIS", number=6, splits={"train": ("bear", "dog", "cat"), "val": ("swan",)})
    write_flow(root, [video for split in ("train", "val") for video in list_sequences(root, split=split)])
    pictures, masks = root / "JPEGImages/480p", root / "Annotations/480p"
    (pictures / "bear/00003.jpg").unlink()
    (masks / "bear/00001.png").unlink()
    for file in (masks / "cat").iterdir():
        file.unlink()
    (pictures / "dog/00000.jpg").write_bytes(b"damaged")
    write_picture(masks / "dog/00002.png", square_mask(2, HEIGHT, WIDTH + 1) * 255)
    values = np.zeros((HEIGHT, WIDTH), np.uint8)
    values[:10], values[10:20] = 3, 7
    write_picture(masks / "swan/00001.png", values)
    (root / "FlowImages_gap1/swan/00002.png").unlink()  # which training would compute
    (root / "FlowImages_gap1/swan/00003.png").write_bytes(b"damaged")
    return root


FOUND = [
    ("train", "bear/00003", "missing frame"),
    ("train", "bear/00001", "missing mask"),
    ("train", "cat", "no masks"),
    ("train", "dog/00000", "unreadable"),
    ("train", "dog/00002", "other size"),
    ("val", "swan/00001", "odd values"),
    ("val", "swan/00003", "unreadable"),
]


@pytest.mark.parametrize("layout", MAKERS)
def test_a_sound_data_set_has_no_problems(layout: str, tmp_path: Path) -> None:
    root = MAKERS[layout](tmp_path)
    console = quiet()
    assert run_segmentation_check(root, num_workers=0, console=console) == 0
    assert layout in text(console)
    assert "frames without flow; training computes it, or `staticdropout data flow`." in text(console)


@pytest.mark.parametrize("workers", [0, 2])
def test_every_problem_is_found_and_told_apart(broken_root: Path, workers: int) -> None:
    console = quiet()
    result = check_segmentation(broken_root, num_workers=workers, console=console)
    assert Counter((f.split, f.id, f.problem) for f in result.findings) == Counter(FOUND)
    assert result.frames == {"train": 17, "val": 6}
    assert result.masks == {"train": 10, "val": 6}
    reasons = {f.problem: f.reason for f in result.findings}
    assert "65x48" in reasons["other size"]
    assert "0, 3, 7" in reasons["odd values"]
    assert result.without_flow == {"train": 0, "val": 1}
    assert "1 frame without flow; training computes it" in text(console)
    assert "swan/00003: unreadable" in text(console)
    assert run_segmentation_check(broken_root, num_workers=0, console=quiet()) == len(FOUND)


def test_all_problems_go_into_the_csv_and_the_first_ones_onto_the_terminal(broken_root: Path, tmp_path: Path) -> None:
    console, output = quiet(), tmp_path / "reports" / "findings.csv"
    result = check_segmentation(broken_root, num_workers=0, output=output, max_listed=2, console=console)
    with output.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["split"], row["id"], row["problem"], row["path"]) for row in rows] == [
        (f.split, f.id, f.problem, f.path) for f in result.findings
    ]
    assert f"and {len(FOUND) - 2} more (see them all with --output findings.csv)" in text(console)


def test_one_split_can_be_checked_alone_and_joined_ones_are_not_read_twice(broken_root: Path) -> None:
    assert run_segmentation_check(broken_root, splits=["val"], num_workers=0, console=quiet()) == 2
    lists = broken_root / "ImageSets/480p"
    (lists / "trainval.txt").write_text((lists / "train.txt").read_text() + (lists / "val.txt").read_text())
    assert run_segmentation_check(broken_root, num_workers=0, console=quiet()) == len(FOUND)


def test_flow_is_looked_for_where_it_is_said_to_be(tmp_path: Path) -> None:
    root = davis2016(tmp_path / "DAVIS", number=3)
    options: dict[str, Any] = {"num_workers": 0, "console": quiet()}
    assert run_segmentation_check(root, flow_dir=tmp_path / "flow", **options) == 6
    write_flow(tmp_path / "flow", [v for split in ("train", "val") for v in list_sequences(root, split=split)], (1, -1))
    assert run_segmentation_check(root, flow_dir=tmp_path / "flow", gaps=(1, -1), **options) == 0
    (tmp_path / "flow/FlowImages_gap-1/dog/00001.png").write_bytes(b"damaged")
    result = check_segmentation(root, flow_dir=tmp_path / "flow", gaps=(1, -1), num_workers=0, console=quiet())
    assert [(f.id, f.problem) for f in result.findings] == [("dog/00001", "unreadable")]


def test_missing_flow_is_a_problem_only_in_a_folder_that_was_given(tmp_path: Path) -> None:
    root = davis2016(tmp_path / "DAVIS", number=4)
    write_flow(root, list_sequences(root, split="val"))
    console = quiet()
    result = check_segmentation(root, gaps=(1, -1), num_workers=0, console=console)
    assert result.findings == []
    assert result.without_flow == {"train": 8, "val": 3}  # of swan all but the first lack backward flow
    assert "11 frames without flow; training computes it, or `staticdropout data flow`." in text(console)
    given = check_segmentation(root, flow_dir=root, gaps=(1, -1), num_workers=0, console=quiet())
    assert Counter((f.split, f.problem) for f in given.findings) == {
        ("train", "missing flow"): 12,
        ("val", "missing flow"): 3,
    }
    assert given.without_flow == {"train": 0, "val": 0}
    with pytest.raises(OptionError, match="other than 0"):
        check_segmentation(root, gaps=(0,), num_workers=0, console=quiet())


def test_the_command_checks_backward_flow_and_exits_with_1_where_something_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = davis2016(tmp_path / "DAVIS", number=3)
    write_flow(root, [video for split in ("train", "val") for video in list_sequences(root, split=split)])

    def command(*options: str) -> str:
        main(["data", "check", str(root), "--workers", "0", *options])
        return capsys.readouterr().out

    assert "without flow" not in command()
    assert "6 frames without flow" in command("--gaps", "[1, -1]")
    command("--flow_dir", str(root))
    with pytest.raises(SystemExit) as error:
        command("--flow_dir", str(root), "--gaps", "[1, -1]")
    assert error.value.code == 1
    assert "no flow of gap -1" in capsys.readouterr().out


def test_a_split_of_which_nothing_is_left_is_counted_not_raised(tmp_path: Path) -> None:
    root = davis2016(tmp_path, number=3)
    for file in (root / "JPEGImages/480p/swan").iterdir():
        file.unlink()
    result = check_segmentation(root, num_workers=0, console=quiet())
    assert result.frames["val"] == 0
    assert {(f.id.split("/")[0], f.problem) for f in result.findings} == {("swan", "missing frame")}


def test_lists_in_another_format_and_missing_data_sets_are_errors(tmp_path: Path) -> None:
    root = davis2016(tmp_path / "DAVIS", number=3)
    (root / "ImageSets/480p/val.txt").write_text("swan\n")
    with pytest.raises(AnnotationError, match=r"Line 1 of .*val\.txt"):
        check_segmentation(root, num_workers=0, console=quiet())
    with pytest.raises(DatasetNotFoundError, match="does not exist"):
        check_segmentation(tmp_path / "nowhere", console=quiet())


def test_the_one_real_mask_of_a_wrong_size_is_found(real_data: Path) -> None:
    result = check_segmentation(real_data / "davis17_mini", num_workers=0, console=quiet())
    assert [(f.id, f.problem) for f in result.findings] == [("judo/00005", "other size")]
    assert run_segmentation_check(real_data / "moca_mini", num_workers=0, console=quiet()) == 0

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from staticdropout.datamodules import check, run_check
from staticdropout.datamodules.vp9 import without_tag_warning, write_vp9
from staticdropout.errors import DatasetNotFoundError

VIDEOS = "20bn-something-something-v2"


def quiet() -> Console:
    return Console(file=io.StringIO(), width=200)


def text(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.fixture
def broken_root(root: Path) -> Path:
    """One training video missing, one validation video corrupt, one test video short."""
    (root / VIDEOS / "2.webm").unlink()
    (root / VIDEOS / "8.webm").write_bytes((root / VIDEOS / "8.webm").read_bytes()[:200])
    with without_tag_warning():
        write_vp9(root / VIDEOS / "12.webm", np.zeros((3, 32, 40, 3), np.uint8))
    return root


def test_a_sound_data_set_has_no_findings_and_status_zero(shapes_root: Path) -> None:
    console = quiet()
    result = check(shapes_root, num_workers=0, console=console)
    assert result.ok
    assert {split: (report.entries, report.ok) for split, report in result.splits.items()} == {
        "train": (6, 6),
        "validation": (4, 4),
        "test": (3, 3),
    }
    assert "unreadable" in text(console)
    assert run_check(shapes_root, num_workers=0, console=quiet()) == 0


@pytest.mark.parametrize("reader", ["decord", "pyav"])
@pytest.mark.parametrize("every_frame", [False, True])
def test_missing_corrupt_and_short_files_are_told_apart(broken_root: Path, reader: str, every_frame: bool) -> None:
    console = quiet()
    result = check(broken_root, reader=reader, every_frame=every_frame, num_workers=0, console=console)
    assert [(f.split, f.id, f.problem) for f in result.findings] == [
        ("train", "2", "missing"),
        ("validation", "8", "unreadable"),
        ("test", "12", "short"),
    ]
    assert result.splits["train"].missing == result.splits["validation"].unreadable == result.splits["test"].short == 1
    assert result.splits["test"].ok == 2
    assert "3 frames, fewer than 8" in text(console)
    assert run_check(broken_root, reader=reader, num_workers=0, console=quiet()) == 1


def test_processes_find_the_same_in_the_same_order(broken_root: Path) -> None:
    labels = broken_root / "labels" / "train.json"
    labels.write_text(
        labels.read_text().rstrip().rstrip("]") + "".join([", " + labels.read_text().strip()[1:-1]] * 8) + "]"
    )
    alone = check(broken_root, num_workers=0, console=quiet())
    together = check(broken_root, num_workers=2, console=quiet())
    assert alone.splits["train"].entries == 54
    assert together.findings == alone.findings


def test_all_findings_go_into_the_csv_and_the_first_ones_onto_the_terminal(broken_root: Path, tmp_path: Path) -> None:
    console, output = quiet(), tmp_path / "reports" / "findings.csv"
    result = check(broken_root, num_workers=0, output=output, max_listed=1, console=console)
    with output.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["split"], row["id"], row["problem"], row["path"]) for row in rows] == [
        (f.split, f.id, f.problem, f.path) for f in result.findings
    ]
    assert "and 2 more" in text(console)


def test_frame_folders_are_checked_with_the_frames_reader(frames_root: Path) -> None:
    (frames_root / "frames" / "3" / "0010.jpg").write_bytes(b"damaged")
    result = check(frames_root, reader="frames", num_workers=0, console=quiet())
    assert [(f.id, f.problem) for f in result.findings] == [("3", "unreadable")]


def test_a_folder_without_annotations_is_an_error(root: Path) -> None:
    for split in ("train", "validation", "test"):
        (root / "labels" / f"{split}.json").unlink()
    with pytest.raises(DatasetNotFoundError, match=r"train\.json"):
        check(root, num_workers=0, console=quiet())


def test_the_real_clips_are_sound(real_data: Path) -> None:
    result = check(real_data / "ssv2_mini", num_workers=0, console=quiet())
    assert result.ok
    assert result.splits["train"].entries == 9

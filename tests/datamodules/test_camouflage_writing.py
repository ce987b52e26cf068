# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from staticdropout.datamodules.camouflage_drawing import DrawnSequence, Kind, draw_sequence
from staticdropout.datamodules.camouflage_writing import write_camouflage
from staticdropout.errors import DatasetExistsError, OptionError

PICTURES, MASKS, LISTS = "JPEGImages/480p", "Annotations/480p", "ImageSets/480p"
TINY: dict[str, Any] = {"num_frames": 2, "height": 48, "width": 64, "progress": False}


def write(root: Path, num_train: int = 3, num_val: int = 2, **options: Any) -> Path:
    return write_camouflage(root, num_train, num_val, **{**TINY, **options})


def files_of(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_the_layout_is_the_official_one(tmp_path: Path) -> None:
    root = write(tmp_path / "camouflage", 3, 3)
    line = re.compile(r"/JPEGImages/480p/(\w+)/(\d{5})\.jpg /Annotations/480p/\1/\2\.png ")  # with a space at the end
    names: dict[str, list[str]] = {}
    for split, expected in (("train", 6), ("val", 6), ("trainval", 12)):
        text = (root / LISTS / f"{split}.txt").read_text()
        assert text.endswith(" \n")
        entries = text.removesuffix("\n").split("\n")
        assert len(entries) == expected
        assert all(line.fullmatch(entry) for entry in entries)
        names[split] = [entry.split("/")[3] for entry in entries]
        for entry in entries:
            picture, mask = (Image.open(root / part.lstrip("/")) for part in entry.split())
            assert (picture.format, picture.mode, picture.size) == ("JPEG", "RGB", (64, 48))
            assert (mask.format, mask.mode, mask.size) == ("PNG", "L", (64, 48))
            assert set(np.unique(np.asarray(mask))) == {0, 255}
    assert list(dict.fromkeys(names["train"])) == ["camouflaged_000", "salient_000", "camouflaged_001"]
    assert list(dict.fromkeys(names["val"])) == ["camouflaged_002", "salient_001", "camouflaged_003"]
    assert names["trainval"] == names["train"] + names["val"]
    assert {path.name for path in (root / PICTURES).iterdir()} == set(names["trainval"])


def test_files_hold_what_is_drawn(tmp_path: Path) -> None:
    root = write(tmp_path / "camouflage", 2, 1, num_frames=3)
    drawn = draw_sequence("salient", num_frames=3, height=48, width=64, rng=np.random.default_rng((0, 0, 1)))
    for number in range(3):
        mask = np.asarray(Image.open(root / MASKS / "salient_000" / f"{number:05d}.png"))
        np.testing.assert_array_equal(mask, drawn.masks[number] * 255)
        picture = np.asarray(Image.open(root / PICTURES / "salient_000" / f"{number:05d}.jpg")).astype(np.int64)
        assert np.abs(picture - drawn.frames[number]).mean() < 2.5


def test_as_many_camouflaged_sequences_as_asked_have_distractors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, bool]] = []

    def record(kind: Kind, *, distractor: bool, **options: Any) -> DrawnSequence:
        calls.append((kind, distractor))
        return draw_sequence(kind, distractor=distractor, **options)

    monkeypatch.setattr("staticdropout.datamodules.camouflage_writing.draw_sequence", record)
    for share, expected in ((0.0, 0), (0.5, 3), (1.0, 6)):
        calls.clear()
        write(tmp_path / str(share), 8, 4, distractors=share)
        assert sum(distractor for _, distractor in calls) == expected
        assert ("salient", True) not in calls


def test_the_same_seed_writes_the_same_files_and_another_seed_others(tmp_path: Path) -> None:
    first = files_of(write(tmp_path / "first"))
    assert files_of(write(tmp_path / "again", num_workers=1)) == first
    other = files_of(write(tmp_path / "other", seed=1))
    assert other.keys() == first.keys()
    assert all(other[name] != first[name] for name in first if name.startswith(PICTURES))


def test_more_validation_leaves_the_training_split_as_it_is(tmp_path: Path) -> None:
    few, many = files_of(write(tmp_path / "few", 3, 1)), files_of(write(tmp_path / "many", 3, 4))
    assert {name: many[name] for name in few if not name.startswith((LISTS, "camouflage.json"))}.items() <= few.items()
    assert many[f"{LISTS}/train.txt"] == few[f"{LISTS}/train.txt"]


def test_all_sequences_differ(tmp_path: Path) -> None:
    files = files_of(write(tmp_path / "camouflage", 4, 4))
    pictures = [content for name, content in files.items() if name.endswith("00000.jpg")]
    assert len(pictures) == 8
    assert all(first != second for first, second in itertools.combinations(pictures, 2))


def test_a_second_call_with_the_same_parameters_leaves_everything_as_it_is(tmp_path: Path) -> None:
    root = write(tmp_path / "camouflage")
    (root / "FlowImages_gap1").mkdir()  # flow is kept beside the pictures
    times = {file: file.stat().st_mtime_ns for file in root.rglob("*")}
    write(root)
    assert {file: file.stat().st_mtime_ns for file in root.rglob("*")} == times


def test_other_parameters_need_another_folder_or_leave_to_overwrite(tmp_path: Path) -> None:
    root = write(tmp_path / "camouflage")
    (root / "FlowImages_gap1").mkdir()
    with pytest.raises(DatasetExistsError, match=r"num_train 3 instead of 2.*overwrite"):
        write(root, 2)
    assert (root / PICTURES / "camouflaged_001").is_dir()
    write(root, 2, overwrite=True)
    assert len((root / LISTS / "train.txt").read_text().splitlines()) == 4
    assert not (root / "FlowImages_gap1").exists()  # it was the flow of other pictures


def test_a_folder_with_other_files_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(DatasetExistsError, match="Choose another folder"):
        write(tmp_path, overwrite=True)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_an_interrupted_call_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("staticdropout.datamodules.camouflage_writing.draw_sequence", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "camouflage")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"num_train": 0}, "num_train and num_val must be at least 1; got 0 and 2"),
        ({"num_val": -1}, "num_train and num_val must be at least 1"),
        ({"num_frames": 1}, "num_frames must be at least 2"),
        ({"height": 47}, "at least 48 pixels"),
        ({"distractors": 1.5}, r"distractors must be a share in \[0, 1\]; got 1.5"),
        ({"seed": -1}, "seed must be 0 or more"),
    ],
)
def test_parameters_out_of_range_are_refused_before_anything_is_written(
    tmp_path: Path, wrong: dict[str, Any], message: str
) -> None:
    with pytest.raises(OptionError, match=message):
        write(tmp_path / "camouflage", **wrong)
    assert list(tmp_path.iterdir()) == []

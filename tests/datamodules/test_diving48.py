# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from action_data import FRAMES, SMALL, diving48, frame_numbers, write_clip, write_json

from staticdropout.datamodules import Diving48DataModule
from staticdropout.errors import AnnotationError, DatasetNotFoundError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return diving48(tmp_path / "diving48")


def data(root: Path, stage: str | None = None, **options: Any) -> Diving48DataModule:
    module = Diving48DataModule(str(root), **{**SMALL, **options})
    module.setup(stage)
    return module


def labels(loader: Any) -> dict[str, int]:
    return {i: int(label) for batch in loader for i, label in zip(batch["id"], batch["label"], strict=True)}


def change(file: Path, **changes: Any) -> None:
    entries = json.loads(file.read_text())
    entries[1].update(changes)
    file.write_text(json.dumps(entries))


def test_the_test_split_serves_validation_testing_and_prediction(root: Path) -> None:
    module = data(root, batch_size=1)
    assert labels(module.train_dataloader()) == {"a_00000": 47, "a_00001": 46, "-b_00000": 45}
    for loader in (module.val_dataloader(), module.test_dataloader(), module.predict_dataloader()):
        assert labels(loader) == {"c_00000": 47, "c_00001": 46}


def test_classes_are_the_four_parts_of_a_dive_in_the_order_of_the_vocabulary(root: Path, real_data: Path) -> None:
    shutil.copy(real_data / "annotations" / "diving48" / "Diving48_vocab.json", root)
    expected = (real_data / "annotations" / "diving48" / "label_map.txt").read_text().split()
    assert list(data(root).class_names) == expected
    assert len(expected) == 48


@pytest.mark.parametrize("folder", ["annotations", "labels"])
def test_annotations_and_videos_can_lie_in_folders_of_their_own(root: Path, folder: str, tmp_path: Path) -> None:
    (root / folder).mkdir()
    for file in root.glob("*.json"):
        file.rename(root / folder / file.name)
    (root / "rgb").rename(root / "videos")
    assert len(labels(data(root).val_dataloader())) == 2
    (root / "videos").rename(tmp_path / "elsewhere")
    assert len(labels(data(root, video_dir=str(tmp_path / "elsewhere")).val_dataloader())) == 2


def test_frames_are_those_from_start_up_to_end(root: Path) -> None:
    change(root / "Diving48_V2_test.json", start_frame=4, end_frame=8)
    clips = [clip for batch in data(root, "validate", sampling="segment").val_dataloader() for clip in batch["video"]]
    assert frame_numbers(clips[1]) == [4, 5, 6, 6]
    assert max(frame_numbers(clips[0])) > 8


def test_frames_beyond_the_file_are_left_out_and_an_entry_without_any_is_skipped(root: Path) -> None:
    change(root / "Diving48_V2_test.json", start_frame=20, end_frame=900)
    clips = [clip for batch in data(root, "validate").val_dataloader() for clip in batch["video"]]
    assert set(frame_numbers(clips[1])) <= set(range(20, FRAMES))
    change(root / "Diving48_V2_test.json", start_frame=700)
    (batch,) = data(root, "validate").val_dataloader()
    assert batch["id"] == ["c_00000"]
    assert [name for name, _ in batch["skipped"]] == ["c_00001"]


def test_a_missing_video_is_skipped_and_listed(root: Path) -> None:
    (root / "rgb" / "c_00000.mp4").unlink()
    (batch,) = data(root, "validate").val_dataloader()
    assert batch["skipped"] == [("c_00000", "there is no such file")]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": 48}, "Entry 1 .*c_00001.* label 48: Diving48 has 48 classes"),
        ({"label": -1}, "label -1"),
        ({"label": "3"}, "whole numbers"),
        ({"start_frame": 0.5}, "whole numbers"),
        ({"vid_name": 7}, "no 'vid_name'"),
    ],
)
def test_wrong_entries_are_refused_by_file_and_number(root: Path, changes: dict[str, Any], message: str) -> None:
    change(root / "Diving48_V2_test.json", **changes)
    with pytest.raises(AnnotationError, match=message):
        data(root, "validate")


@pytest.mark.parametrize("content", [{}, [3], ["Back"]])
def test_files_in_another_format_are_refused(root: Path, content: Any) -> None:
    write_json(root / "Diving48_vocab.json", content)
    with pytest.raises(AnnotationError, match="Diving48_vocab"):
        _ = data(root).class_names
    write_json(root / "Diving48_V2_train.json", content)
    with pytest.raises(AnnotationError, match="Diving48_V2_train"):
        data(root, "fit")


@pytest.mark.parametrize("gone", ["Diving48_V2_train.json", "rgb"])
def test_an_incomplete_root_names_what_is_missing_and_warns_of_the_first_version(root: Path, gone: str) -> None:
    (root / gone).rename(root.parent / "gone")
    with pytest.raises(DatasetNotFoundError, match=rf"{gone}.*V1"):
        data(root, "fit")


def test_a_dive_may_be_mirrored() -> None:
    assert Diving48DataModule("x").hparams["flip"] is True


def test_the_suffix_of_the_videos_does_not_matter(root: Path) -> None:
    shutil.rmtree(root / "rgb")
    for name in ("c_00000", "c_00001"):
        write_clip(root / "rgb" / f"{name}.webm")
    assert len(labels(data(root, "validate").val_dataloader())) == 2

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import Any

import pytest
from action_data import ACTIVITYNET, SMALL, activitynet, frame_numbers, write_clip, write_json

from staticdropout.callbacks.measurement import video_numbers
from staticdropout.datamodules import ActivityNetDataModule
from staticdropout.errors import AnnotationError, DatasetNotFoundError, OptionError

FILE = "activity_net.v1-3.min.json"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return activitynet(tmp_path / "anet")


def data(root: Path, stage: str | None = None, **options: Any) -> ActivityNetDataModule:
    module = ActivityNetDataModule(str(root), **{**SMALL, **options})
    module.setup(stage)
    return module


def items(loader: Any) -> dict[str, tuple[int, set[int]]]:
    """Label and frames of each clip by its id."""
    return {
        name: (int(label), set(frame_numbers(clip)))
        for batch in loader
        for name, label, clip in zip(batch["id"], batch["label"], batch["video"], strict=True)
    }


def test_every_segment_is_an_entry_with_frames_from_inside_it(root: Path) -> None:
    module = data(root, batch_size=1)
    found = items(module.train_dataloader())
    assert {name: label for name, (label, _) in found.items()} == {
        "aaaaaaaaaaa/0": 2,
        "aaaaaaaaaaa/1": 0,
        "v_bbbbbbbbb/0": 0,
    }
    assert found["aaaaaaaaaaa/0"][1] <= set(range(5, 12))  # 0.5 to 1.2 seconds at 10 frames a second
    assert found["aaaaaaaaaaa/1"][1] <= set(range(15, 20))
    for loader in (module.val_dataloader(), module.test_dataloader(), module.predict_dataloader()):
        ((name, (label, frames)),) = items(loader).items()
        assert (name, label) == ("ccccccccccc/0", 2)
        assert frames <= set(range(10, 20))


def test_ids_tell_which_segments_are_of_one_video(root: Path) -> None:
    ids = [entry.id for entry in data(root, "fit")._datasets["train"].entries]
    first, second, other = video_numbers(ids)
    assert first == second != other


def test_classes_are_the_leaves_of_the_taxonomy_in_alphabetical_order(root: Path) -> None:
    assert data(root).class_names == ("Archery", "Belly dance", "Surfing")


def test_without_a_taxonomy_classes_are_all_labels_of_all_splits(root: Path) -> None:
    write_json(root / FILE, {"database": ACTIVITYNET["database"], "version": "VERSION 1.3"})
    module = data(root, "validate")
    assert module.class_names == ("Archery", "Surfing")
    assert items(module.val_dataloader())["ccccccccccc/0"][0] == 1


@pytest.mark.parametrize(
    "pattern", ["{}.mp4", "v_{}.mkv", "videos/{}.mp4", "videos/val/v_{}.mp4", "val/{}.webm", "v1-3/train_val/v_{}.mp4"]
)
def test_files_are_found_with_and_without_v(tmp_path: Path, pattern: str) -> None:
    write_json(tmp_path / "annotations" / FILE, ACTIVITYNET)
    write_clip(tmp_path / pattern.format("ccccccccccc"))
    assert list(items(data(tmp_path, "validate").val_dataloader())) == ["ccccccccccc/0"]


def test_the_json_file_itself_and_the_folder_of_videos_can_be_given(root: Path, tmp_path: Path) -> None:
    file = (root / FILE).rename(tmp_path / "some name.json")
    (root / "videos").rename(tmp_path / "clips")
    module = data(root, "validate", labels_dir=str(file), video_dir=str(tmp_path / "clips"))
    assert len(items(module.val_dataloader())) == 1


def test_missing_videos_are_left_out_and_none_is_refused(root: Path) -> None:
    (root / "videos" / "v_aaaaaaaaaaa.mp4").unlink()
    assert list(items(data(root, "fit").train_dataloader())) == ["v_bbbbbbbbb/0"]
    shutil.rmtree(root / "videos")
    with pytest.raises(DatasetNotFoundError, match=r"v_ccccccccccc.*None of the 1 entries of the validation split"):
        data(root, "validate")


def test_a_segment_that_holds_no_frame_is_skipped_and_listed(root: Path) -> None:
    content = copy.deepcopy(ACTIVITYNET)
    annotations = content["database"]["ccccccccccc"]["annotations"]
    annotations += [{"segment": [50.0, 60.0], "label": "Archery"}, {"segment": [2.0, 1.0], "label": "Archery"}]
    write_json(root / FILE, content)
    batches = list(data(root, "validate").val_dataloader())
    assert [name for batch in batches for name in batch["id"]] == ["ccccccccccc/0"]
    skipped = [pair for batch in batches for pair in batch.get("skipped", ())]
    assert [name for name, _ in skipped] == ["ccccccccccc/1", "ccccccccccc/2"]
    assert all("no frame" in reason for _, reason in skipped)


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        ({"segment": [1.0], "label": "Surfing"}, "seconds"),
        ({"segment": ["a", "b"], "label": "Surfing"}, "seconds"),
        ({"label": "Surfing"}, "seconds"),
        ({"segment": [0.0, 1.0]}, "seconds"),
        ("Surfing", "seconds"),
        ({"segment": [0.0, 1.0], "label": "Surfin"}, "Close matches: Surfing"),
    ],
)
def test_wrong_annotations_are_refused_by_video_and_number(root: Path, annotation: Any, message: str) -> None:
    content = copy.deepcopy(ACTIVITYNET)
    content["database"]["ccccccccccc"]["annotations"].append(annotation)
    write_json(root / FILE, content)
    with pytest.raises(AnnotationError, match=rf"Annotation 1 of 'ccccccccccc' .*{message}"):
        data(root, "validate")


@pytest.mark.parametrize(
    "content", [[], {"results": {}, "version": 1}, {"database": []}, {"x": {"subset": "training"}}]
)
def test_files_in_another_format_are_refused(root: Path, content: Any) -> None:
    write_json(root / FILE, content)
    with pytest.raises(AnnotationError, match=r"activity_net\.v1-3\.min\.json.*ActivityNet 1\.3"):
        data(root, "validate")


def test_a_broken_taxonomy_is_refused(root: Path) -> None:
    write_json(root / FILE, ACTIVITYNET | {"taxonomy": [{"nodeName": "Archery"}]})
    with pytest.raises(AnnotationError, match="taxonomy"):
        data(root, "validate")


def test_without_annotations_the_file_and_the_place_to_get_it_are_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFoundError, match=r"activity_net\.v1-3\.min\.json.*activity-net\.org"):
        data(tmp_path, "validate")


def test_seconds_cannot_be_counted_in_folders_of_frames(root: Path) -> None:
    with pytest.raises(OptionError, match="seconds"):
        data(root, reader="frames")


def test_the_real_annotations_of_two_videos_are_read(real_data: Path, tmp_path: Path) -> None:
    file = real_data / "annotations" / "activitynet" / "gt_two_videos.json"
    for name in ("v_bYUmtLBL7W4", "hDPLy21Yyuk"):
        write_clip(tmp_path / f"{name}.mp4", frames=24, fps=0.3)  # 80 seconds
    module = data(tmp_path, "validate", labels_dir=str(file), on_error="skip")
    entries = module._datasets["val"].entries
    assert [entry.id for entry in entries] == [f"v_bYUmtLBL7W4/{n}" for n in range(3)] + ["v_hDPLy21Yyuk/0"]
    assert {module.class_names[entry.label] for entry in entries[:3]} == {"Wakeboarding"}
    assert entries[0].span is not None
    assert entries[0].span[:2] == (11.553655226209049, 57.06805460218409)
    assert items(module.val_dataloader())["v_bYUmtLBL7W4/0"][1] <= set(range(3, 18))

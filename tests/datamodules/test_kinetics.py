# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import csv
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from action_data import (
    KINETICS_HEADER,
    KINETICS_VAL,
    SMALL,
    kinetics,
    kinetics_csv,
    write_clip,
    write_json,
    write_text,
)
from PIL import Image

from staticdropout.datamodules import KineticsDataModule
from staticdropout.errors import AnnotationError, DatasetNotFoundError, OptionError

NAMES = ("abseiling", "passing American football (in game)", "zumba")


@pytest.fixture(scope="session")
def k_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return kinetics(tmp_path_factory.mktemp("kinetics"))


def data(root: Path, stage: str | None = None, **options: Any) -> KineticsDataModule:
    module = KineticsDataModule(str(root), **{**SMALL, **options})
    module.setup(stage)
    return module


def labels(loader: Any) -> dict[str, int]:
    batches = list(loader)
    assert not any("skipped" in batch for batch in batches)
    return {i: int(label) for batch in batches for i, label in zip(batch["id"], batch["label"], strict=True)}


CONVENTIONS = [
    "{split}/{label}/{id}_{start:06d}_{end:06d}.mp4",
    "{split}/{id}_{start:06d}_{end:06d}.mp4",
    "{split}/{id}.mp4",
    "{split}/{label}/{id}.mkv",
    "videos/{split}/{label}/{id}_{start:06d}_{end:06d}.webm",
    "videos/{id}_{start:06d}_{end:06d}.avi",
    "videos/{label}/{id}.mp4",
    "videos_{split}/{label}/{id}_{start:06d}_{end:06d}.mp4",
    "{split}_256/{label}/{id}_{start}_{end}.MP4",
    "{id}_{start:06d}_{end:06d}.mp4",
]


@pytest.mark.parametrize(
    ("pattern", "space"), [(p, space) for p in CONVENTIONS for space in (" _" if "{label}" in p else " ")]
)
def test_every_convention_of_folders_and_names_is_found(tmp_path: Path, pattern: str, space: str) -> None:
    module = data(kinetics(tmp_path, pattern, space), "fit", batch_size=4)
    assert module.class_names == NAMES
    expected = {"aaaaaaaaaaa_000005_000015": 2, "bbbbbbbbbbb_000417_000427": 0}
    expected |= {"c-ccccccc_c_000000_000010": 1, "ddddddddddd_000036_000046": 0}
    assert labels(module.train_dataloader()) == expected
    assert labels(module.val_dataloader()) == {"eeeeeeeeeee_000008_000018": 2, "-ffffffffff_000012_000022": 0}


def test_other_places_are_set_by_hand(k_root: Path, tmp_path: Path) -> None:
    shutil.copytree(k_root / "annotations", tmp_path / "csv")
    shutil.copytree(k_root / "val", tmp_path / "clips" / "val")
    module = data(tmp_path / "nothing", "validate", labels_dir=str(tmp_path / "csv"), video_dir=str(tmp_path / "clips"))
    assert len(labels(module.val_dataloader())) == 2
    directly = data(tmp_path, "validate", labels_dir=str(tmp_path / "csv"), video_dir=str(tmp_path / "clips" / "val"))
    assert len(labels(directly.val_dataloader())) == 2


@pytest.mark.parametrize(
    "name", ["val.csv", "kinetics-400_val.csv", "kinetics_700_val.csv", "k600_validate.csv", "validation.csv"]
)
def test_the_usual_names_of_the_csv_files_are_known(k_root: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(k_root, tmp_path / "k")
    (tmp_path / "k" / "annotations" / "val.csv").rename(tmp_path / "k" / "annotations" / name)
    assert len(labels(data(tmp_path / "k", "validate").val_dataloader())) == 2


def test_columns_are_found_by_their_names_and_quoted_labels_are_read(k_root: Path, tmp_path: Path) -> None:
    shutil.copytree(k_root, tmp_path / "k")
    rows = ['"riding, or walking with, a horse",eeeeeeeeeee,8,18,val,0', "zumba,-ffffffffff,12,22,val,1"]
    for split in ("train", "val"):
        write_text(tmp_path / "k" / "annotations" / f"{split}.csv", [f"{KINETICS_HEADER},is_cc", *rows])
    module = data(tmp_path / "k", "validate")
    assert module.class_names == ("riding, or walking with, a horse", "zumba")
    assert list(labels(module.val_dataloader()).values()) == [0, 1]


def test_classes_keep_their_indices_when_videos_or_whole_classes_are_missing(k_root: Path, tmp_path: Path) -> None:
    shutil.copytree(k_root, tmp_path / "k")
    (tmp_path / "k" / "train" / "bbbbbbbbbbb_000417_000427.mp4").unlink()
    (tmp_path / "k" / "train" / "ddddddddddd_000036_000046.mp4").unlink()
    module = data(tmp_path / "k", "fit")
    assert module.num_classes == 3
    assert set(labels(module.train_dataloader()).values()) == {1, 2}


def test_the_order_of_the_classes_is_that_of_the_file_that_is_given(k_root: Path, tmp_path: Path) -> None:
    text = write_text(tmp_path / "names.txt", [*reversed(NAMES)])
    listed = write_json(tmp_path / "names.json", [*reversed(NAMES)])
    mapped = write_json(tmp_path / "map.json", {f'"{name}"': 2 - index for index, name in enumerate(NAMES)})
    for file in (text, listed, mapped):
        module = data(k_root, "validate", classes=str(file))
        assert module.class_names == NAMES[::-1]
        assert list(labels(module.val_dataloader()).values()) == [0, 2]


def test_a_label_map_beside_the_annotations_is_taken(k_root: Path, tmp_path: Path) -> None:
    shutil.copytree(k_root, tmp_path / "k")
    write_text(tmp_path / "k" / "annotations" / "label_map_k400.txt", ["air drumming", *NAMES])
    assert list(labels(data(tmp_path / "k", "validate").val_dataloader()).values()) == [3, 1]


def test_missing_videos_are_left_out_and_counted_aloud(
    k_root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(k_root, tmp_path / "k")
    (tmp_path / "k" / "train" / "bbbbbbbbbbb_000417_000427.mp4").unlink()
    monkeypatch.setattr(logging.getLogger("lightning.pytorch"), "propagate", True)
    with caplog.at_level(logging.INFO):
        module = data(tmp_path / "k", "fit", limit=2)
    assert "3 of 4 entries of the train split are on disk" in caplog.text
    assert "validation" not in caplog.text  # nothing is missing there
    assert set(labels(module.train_dataloader())) == {"aaaaaaaaaaa_000005_000015", "c-ccccccc_c_000000_000010"}


def test_a_split_without_a_single_video_is_refused_with_what_lies_there(k_root: Path, tmp_path: Path) -> None:
    shutil.copytree(k_root / "annotations", tmp_path / "k" / "annotations")
    write_clip(tmp_path / "k" / "val" / "somebody_else.mp4")
    with pytest.raises(DatasetNotFoundError, match=r"eeeeeeeeeee_000008_000018\.mp4.* 1 videos, such as somebody_else"):
        data(tmp_path / "k", "validate")
    shutil.rmtree(tmp_path / "k" / "val")
    with pytest.raises(DatasetNotFoundError, match=r"None of the 2 entries .*--data\.video_dir"):
        data(tmp_path / "k", "validate")


def test_a_root_without_annotations_names_the_files_and_where_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFoundError, match=r"annotations/val\.csv.*cvdfoundation"):
        data(tmp_path, "validate")
    with pytest.raises(DatasetNotFoundError, match="does not exist"):
        data(tmp_path / "nowhere", "validate")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["label,youtube_id,time_start", "zumba,eeeeeeeeeee,8"], "no column time_end"),
        ([KINETICS_HEADER, "zumba,eeeeeeeeeee,eight,18,val"], "Line 2 .*'eight'"),
        ([KINETICS_HEADER, "zumba,eeeeeeeeeee"], "Line 2"),
        ([KINETICS_HEADER, "zumbaa,eeeeeeeeeee,8,18,val"], "Line 2 .*eeeeeeeeeee.*Close matches: zumba"),
        ([KINETICS_HEADER, ",eeeeeeeeeee,8,18,val"], "no label"),
        ([KINETICS_HEADER], "no entries"),
        (["val/a.mp4"], "Line 1 .*path of a video and the number of its class"),
        (["val/a.mp4 0 3"], "Line 1 .*path of a video and the number of its class"),
        (["val/a.mp4 3"], "class 3, but there are 3 classes"),
    ],
)
def test_annotations_in_another_format_are_refused(
    k_root: Path, tmp_path: Path, lines: list[str], message: str
) -> None:
    shutil.copytree(k_root, tmp_path / "k")
    write_text(tmp_path / "k" / "annotations" / "val.csv", lines)
    with pytest.raises(AnnotationError, match=message):
        data(tmp_path / "k", "validate")


def test_of_a_piece_of_the_validation_csv_the_classes_are_not_guessed(k_root: Path, tmp_path: Path) -> None:
    shutil.copytree(k_root, tmp_path / "k")
    (tmp_path / "k" / "annotations" / "train.csv").unlink()
    with pytest.raises(AnnotationError, match=r"--data\.classes"):
        data(tmp_path / "k", "validate")
    names = [f"class {number:03d}" for number in range(400)]
    rows = [(name, "eeeeeeeeeee", 8) for name in reversed(names)]
    kinetics_csv(tmp_path / "k" / "annotations" / "val.csv", rows, "val")
    assert data(tmp_path / "k", "validate").class_names == tuple(names)  # all of Kinetics-400


@pytest.mark.parametrize("content", [[], ["zumba", "zumba"]])
def test_a_wrong_file_of_classes_is_refused(k_root: Path, tmp_path: Path, content: list[str]) -> None:
    file = write_text(tmp_path / "names.txt", content)
    with pytest.raises(AnnotationError, match=r"names\.txt"):
        data(k_root, "validate", classes=str(file))
    with pytest.raises(AnnotationError, match="index"):
        data(k_root, "validate", classes=str(write_json(tmp_path / "names.json", {"zumba": 3})))
    with pytest.raises(DatasetNotFoundError, match=r"--data\.classes"):
        data(k_root, "validate", classes=str(tmp_path / "nothing.txt"))


@pytest.mark.parametrize("separator", [" ", ",", "\t"])
@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        ("annotations/val.csv", "clips/"),  # SlowFast
        ("kinetics400_val_list_videos.txt", ""),  # mmaction2, with paths from videos_val on
        ("val_list.txt", "ABSOLUTE/"),
        ("list.txt", "k/clips/"),  # from beside the root on
    ],
)
def test_lists_of_paths_and_labels_are_read(tmp_path: Path, separator: str, name: str, prefix: str) -> None:
    root = tmp_path / "k"
    folder = root / ("videos_val" if not prefix else "clips")
    for file in ("some class/a.mp4", "b.mp4"):
        write_clip(folder / file)
    prefix = prefix.replace("ABSOLUTE", str(folder))
    write_text(root / name, [f"{prefix}some class/a.mp4{separator}2", f"{prefix}b.mp4{separator}0"])
    module = data(root, "validate")
    assert labels(module.val_dataloader()) == {"a": 2, "b": 0}
    with pytest.raises(AnnotationError, match=r"numbers only.*--data\.classes"):
        _ = module.class_names


def test_missing_files_of_a_list_are_left_out_too(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4")
    write_text(tmp_path / "val.txt", ["a.mp4 0", "gone.mp4 1"])
    assert labels(data(tmp_path, "validate").val_dataloader()) == {"a": 0}
    (tmp_path / "a.mp4").unlink()
    with pytest.raises(DatasetNotFoundError, match="None of the 2"):
        data(tmp_path, "validate")


def test_ids_of_a_list_are_unique_and_name_no_parts_of_one_video(tmp_path: Path) -> None:
    for folder in ("x", "y"):
        write_clip(tmp_path / folder / "a.mp4")
    write_text(tmp_path / "val.txt", ["x/a.mp4 0", "y/a.mp4 1"])
    assert labels(data(tmp_path, "validate").val_dataloader()) == {"x|a.mp4": 0, "y|a.mp4": 1}


def test_testing_takes_the_validation_split_unless_told_otherwise(k_root: Path, tmp_path: Path) -> None:
    shutil.copytree(k_root, tmp_path / "k")
    rows = ["youtube_id,time_start,time_end,split", "ggggggggggg,3,13,test"]
    write_text(tmp_path / "k" / "annotations" / "test.csv", rows)
    write_clip(tmp_path / "k" / "test" / "ggggggggggg_000003_000013.mp4")
    assert len(labels(data(tmp_path / "k", "test").test_dataloader())) == 2
    module = data(tmp_path / "k", "predict", test_split="test")
    assert labels(module.predict_dataloader()) == {"ggggggggggg_000003_000013": -1}
    with pytest.raises(AnnotationError, match=r"has no labels.*predict"):
        data(tmp_path / "k", "test", test_split="test")


def test_the_official_thirty_views_come_as_clips_times_crops(k_root: Path) -> None:
    module = data(k_root, "test", test_clips=10, test_crops=3, num_frames=2, stride=2, target_fps=None)
    assert next(iter(module.test_dataloader()))["video"].shape == (2, 30, 3, 2, 16, 16)
    assert KineticsDataModule(str(k_root)).hparams["stride"] == 8


def test_training_and_validation_batches_are_those_of_the_contract(k_root: Path) -> None:
    module = data(k_root, "fit")
    for loader in (module.train_dataloader(), module.val_dataloader()):
        for batch in loader:
            assert set(batch) == {"video", "label", "id"}
            assert batch["video"].shape == (2, 3, 4, 16, 16)
            assert batch["video"].dtype == torch.uint8


def test_frame_folders_are_read_without_a_rate(k_root: Path, tmp_path: Path) -> None:
    shutil.copytree(k_root / "annotations", tmp_path / "annotations")
    for _, name, start in KINETICS_VAL:
        folder = tmp_path / "val" / f"{name}_{start:06d}_{start + 10:06d}"
        folder.mkdir(parents=True)
        for number in range(1, 7):
            Image.new("RGB", (40, 32)).save(folder / f"{number:05d}.jpg")
    assert len(labels(data(tmp_path, "validate", reader="frames", target_fps=None).val_dataloader())) == 2
    with pytest.raises(OptionError, match=r"--data\.target_fps null"):
        data(tmp_path, "validate", reader="frames")


def test_the_real_clips_are_read_by_their_real_list(real_data: Path) -> None:
    classes = real_data / "annotations" / "kinetics" / "label_map_k400.txt"
    options: dict[str, Any] = {"crop_size": 32, "short_side": 32, "test_clips": 2, "test_crops": 3}
    module = data(real_data / "kinetics_mini", "test", classes=str(classes), **options)
    found = labels(module.test_dataloader())
    assert {name: module.class_names[label] for name, label in found.items()} == {
        "abseiling_k400": "abseiling",
        "arm_wrestling_demo": "arm wrestling",
        "flipping_a_pancake": "flipping pancake",
        "playing_guitar": "playing guitar",
    }
    assert module.num_classes == 400


@pytest.mark.parametrize("size", [400, 600])
def test_the_real_csv_files_are_read(real_data: Path, tmp_path: Path, size: int) -> None:
    official = real_data / "annotations" / "kinetics" / f"kinetics-{size}_val.head.csv"
    shutil.copy(official, tmp_path / f"kinetics-{size}_val.csv")
    with official.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    write_text(tmp_path / "classes.txt", sorted({row["label"] for row in rows}))
    last = rows[-1]
    name = f"{last['youtube_id']}_{int(last['time_start']):06d}_{int(last['time_end']):06d}"
    write_clip(tmp_path / "val" / last["label"].replace(" ", "_") / f"{name}.mp4")
    module = data(tmp_path, "validate")
    found = labels(module.val_dataloader())
    assert {i: module.class_names[label] for i, label in found.items()} == {name: last["label"]}

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from sequences import MAKERS, davis2016, davis2017, moca_boxes, moca_masks, square_mask, stems, write_picture

from staticdropout.datamodules import Box, detect_layout, list_sequences, list_splits
from staticdropout.datamodules.layouts import LayoutProblem, read_moca_boxes, refuse_missing_frames, resolve_split
from staticdropout.datamodules.pictures import read_mask
from staticdropout.errors import AnnotationError, DatasetNotFoundError, UnknownNameError

PICTURES, MASKS = "JPEGImages/480p", "Annotations/480p"

TRAINING = {
    "davis2016": ["bear", "dog"],
    "davis2017": ["bear", "dog"],
    "youtube_vos": ["003234408d", "0043f083b5"],
    "tao_vos": ["LaSOT/cat-2", "YFCC100M/v_1"],
    "imagenet_vid": ["a", "b"],
    "moca": ["crab", "moth"],
}
# where the first training video of each layout keeps its frames and masks
FOLDERS = {
    "davis2016": (f"{PICTURES}/bear", f"{MASKS}/bear"),
    "davis2017": (f"{PICTURES}/bear", f"{MASKS}/bear"),
    "youtube_vos": ("train/JPEGImages/003234408d", "train/Annotations/003234408d"),
    "tao_vos": ("frames/train/LaSOT/cat-2", "annotations_vos/train/Annotations/LaSOT/cat-2"),
    "imagenet_vid": (
        "ILSVRC2015/Data/VID/train/ILSVRC2015_VID_train_0000/a",
        "segmentation/ILSVRC2015/Data/VID/train/a",
    ),
    "moca": ("TrainDataset_per_sq/crab/Imgs", "TrainDataset_per_sq/crab/GT"),
}


def nth_file(folder: Path, index: int) -> Path:
    return sorted(folder.iterdir())[index]


@pytest.mark.parametrize("layout", MAKERS)
def test_every_layout_is_recognised_and_gives_its_frames_with_their_masks(layout: str, tmp_path: Path) -> None:
    root = MAKERS[layout](tmp_path)
    assert detect_layout(root) == layout
    videos = list_sequences(root, split="train")
    assert [video.name for video in videos] == TRAINING[layout]
    for video in videos:
        assert len(video) == 5
        assert list(video.frames) == sorted(video.frames)
        for position, (frame, mask) in enumerate(zip(video.frames, video.masks, strict=True)):
            assert frame.is_file()
            if layout == "tao_vos" and position % 2:
                assert mask is None
            else:
                assert mask is not None
                assert mask.stem == frame.stem
                assert np.array_equal(read_mask(mask, video.void), square_mask(position))
    assert len(list_sequences(root, layout, "val")) == 1


def test_the_splits_are_those_that_are_there(tmp_path: Path) -> None:
    for layout, make in MAKERS.items():
        make(tmp_path / layout)
    found = {layout: set(list_splits(tmp_path / layout)) for layout in MAKERS}
    assert found == {
        "davis2016": {"train", "val"},
        "davis2017": {"train", "val", "test-dev"},
        "youtube_vos": {"train", "valid"},
        "tao_vos": {"train", "val"},
        "imagenet_vid": {"train", "val"},
        "moca": {"train", "test"},
    }
    assert resolve_split(tmp_path / "youtube_vos", "val") == "valid"
    assert resolve_split(tmp_path / "davis2016", "valid") == "val"
    assert resolve_split(tmp_path / "moca", "val") == "test"


def test_lists_of_davis_may_lack_the_leading_slash_and_set_the_order(tmp_path: Path) -> None:
    root = davis2016(tmp_path, slash="", splits={"train": ("dog", "bear")})
    assert [video.name for video in list_sequences(root)] == ["dog", "bear"]


def test_lists_of_davis_2016_in_the_download_of_2017_are_read(tmp_path: Path) -> None:
    root = davis2017(tmp_path)
    (root / "ImageSets/2016").mkdir()
    (root / "ImageSets/2016/val.txt").write_text("dog\n")
    assert detect_layout(root) == "davis2017"
    assert [video.name for video in list_sequences(root, "davis2016", "val")] == ["dog"]


@pytest.mark.parametrize(
    "line",
    [
        "bear",
        "/JPEGImages/480p/bear/00001.jpg",
        "/JPEGImages/480p/bear/00001.jpg /Annotations/480p/dog/00001.png",
        "/JPEGImages/480p/bear/00001.jpg /Annotations/480p/bear/00002.png",
        "/JPEGImages/480p/../00001.jpg /Annotations/480p/bear/00001.png 1",
        "JPEGImages/1080p/bear/00001.jpg Annotations/1080p/bear/00001.png",
    ],
)
def test_a_line_of_davis_2016_in_another_format_is_named_with_what_was_expected(line: str, tmp_path: Path) -> None:
    root = davis2016(tmp_path)
    file = root / "ImageSets/480p/train.txt"
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines[:2], "", line, *lines[2:]]))
    with pytest.raises(
        AnnotationError, match=r"Line 4 of '.*train\.txt'.*expected '/JPEGImages/480p/bear/00000\.jpg /"
    ):
        list_sequences(root)


@pytest.mark.parametrize("line", ["bear dog", "480p/bear", "/JPEGImages/480p/bear/00000.jpg"])
def test_a_line_of_davis_2017_in_another_format_is_named(line: str, tmp_path: Path) -> None:
    root = davis2017(tmp_path)
    (root / "ImageSets/2017/train.txt").write_text(f"bear\n{line}\n")
    with pytest.raises(AnnotationError, match=r"Line 2 of '.*2017/train\.txt'.*expected 'bear'"):
        list_sequences(root)


def test_a_listed_sequence_without_a_folder_is_named(tmp_path: Path) -> None:
    root = davis2017(tmp_path)
    (root / "ImageSets/2017/train.txt").write_text("bear\nunicorn\n")
    with pytest.raises(AnnotationError, match=r"Line 2 .*'unicorn'.*no folder"):
        list_sequences(root)


@pytest.mark.parametrize("layout", MAKERS)
def test_a_sequence_without_masks_is_named(layout: str, tmp_path: Path) -> None:
    root = MAKERS[layout](tmp_path)
    folder = root / FOLDERS[layout][1]
    for file in folder.iterdir():
        file.unlink()
    if layout in ("tao_vos", "imagenet_vid"):  # there the masks say which videos belong to the data set
        assert [video.name for video in list_sequences(root)] == TRAINING[layout][1:]
    else:
        with pytest.raises(
            AnnotationError, match=rf"'{TRAINING[layout][0]}' has no masks: expected PNG.*{folder.name}"
        ):
            list_sequences(root)


@pytest.mark.parametrize("layout", ["davis2016", "davis2017", "youtube_vos"])
def test_a_missing_mask_is_named_where_every_frame_is_to_have_one(layout: str, tmp_path: Path) -> None:
    root = MAKERS[layout](tmp_path)
    file = nth_file(root / FOLDERS[layout][1], 2)
    file.unlink()
    with pytest.raises(AnnotationError, match=rf"mask of frame {file.stem} .*'{TRAINING[layout][0]}'.*{file.name}"):
        list_sequences(root)


@pytest.mark.parametrize("layout", MAKERS)
def test_a_frame_missing_in_the_middle_is_named(layout: str, tmp_path: Path) -> None:
    root = MAKERS[layout](tmp_path)
    file = nth_file(root / FOLDERS[layout][0], 2)
    file.unlink()
    with pytest.raises(AnnotationError, match=rf"Frame {file.stem} of sequence '{TRAINING[layout][0]}' is missing"):
        list_sequences(root)


@pytest.mark.parametrize("layout", ["davis2017", "imagenet_vid", "moca"])
def test_a_gap_in_the_numbers_is_found_without_a_list_of_frames(layout: str, tmp_path: Path) -> None:
    root = MAKERS[layout](tmp_path)
    files = [nth_file(root / folder, 3) for folder in FOLDERS[layout]]
    for file in files:
        file.unlink()
    with pytest.raises(AnnotationError, match=rf"Frame {files[0].stem} .* is missing: .* is followed by .* a step of"):
        list_sequences(root)


def test_a_list_of_davis_2016_that_skips_a_number_is_refused(tmp_path: Path) -> None:
    root = davis2016(tmp_path)
    file = root / "ImageSets/480p/train.txt"
    file.write_text("".join(line for line in file.read_text().splitlines(keepends=True) if "bear/00002" not in line))
    with pytest.raises(AnnotationError, match=r"Frame 00002 of sequence 'bear'.*00001 is followed by 00003"):
        list_sequences(root)


def test_a_mask_without_its_picture_is_named(tmp_path: Path) -> None:
    root = MAKERS["tao_vos"](tmp_path)
    write_picture(root / FOLDERS["tao_vos"][1] / "frame0999.png", square_mask(0), palette=True)
    with pytest.raises(AnnotationError, match=r"Frame frame0999 of sequence 'LaSOT/cat-2' is missing: it has a mask"):
        list_sequences(root)


@pytest.mark.parametrize(
    ("layout", "file", "content"),
    [
        ("davis2016", "ImageSets/480p/train.txt", " \n"),
        ("davis2017", "ImageSets/2017/train.txt", ""),
        ("youtube_vos", "train/meta.json", '{"videos": {}}'),
        ("tao_vos", "ImageSets/train.txt", "\n"),
        ("moca", "annotations.csv", ",file_list,spatial_coordinates,metadata\n"),
    ],
)
def test_an_empty_split_is_refused(layout: str, file: str, content: str, tmp_path: Path) -> None:
    root = MAKERS[layout](tmp_path)
    (root / file).parent.mkdir(exist_ok=True)
    (root / file).write_text(content)
    with pytest.raises(AnnotationError, match=r"empty|names no videos|holds no boxes"):
        list_sequences(root, layout)


@pytest.mark.parametrize("content", ["[]", "{", '{"videos": {"a": {"objects": {"1": {}}}}}', '{"videos": {"a": []}}'])
def test_a_meta_json_in_another_format_is_refused(content: str, tmp_path: Path) -> None:
    root = MAKERS["youtube_vos"](tmp_path)
    (root / "train/meta.json").write_text(content)
    with pytest.raises(AnnotationError, match=r"meta\.json.*expected \{\"videos\""):
        list_sequences(root)


def test_frames_of_youtube_vos_without_a_label_need_no_mask(tmp_path: Path) -> None:
    root = MAKERS["youtube_vos"](tmp_path)
    file = root / "train/meta.json"
    meta = json.loads(file.read_text())
    meta["videos"]["003234408d"]["objects"]["1"]["frames"].remove("00010")
    file.write_text(json.dumps(meta))
    (root / FOLDERS["youtube_vos"][1] / "00010.png").unlink()
    assert [mask is not None for mask in list_sequences(root)[0].masks] == [True, True, False, True, True]


def test_the_folder_of_one_split_of_youtube_vos_is_a_data_set_too(tmp_path: Path) -> None:
    root = MAKERS["youtube_vos"](tmp_path)
    assert list_splits(root / "train") == ("all",)
    assert len(list_sequences(root / "train", split="train")) == 2
    assert [mask is not None for mask in list_sequences(root / "valid", split="val")[0].masks][:2] == [True, False]


def test_the_test_split_of_davis_2017_needs_no_masks(tmp_path: Path) -> None:
    root = davis2017(tmp_path)
    (video,) = list_sequences(root, split="test-dev")
    assert [mask is not None for mask in video.masks] == [True, False, False, False, False]
    shutil.rmtree(root / MASKS / "orca")
    assert not list_sequences(root, split="test-dev")[0].has_masks


def test_without_lists_davis_2017_is_all_its_folders_and_may_miss_masks(tmp_path: Path) -> None:
    root = davis2017(tmp_path, lists=False)
    (root / MASKS / "bear/00002.png").unlink()
    assert list_splits(root) == ("all",)
    for split in ("train", "val"):
        assert [video.name for video in list_sequences(root, split=split)] == ["bear", "dog", "orca", "swan"]


def test_tao_vos_in_the_tree_of_davis_takes_the_videos_of_its_list(tmp_path: Path) -> None:
    root = tmp_path / "TAO-VOS"
    source = MAKERS["tao_vos"](tmp_path / "tao")
    shutil.move(source / "frames/train", root / "train/JPEGImages")
    shutil.move(source / "annotations_vos/train/Annotations", root / "train/Annotations")
    assert detect_layout(root) == "tao_vos"
    assert len(list_sequences(root)) == 2
    (root / "ImageSets").mkdir()
    (root / "ImageSets/train.txt").write_text("YFCC100M/v_1\n")
    assert [video.name for video in list_sequences(root)] == ["YFCC100M/v_1"]


def test_moca_with_boxes_gives_boxes_and_no_masks(tmp_path: Path) -> None:
    root = moca_boxes(tmp_path)
    assert detect_layout(root) == "moca"
    videos = list_sequences(root, split="val")
    assert [video.name for video in videos] == ["crab", "moth"]
    assert videos[0].box_size == (720, 1280)
    assert videos[0].box(1) == Box(140, 180, 320, 240, 1)
    assert not videos[0].has_masks
    (root / "JPEGImages/moth/00003.jpg").unlink()
    with pytest.raises(AnnotationError, match=r"Frame 00003 of sequence 'moth'.*box"):
        list_sequences(root)


@pytest.mark.parametrize(
    "row",
    ["crab/00000.jpg", '0,/crab/00000.jpg,"[2,1,2,3]",{}', "0,/00000.jpg,[],{}", '0,/a/0.jpg,"[2,1,1,1,1]",{1'],
)
def test_a_line_of_boxes_in_another_format_is_named(row: str, tmp_path: Path) -> None:
    file = tmp_path / "annotations.csv"
    file.write_text(f"# exported by VIA\n{row}\n")
    with pytest.raises(AnnotationError, match=r"Line 2 of '.*annotations\.csv'.*expected '0,/arabian_horn_viper"):
        read_moca_boxes(file)


def test_rows_of_moca_without_box_are_frames_without_box_and_empty_metadata_repeats_the_motion(tmp_path: Path) -> None:
    root = moca_boxes(tmp_path)
    box = '"[2,10,20,30,40]"'
    rows = [
        f"9,/moth/00000.jpg,{box},{{}}",
        f"0,/crab/00000.jpg,{box},{{'1': '2'}}",
        f"3,/crab/00003.jpg,{box},{{}}",
        "2,/crab/00002.jpg,[],{'1': '1'}",  # out of order, and without box: its motion does not count
        f"1,/crab/00001.jpg,{box},{{}}",
        "4,/crab/00004.jpg,[],{}",
    ]
    (root / "annotations.csv").write_text("\n".join([",file_list,spatial_coordinates,metadata", *rows]))
    crab, moth = list_sequences(root)
    assert [box and box.motion for box in crab.boxes or ()] == [2, 2, None, 2, None]
    assert crab.box(3) == Box(10, 20, 30, 40, 2)
    assert [box and box.motion for box in moth.boxes or ()] == [-1, None, None, None, None]
    (root / "JPEGImages/crab/00004.jpg").unlink()
    with pytest.raises(AnnotationError, match=r"Frame 00004 of sequence 'crab' is missing.*lists it"):
        list_sequences(root)


def test_moca_with_no_box_at_all_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "annotations.csv"
    file.write_text("0,/crab/00000.jpg,[],{}\n")
    with pytest.raises(AnnotationError, match="holds no boxes"):
        read_moca_boxes(file)


def test_moca_masks_need_not_be_divided_into_splits(tmp_path: Path) -> None:
    root = moca_masks(tmp_path, divided=False)
    assert detect_layout(root) == "moca"
    assert [video.name for video in list_sequences(root, split="val")] == ["crab", "hedgehog_3", "moth"]


def test_problems_can_be_collected_instead_of_raised(tmp_path: Path) -> None:
    root = davis2016(tmp_path)
    (root / PICTURES / "bear/00002.jpg").unlink()
    (root / MASKS / "dog/00001.png").unlink()
    problems: list[LayoutProblem] = []
    videos = list_sequences(root, on_problem=problems.append)
    assert [(problem.sequence, problem.frame, problem.kind) for problem in problems] == [
        ("bear", "00002", "missing frame"),
        ("dog", "00001", "missing mask"),
    ]
    assert [len(video) for video in videos] == [4, 5]


def test_flow_does_not_care_about_masks_but_about_frames(tmp_path: Path) -> None:
    root = davis2016(tmp_path)
    shutil.rmtree(root / MASKS / "bear")
    assert len(list_sequences(root, on_problem=refuse_missing_frames)) == 2
    (root / PICTURES / "bear/00002.jpg").unlink()
    with pytest.raises(AnnotationError, match="00002"):
        list_sequences(root, on_problem=refuse_missing_frames)


def test_frame_numbers_sort_as_numbers_and_foreign_files_are_passed_over(tmp_path: Path) -> None:
    root = davis2017(tmp_path, lists=False)
    for folder, suffix in ((root / PICTURES / "bear", ".jpg"), (root / MASKS / "bear", ".png")):
        for stem in stems(5):
            (folder / f"{stem}{suffix}").rename(folder / f"{int(stem) + 8}{suffix}")
        (folder / f"._8{suffix}").write_bytes(b"macOS")
        (folder / "Thumbs.db").write_bytes(b"Windows")
    (bear,) = (video for video in list_sequences(root) if video.name == "bear")
    assert [frame.stem for frame in bear.frames] == ["8", "9", "10", "11", "12"]


def test_wrong_names_and_places_say_what_there_is(tmp_path: Path) -> None:
    root = davis2016(tmp_path / "DAVIS")
    with pytest.raises(UnknownNameError, match=r"split of .*'test'.*There are: train, val"):
        list_sequences(root, split="test")
    with pytest.raises(UnknownNameError, match=r"layout .*'davis'.*davis2016"):
        list_sequences(root, "davis")
    with pytest.raises(DatasetNotFoundError, match="does not exist"):
        list_sequences(tmp_path / "nowhere")
    with pytest.raises(DatasetNotFoundError, match="does not exist"):
        list_sequences(tmp_path / "nowhere", "davis2017")
    with pytest.raises(DatasetNotFoundError, match=r"not complete; expected ImageSets.*--data\.layout"):
        detect_layout(tmp_path)
    with pytest.raises(DatasetNotFoundError, match="youtube_vos"):
        list_splits(root, "youtube_vos")
    with pytest.raises(DatasetNotFoundError, match="JPEGImages"):
        list_sequences(tmp_path, "davis2017")


@pytest.mark.parametrize(("file", "frames", "number"), [("train_parent.txt", 2079, 30), ("val.txt", 1376, 20)])
def test_the_official_lists_of_davis_2016_are_read(
    real_data: Path, tmp_path: Path, file: str, frames: int, number: int
) -> None:
    (tmp_path / "ImageSets/480p").mkdir(parents=True)
    shutil.copy(real_data / "annotations/davis16" / file, tmp_path / "ImageSets/480p/val.txt")
    problems: list[LayoutProblem] = []
    with pytest.raises(AnnotationError, match="empty"):  # there are no pictures
        list_sequences(tmp_path, split="val", on_problem=problems.append)
    missing = [problem for problem in problems if problem.frame]
    assert {problem.kind for problem in missing} == {"missing frame"}
    assert len(missing) == frames
    assert len({problem.sequence for problem in missing}) == number


def test_the_boxes_of_moca_are_read(real_data: Path) -> None:
    boxes = read_moca_boxes(real_data / "annotations/moca/annotations.csv")
    assert len(boxes) == 88
    assert boxes["arabian_horn_viper"]["00000"] == Box(482, 225, 507, 191, 0)
    motions = Counter(box.motion for frames in boxes.values() for box in frames.values() if box)
    assert motions == {0: 4066, 1: 598, 2: 139}


def test_the_real_data_sets_are_read(real_data: Path) -> None:
    train, val = (list_sequences(real_data / "davis16_mini", split=split) for split in ("train", "val"))
    assert {video.name: len(video) for video in train} == {"car-shadow": 24, "dog": 20}
    assert {video.name: len(video) for video in val} == {"blackswan": 16, "drift-chicane": 20, "libby": 20}
    davis17 = list_sequences(real_data / "davis17_mini")
    assert {video.name: sum(mask is not None for mask in video.masks) for video in davis17} == {"bike": 1, "judo": 3}
    (moca,) = list_sequences(real_data / "moca_mini")
    assert (moca.name, len(moca), None in moca.masks) == ("hedgehog_3", 23, False)

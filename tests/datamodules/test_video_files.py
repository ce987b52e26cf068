# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

from PIL import Image

from staticdropout.datamodules.video_files import VideoFiles


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_videos_are_found_by_name_whatever_lies_beside_them(tmp_path: Path) -> None:
    touch(tmp_path / "a" / "1.mp4", tmp_path / "2.MKV", tmp_path / "a" / "1.json", tmp_path / "a" / "3.txt")
    files = VideoFiles([tmp_path])
    assert files.paths == {tmp_path / "a" / "1.mp4", tmp_path / "2.MKV"}
    assert files.find(["0", "1"]) == tmp_path / "a" / "1.mp4"
    assert files.find(["3"]) not in files.paths


def test_the_first_folder_with_videos_is_taken(tmp_path: Path) -> None:
    touch(tmp_path / "second" / "1.webm", tmp_path / "third" / "2.mp4")
    (tmp_path / "first").mkdir()
    files = VideoFiles([tmp_path / "nowhere", tmp_path / "first", tmp_path / "second", tmp_path / "third"])
    assert files.folder == tmp_path / "second"
    assert files.find(["2"]) == tmp_path / "second" / "2.webm"  # where it would be expected


def test_of_files_with_one_name_that_in_the_folder_of_the_class_is_taken(tmp_path: Path) -> None:
    touch(tmp_path / "air_drumming" / "1.mp4", tmp_path / "Zumba" / "1.mp4")
    files = VideoFiles([tmp_path])
    assert files.find(["1"], inside="zumba") == tmp_path / "Zumba" / "1.mp4"
    assert files.find(["1"], inside="air drumming") == tmp_path / "air_drumming" / "1.mp4"
    assert files.find(["1"], inside="archery") in files.paths


def test_links_that_go_round_in_circles_come_to_an_end(tmp_path: Path) -> None:
    touch(tmp_path / "1.mp4")
    (tmp_path / "again").symlink_to(tmp_path)
    assert VideoFiles([tmp_path]).find(["1"]).samefile(tmp_path / "1.mp4")
    assert not VideoFiles([tmp_path], frames=True)


def test_folders_of_frames_are_those_with_pictures_in_them(tmp_path: Path) -> None:
    for folder in ("x/1", "x/2"):
        (tmp_path / folder).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / folder / "00001.jpg")
    touch(tmp_path / "empty" / "notes.txt")
    files = VideoFiles([tmp_path], frames=True)
    assert files.paths == {tmp_path / "x" / "1", tmp_path / "x" / "2"}
    assert files.find(["3"]) == tmp_path / "3"

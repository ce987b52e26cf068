# SPDX-License-Identifier: Apache-2.0
"""Clips are found in whatever place holds videos, and drawn the same at every call."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from staticdropout.datamodules.entries import Entry, Span
from staticdropout.errors import DatasetNotFoundError, OptionError, VideoDecodeError
from staticdropout.verbs.style_clips import ClipDraw, VideoPlace, find_videos
from staticdropout.verbs.style_lists import split_styles

DATA = Path(os.environ.get("STATICDROPOUT_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))


def write_frames(folder: Path, count: int = 6, seed: int = 0, size: tuple[int, int] = (40, 30)) -> Path:
    """Frame t of video v is filled with 20 t in red and with v in green."""
    folder.mkdir(parents=True)
    for t in range(count):
        Image.new("RGB", size, (20 * t, seed, 0)).save(folder / f"{t + 1:04d}.png")
    return folder


def ids(places: list[VideoPlace]) -> list[str]:
    return sorted(place.entry.id for place in places)


def test_folders_of_frames_are_found_however_deep_and_a_folder_of_frames_is_a_video(tmp_path: Path) -> None:
    for name in ("a/one", "a/two", "three"):
        write_frames(tmp_path / name)
    assert ids(find_videos(tmp_path)) == ["one", "three", "two"]
    (place,) = find_videos(tmp_path / "a" / "one")
    assert (place.entry.id, place.reader) == ("one", "frames")


def test_video_files_come_before_frames_unless_frames_are_asked_for(tmp_path: Path) -> None:
    write_frames(tmp_path / "one")
    (tmp_path / "two.webm").touch()
    assert ids(find_videos(tmp_path)) == ["two"]
    assert ids(find_videos(tmp_path, reader="frames")) == ["one"]
    (place,) = find_videos(tmp_path / "two.webm")
    assert (place.entry.id, place.reader) == ("two", "decord")


@pytest.mark.parametrize("name", ["nothing", "nowhere"])
def test_a_place_without_videos_is_told(tmp_path: Path, name: str) -> None:
    (tmp_path / "nothing").mkdir()
    (tmp_path / "nothing" / "notes.txt").touch()
    with pytest.raises(DatasetNotFoundError, match=r"folders of \.jpg or \.png frames"):
        find_videos(tmp_path / name)


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no real videos at {DATA} (STATICDROPOUT_TEST_DATA)")
def test_data_sets_in_known_layouts_give_their_validation_split_and_more_only_where_it_is_not_enough() -> None:
    assert len(find_videos(DATA / "ssv2_mini")) == 5
    assert len(find_videos(DATA / "ssv2_mini", enough=6)) > 9
    davis = find_videos(DATA / "davis16_mini")
    assert len(davis) == 3
    assert all(place.pictures for place in davis)
    assert len(find_videos(DATA / "davis16_mini", enough=16)) == 5
    draw = ClipDraw(davis, 3, 4, 2, 48)
    assert [clip.shape for clip in draw] == [(3, 4, 48, 48)] * 3
    assert (draw.used, draw.skipped) == (3, [])


def test_clips_are_squares_of_the_size_in_the_right_order_and_never_beyond_their_part(tmp_path: Path) -> None:
    place = VideoPlace(Entry("a", write_frames(tmp_path / "a", 12), -1, Span(4, 9, "frames")), "frames")
    (clip,) = place.clips(5, num_frames=3, stride=2, size=20)
    assert clip.shape == (3, 3, 20, 20)
    assert clip.dtype == torch.float32
    np.testing.assert_allclose(clip[0].mean((1, 2)).numpy() * 255, [80, 120, 160], atol=0.6)


def test_several_clips_of_a_video_do_not_overlap(tmp_path: Path) -> None:
    place = VideoPlace(Entry("a", write_frames(tmp_path / "a", 12), -1), "frames")
    clips = place.clips(9, num_frames=2, stride=2, size=16)
    shown = [(clip[0].mean((1, 2)) * 255 / 20).round().int().tolist() for clip in clips]
    assert len(clips) == 3
    assert len({frame for clip in shown for frame in clip}) == 6


def test_few_videos_give_several_clips_each_and_many_give_one(tmp_path: Path) -> None:
    places = [VideoPlace(Entry(str(v), write_frames(tmp_path / str(v), 12, v), -1), "frames") for v in range(5)]

    def drawn(draw: ClipDraw) -> list[int]:
        return [int((clip[1].mean() * 255).round()) for clip in draw]

    seven = drawn(ClipDraw(places, 7, 2, 2, 16))
    assert sorted(seven.count(v) for v in range(5)) == [1, 1, 1, 2, 2]
    assert len(set(drawn(ClipDraw(places, 3, 2, 2, 16)))) == 3
    assert drawn(ClipDraw(places, 3, 2, 2, 16)) == drawn(ClipDraw(places, 3, 2, 2, 16))
    assert len(drawn(ClipDraw(places, 100, 2, 2, 16))) == 15  # no more than there are


def test_videos_that_cannot_be_read_are_noted_and_others_take_their_place(tmp_path: Path) -> None:
    places = [VideoPlace(Entry(str(v), write_frames(tmp_path / str(v), 12, v), -1), "frames") for v in range(4)]
    for v in (0, 1):
        (tmp_path / str(v) / "0005.png").write_bytes(b"no picture")
        (tmp_path / str(v) / "0006.png").write_bytes(b"no picture")
    broken = VideoPlace(Entry("gone", tmp_path / "gone.mp4", -1), "decord")
    draw = ClipDraw([*places, broken], 4, 6, 1, 16)
    state = torch.get_rng_state()
    assert len(list(draw)) == 4
    assert draw.used == 2
    assert sorted(Path(error.path).name for error in draw.skipped) == ["0005.png", "0005.png", "gone.mp4"]
    assert all(isinstance(error, VideoDecodeError) for error in draw.skipped)
    assert torch.equal(torch.get_rng_state(), state)
    assert len(list(draw)) == 4  # a second pass counts anew
    assert len(draw.skipped) == 3


def test_styles_are_a_list_or_a_text_with_commas() -> None:
    expected = ["paint", "neon", "runs/my.ckpt"]
    assert split_styles("paint,neon, runs/my.ckpt") == expected
    assert split_styles(expected) == expected
    assert split_styles(["paint,neon", "runs/my.ckpt"]) == expected
    assert split_styles(None) == ["paint", "chalk", "neon", "relief"]
    for nothing in ("", " , "):
        with pytest.raises(OptionError, match="names no style"):
            split_styles(nothing)
    with pytest.raises(OptionError, match="names no style"):
        split_styles([])

# SPDX-License-Identifier: Apache-2.0
"""Patterns of frames: the paths that the authors' loaders read, found again on disk, and nothing outside."""

from __future__ import annotations

from pathlib import Path

import pytest

from staticdropout.datamodules.frame_patterns import FRAME_PATTERNS, FramePattern
from staticdropout.errors import OptionError


@pytest.mark.parametrize(
    ("name", "video", "frame", "expected"),
    [
        ("release", "video_1", 1, "style_2/video_1/frame_00001.jpg"),
        ("ssv2", "76281", 33, "style_2/76281/000033.jpg"),
        ("activitynet", "m9CbLJdYqHw", 12, "style_2/v_m9CbLJdYqHw/000012.jpg"),
        ("diving48", "_8Vy3dlHg2w_00000", 0, "style_2/_8Vy3dlHg2w_00000/image_00000.jpg"),
        ("davis", "bear", "00007", "JPEGImages/Zuzka1/bear/00007.jpg"),
    ],
)
def test_a_convention_gives_the_path_that_the_released_loader_reads(
    name: str, video: str, frame: int | str, expected: str
) -> None:
    assert FRAME_PATTERNS[name].path("root", "Zuzka1", 2, video, frame) == Path("root", expected)


def test_only_diving48_counts_frames_from_zero() -> None:
    assert {name: pattern.first_frame for name, pattern in FRAME_PATTERNS.items() if not pattern.by_stem} == {
        "release": 1,
        "ssv2": 1,
        "activitynet": 1,
        "diving48": 0,
    }


@pytest.mark.parametrize(
    "text", [*(pattern.text for pattern in FRAME_PATTERNS.values()), "{style}/x{video}y/{frame}.png"]
)
def test_frames_and_videos_that_were_written_are_found_again_in_order(text: str, tmp_path: Path) -> None:
    pattern = FramePattern(text)
    frames: list[int] | list[str] = ["8", "9", "10", "100000"] if pattern.by_stem else [8, 9, 10, 100000]
    videos = ["bear", "a/b", "v_x"]
    written = {}
    for k, style in enumerate(["paint", "chalk"], start=1):
        for video in videos:
            written[k, video] = [pattern.path(tmp_path, style, k, video, frame) for frame in frames]
            for path in reversed(written[k, video]):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
    for k, style in enumerate(["paint", "chalk"], start=1):
        assert pattern.videos(tmp_path, style, k) == sorted(videos)
        for video in videos:
            assert pattern.frames(tmp_path, style, k, video) == written[k, video]
    assert pattern.videos(tmp_path, "neon", 3) == []
    assert pattern.frames(tmp_path, "neon", 3, "bear") == []


def test_other_files_hidden_folders_and_folders_without_pictures_are_not_frames_or_videos(tmp_path: Path) -> None:
    pattern = FRAME_PATTERNS["ssv2"]
    for path in ("7/000001.jpg", "7/0001.jpg", "7/000002.png", "7/notes.txt", ".8.x.unfinished/000001.jpg", "9/x.txt"):
        (tmp_path / "style_1" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "style_1" / path).touch()
    assert pattern.videos(tmp_path, "any", 1) == ["7"]
    assert [path.name for path in pattern.frames(tmp_path, "any", 1, "7")] == ["000001.jpg"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("style_{k}/{film}/{frame}.jpg", "unknown field {film}"),
        ("style_{k}/{}/{frame}.jpg", "unknown field {}"),
        ("style_{k}/{video.path}/{frame}.jpg", "unknown field {video.path}"),
        ("style_{k}/frames/{frame}.jpg", "no {video} in a folder"),
        ("style_{k}/{video}_{frame}.jpg", "no {video} in a folder"),
        ("{video}/{frame}.jpg", "neither {k} nor {style}"),
        ("{video}/{style}_{frame}.jpg", "neither {k} nor {style}"),
        ("style_{k}/{video}/frame.jpg", "one {frame} or one {stem}"),
        ("style_{k}/{video}/{stem}_{frame}.jpg", "one {frame} or one {stem}"),
        ("style_{k}/{video}/{frame}/{frame}.jpg", "one {frame} or one {stem}"),
        ("style_{k}/{video}/{video}_{frame}.jpg", "{video} twice"),
        ("style_{k}/../{video}/{frame}.jpg", "leads out"),
        ("/style_{k}/{video}/{frame}.jpg", "leads out"),
        ("style_{k}/.{video}/{frame}.jpg", "leads out"),
        ("style_{k}/{video}/{frame}.gif", "ends in '.gif'"),
        ("style_{k}/{video}/{frame:5.2f}.jpg", "only {frame} and {k} take a width"),
        ("style_{k}/{video:05d}/{frame}.jpg", "only {frame} and {k} take a width"),
        ("style_{k}/{video/{frame}.jpg", "cannot be read"),
    ],
)
def test_a_pattern_that_cannot_work_is_refused_with_its_text(text: str, problem: str) -> None:
    with pytest.raises(OptionError) as refused:
        FramePattern(text)
    assert text in str(refused.value)
    assert problem in str(refused.value)


def test_a_name_that_is_no_convention_is_answered_with_those_that_are() -> None:
    with pytest.raises(OptionError, match=r"no frame pattern called 'ssv1'.*release, ssv2"):
        FramePattern.of("ssv1")


@pytest.mark.parametrize("video", ["../x", "a/../../x", "/etc", "", "a//b", ".", ".hidden", "a\\b", "a\0b"])
def test_a_video_whose_name_leads_elsewhere_is_refused(video: str) -> None:
    with pytest.raises(OptionError, match="cannot be the name of a folder"):
        FRAME_PATTERNS["ssv2"].folder("root", "paint", 1, video)


@pytest.mark.parametrize("stem", ["../x", "a/b", ""])
def test_a_stem_that_leads_elsewhere_is_refused(stem: str) -> None:
    with pytest.raises(OptionError, match="cannot be the name of a f"):
        FRAME_PATTERNS["davis"].file_name(stem)


def test_numbers_and_stems_do_not_stand_in_for_each_other() -> None:
    with pytest.raises(OptionError, match="the number of a frame"):
        FRAME_PATTERNS["ssv2"].file_name("00001")
    with pytest.raises(OptionError, match="the stem of a picture"):
        FRAME_PATTERNS["davis"].file_name(1)


def test_the_first_number_can_be_chosen_but_is_not_negative() -> None:
    assert FramePattern.of("ssv2", 0).first_frame == 0
    with pytest.raises(OptionError, match="first_frame=-1"):
        FramePattern.of("ssv2", -1)
    with pytest.raises(OptionError, match="first_frame='x'"):
        FramePattern.of("ssv2", "x")  # type: ignore[arg-type]

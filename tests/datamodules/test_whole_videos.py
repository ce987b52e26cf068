# SPDX-License-Identifier: Apache-2.0
"""Whole videos in chunks: every frame once and in order, in little memory, and only what is missing."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sequences import davis2016, write_picture
from styled_copies import decoded
from torch.utils.data import DataLoader

from staticdropout.datamodules import open_video
from staticdropout.datamodules.frame_patterns import FramePattern
from staticdropout.datamodules.style_sources import SourceVideo, list_videos
from staticdropout.datamodules.whole_video_chunks import StyleTask, WholeVideoDataset, indices_at_rate
from staticdropout.datamodules.whole_videos import WholeVideoDataModule
from staticdropout.errors import (
    DatasetExistsError,
    DatasetNotFoundError,
    OptionError,
    UnknownNameError,
    VideoDecodeError,
)
from staticdropout.perturbations.styles import register_style, unregister_style

VIDEOS = "20bn-something-something-v2"
FRAME = 32 * 40
"""Pixels of a frame of the generated videos."""


def chunks(root: Path, output: Path, **options: Any) -> list[dict[str, Any]]:
    """What the data module gives for prediction in one process."""
    data = WholeVideoDataModule(str(root), str(output), **{"styles": ["neon", "relief"], "num_workers": 0, **options})
    data.prepare_data()
    data.setup("predict")
    return list(data.predict_dataloader())


def joined(found: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """The frames (T, H, W, 3) of each video."""
    parts: dict[str, list[Any]] = {}
    for chunk in found:
        parts.setdefault(chunk["id"], []).append(chunk["video"][0].permute(1, 2, 3, 0).numpy())
    return {name: np.concatenate(part) for name, part in parts.items()}


@pytest.mark.parametrize(
    ("megapixels", "longest", "workers"),
    [(3.5 * FRAME / 1e6, 3, 0), (3.5 * FRAME / 1e6, 3, 2), (1e-9, 1, 0), (4.0, 10, 0)],
)
def test_chunks_hold_every_frame_once_in_order_and_no_more_than_asked_for(
    shapes_root: Path, tmp_path: Path, megapixels: float, longest: int, workers: int
) -> None:
    found = chunks(shapes_root, tmp_path / "out", chunk_megapixels=megapixels, num_workers=workers)
    assert all(chunk["video"].dtype == torch.uint8 and chunk["video"].shape[:2] == (1, 3) for chunk in found)
    assert max(chunk["video"].shape[2] for chunk in found) == longest
    whole = joined(found)
    assert sorted(whole) == sorted(video.name for video in list_videos(shapes_root).videos)
    for name, frames in whole.items():
        np.testing.assert_array_equal(frames, decoded(shapes_root / VIDEOS / f"{name}.webm"))
        own = [chunk for chunk in found if chunk["id"] == name]
        assert [chunk["last"] for chunk in own] == [False] * (len(own) - 1) + [True]
        assert [chunk["first"] for chunk in own] == list(range(0, 10, longest))
        assert [name for chunk in own for name in chunk["files"][1]] == [f"{number:06d}.jpg" for number in range(1, 11)]
        assert own[0]["folders"] == [str(tmp_path / f"out/style_{k}/{name}") for k in (1, 2)]


def test_workers_share_the_videos(shapes_root: Path) -> None:
    videos = list_videos(shapes_root, splits=["all"]).videos
    tasks = [StyleTask(video, (0,), (Path(video.name),)) for video in videos]
    data = WholeVideoDataset(tasks, ["neon"], FramePattern.of("ssv2"), chunk_pixels=4 * FRAME)
    found = list(DataLoader(data, batch_size=None, num_workers=2))
    assert len(videos) == 13
    assert sorted((chunk["id"], chunk["first"]) for chunk in found) == sorted(
        (video.name, first) for video in videos for first in (0, 4, 8)
    )


def test_a_style_that_looks_at_several_frames_gets_the_video_whole(shapes_root: Path, tmp_path: Path) -> None:
    @register_style("mean-of-the-test")
    class Mean:
        name, temporal = "mean-of-the-test", True

        def __call__(self, clip: torch.Tensor, *, seed: int = 0) -> torch.Tensor:
            return clip.mean(2, keepdim=True).expand_as(clip)

    try:
        options: dict[str, Any] = {"chunk_megapixels": 1e-9}
        found = chunks(shapes_root, tmp_path / "out", styles=["neon", "mean-of-the-test"], **options)
    finally:
        unregister_style("mean-of-the-test")
    assert {chunk["video"].shape[2] for chunk in found} == {10}


def test_only_what_is_missing_is_read_and_leftovers_are_removed(shapes_root: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    first, *others = [chunk["id"] for chunk in chunks(shapes_root, output)]
    for k, name in ((1, first), (2, first), (1, others[0])):
        (output / f"style_{k}" / name).mkdir(parents=True)
        (output / f"style_{k}" / name / "000001.jpg").touch()
    (output / "style_1" / others[1]).mkdir()  # without frames it is no video
    (output / "style_2" / f".{others[0]}.0a1b2c3d.unfinished").mkdir()
    (output / "style_2" / f".{others[0]}.0a1b2c3d.unfinished" / "000001.jpg").touch()
    (output / ".styles.json.x.unfinished").touch()
    found = chunks(shapes_root, output)
    assert [(chunk["id"], chunk["styles"]) for chunk in found] == [
        (others[0], [1]),
        *((name, [0, 1]) for name in others[1:]),
    ]
    assert found[0]["folders"] == [str(output / "style_2" / others[0])]
    assert not list(output.rglob("*unfinished*"))
    added = chunks(shapes_root, output, styles=["neon", "relief", "chalk"])
    assert [chunk["styles"] for chunk in added] == [[2], [1, 2], [0, 1, 2], [0, 1, 2]]


def test_videos_are_shared_by_ranks_and_the_first_one_says_what_is_missing(shapes_root: Path, tmp_path: Path) -> None:
    class Strategy:
        found: Any = None

        def broadcast(self, found: Any) -> Any:
            self.found = self.found if found is None else found
            return self.found

    class Rank:
        strategy, world_size = Strategy(), 3

        def __init__(self, rank: int) -> None:
            self.global_rank, self.is_global_zero = rank, rank == 0

    shares = []
    for rank in range(3):
        data = WholeVideoDataModule(
            str(shapes_root), str(tmp_path / "out"), splits=["all"], styles=["neon"], num_workers=0
        )
        data.trainer = Rank(rank)  # type: ignore[assignment]
        data.setup("predict")
        shares.append([chunk["id"] for chunk in data.predict_dataloader()])
        (tmp_path / "out" / "style_1" / shares[rank][0]).mkdir(parents=True)  # the others must not notice
    assert [len(share) for share in shares] == [5, 4, 4]
    assert len({name for share in shares for name in share}) == 13


def test_a_broken_video_is_skipped_with_its_reason_or_ends_the_reading(root: Path, tmp_path: Path) -> None:
    names = [video.name for video in list_videos(root).videos]
    (root / VIDEOS / f"{names[1]}.webm").write_bytes(b"\x1a\x45\xdf\xa3 not a video")
    (root / VIDEOS / f"{names[2]}.webm").unlink()
    found = {chunk["id"]: chunk for chunk in chunks(root, tmp_path / "out")}
    assert list(found) == names
    assert ["video" in chunk for chunk in found.values()] == [True, False, False, True]
    assert found[names[2]]["skipped"] == [(names[2], "there is no such file")]
    assert found[names[1]]["last"]
    with pytest.raises(VideoDecodeError, match=names[1]):
        chunks(root, tmp_path / "out", on_error="raise")


def test_a_video_that_breaks_in_the_middle_gives_what_it_has_and_then_the_reason(
    frames_root: Path, tmp_path: Path
) -> None:
    name = list_videos(frames_root, reader="frames").videos[0].name
    (frames_root / "frames" / name / "0007.jpg").write_bytes(b"not a picture")
    options: dict[str, Any] = {"reader": "frames", "chunk_megapixels": 3 * FRAME / 1e6}
    own = [chunk for chunk in chunks(frames_root, tmp_path / "out", **options) if chunk["id"] == name]
    assert [chunk["last"] for chunk in own] == [False, False, True]
    assert ["skipped" in chunk for chunk in own] == [False, False, True]


@pytest.mark.parametrize(
    ("length", "fps", "target", "expected"),
    [
        (10, 10.0, None, list(range(10))),
        (10, 10.0, 5.0, [0, 2, 4, 6, 8]),
        (4, 2.0, 4.0, [0, 0, 1, 1, 2, 2, 3, 3]),
        (1, 30.0, 5.0, [0]),
        (90, 29.97, 5.0, [0, 5, 11, 17, 23, 29, 35, 41, 47, 53, 59, 65, 71, 77, 83, 89]),
    ],
)
def test_frames_at_a_rate_are_those_shown_at_its_times(
    length: int, fps: float, target: float | None, expected: list[int]
) -> None:
    assert indices_at_rate(length, fps, target) == expected
    if target is not None:  # frame i is shown from i / fps to (i + 1) / fps
        shown = [int(np.searchsorted((np.arange(length) + 1) / fps, n / target + 1e-9)) for n in range(len(expected))]
        assert shown == expected
        assert len(expected) / target >= length / fps - 1e-6


def test_fewer_frames_a_second_are_read_and_numbered_at_that_rate(shapes_root: Path, tmp_path: Path) -> None:
    found = chunks(shapes_root, tmp_path / "out", target_fps=6.0)
    fps = open_video(shapes_root / VIDEOS / f"{found[0]['id']}.webm").fps
    assert fps == pytest.approx(12.0)
    for name, frames in joined(found).items():
        np.testing.assert_array_equal(frames, decoded(shapes_root / VIDEOS / f"{name}.webm")[::2])
    assert found[0]["files"][0] == [f"{number:06d}.jpg" for number in range(1, 6)]


def test_videos_are_scaled_down_where_that_is_asked_for(shapes_root: Path, tmp_path: Path) -> None:
    found = chunks(shapes_root, tmp_path / "out", short_side=16)
    assert {tuple(chunk["video"].shape[3:]) for chunk in found} == {(16, 20)}


def test_sequences_keep_the_names_of_their_pictures(tmp_path: Path) -> None:
    root = davis2016(tmp_path / "davis")
    found = chunks(root, tmp_path / "out", chunk_megapixels=2 * 48 * 64 / 1e6)
    assert {chunk["id"] for chunk in found} == {"swan"}
    assert [name for chunk in found for name in chunk["files"][0]] == [f"{number:05d}.jpg" for number in range(5)]
    assert found[0]["folders"] == [str(tmp_path / f"out/JPEGImages/{style}/swan") for style in ("neon", "relief")]
    pictures = [np.array(Image.open(root / f"JPEGImages/480p/swan/{number:05d}.jpg")) for number in range(5)]
    np.testing.assert_array_equal(joined(found)["swan"], np.stack(pictures))
    everything = chunks(root, tmp_path / "all", splits=["all"])
    assert [chunk["id"] for chunk in everything] == ["bear", "dog", "swan"]
    numbered = chunks(root, tmp_path / "numbered", pattern="release")
    assert numbered[0]["files"][0][0] == "frame_00001.jpg"


def test_a_sequence_with_pictures_of_two_sizes_is_skipped(tmp_path: Path) -> None:
    root = davis2016(tmp_path / "davis")
    write_picture(root / "JPEGImages/480p/swan/00003.jpg", np.zeros((24, 32, 3), np.uint8))
    (chunk,) = chunks(root, tmp_path / "out")
    assert chunk["skipped"] == [("swan", "it is 32x24, the first frame 64x48")]


def test_folders_without_annotations_are_taken_as_they_are(shapes_root: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain" / "deep"
    shutil.copytree(shapes_root / VIDEOS, plain)
    listed = list_videos(tmp_path / "plain")
    assert (listed.layout, len(listed.videos)) == ("videos", 13)
    assert all(video.name.startswith("deep/") and "." not in video.name for video in listed.videos)
    frames = tmp_path / "frames" / "clip_1"
    for number in range(3):
        write_picture(frames / f"{number}.png", np.full((8, 8, 3), 50 * number, np.uint8))
    listed = list_videos(tmp_path / "frames")
    assert (listed.layout, listed.reader) == ("frames", "frames")
    assert listed.videos == [SourceVideo("clip_1", frames)]
    (chunk,) = chunks(tmp_path / "frames", tmp_path / "out")
    assert chunk["files"][0] == [f"frame_{number:05d}.jpg" for number in (1, 2, 3)]


def test_all_splits_and_the_first_few_videos_can_be_chosen(shapes_root: Path) -> None:
    validation = list_videos(shapes_root).videos
    assert len(validation) == 4
    assert len(list_videos(shapes_root, splits=["all"]).videos) == 13
    assert len(list_videos(shapes_root, splits=["train", "test"]).videos) == 9
    assert list_videos(shapes_root, limit=2).videos == validation[:2]
    with pytest.raises(UnknownNameError, match="validtion"):
        list_videos(shapes_root, splits=["validtion"])


def test_every_segment_of_a_video_of_activitynet_means_the_video(tmp_path: Path) -> None:
    (tmp_path / "activity_net.v1-3.min.json").write_text(
        '{"database": {"v_m9CbLJdYqHw": {"subset": "validation", "annotations": ['
        '{"segment": [0, 1], "label": "a"}, {"segment": [2, 3], "label": "b"}]}}}'
    )
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "v_m9CbLJdYqHw.mp4").touch()
    found = list_videos(tmp_path)
    assert [(video.name, video.path.name) for video in found.videos] == [("m9CbLJdYqHw", "v_m9CbLJdYqHw.mp4")]
    data = WholeVideoDataModule(str(tmp_path), str(tmp_path.parent / "out"))
    assert data._fps == 5.0
    assert data.pattern == FramePattern.of("activitynet")
    assert WholeVideoDataModule(str(tmp_path), "out", target_fps=0)._fps is None


def test_two_videos_that_would_share_a_folder_are_refused(tmp_path: Path) -> None:
    for name in ("a.mp4", "a.avi"):
        (tmp_path / name).touch()
    with pytest.raises(OptionError, match=r"Two videos have the name 'a'.*a\.avi.*a\.mp4"):
        list_videos(tmp_path)


@pytest.fixture
def escaping(root: Path) -> Path:
    for file in (root / "labels").glob("*validation.json"):
        text, name = file.read_text(), list_videos(root).videos[0].name
        file.write_text(text.replace(f'"id": "{name}"', '"id": "../../stolen"'))
    return root


def test_a_video_whose_name_leads_out_of_the_output_is_refused_or_skipped(escaping: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="stolen"):
        chunks(escaping, tmp_path / "out", on_error="raise")
    skipped, *others = chunks(escaping, tmp_path / "out")
    assert "cannot be the name of a folder" in skipped["skipped"][0][1]
    assert "video" not in skipped
    assert [list(chunk["video"].shape) for chunk in others] == [[1, 3, 10, 32, 40]] * 3


@pytest.mark.parametrize("names", [("a.mp4", "a/b.mp4"), ("z/a/b/c.mp4", "z/a.avi", "other.mp4")])
def test_a_video_named_like_the_folder_of_another_is_refused(names: tuple[str, ...], tmp_path: Path) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for limit in (1, None):  # whichever come first
        with pytest.raises(OptionError, match=r"begins with that of .*a'.*Rename"):
            list_videos(tmp_path, limit=limit)


def test_names_that_only_begin_alike_are_no_folders_of_each_other(tmp_path: Path) -> None:
    for name in ("a.mp4", "ab.mp4", "a b/a.mp4", "c/a.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert [video.name for video in list_videos(tmp_path).videos] == ["a b/a", "a", "ab", "c/a"]


def test_hidden_files_and_folders_are_no_videos(tmp_path: Path) -> None:
    for name in ("good.mp4", "._good.mp4", ".hidden.mp4", ".cache/x.mp4", "deep/._x.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert [video.name for video in list_videos(tmp_path).videos] == ["good"]
    (tmp_path / "good.mp4").unlink()
    with pytest.raises(DatasetNotFoundError, match="video files"):
        list_videos(tmp_path)


def test_an_output_inside_the_data_set_is_refused(root: Path) -> None:
    for output in (root, root / "styled", root / VIDEOS / "x"):
        with pytest.raises(DatasetExistsError) as refused:
            chunks(root, output)
        assert str(root) in str(refused.value)
        assert str(output) in str(refused.value)
    assert not (root / "styles.json").exists()


def test_an_output_with_frames_of_another_kind_is_refused(shapes_root: Path, tmp_path: Path) -> None:
    chunks(shapes_root, tmp_path / "out")
    with pytest.raises(DatasetExistsError, match="neon,relief instead of chalk,relief"):
        chunks(shapes_root, tmp_path / "out", styles=["chalk", "relief"])


def test_an_output_that_cannot_be_written_to_is_refused(shapes_root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OptionError, match="Nothing can be written to"):
        chunks(shapes_root, tmp_path / "file" / "out")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"quality": 0}, "quality"),
        ({"chunk_megapixels": 0}, "chunk_megapixels"),
        ({"target_fps": -1.0}, "target_fps"),
        ({"limit": 0}, "limit"),
        ({"short_side": 0}, "short_side"),
        ({"on_error": "ignore"}, "on_error"),
        ({"splits": []}, "splits"),
        ({"pattern": "{video}.jpg"}, "pattern"),
        ({"pattern": "davis"}, "{stem}"),
        ({"reader": "frames", "target_fps": 5.0, "layout": "frames"}, "target_fps"),
    ],
)
def test_options_that_cannot_be_followed_are_refused(
    options: dict[str, Any], named: str, frames_root: Path, tmp_path: Path
) -> None:
    root = frames_root / "frames" if "layout" in options else frames_root
    with pytest.raises(OptionError) as refused:
        chunks(root, tmp_path / "out", **{"reader": "frames", **options})
    assert named in str(refused.value)


def test_sequences_are_not_scaled_or_thinned_out(tmp_path: Path) -> None:
    root = davis2016(tmp_path / "davis")
    for options in ({"short_side": 16}, {"target_fps": 5.0}):
        with pytest.raises(OptionError, match="for videos"):
            chunks(root, tmp_path / "out", **options)


def test_it_serves_prediction_alone(shapes_root: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="`fit`"):
        WholeVideoDataModule(str(shapes_root), str(tmp_path)).setup("fit")


def test_nothing_to_style_is_said(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetNotFoundError, match="video files"):
        list_videos(tmp_path / "empty")
    with pytest.raises(DatasetNotFoundError, match="does not exist"):
        list_videos(tmp_path / "nowhere")
    with pytest.raises(UnknownNameError, match="ssv3"):
        list_videos(tmp_path / "empty", layout="ssv3")

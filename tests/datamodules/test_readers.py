# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import importlib.util
import os
import sys
import types
import warnings
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from video_probe import missing

from staticdropout.datamodules import READERS, VideoReader, open_video, resolve_reader
from staticdropout.datamodules.readers import DecordReader, scaled_size
from staticdropout.datamodules.readers.base import Frames
from staticdropout.errors import ReaderNotAvailableError, UnknownNameError, VideoDecodeError

DECODERS = ("decord", "pyav")
# docs/videos.md states the tolerances: largest and mean difference between readers; all others are equal in every bit
TOLERANCES = {".avi": (2, 0.01), "h264_10bits.mp4": (255, 5.0)}
NOT_BY_TORCHCODEC = "hmdb51_Turnk_r_Pippi_Michel_cartwheel_f_cm_np2_le_med_6.avi"
UNREADABLE = ("audio_only.mp3", "corrupted.mp4", "zero_bytes.webm")
LONG, LARGE = 60, 1 << 20  # frames, pixels: of longer videos these and some later ones, of larger ones a few


@pytest.fixture
def fresh_names() -> Iterator[None]:
    resolve_reader.cache_clear()
    yield
    resolve_reader.cache_clear()


def assert_same(frames: list[Frames]) -> None:
    first, *others = frames
    for other in others:
        np.testing.assert_array_equal(first, other)


def ends(path: Path, name: str) -> Frames:
    """The first and the last frame."""
    video = open_video(path, reader=name)
    return video.get_batch([0, len(video) - 1])


def first_video(root: Path) -> Path:
    return next((root / "20bn-something-something-v2").iterdir())


@pytest.mark.parametrize("name", DECODERS)
def test_a_webm_without_frame_count_in_its_header_has_the_frames_that_were_written(
    shapes_root: Path, name: str
) -> None:
    video = open_video(first_video(shapes_root), reader=name)
    assert isinstance(video, VideoReader)
    assert len(video) == 10
    assert video.fps == pytest.approx(12.0)
    frames = video.get_batch([0, 9])
    assert frames.shape == (2, 32, 40, 3)
    assert frames.dtype == np.uint8


def test_readers_agree_on_every_pixel_of_a_webm(shapes_root: Path) -> None:
    for file in sorted((shapes_root / "20bn-something-something-v2").iterdir())[:4]:
        assert_same([open_video(file, reader=name).get_batch(range(10)) for name in DECODERS])


@pytest.mark.parametrize("name", DECODERS)
def test_frames_come_in_the_order_asked_for_with_repeats(shapes_root: Path, name: str) -> None:
    video = open_video(first_video(shapes_root), reader=name)
    in_order = video.get_batch(range(10))
    np.testing.assert_array_equal(video.get_batch([7, 2, 2, 9, 0]), in_order[[7, 2, 2, 9, 0]])


@pytest.mark.parametrize("name", DECODERS)
@pytest.mark.parametrize("index", [-1, 10])
def test_a_frame_number_out_of_range_is_an_index_error(shapes_root: Path, name: str, index: int) -> None:
    with pytest.raises(IndexError, match="10 frames"):
        open_video(first_video(shapes_root), reader=name).get_batch([index])


@pytest.mark.parametrize("name", DECODERS)
def test_short_side_shrinks_and_keeps_the_aspect_and_never_enlarges(shapes_root: Path, name: str) -> None:
    file = first_video(shapes_root)
    assert open_video(file, reader=name, short_side=16).get_batch([0]).shape == (1, 16, 20, 3)
    assert open_video(file, reader=name, short_side=64).get_batch([0]).shape == (1, 32, 40, 3)


def test_readers_agree_on_every_pixel_at_reduced_size(shapes_root: Path) -> None:
    assert_same([open_video(first_video(shapes_root), name, short_side=20).get_batch([0, 5]) for name in DECODERS])


@pytest.mark.parametrize("short_side", [19, 20, 13, 10])
def test_decord_shrinks_to_every_width_even_those_at_which_it_fails_itself(shapes_root: Path, short_side: int) -> None:
    file = first_video(shapes_root)  # 40 x 32: the sides 19 and 13 would make it 24 and 16 wide
    shapes = [open_video(file, reader=name, short_side=short_side).get_batch([0, 5]).shape for name in DECODERS]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize(
    ("size", "short_side", "expected"),
    [((240, 427), None, (240, 427)), ((1920, 1080), 256, (455, 256)), ((1, 1000), 256, (1, 1000)), ((9, 9), 3, (3, 3))],
)
def test_scaled_size_never_enlarges(size: tuple[int, int], short_side: int | None, expected: tuple[int, int]) -> None:
    assert scaled_size(*size, short_side) == expected


def test_a_folder_of_frames_gives_the_pictures_of_the_video(frames_root: Path, shapes_root: Path) -> None:
    for folder in sorted((frames_root / "frames").iterdir())[:3]:
        video = open_video(folder, reader="frames")
        assert len(video) == 10
        original = open_video(shapes_root / "20bn-something-something-v2" / f"{folder.name}.webm").get_batch([9, 0])
        assert np.abs(video.get_batch([9, 0]).astype(int) - original).mean() < 4  # JPEG is lossy


def test_frames_are_ordered_by_number_even_without_leading_zeros(tmp_path: Path) -> None:
    for number in (1, 2, 10):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / f"img_{number}.png")
    (tmp_path / "notes.txt").write_text("not a frame")
    assert open_video(tmp_path, reader="frames").get_batch([0, 1, 2])[:, 0, 0, 0].tolist() == [1, 2, 10]


def test_a_frame_of_another_size_is_a_read_error(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "0001.jpg")
    Image.new("RGB", (8, 6)).save(tmp_path / "0002.jpg")
    with pytest.raises(VideoDecodeError, match="8x6"):
        open_video(tmp_path, reader="frames").get_batch([0, 1])


@pytest.mark.parametrize("name", ["decord", "pyav", "frames"])
def test_a_missing_file_is_a_read_error_that_says_so(tmp_path: Path, name: str) -> None:
    with pytest.raises(VideoDecodeError, match="no such file"):
        open_video(tmp_path / "1.webm", reader=name)


@pytest.mark.parametrize("name", DECODERS)
@pytest.mark.parametrize("content", [b"", b"not a video at all" * 100])
def test_a_file_that_is_no_video_is_a_read_error_with_a_next_step(tmp_path: Path, name: str, content: bytes) -> None:
    file = tmp_path / "1.webm"
    file.write_bytes(content)
    with pytest.raises(VideoDecodeError, match=r"data\.reader pyav|fetch it again"):
        open_video(file, reader=name).get_batch([0])


def test_a_folder_given_to_a_decoder_points_to_the_frames_reader(tmp_path: Path) -> None:
    with pytest.raises(VideoDecodeError, match=r"--data\.reader frames"):
        open_video(tmp_path, reader="decord")


def test_an_unknown_reader_names_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="decord"):
        open_video("x.webm", reader="decrod")


@pytest.mark.skipif(importlib.util.find_spec("torchcodec") is not None, reason="torchcodec is installed")
def test_torchcodec_that_is_not_installed_is_named_with_its_install_command(shapes_root: Path) -> None:
    with pytest.raises(ReaderNotAvailableError, match="pip install torchcodec"):
        open_video(first_video(shapes_root), reader="torchcodec")


def test_torchcodec_without_ffmpeg_says_what_to_install(shapes_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def decoder(*args: object, **options: object) -> None:
        raise RuntimeError("Could not load libtorchcodec. Likely causes: …")

    package, decoders = types.ModuleType("torchcodec"), types.ModuleType("torchcodec.decoders")
    monkeypatch.setattr(decoders, "VideoDecoder", decoder, raising=False)
    monkeypatch.setitem(sys.modules, "torchcodec", package)
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", decoders)
    with pytest.raises(ReaderNotAvailableError, match="Install FFmpeg"):
        READERS["torchcodec"](first_video(shapes_root))


@pytest.mark.usefixtures("fresh_names")
def test_another_reader_takes_the_place_of_an_absent_decord_with_one_warning(
    shapes_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent() -> None:
        raise ReaderNotAvailableError("no decord")

    monkeypatch.setattr(DecordReader, "require", staticmethod(absent))
    with pytest.warns(UserWarning, match=r"'decord' is not installed here, '\w+' takes its place") as caught:
        first = open_video(first_video(shapes_root))
    assert len(caught) == 1
    assert not isinstance(first, DecordReader)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(open_video(first_video(shapes_root))) == 10


@pytest.mark.usefixtures("fresh_names")
def test_without_any_decoder_the_error_tells_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for reader in ("av", "torchcodec", "torchcodec.decoders"):
        monkeypatch.setitem(sys.modules, reader, None)
    with pytest.raises(ReaderNotAvailableError, match="pip install"):
        resolve_reader("decord")


def real_videos() -> list[str]:
    """What lies in clips/ and robust/, for the parameters of a test."""
    data = Path(os.environ.get("STATICDROPOUT_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
    files = [path for folder in ("clips", "robust") for path in (data / folder).glob("*") if path.is_file()]
    return sorted(f"{path.parent.name}/{path.name}" for path in files if path.name not in UNREADABLE) or ["clips"]


@pytest.mark.filterwarnings("ignore:The video reader 'decord' fails at:UserWarning")
@pytest.mark.parametrize("file", real_videos())
def test_readers_agree_on_real_videos_in_order_and_jumping(real_data: Path, file: str) -> None:
    path = real_data / file
    reference = open_video(path, reader="pyav")
    length, size = len(reference), reference.get_batch([0])[0, ..., 0].size
    in_order = np.arange(min(length, LONG)) if size < LARGE else np.arange(3)
    spread = np.linspace(0, length - 1, 8 if size < LARGE else 3).astype(np.int64)
    jumps = [*spread[::-1], *np.random.default_rng(0).permutation(spread)]
    known = sorted({*in_order.tolist(), *spread.tolist()})
    frames = dict(zip(known, reference.get_batch(known), strict=True))
    largest, mean = next((value for end, value in TOLERANCES.items() if file.endswith(end)), (0, 0.0))
    for reader in ("decord", "torchcodec"):
        if missing(reader) or (reader == "torchcodec" and file.endswith(NOT_BY_TORCHCODEC)):
            continue
        assert len(open_video(path, reader=reader)) == length
        for order in (in_order, jumps):
            for i, picture in zip(order, open_video(path, reader=reader).get_batch(order), strict=True):
                difference = cv2.absdiff(picture, frames[int(i)])
                assert difference.max() <= largest, (reader, i)
                assert difference.mean() <= mean, (reader, i)


def test_readers_agree_on_real_clips_of_something_something(real_data: Path) -> None:
    for name in ("166766", "2", "task41_1"):
        file = real_data / "ssv2_mini" / "20bn-something-something-v2" / f"{name}.webm"
        videos = [open_video(file, reader=reader) for reader in DECODERS]
        assert len(videos[0]) == len(videos[1])
        indices = np.linspace(0, len(videos[0]) - 1, 5).astype(np.int64)
        assert_same([video.get_batch(indices) for video in videos])


@pytest.mark.parametrize("name", DECODERS)
def test_metadata_that_are_not_utf8_and_a_last_packet_without_picture_are_no_obstacle(
    real_data: Path, name: str
) -> None:
    (file,) = (real_data / "clips").glob("hmdb51_*cartwheel*.avi")
    video = open_video(file, reader=name)
    assert len(video) == 84  # the header's count; 83 hold a picture
    last = video.get_batch([82, 83])
    np.testing.assert_array_equal(last[0], last[1])

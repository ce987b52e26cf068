# SPDX-License-Identifier: Apache-2.0
"""Frame i is frame i, in whatever order frames are asked for, in every codec and container and with every reader."""

from __future__ import annotations

import contextlib
import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from tricky_videos import FRAMES, RECIPES, Frames, decoded, jumps, turned, with_edit_list_from, with_hidden_frame
from video_probe import decoders, missing

from staticdropout.datamodules import open_video
from staticdropout.datamodules.readers import DecordReader, TorchCodecReader, read_traits
from staticdropout.errors import VideoDecodeError

# docs/videos.md states these
SAME = 2  # largest difference of a value where nothing is interpolated; versions of FFmpeg round MPEG-4 differently
MEAN = 8.0  # mean difference where colours are interpolated, on textures that are the worst case for it
INTERPOLATED = {"ten_bit.mp4", "odd.mkv"}
REFUSED_BY_TORCHCODEC = {"h264.avi", "h264.ts", "mpeg4_b.avi", "mpeg2.mpg"}
JUMPS_GO_WRONG = {  # where decord, left alone, hands out neighbours of the frames asked for
    "h264.avi",
    "hevc.mkv",
    "hevc.mp4",
    "intra_refresh.mp4",
    "mpeg4_b.avi",
    "mpeg4_b.mkv",
    "mpeg4_b.mp4",
    "open_gop.mkv",
    "open_gop.mp4",
}
JUMPS_ARE_SAFE = {"vp9.webm", "h264.mp4", "h264.mov", "h264.mkv", "mpeg4.avi", "mjpeg.avi", "odd.mp4", "ten_bit.mp4"}

pytestmark = pytest.mark.filterwarnings("ignore:The video reader 'decord' fails at:UserWarning")


@pytest.fixture(scope="module")
def tricky(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tricky")
    for recipe in RECIPES.values():
        recipe.write(folder)
    return folder


def assert_same_pictures(frames: Frames, reference: Frames, interpolated: bool = False) -> None:
    difference = np.abs(frames.astype(np.int16) - reference)
    if interpolated:
        assert difference.mean(axis=(1, 2, 3)).max() <= MEAN
    else:
        assert difference.max() <= SAME


def test_neighbouring_frames_differ_by_far_more_than_the_tolerance(tricky: Path) -> None:
    for name in INTERPOLATED:
        frames = decoded(tricky / name).astype(np.int16)
        assert np.abs(frames[1:] - frames[:-1]).mean(axis=(1, 2, 3)).min() > 4 * MEAN


@pytest.mark.parametrize("file", sorted(RECIPES))
@pytest.mark.parametrize("reader", decoders())
def test_frames_are_numbered_as_they_are_shown_in_every_order(tricky: Path, reader: str, file: str) -> None:
    if reader == "torchcodec" and file in REFUSED_BY_TORCHCODEC:
        with pytest.raises(VideoDecodeError, match="numbers the frames of"):
            open_video(tricky / file, reader=reader)
        return
    reference = decoded(tricky / file)
    assert len(reference) == FRAMES
    for order in jumps(FRAMES).values():
        video = open_video(tricky / file, reader=reader)
        assert len(video) == FRAMES
        assert video.fps == pytest.approx(25.0)
        assert_same_pictures(video.get_batch(order), reference[order], file in INTERPOLATED)


@pytest.mark.parametrize("reader", decoders())
@pytest.mark.parametrize("file", ["mpeg4_b.mp4", "hevc.mkv", "vp9.webm"])
def test_an_open_reader_answers_one_call_after_the_other(tricky: Path, reader: str, file: str) -> None:
    video, reference = open_video(tricky / file, reader=reader), decoded(tricky / file)
    for order in ([3, 4], [5, 9], [20, 2], [0], [25, 25, 24]):
        assert_same_pictures(video.get_batch(order), reference[order])


@pytest.mark.parametrize("file", sorted(JUMPS_GO_WRONG | JUMPS_ARE_SAFE))
def test_decord_jumps_exactly_where_its_jumps_are_safe(tricky: Path, file: str) -> None:
    assert read_traits(tricky / file).jumpable == (file in JUMPS_ARE_SAFE)
    video, reference = DecordReader(tricky / file), decoded(tricky / file)
    video._in_order = False
    wrong = 0
    for order in jumps(FRAMES).values():
        with contextlib.suppress(VideoDecodeError):  # where it even notices
            difference = np.abs(video.get_batch(order).astype(np.int16) - reference[order])
            wrong += int((difference.mean(axis=(1, 2, 3)) > MEAN).sum())
            continue
        wrong += 1
    assert (wrong > 0) == (file in JUMPS_GO_WRONG)


@pytest.mark.skipif(bool(missing("torchcodec")), reason=missing("torchcodec"))
@pytest.mark.parametrize("file", ["open_gop.mp4", "open_gop.mkv"])
def test_torchcodec_reads_open_groups_of_pictures_in_order_because_its_jumps_fail(tricky: Path, file: str) -> None:
    video = TorchCodecReader(tricky / file)
    video._in_order = False
    with pytest.raises(VideoDecodeError):
        [video.get_batch(order) for order in jumps(FRAMES).values()]


@pytest.mark.parametrize("reader", decoders())
def test_frames_that_an_edit_list_hides_are_not_counted(tricky: Path, tmp_path: Path, reader: str) -> None:
    file = with_edit_list_from(tricky / "h264.mp4", 5, tmp_path / "trimmed.mp4")
    assert read_traits(file).hidden
    assert not read_traits(tricky / "h264.mp4").hidden
    video, shown = open_video(file, reader=reader), decoded(tricky / "h264.mp4")[5:]
    assert len(video) == len(shown) == FRAMES - 5
    for order in jumps(len(shown)).values():
        assert_same_pictures(video.get_batch(order), shown[order])


@pytest.mark.parametrize("reader", ["decord", "pyav"])
def test_frames_that_vp8_hides_are_not_counted(tricky: Path, tmp_path: Path, reader: str) -> None:
    file = with_hidden_frame(tricky / "vp8.webm", 4, tmp_path / "hidden.webm")
    video, shown = open_video(file, reader=reader), np.delete(decoded(tricky / "vp8.webm"), 4, axis=0)
    assert len(video) == len(shown) == FRAMES - 1
    for order in jumps(len(shown)).values():
        assert_same_pictures(video.get_batch(order), shown[order])


@pytest.mark.skipif(bool(missing("torchcodec")), reason=missing("torchcodec"))
def test_torchcodec_counts_frames_that_vp8_hides_but_shows_none_in_the_place_of_another(
    tricky: Path, tmp_path: Path
) -> None:
    file = with_hidden_frame(tricky / "vp8.webm", 4, tmp_path / "hidden.webm")
    video, shown = open_video(file, reader="torchcodec"), np.delete(decoded(tricky / "vp8.webm"), 4, axis=0)
    order = [20, 3, 4, 11]
    assert_same_pictures(video.get_batch(order), shown[order])
    with pytest.raises(VideoDecodeError, match="its data end before"):
        video.get_batch([FRAMES - 1])


@pytest.mark.parametrize("reader", decoders())
@pytest.mark.parametrize("recipe", ["h264.mp4", "h264.mkv"])
def test_a_variable_frame_rate_does_not_shift_frames(tmp_path: Path, reader: str, recipe: str) -> None:
    gaps = np.random.default_rng(0).integers(1, 5, FRAMES)
    file = RECIPES[recipe].write(tmp_path, times=np.cumsum(gaps).tolist())
    video, reference = open_video(file, reader=reader), decoded(file)
    assert len(video) == len(reference) == FRAMES
    assert 5 < video.fps <= 25  # Matroska states the rate of the encoder
    for order in jumps(FRAMES).values():
        assert_same_pictures(video.get_batch(order), reference[order])


@pytest.mark.parametrize("reader", decoders())
def test_a_file_in_fragments_without_counts_has_all_frames(tmp_path: Path, reader: str) -> None:
    file = RECIPES["h264.mp4"].write(tmp_path, container={"movflags": "frag_keyframe+empty_moov"})
    video, reference = open_video(file, reader=reader), decoded(file)
    assert len(video) == FRAMES
    for order in jumps(FRAMES).values():
        assert_same_pictures(video.get_batch(order), reference[order])


TURNS = {90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}  # clockwise, as players do


@pytest.mark.parametrize("reader", decoders())
@pytest.mark.parametrize("degrees", TURNS)
def test_pictures_are_turned_upright_at_full_and_at_reduced_size(
    tricky: Path, tmp_path: Path, reader: str, degrees: int
) -> None:
    file = turned(tricky / "h264.mp4", TURNS[degrees], tmp_path / "turned.mp4")
    upright = np.rot90(decoded(tricky / "h264.mp4"), -degrees // 90, axes=(1, 2))
    assert_same_pictures(open_video(file, reader=reader).get_batch([3, 20]), upright[[3, 20]])
    small = open_video(file, reader=reader, short_side=32).get_batch([3, 20])
    assert small.shape == ((2, 32, 40, 3) if degrees == 180 else (2, 40, 32, 3))


@pytest.mark.parametrize("reader", decoders())
def test_transparency_is_left_out_and_colours_stay_as_stored(tmp_path: Path, reader: str) -> None:
    import av

    file, picture = tmp_path / "alpha.mov", np.full((32, 40, 4), (250, 120, 10, 255), np.uint8)
    picture[:, :20, 3] = 0  # the left half cannot be seen
    with av.open(str(file), "w") as output:
        stream = output.add_stream("png", rate=25)
        stream.width, stream.height, stream.pix_fmt = 40, 32, "rgba"
        for _ in range(3):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgba")))
        output.mux(stream.encode(None))
    frames = open_video(file, reader=reader).get_batch([0, 2])
    np.testing.assert_array_equal(frames, np.broadcast_to(picture[..., :3], (2, 32, 40, 3)))


@pytest.mark.parametrize("reader", decoders())
def test_of_several_video_streams_all_readers_take_the_one_that_ffmpeg_prefers(tmp_path: Path, reader: str) -> None:
    import av

    file, sizes = tmp_path / "two.mp4", [(32, 40), (64, 80)]
    with av.open(str(file), "w") as output:
        streams = []
        for height, width in sizes:
            stream = output.add_stream("libx264", rate=25)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            streams.append(stream)
        for i in range(5):
            for stream, (height, width) in zip(streams, sizes, strict=True):
                frame = av.VideoFrame.from_ndarray(np.full((height, width, 3), 40 * i, np.uint8), format="rgb24")
                output.mux(stream.encode(frame))
        for stream in streams:
            output.mux(stream.encode(None))
    assert_same_pictures(open_video(file, reader=reader).get_batch([4, 0]), decoded(file)[[4, 0]])


def changing_size(folder: Path) -> Path:
    """Two VP9 streams of different size, one after the other, in one track."""
    import av

    parts = [RECIPES["vp9.webm"].write(folder), RECIPES["small.webm"].write(folder)]
    target = folder / "changing.webm"
    with av.open(str(target), "w") as output, av.open(str(parts[0])) as first, av.open(str(parts[1])) as second:
        stream, start = output.add_stream_from_template(first.streams.video[0]), 0
        for part in (first, second):
            for packet in part.demux(video=0):
                if packet.size:
                    packet.pts = packet.dts = start
                    packet.stream, packet.time_base, start = stream, Fraction(1, 1000), start + 40
                    output.mux(packet)
    return target


@pytest.mark.parametrize("reader", decoders())
def test_a_video_that_changes_its_size_keeps_that_of_its_first_frame(tmp_path: Path, reader: str) -> None:
    file = changing_size(tmp_path)
    video = open_video(file, reader=reader)
    order = [0, 2 * FRAMES - 1, 3]
    if reader == "torchcodec":
        with pytest.raises(VideoDecodeError, match="change their size"):
            video.get_batch(order)
        return
    frames = video.get_batch(order)
    assert frames.shape == (3, 64, 80, 3)
    assert_same_pictures(frames[[0, 2]], decoded(tmp_path / "vp9.webm")[[0, 3]])


@pytest.fixture
def copies(tricky: Path, tmp_path: Path) -> dict[str, Path]:
    return {file: Path(shutil.copyfile(tricky / file, tmp_path / file)) for file in ("h264.mp4", "mpeg4_b.avi")}


def test_traits_of_a_file_that_was_replaced_are_read_again(copies: dict[str, Path]) -> None:
    path = copies["h264.mp4"]
    assert (read_traits(path).container, read_traits(path).jumpable) == ("mp4", True)
    shutil.copyfile(copies["mpeg4_b.avi"], path)
    assert (read_traits(path).container, read_traits(path).jumpable) == ("avi", False)


@pytest.mark.parametrize("file", sorted(RECIPES))
def test_no_sound_file_seems_cut_off_and_a_damaged_header_is_no_obstacle(
    tricky: Path, tmp_path: Path, file: str
) -> None:
    data = (tricky / file).read_bytes()
    traits = read_traits(tricky / file)
    assert (traits.missing, traits.absurd, traits.size) == (0, False, len(data))
    rng = np.random.default_rng(0)
    for number in range(30):
        changed = np.frombuffer(data, np.uint8).copy()
        at = rng.integers(0, len(data), 20) if number % 2 else rng.integers(0, 600, 20)
        changed[at] = rng.integers(0, 256, 20)
        (tmp_path / f"{number}").write_bytes(changed.tobytes()[: len(data) - number * len(data) // 40])
        assert read_traits(tmp_path / f"{number}").size > 0


def test_no_real_file_seems_cut_off_or_absurd(real_data: Path) -> None:
    videos = [path for folder in ("clips", "robust", "ssv2_mini") for path in (real_data / folder).rglob("*.*")]
    videos = [path for path in videos if path.suffix in (".mp4", ".avi", ".mkv", ".webm", ".mov")]
    assert len(videos) > 40
    assert not [path.name for path in videos if read_traits(path).missing or read_traits(path).absurd]

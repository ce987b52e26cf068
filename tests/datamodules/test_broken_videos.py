# SPDX-License-Identifier: Apache-2.0
"""Damaged files through every reader: the right frames or a read error, never a crash, a hang or a wrong shape."""

from __future__ import annotations

import os
import random
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tricky_videos import FRAMES, HEIGHT, RECIPES, WIDTH, Frames, damaged, decoded, write_with_opencv
from video_probe import Outcome, decoders, read_all

from staticdropout.datamodules import open_video
from staticdropout.datamodules.readers import FallbackReader, base, read_traits
from staticdropout.errors import VideoDecodeError

WRITTEN = ("h264.mp4", "h264.mkv", "hevc.mp4", "mpeg4_b.avi", "h264.ts")  # besides the four that OpenCV writes
REAL = (
    "clips/carphone_distorted.mp4",
    "robust/tiny_40x30.mp4",
    "robust/h265_video.mp4",
    "robust/unordered.mov",
)
pytestmark = pytest.mark.filterwarnings("ignore:The video reader 'decord' fails at:UserWarning")

Damaged = dict[Path, tuple[Path, str]]  # a damaged file, what it was, what happened to it


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Small sound videos: generated ones, and real ones where they lie beside the repository."""
    folder = tmp_path_factory.mktemp("sound")
    paths = write_with_opencv(folder) + [RECIPES[name].write(folder) for name in WRITTEN]
    data = Path(os.environ.get("STATICDROPOUT_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
    paths += [Path(shutil.copyfile(data / file, folder / Path(file).name)) for file in REAL if (data / file).is_file()]
    return paths


@pytest.fixture(scope="module")
def broken(sound: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Damaged:
    """Two hundred damaged copies and more."""
    folder, files = tmp_path_factory.mktemp("broken"), {}
    for path in sound:
        for damage, data, suffix in damaged(path):
            file = folder / f"{path.stem}-{path.suffix[1:]}-{damage.replace('.', '-')}{suffix}"
            file.write_bytes(data)
            files[file] = (path, damage)
    return files


@pytest.fixture(scope="module", params=decoders())
def reader(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def outcomes(
    reader: str, sound: list[Path], broken: Damaged, tmp_path_factory: pytest.TempPathFactory
) -> dict[Path, Outcome]:
    report = tmp_path_factory.mktemp("report") / "outcomes.jsonl"
    return read_all([*sound, *broken], reader, report)


def test_each_of_200_damaged_files_gives_whole_frames_or_a_read_error_that_names_everything(
    reader: str, broken: Damaged, outcomes: dict[Path, Outcome]
) -> None:
    assert len(broken) >= 200
    assert sum("frames" in outcomes[path] for path in broken) > 40
    assert sum("reason" in outcomes[path] for path in broken) > 100
    for path in broken:
        outcome = outcomes[path]
        if "frames" in outcome:
            count, height, width, channels = outcome["shape"]
            assert (count, channels, outcome["type"]) == (outcome["asked"], 3, "uint8"), (path, outcome)
            assert height > 0, path
            assert width > 0, path
            continue
        assert outcome.keys() == {"file", "path", "reader", "reason", "hint"}, outcome
        assert outcome["path"] == str(path)
        assert outcome["reader"] == reader
        assert outcome["reason"], path
        assert outcome["hint"], path
        assert "/github/workspace" not in outcome["reason"]
        assert ".cpp" not in outcome["reason"]


def test_truncated_and_renamed_files_give_the_frames_of_the_whole_file_and_nothing_made_up(
    broken: Damaged, outcomes: dict[Path, Outcome]
) -> None:
    compared = 0
    for path, (original, damage) in broken.items():
        if damage.startswith(("flipped", "zeros")):
            continue
        outcome, whole = outcomes[path], outcomes[original]
        if damage.startswith("renamed") and "frames" in whole:
            assert outcome.get("frames") == whole["frames"], (path, outcome)
        elif "frames" in outcome and original.suffix != ".ts":  # nothing tells where a transport stream should end
            shown = min(outcome["length"], len(outcome["frames"]) - 1)
            assert outcome["frames"][:shown] == whole["frames"][:shown], path
        compared += "frames" in outcome
    assert compared >= 20


def test_a_file_that_was_cut_off_is_told_by_its_size(broken: Damaged, outcomes: dict[Path, Outcome]) -> None:
    for path, (original, damage) in broken.items():
        if damage in ("truncated-50", "truncated-90") and original.suffix in (".webm", ".mkv"):
            size = original.stat().st_size
            assert f"cut off: {path.stat().st_size} bytes of {size}" in outcomes[path]["reason"]
            assert "ffmpeg" in outcomes[path]["hint"]


def patched(path: Path, target: Path, *changes: tuple[bytes, int, str, float]) -> Path:
    """A copy with numbers changed: the letters before each, how far after their start it stands, its format."""
    data = bytearray(path.read_bytes())
    for letters, offset, layout, value in changes:
        struct.pack_into(layout, data, data.index(letters) + offset, value)
    target.write_bytes(data)
    return target


PROMISES: dict[str, tuple[str, tuple[bytes, int, str, float]]] = {
    "the table of times of an MP4": ("b.mp4", (b"stts", 12, ">I", 2**32 - 1)),
    "the length of the table of times of an MP4": ("b.mp4", (b"stts", 8, ">I", 2**31)),
    "the stream header of an AVI": ("d.avi", (b"strh", 40, "<I", 2**32 - 1)),
    "the duration of a WebM": ("a.webm", (b"\x44\x89\x88", 3, ">d", 9e15)),
}


@pytest.mark.parametrize("place", PROMISES)
def test_a_header_that_promises_billions_of_frames_does_not_end_the_process(
    reader: str, place: str, sound: list[Path], tmp_path: Path
) -> None:
    name, change = PROMISES[place]
    (original,) = (path for path in sound if path.name == name)
    file = patched(original, tmp_path / name, change)
    assert read_traits(file).absurd
    (outcome,) = read_all([file], reader, tmp_path / "report.jsonl").values()
    if "frames" not in outcome:  # a wrong table of times can be too much
        assert outcome["reason"]
        return
    assert outcome["shape"][1:] == [HEIGHT, WIDTH, 3]
    whole = open_video(original, reader="pyav").get_batch(range(outcome["length"]))
    np.testing.assert_array_equal(open_video(file, reader=reader).get_batch(range(outcome["length"])), whole)


def test_frames_that_a_header_promises_and_the_file_has_not_are_never_made_up(
    reader: str, sound: list[Path], tmp_path: Path
) -> None:
    (original,) = (path for path in sound if path.name == "b.mp4")
    file, frames = patched(original, tmp_path / "b.mp4", (b"stts", 12, ">I", 17)), decoded(original)
    assert len(frames) == 12
    np.testing.assert_array_equal(open_video(file, reader=reader).get_batch([3, 9]), frames[[3, 9]])
    video = open_video(file, reader=reader)
    if len(video) == 12:
        np.testing.assert_array_equal(video.get_batch([11]), frames[[11]])
    else:
        with pytest.raises(VideoDecodeError, match="12"):
            video.get_batch([2, 16])


def damaged_picture(kind: str, data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    if kind == "flipped":
        for _ in range(6):
            changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        return bytes(changed)
    return {"truncated": data[: len(data) // 2], "header only": data[:20], "empty": b""}[kind]


def frames_or_error(folder: Path) -> Frames | VideoDecodeError:
    try:
        return open_video(folder, reader="frames").get_batch([2, 0, 1])
    except VideoDecodeError as error:
        return error


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_folders_of_damaged_pictures_give_whole_frames_or_a_read_error(tmp_path: Path, suffix: str) -> None:
    rng = random.Random(0)  # noqa: S311
    for number, kind in enumerate(["flipped"] * 20 + ["truncated", "header only", "empty"]):
        folder = tmp_path / str(number)
        folder.mkdir()
        for i in range(1, 4):
            noise = np.random.default_rng(i).integers(0, 255, (20, 30, 3), np.uint8)
            Image.fromarray(noise).save(folder / f"{i}.{suffix}")
        file = folder / f"{rng.randrange(1, 4)}.{suffix}"
        file.write_bytes(damaged_picture(kind, file.read_bytes(), rng))
        outcome = frames_or_error(folder)
        if isinstance(outcome, VideoDecodeError):
            assert (outcome.reader, bool(outcome.reason), bool(outcome.hint)) == ("frames", True, True)
        else:
            assert kind == "flipped"
            assert outcome.shape == (3, 20, 30, 3)


def test_a_picture_with_another_suffix_than_its_format_is_read(tmp_path: Path) -> None:
    for i in (1, 2):
        Image.new("RGB", (8, 6), (200, 10 * i, 0)).save(tmp_path / f"{i}.jpg", format="png")
    assert open_video(tmp_path, reader="frames").get_batch([1])[0, 0, 0].tolist() == [200, 20, 0]


# file of robust/: frames, height and width (None: every reader must refuse it), whether decord reads it itself
ROBUST: dict[str, tuple[int, int, int, bool] | None] = {
    "audio_only.mp3": None,
    "av1_video.mkv": (125, 360, 640, False),
    "corrupted.mp4": None,
    "h264_10bits.mp4": (30, 200, 200, True),
    "h265_video.mp4": (10, 128, 128, True),
    "nasa_13013.mp4": (390, 270, 480, True),
    "no_duration.webm": (74, 720, 1280, False),
    "one_pixel.mp4": (5, 1, 1, False),
    "tiny_40x30.mp4": (13, 30, 40, True),
    "transparent.webm": (150, 200, 200, True),
    "unordered.mov": (4, 50, 50, True),
    "vfr_demo_skeleton.mp4": (72, 1080, 1920, True),
    "vfr_track_anything_2.mp4": (149, 320, 568, True),
    "video_0.mov": (3, 320, 568, True),
    "video_90.mov": (3, 568, 320, True),
    "video_180.mov": (3, 320, 568, True),
    "video_270.mov": (3, 568, 320, True),
    "zero_bytes.webm": None,
}


def test_every_difficult_file_has_an_expected_outcome(real_data: Path) -> None:
    assert sorted(ROBUST) == sorted(path.name for path in (real_data / "robust").iterdir())


def test_difficult_files_are_read_whole_or_refused_as_expected(reader: str, real_data: Path, tmp_path: Path) -> None:
    paths = [real_data / "robust" / file for file in ROBUST]
    for path, outcome in read_all(paths, reader, tmp_path / "report.jsonl").items():
        expected = ROBUST[path.name]
        if expected is None:
            assert "reason" in outcome, outcome
            assert (outcome["path"], outcome["reader"]) == (str(path), reader)
        else:
            frames, height, width, _ = expected
            assert outcome.get("length") == frames, outcome
            assert outcome["shape"][1:] == [height, width, 3], path


@pytest.mark.parametrize("file", sorted(file for file, expected in ROBUST.items() if expected is not None))
def test_another_reader_takes_over_from_decord_where_it_is_known_to_fail(real_data: Path, file: str) -> None:
    expected = ROBUST[file]
    assert expected is not None
    video = FallbackReader(real_data / "robust" / file)
    video.get_batch([0])
    assert (video.reader == "decord") == expected[3]


def test_a_transport_stream_that_ends_early_has_the_frames_before(sound: list[Path], tmp_path: Path) -> None:
    (path,) = (path for path in sound if path.suffix == ".ts")
    file, whole = tmp_path / "half.ts", decoded(path)
    file.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    video = open_video(file, reader="pyav")
    assert 2 < len(video) < FRAMES
    np.testing.assert_array_equal(video.get_batch(range(len(video) - 1)), whole[: len(video) - 1])


def test_of_a_container_without_a_length_the_last_half_picture_is_left_out(tmp_path: Path) -> None:
    path, file = RECIPES["h264.flv"].write(tmp_path), tmp_path / "half.flv"
    whole = decoded(path)
    for percent in range(30, 90, 7):
        file.write_bytes(path.read_bytes()[: path.stat().st_size * percent // 100])
        video = open_video(file, reader="pyav")
        assert 2 < len(video) < FRAMES
        np.testing.assert_array_equal(video.get_batch(range(len(video))), whole[: len(video)])


@pytest.mark.parametrize("short_side", [None, 16])
def test_pictures_larger_than_any_video_are_refused_before_memory_is_taken(
    reader: str, short_side: int | None, sound: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "_MAX_PIXELS", HEIGHT * WIDTH - 1)
    for path in sound[:2]:
        with pytest.raises(VideoDecodeError, match=f"pictures of {WIDTH}x{HEIGHT} pixels") as caught:
            open_video(path, reader=reader, short_side=short_side).get_batch([0, 1])
        assert caught.value.reader == reader
    monkeypatch.setattr(base, "_MAX_PIXELS", HEIGHT * WIDTH)
    assert open_video(sound[0], reader=reader, short_side=short_side).get_batch([0, 1]).shape[0] == 2


@pytest.mark.parametrize(
    "open_it", [lambda path: open_video(path), lambda path: open_video(path, reader="pyav", short_side=16)]
)
def test_an_unreadable_path_is_a_read_error(tmp_path: Path, open_it: Callable[[Path], object]) -> None:
    (tmp_path / "loop.webm").symlink_to(tmp_path / "loop.webm")
    with pytest.raises(VideoDecodeError, match=r"loop\.webm"):
        open_it(tmp_path / "loop.webm")

# SPDX-License-Identifier: Apache-2.0
"""decord's known faults: one other reader takes over, once, with one warning for each kind."""

from __future__ import annotations

import copy
import pickle
import struct
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tricky_videos import FRAMES, RECIPES, Recipe, decoded, with_edit_list_from
from video_probe import missing

from staticdropout.datamodules import READERS, check, open_video
from staticdropout.datamodules.readers import DecordReader, FallbackReader, PyAVReader, ReaderFaultError, fallback
from staticdropout.datamodules.readers.base import Frames as Batch
from staticdropout.datamodules.readers.base import Indices
from staticdropout.errors import ReaderNotAvailableError, VideoDecodeError

needs_torchcodec = pytest.mark.skipif(bool(missing("torchcodec")), reason=missing("torchcodec"))


@pytest.fixture(autouse=True)
def no_fault_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that has not warned of anything."""
    monkeypatch.setattr(fallback, "_warned", set())


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of a width at which decord fails, in a call for frames."""
    return Recipe("narrow.mp4", "libx264", size=(64, 48)).write(tmp_path_factory.mktemp("narrow"))


@pytest.fixture(scope="module")
def trimmed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video with five frames that an edit list hides."""
    folder = tmp_path_factory.mktemp("trimmed")
    return with_edit_list_from(RECIPES["h264.mp4"].write(folder), 5, folder / "trimmed.mp4")


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return RECIPES["h264.ts"].write(tmp_path_factory.mktemp("stream"))


@pytest.fixture
def uninstall(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    def absent(name: str) -> None:
        def reader(path: Path, short_side: int | None = None) -> None:
            raise ReaderNotAvailableError(f"no {name}")

        monkeypatch.setitem(READERS, name, reader)

    return absent


def silent(open_it: Callable[[], Batch]) -> Batch:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return open_it()


def test_a_fault_that_shows_when_frames_are_read_is_covered_and_told_once(narrow: Path) -> None:
    reference = decoded(narrow)
    video = open_video(narrow)
    assert len(video) == FRAMES
    with pytest.warns(UserWarning, match=r"narrow\.mp4'.*pictures of this width.*takes its place") as caught:
        frames = video.get_batch([7, 3])
    assert len(caught) == 1
    np.testing.assert_array_equal(frames, reference[[7, 3]])
    np.testing.assert_array_equal(silent(lambda: video.get_batch([0])), reference[[0]])
    np.testing.assert_array_equal(silent(lambda: open_video(narrow).get_batch([25])), reference[[25]])


@pytest.mark.parametrize("short_side", [None, 32])
def test_another_kind_of_fault_has_a_warning_of_its_own(narrow: Path, trimmed: Path, short_side: int | None) -> None:
    with pytest.warns(UserWarning, match="width"):
        open_video(narrow, short_side=short_side).get_batch([0])
    with pytest.warns(UserWarning, match=r"trimmed\.mp4.*never shown"):
        open_video(trimmed, short_side=short_side).get_batch([0])


@needs_torchcodec
def test_torchcodec_takes_over_first_and_pyav_where_torchcodec_is_not_installed(
    trimmed: Path, uninstall: Callable[[str], None]
) -> None:
    with pytest.warns(UserWarning, match="'torchcodec' takes its place"):
        assert FallbackReader(trimmed).reader == "torchcodec"
    uninstall("torchcodec")
    assert FallbackReader(trimmed).reader == "pyav"


def test_pyav_takes_over_where_torchcodec_would_be_wrong(stream: Path) -> None:
    with pytest.warns(UserWarning, match="'pyav' takes its place"):
        assert FallbackReader(stream).reader == "pyav"


def test_without_another_reader_decord_does_what_it_can_and_says_what_to_install(
    narrow: Path, trimmed: Path, stream: Path, uninstall: Callable[[str], None]
) -> None:
    uninstall("torchcodec")
    uninstall("pyav")
    shown = decoded(trimmed)
    video = open_video(trimmed)
    np.testing.assert_array_equal(video.get_batch([20, 4, 11]), shown[[20, 4, 11]])
    for path in (narrow, stream):
        with pytest.raises(VideoDecodeError, match=r"pip install av") as caught:
            open_video(path).get_batch([0])
        assert caught.value.reader == "decord"


@pytest.mark.parametrize("name", ["pyav", pytest.param("torchcodec", marks=needs_torchcodec)])
def test_a_reader_that_was_chosen_never_gives_way(
    stream: Path, name: str, monkeypatch: pytest.MonkeyPatch, uninstall: Callable[[str], None]
) -> None:
    for other in {"decord", "pyav", "torchcodec"} - {name}:
        uninstall(other)

    def fault(self: object, indices: Indices) -> Batch:
        raise ReaderFaultError("x.webm", name, "a fault", "a hint")

    monkeypatch.setattr(READERS[name], "get_batch", fault)
    path = RECIPES["h264.mp4"].write(stream.parent)
    with pytest.raises(VideoDecodeError, match="a fault"):
        open_video(path, reader=name).get_batch([0])


class Counting:
    """A reader that cannot read anything, and counts how often it is asked."""

    opened = 0

    def __init__(self, path: str | Path, short_side: int | None = None) -> None:
        type(self).opened += 1
        raise VideoDecodeError(path, "torchcodec", "the second cannot either", "Fetch it again.")


def test_a_file_that_both_readers_fail_at_is_tried_once_by_each_and_names_both(
    narrow: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Counting, "opened", 0)
    monkeypatch.setitem(READERS, "torchcodec", Counting)
    video = open_video(narrow)
    with pytest.raises(
        VideoDecodeError, match=r"this width.*'torchcodec' took over.*the second cannot either"
    ) as caught:
        video.get_batch([0])
    assert Counting.opened == 1
    error = caught.value
    assert (error.path, error.reader, error.hint) == (str(narrow), "decord", "Fetch it again.")
    assert type(error) is VideoDecodeError


def test_a_reader_that_took_over_and_fails_later_is_named_with_the_fault_before(
    trimmed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(PyAVReader):
        def get_batch(self, indices: Indices) -> Batch:
            raise VideoDecodeError(self._path, "torchcodec", "its data are corrupt", "Fetch it again.")

    monkeypatch.setitem(READERS, "torchcodec", Broken)
    with pytest.warns(UserWarning, match="takes its place"):
        video = open_video(trimmed)
    with pytest.raises(VideoDecodeError, match=r"never shown.*'torchcodec' took over.*data are corrupt"):
        video.get_batch([0])


def test_corrupt_data_are_no_fault_of_the_reader(tmp_path: Path) -> None:
    path = RECIPES["h264.mp4"].write(tmp_path)
    data = bytearray(path.read_bytes())
    start = data.index(b"mdat") + 4
    data[start:] = data[start:].replace(data[start + 2000 : start + 6000], bytes(4000))
    path.write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(VideoDecodeError) as caught:
            open_video(path).get_batch(range(FRAMES))
    assert caught.value.reader == "decord"
    assert "took over" not in str(caught.value)


class Shorter(PyAVReader):
    """A reader that counts fewer frames than decord."""

    fewer = 1

    def __len__(self) -> int:
        return super().__len__() - self.fewer


def test_a_reader_that_counts_a_frame_less_repeats_its_last_one(narrow: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(READERS, "torchcodec", Shorter)
    with pytest.warns(UserWarning, match="takes its place"):
        frames = open_video(narrow).get_batch([FRAMES - 1, 4])
    np.testing.assert_array_equal(frames, decoded(narrow)[[FRAMES - 2, 4]])
    with pytest.raises(IndexError, match=f"{FRAMES} frames|{FRAMES - 1} frames"):
        open_video(narrow).get_batch([FRAMES])
    monkeypatch.setattr(Shorter, "fewer", 5)
    with pytest.raises(VideoDecodeError, match=f"decord counts {FRAMES} frames, torchcodec {FRAMES - 5}"):
        open_video(narrow).get_batch([0])


def test_a_data_set_with_a_file_that_another_reader_takes_over_is_sound(root: Path, trimmed: Path) -> None:
    (root / "20bn-something-something-v2" / "2.webm").write_bytes(trimmed.read_bytes())
    with pytest.warns(UserWarning, match="takes its place"):
        assert check(root, num_workers=0).ok


def test_a_fault_stays_a_read_error_on_its_way_between_processes() -> None:
    fault = ReaderFaultError("a.webm", "decord", "a reason", "A hint.", kind="a kind")
    for other in (copy.copy(fault), pickle.loads(pickle.dumps(fault))):
        assert isinstance(other, ReaderFaultError)
        assert issubclass(type(other), VideoDecodeError)
        assert (str(other), other.kind, other.path) == (str(fault), "a kind", "a.webm")
    assert str(ReaderFaultError("Caught in a worker")) == "Caught in a worker"


def test_decord_itself_raises_a_fault_and_no_bare_error(narrow: Path, stream: Path) -> None:
    with pytest.raises(ReaderFaultError, match="width"):
        DecordReader(narrow).get_batch([0])
    with pytest.raises(ReaderFaultError, match="transport streams"):
        DecordReader(stream)


def test_decord_does_not_repeat_frames_in_the_place_of_one_that_is_missing(tmp_path: Path) -> None:
    file = RECIPES["h264.mp4"].write(tmp_path)
    data = bytearray(file.read_bytes())
    struct.pack_into(">I", data, data.index(b"ctts") + 112, 1 << 20)  # a frame that would be shown long after the end
    file.write_bytes(data)
    with pytest.raises(ReaderFaultError, match="repeat others"):
        DecordReader(file).get_batch(range(FRAMES))
    np.testing.assert_array_equal(DecordReader(file).get_batch([4, 9]), decoded(file)[[4, 9]])

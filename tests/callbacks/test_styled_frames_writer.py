# SPDX-License-Identifier: Apache-2.0
"""StyledFramesWriter: what has its final name is whole, whatever happens, and the next run makes what is missing."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lightning.pytorch import Trainer
from styled_copies import PNG, decoded, files_in, frames_in, hidden_in, pixels, rendered, stylize

from staticdropout.callbacks import styled_frames_writer
from staticdropout.callbacks.styled_frames_writer import StyledFramesWriter
from staticdropout.callbacks.video_folders import VideoFolders
from staticdropout.datamodules import write_moving_shapes
from staticdropout.datamodules.style_sources import list_videos
from staticdropout.errors import FramesNotWrittenError, OptionError

VIDEOS = "20bn-something-something-v2"
STYLES = ("neon", "relief")
CHUNK = 3 * 32 * 40 / 1e6
"""Megapixels of three frames."""

Undisturbed = dict[str, bytes]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("source") / "shapes"
    return write_moving_shapes(
        root, 2, 4, 1, num_classes=2, num_frames=8, height=32, width=40, num_workers=2, progress=False
    )


@pytest.fixture(scope="module")
def undisturbed(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    output = tmp_path_factory.mktemp("undisturbed") / "out"
    stylize(source, output, chunk_megapixels=CHUNK)
    return frames_in(output)


def check_whole(output: Path, undisturbed: Undisturbed) -> set[str]:
    """Assert that every folder with a final name is whole; return them."""
    folders = {str(Path(name).parent) for name in frames_in(output) if "/." not in name}
    for folder in folders:
        own = {name: content for name, content in undisturbed.items() if str(Path(name).parent) == folder}
        assert {name: content for name, content in frames_in(output).items() if str(Path(name).parent) == folder} == own
    return folders


def failing(after: int, error: BaseException) -> Callable[..., None]:
    """A function that writes frames, and raises after so many."""
    write, count = styled_frames_writer._write, 0

    def fail(*arguments: Any) -> None:
        nonlocal count
        count += 1
        if count > after:
            raise error
        write(*arguments)

    return fail


def test_lossless_frames_are_the_styled_decoded_frames_to_the_bit(source: Path, tmp_path: Path) -> None:
    _, writer = stylize(source, tmp_path / "out", pattern=PNG, chunk_megapixels=CHUNK)
    stylize(source, tmp_path / "whole", pattern=PNG)
    assert frames_in(tmp_path / "out") == frames_in(tmp_path / "whole")
    names = [path.name for path in (tmp_path / "out/style_1").iterdir()]
    assert (writer.num_videos, writer.num_frames, writer.skipped) == (4, 4 * 8 * 2, {})
    assert len(names) == 4
    for name in names:
        frames = decoded(source / VIDEOS / f"{name}.webm")
        for k, style in enumerate(STYLES, start=1):
            folder = tmp_path / f"out/style_{k}/{name}"
            assert sorted(path.name for path in folder.iterdir()) == [f"{n:06d}.png" for n in range(1, 9)]
            found = np.stack([pixels(folder / f"{n:06d}.png") for n in range(1, 9)])
            np.testing.assert_array_equal(found, rendered(frames, style))


def test_jpeg_frames_are_the_same_up_to_compression_and_finer_with_more_quality(
    source: Path, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    for quality in (95, 30):
        stylize(source, tmp_path / f"{quality}", quality=quality)
    stylize(source, tmp_path / "png", pattern=PNG)
    assert frames_in(tmp_path / "95") == undisturbed  # in chunks or whole
    errors = {
        quality: [
            float(
                np.abs(
                    pixels(tmp_path / quality / name).astype(float)
                    - pixels((tmp_path / "png" / name).with_suffix(".png"))
                ).mean()
            )
            for name in undisturbed
        ]
        for quality in ("95", "30")
    }
    assert len(errors["95"]) == 64
    assert 0 < max(errors["95"]) < 10
    assert all(fine < coarse for fine, coarse in zip(errors["95"], errors["30"], strict=True))


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Lightning ignores further interrupts while it ends; afterwards the tests can be interrupted again."""
    handler = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, handler)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), RuntimeError("anything")])
def test_a_run_that_is_ended_leaves_whole_videos_only_and_goes_on_to_the_same_bytes(
    error: BaseException, source: Path, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    class Ending(StyledFramesWriter):
        def write_on_batch_end(self, trainer: Any, pl_module: Any, prediction: Any, *others: Any) -> None:
            super().write_on_batch_end(trainer, pl_module, prediction, *others)
            if others[2] == 4:  # the second chunk of the second video is being written
                raise error

    with pytest.raises((type(error), SystemExit)):
        stylize(source, tmp_path / "out", writer=Ending(2, progress=False), chunk_megapixels=CHUNK)
    assert len(check_whole(tmp_path / "out", undisturbed)) == 2
    assert hidden_in(tmp_path / "out") == []
    data, writer = stylize(source, tmp_path / "out", chunk_megapixels=CHUNK)
    assert (data.num_finished, writer.num_videos) == (1, 3)
    assert frames_in(tmp_path / "out") == undisturbed


_KILLED = """
import os, signal, sys
from pathlib import Path
from staticdropout.callbacks import styled_frames_writer
from styled_copies import stylize
write, count = styled_frames_writer._write, 0
def kill(*arguments):
    global count
    count += 1
    write(*arguments)
    if count == 27:
        os.kill(os.getpid(), signal.SIGKILL)
styled_frames_writer._write = kill
stylize(Path(sys.argv[1]), Path(sys.argv[2]), chunk_megapixels=float(sys.argv[3]))
"""


def test_a_run_that_is_killed_leaves_no_half_video_with_a_final_name_and_goes_on(
    source: Path, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    support = str(Path(__file__).parents[1] / "support")
    paths = os.pathsep.join([support, os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", _KILLED, str(source), str(tmp_path / "out"), str(CHUNK)]
    ended = subprocess.run(command, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, check=False)
    assert ended.returncode == -9, ended.stderr.decode()
    before = frames_in(tmp_path / "out")
    assert len(check_whole(tmp_path / "out", undisturbed)) == 2
    assert len([name for name in hidden_in(tmp_path / "out") if name.endswith(".unfinished")]) == 2
    assert 16 < len(before) <= 27
    data, _ = stylize(source, tmp_path / "out", chunk_megapixels=CHUNK)
    assert data.num_finished == 1
    assert frames_in(tmp_path / "out") == undisturbed
    assert hidden_in(tmp_path / "out") == []


def test_a_full_disk_is_one_clear_error_and_costs_no_whole_video(
    source: Path, undisturbed: Undisturbed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with monkeypatch.context() as patched:
        patched.setattr(styled_frames_writer, "_write", failing(38, full))
        with pytest.raises(FramesNotWrittenError) as refused:
            stylize(source, tmp_path / "out", chunk_megapixels=CHUNK)
    message = str(refused.value)
    for said in (str(tmp_path / "out"), "No space left on device", "2 videos by this process", "same command"):
        assert said in message
    assert len(check_whole(tmp_path / "out", undisturbed)) == 4
    assert hidden_in(tmp_path / "out") == []
    stylize(source, tmp_path / "out", chunk_megapixels=CHUNK)
    assert frames_in(tmp_path / "out") == undisturbed


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few pages."""
    place = tmp_path / "tiny"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(place)]
    if os.getuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a tiny file system takes root and the right to mount")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)  # noqa: S607 - whichever there is


def test_a_file_system_without_space_does_the_same(source: Path, undisturbed: Undisturbed, tiny_disk: Path) -> None:
    output = tiny_disk / "out"
    with pytest.raises(FramesNotWrittenError, match="No space left on device"):
        stylize(source, output, chunk_megapixels=CHUNK)
    assert 0 < len(check_whole(output, undisturbed)) < 8
    assert hidden_in(output) == []


def test_a_folder_that_cannot_be_made_is_the_same_error(source: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "style_2").touch()
    with pytest.raises(FramesNotWrittenError, match=r"Not a directory|File exists"):
        stylize(source, tmp_path / "out", chunk_megapixels=CHUNK)


def test_a_video_that_another_run_finished_meanwhile_stays(
    source: Path, undisturbed: Undisturbed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = VideoFolders.begin

    def with_another(self: Any) -> None:
        begin(self)
        for target in self.targets:
            target.mkdir()
            (target / "000001.jpg").touch()

    monkeypatch.setattr(VideoFolders, "begin", with_another)
    stylize(source, tmp_path / "out", chunk_megapixels=CHUNK)
    assert len(frames_in(tmp_path / "out")) == 8
    assert set(frames_in(tmp_path / "out").values()) == {b""}  # those of the other run
    assert hidden_in(tmp_path / "out") == []


def test_a_folder_in_the_way_that_holds_no_frame_of_the_video_costs_no_frames_in_silence(
    source: Path, tmp_path: Path
) -> None:
    in_the_way = tmp_path / "out" / "style_2" / list_videos(source).videos[0].name / "another_video" / "notes.txt"
    in_the_way.parent.mkdir(parents=True)
    in_the_way.touch()
    with pytest.raises(FramesNotWrittenError, match=r"not empty|exists"):
        stylize(source, tmp_path / "out", chunk_megapixels=CHUNK)
    assert in_the_way.exists()
    shutil.rmtree(in_the_way.parents[1])
    in_the_way.parents[1].mkdir()  # an empty folder is no video either
    data, _ = stylize(source, tmp_path / "out", chunk_megapixels=CHUNK)
    assert data.num_finished == 0
    assert len(frames_in(tmp_path / "out")) == 64


def test_a_name_as_long_as_the_file_system_allows_is_no_hindrance(tmp_path: Path) -> None:
    folder = VideoFolders([str(tmp_path / ("é" * 127))])
    folder.begin()
    (folder.places[0] / "000001.jpg").touch()
    folder.finish()
    assert [path.name for path in tmp_path.iterdir()] == ["é" * 127]


def test_broken_videos_are_counted_and_listed_and_made_when_they_are_mended(
    source: Path, undisturbed: Undisturbed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, output = tmp_path / "data", tmp_path / "out"
    shutil.copytree(source, root)
    names = sorted({name.split("/")[1] for name in undisturbed})
    (root / VIDEOS / f"{names[1]}.webm").write_bytes(b"\x1a\x45\xdf\xa3 not a video")
    (root / VIDEOS / f"{names[2]}.webm").write_bytes(b"")
    _, writer = stylize(root, output, chunk_megapixels=CHUNK)
    assert list(writer.skipped) == names[1:3]
    assert check_whole(output, undisturbed) == {f"style_{k}/{name}" for k in (1, 2) for name in (names[0], names[3])}
    table = (output / "skipped.csv").read_text().splitlines()
    assert table[0] == "video,reason"
    assert table[2] == f"{names[2]},the file is empty (0 bytes)"
    said = capsys.readouterr().out
    assert "2 videos styled, 32 frames" in said
    assert "2 skipped" in said
    assert names[1] in said
    shutil.copytree(source, root, dirs_exist_ok=True)
    stylize(root, output, chunk_megapixels=CHUNK)
    assert frames_in(output) == undisturbed
    assert not (output / "skipped.csv").exists()


def test_what_was_written_of_a_video_that_breaks_in_the_middle_is_removed(source: Path, tmp_path: Path) -> None:
    frames = tmp_path / "frames"
    for name in ("good", "broken"):
        (frames / name).mkdir(parents=True)
        for number, frame in enumerate(decoded(next((source / VIDEOS).iterdir()))):
            styled_frames_writer._write(frames / name / f"{number}.jpg", frame, 95)
    (frames / "broken" / "6.jpg").write_bytes(b"not a picture")
    _, writer = stylize(frames, tmp_path / "out", chunk_megapixels=CHUNK)
    assert list(writer.skipped) == ["broken"]
    assert {Path(name).parent.name for name in frames_in(tmp_path / "out")} == {"good"}
    assert hidden_in(tmp_path / "out") == []


def test_it_shows_the_videos_that_are_done_and_says_what_it_wrote(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stylize(source, tmp_path / "out", writer=StyledFramesWriter(1))
    said = capsys.readouterr()
    assert "4/4" in said.err
    assert "frames/s" in said.err
    assert "4 videos styled, 64 frames in" in said.out


def test_frames_are_not_kept_in_memory_even_if_predictions_are_asked_for(source: Path, tmp_path: Path) -> None:
    kept: list[int] = []

    class Watching(StyledFramesWriter):
        def on_predict_end(self, trainer: Trainer, pl_module: Any) -> None:
            kept.append(sum(map(len, trainer.predict_loop._predictions)))
            super().on_predict_end(trainer, pl_module)

    original = Trainer.predict

    def asking(self: Trainer, *arguments: Any, **options: Any) -> Any:
        return original(self, *arguments, **options | {"return_predictions": True})

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Trainer, "predict", asking)
        stylize(source, tmp_path / "out", writer=Watching(1, progress=False))
    assert kept == [0]


def test_threads_are_at_least_one() -> None:
    with pytest.raises(OptionError, match="num_threads"):
        StyledFramesWriter(num_threads=0)


def test_everything_that_is_left_is_frames_and_the_file_about_them(
    undisturbed: Undisturbed, source: Path, tmp_path: Path
) -> None:
    stylize(source, tmp_path / "out")
    assert files_in(tmp_path / "out").keys() - undisturbed.keys() == {"styles.json"}

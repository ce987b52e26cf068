# SPDX-License-Identifier: Apache-2.0
"""A reader that hangs is given up on, here and in the workers of a DataLoader, and nothing waits for it at the end."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset
from video_probe import decoders

from staticdropout.datamodules import READERS, EvalTransform, open_video
from staticdropout.datamodules.readers import limited_reader, time_limit
from staticdropout.datamodules.readers.base import Frames, Indices
from staticdropout.datamodules.readers.time_limit import TimeLimitError, run_within, time_limit_in_seconds
from staticdropout.datamodules.video_dataset import Entry, VideoCollate, VideoDataset
from staticdropout.errors import OptionError, VideoDecodeError

LIMIT = 0.1
ROOT = Path(time_limit.__file__).parents[2]


class Hanging:
    """A reader that hangs when it opens ``opening*``, and when it reads ``reading*``, until it is let go."""

    fps = 12.0
    go = threading.Event()
    threads: ClassVar[list[str]] = []

    def __init__(self, path: str | Path, short_side: int | None = None) -> None:
        self.path = Path(path)
        self.threads.append(threading.current_thread().name)
        if self.path.name.startswith("opening"):
            self.go.wait(30)

    @staticmethod
    def require() -> None:
        """Always there."""

    def __len__(self) -> int:
        return 7

    def get_batch(self, indices: Indices) -> Frames:
        if self.path.name.startswith("reading"):
            self.go.wait(30)
        if self.path.name.startswith("broken"):
            raise VideoDecodeError(self.path, "hanging", "it is broken", "Mend it.")
        return np.full((len(indices), 8, 8, 3), 5, np.uint8)


@pytest.fixture(autouse=True)
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(READERS, "hanging", Hanging)
    monkeypatch.setattr(Hanging, "go", threading.Event())
    monkeypatch.setattr(Hanging, "threads", [])
    yield
    Hanging.go.set()  # lets the threads end their call


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    paths = {name: tmp_path / f"{name}.webm" for name in ("opening", "reading", "broken", "sound")}
    for path in paths.values():
        path.write_bytes(b"1")
    return paths


def test_a_reader_that_hangs_while_opening_is_a_read_error_with_all_it_needs(files: dict[str, Path]) -> None:
    start = time.monotonic()
    with pytest.raises(VideoDecodeError, match=r"longer than 0\.1 seconds to be opened") as caught:
        open_video(files["opening"], "hanging", time_limit=LIMIT)
    assert LIMIT <= time.monotonic() - start < 5
    error = caught.value
    assert (error.path, error.reader) == (str(files["opening"]), "hanging")
    assert "STATICDROPOUT_VIDEO_TIMEOUT" in error.hint


def test_a_reader_that_hangs_while_reading_is_a_read_error(files: dict[str, Path]) -> None:
    video = open_video(files["reading"], "hanging", time_limit=LIMIT)
    assert len(video) == 7
    with pytest.raises(VideoDecodeError, match="to read 2 frames"):
        video.get_batch([0, 1])


def test_a_file_that_hangs_is_refused_until_it_comes_back_and_others_are_not(files: dict[str, Path]) -> None:
    with pytest.raises(VideoDecodeError, match="longer than"):
        open_video(files["opening"], "hanging", time_limit=LIMIT)
    start = time.monotonic()
    for _ in range(20):
        with pytest.raises(VideoDecodeError, match="an earlier attempt"):
            open_video(files["opening"], "hanging", time_limit=5)
    assert time.monotonic() - start < 3
    assert len(open_video(files["sound"], "hanging", time_limit=5)) == 7
    Hanging.go.set()
    for _ in range(1000):
        try:
            assert len(open_video(files["opening"], "hanging", time_limit=5)) == 7
            break
        except VideoDecodeError:
            time.sleep(0.002)
    else:
        pytest.fail("the file is still refused")


def test_one_thread_serves_call_after_call_and_keeps_nothing_alive(files: dict[str, Path]) -> None:
    open_video(files["sound"], "hanging")
    before = threading.active_count()
    for _ in range(20):
        open_video(files["sound"], "hanging").get_batch([1])
    assert threading.active_count() <= before
    assert set(Hanging.threads) == {"staticdropout-reader"}
    assert all(thread.daemon for thread in threading.enumerate() if thread.name == "staticdropout-reader")


def test_without_a_limit_the_reader_runs_in_the_thread_that_calls(files: dict[str, Path]) -> None:
    open_video(files["sound"], "hanging", time_limit=0).get_batch([1])
    assert Hanging.threads == [threading.current_thread().name]


def test_errors_of_the_reader_come_through_as_they_are(files: dict[str, Path]) -> None:
    with pytest.raises(VideoDecodeError, match=r"it is broken. Mend it\."):
        open_video(files["broken"], "hanging").get_batch([0])
    with pytest.raises(KeyError, match="what the function raises"):
        run_within(5, "key", lambda: dict[str, int]()["what the function raises"])


def test_more_than_64_frames_have_proportionally_more_time(
    files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = []

    def run(seconds: float, key: str, function: Callable[[], Any]) -> Any:
        limits.append(seconds)
        return function()

    monkeypatch.setattr(limited_reader, "run_within", run)
    video = open_video(files["sound"], "hanging", time_limit=3)
    for count in (1, 64, 160):
        video.get_batch([0] * count)
    assert limits == [3, 3, 3, 7.5]


def test_the_environment_sets_the_limit_and_an_argument_goes_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STATICDROPOUT_VIDEO_TIMEOUT", raising=False)
    assert time_limit_in_seconds() == 60
    monkeypatch.setenv("STATICDROPOUT_VIDEO_TIMEOUT", "2.5")
    assert time_limit_in_seconds() == 2.5
    assert time_limit_in_seconds(7) == 7
    monkeypatch.setenv("STATICDROPOUT_VIDEO_TIMEOUT", "0")
    assert time_limit_in_seconds() == 0
    monkeypatch.setenv("STATICDROPOUT_VIDEO_TIMEOUT", "inf")
    assert time_limit_in_seconds() == 0


@pytest.mark.parametrize("value", ["soon", "-1", "nan"])
def test_a_limit_that_is_no_number_of_seconds_is_an_option_error(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATICDROPOUT_VIDEO_TIMEOUT", value)
    with pytest.raises(OptionError, match=f"STATICDROPOUT_VIDEO_TIMEOUT must be a number of seconds.*{value}"):
        time_limit_in_seconds()
    with pytest.raises(OptionError, match="time_limit must be"):
        time_limit_in_seconds(float("nan"))


def dataset(files: dict[str, Path]) -> VideoDataset:
    entries = [Entry(name, files[name], label) for label, name in enumerate(("sound", "opening", "reading", "broken"))]
    transform = EvalTransform(8, short_side=8)
    return VideoDataset(entries, transform, num_frames=2, reader="hanging", on_error="skip")


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_loader_skips_videos_that_hang_and_its_workers_end(
    files: dict[str, Path], num_workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATICDROPOUT_VIDEO_TIMEOUT", str(LIMIT))
    open_video(files["sound"], "hanging")  # the parent has a helper thread, which its forked workers have not
    data = dataset(files)
    loader = DataLoader(
        data,
        batch_size=2,
        num_workers=num_workers,
        collate_fn=VideoCollate(data.item_shape),
        timeout=60 * (num_workers > 0),
    )
    start, batches = time.monotonic(), list(loader)
    assert [name for batch in batches for name in batch["id"]] == ["sound"]
    skipped = dict(pair for batch in batches for pair in batch["skipped"])
    assert set(skipped) == {"opening", "reading", "broken"}
    assert "longer than" in skipped["opening"]
    assert "longer than" in skipped["reading"]
    del loader
    assert time.monotonic() - start < 20


class Opened(Dataset[torch.Tensor]):
    """Readers opened in the parent, which decord alone does not survive in a forked worker (dmlc/decord#294)."""

    def __init__(self, path: Path, reader: str) -> None:
        self.video = open_video(path, reader=reader, time_limit=30)
        self.video.get_batch([0])

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.from_numpy(self.video.get_batch([index, 9 - index]))


@pytest.mark.parametrize("reader", ["decord", "pyav"])
def test_a_reader_that_was_opened_in_the_parent_works_in_workers(shapes_root: Path, reader: str) -> None:
    data = Opened(next((shapes_root / "20bn-something-something-v2").iterdir()), reader)
    expected = [data[i] for i in range(len(data))]
    loader = DataLoader(data, batch_size=None, num_workers=2, multiprocessing_context="fork", timeout=60)
    assert all(torch.equal(frames, one) for frames, one in zip(loader, expected, strict=True))
    assert torch.equal(data[1], expected[1])


def forget(readers: list[Any]) -> None:
    readers.clear()
    gc.collect()


@pytest.mark.parametrize("reader", decoders())
def test_a_worker_can_forget_the_readers_of_its_parent(shapes_root: Path, reader: str) -> None:
    path = next((shapes_root / "20bn-something-something-v2").iterdir())
    readers = [READERS[reader](path) for _ in range(3)]
    assert [len(one.get_batch([4])) for one in readers] == [1, 1, 1]
    worker = multiprocessing.get_context("fork").Process(target=forget, args=(readers,))
    worker.start()
    worker.join(20)
    hangs = worker.is_alive()
    worker.kill()
    assert not hangs
    assert worker.exitcode == 0


def test_an_error_keeps_no_reader_alive(files: dict[str, Path]) -> None:
    inside = weakref.WeakSet[Hanging]()

    class Watched(Hanging):
        def __init__(self, path: str | Path, short_side: int | None = None) -> None:
            super().__init__(path, short_side)
            inside.add(self)

    READERS["hanging"] = Watched
    gc.disable()
    try:
        with contextlib.suppress(VideoDecodeError):
            open_video(files["broken"], "hanging").get_batch([0])
        run_within(5, "another call", lambda: None)  # the helper lets go of a call when the next one comes
        assert not len(inside)
    finally:
        gc.enable()


def test_a_reader_can_be_sent_to_another_process(shapes_root: Path) -> None:
    video = open_video(next((shapes_root / "20bn-something-something-v2").iterdir()), short_side=16)
    other = pickle.loads(pickle.dumps(video))
    np.testing.assert_array_equal(other.get_batch([3, 1]), video.get_batch([3, 1]))


# the module and what it imports, without the rest of the package, which takes seconds to load
ALONE = """
import sys, threading, types
root = sys.argv[1]
for name, folder in (("", ""), (".datamodules", "/datamodules"), (".datamodules.readers", "/datamodules/readers")):
    package = types.ModuleType("staticdropout" + name)
    package.__path__ = [root + folder]
    sys.modules["staticdropout" + name] = package
from staticdropout.datamodules.readers.time_limit import TimeLimitError, run_within
try:
    run_within(0.05, "key", WAIT)
except TimeLimitError as error:
    print("given up:", error)
"""


@pytest.mark.parametrize(
    "wait", ["threading.Event().wait", "lambda: open(sys.argv[2])"], ids=["a lock", "a pipe that nobody writes to"]
)
def test_the_interpreter_ends_though_a_call_never_comes_back(tmp_path: Path, wait: str) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    done = subprocess.run(
        [sys.executable, "-c", ALONE.replace("WAIT", wait), str(ROOT), str(pipe)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "given up: no answer in time", "")


def test_a_pipe_that_nobody_writes_to_is_given_up_on_by_every_reader(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.webm"
    os.mkfifo(pipe)
    with pytest.raises(VideoDecodeError, match="longer than"):
        open_video(pipe, time_limit=LIMIT)
    os.close(os.open(pipe, os.O_RDWR | os.O_NONBLOCK))  # lets the thread go


def test_a_wait_that_is_interrupted_leaves_nothing_behind_for_the_next_call(monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted(SimpleQueue[Any]):
        def get(self, block: bool = True, timeout: float | None = None) -> Any:
            if timeout:
                raise KeyboardInterrupt
            return super().get(block, timeout)

    go = threading.Event()
    with monkeypatch.context() as patch:
        patch.setattr(time_limit, "SimpleQueue", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_within(5, "interrupted", lambda: go.wait(30))
    with pytest.raises(TimeLimitError, match="earlier"):
        run_within(5, "interrupted", lambda: 1)
    assert run_within(5, "another", lambda: 2) == 2
    go.set()

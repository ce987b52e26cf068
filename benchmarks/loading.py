# SPDX-License-Identifier: Apache-2.0
"""How fast clips of 8 frames at 112x112 come out of videos like those of Something-Something V2, and what takes time.

Videos: VP9 in WebM, 427x240, 12 frames a second, 24 to 72 frames, one key frame; generated (``loading_videos.py``), or
those of ``--data ROOT`` in the official layout. A clip has one random frame from each eighth of a video, and a random
crop after scaling the shorter side to 128 to 160 pixels, as in training.

``loading.csv``: clips a second through the DataLoader of SSv2DataModule, batches of 8, all threads of decoders off.

- ``way``: ``segments``, as the data module does it; ``window``, the same with eight frames at a distance of two
  (``--data.sampling dense``); or ``every frame``, the plain way to ``segments`` with the same library: read all frames,
  take eight, transform those. ``size by decoding`` is ``segments`` where readers do not take the size of pictures from
  the first bytes of a file;
- ``videos``: ``original``; ``key frame every 8`` and ``160 px high``, the same videos encoded again; or ``jpeg``, their
  frames as files, for the reader ``frames``;
- ``speedup`` is over ``every frame`` with the same reader and workers (median over rounds, with lowest and highest),
  ``over_original`` over the original videos in the same way. In one process (0 workers) both are of processor time, as
  ``cpu_ms_a_clip`` is; with workers they are of the time on the clock.

``loading_parts.csv``: where the processors' milliseconds for a clip go, in one process.

``loading_training.csv``: a Trainer on resnet3d_r18, batch size 8: time of a step, and the share of it in which the loop
waits for its batch. ``memory`` is the same training with its clips in memory, ``over_memory`` the step over that one.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from common import RESULTS, environment, in_turns, report, spread
from loading_parts import measure_parts
from loading_training import measure_training
from loading_videos import megabytes, rewrite, write_frames, write_like_ssv2
from loading_ways import SHORT_SIDE, data_module, epoch, plain_loader

from staticdropout.datamodules import READERS
from staticdropout.datamodules.readers.traits import Traits
from staticdropout.errors import ReaderNotAvailableError

SEGMENTS, WINDOW, PLAIN, ASKING = "segments", "window", "every frame", "size by decoding"


class Counted:
    """A call that also adds up the time of processors that its process takes."""

    def __init__(self, call: Callable[[], int]) -> None:
        self.call, self.clips, self.cpu = call, 0, list[float]()

    def __call__(self) -> None:
        start = time.process_time()
        self.clips = self.call()
        self.cpu.append(time.process_time() - start)


def asking(call: Callable[[], int]) -> Callable[[], int]:
    """The call where readers have to decode a frame to know its size."""

    def called() -> int:
        with mock.patch.object(Traits, "picture", None):
            return call()

    return called


def ways_of(roots: dict[str, Path], reader: str, workers: int) -> dict[str, Counted]:
    """All that is measured with one reader: ``"how/videos"`` and an epoch of it."""
    ways = {}
    for videos, root in roots.items():
        if (videos == "jpeg") == (reader == "frames"):
            data = data_module(root, reader, workers)
            ways[f"{SEGMENTS}/{videos}"] = Counted(epoch(data.train_dataloader()))
            if videos == "original" and reader != "pyav" and not workers:
                ways[f"{ASKING}/{videos}"] = Counted(asking(epoch(data.train_dataloader())))
            if videos in ("original", "key frame every 8"):
                window = data_module(root, reader, workers, "dense")
                ways[f"{WINDOW}/{videos}"] = Counted(epoch(window.train_dataloader()))
            if videos in ("original", "jpeg"):
                ways[f"{PLAIN}/{videos}"] = Counted(epoch(plain_loader(data, workers)))
    return ways


def rows_of(
    times: dict[str, list[float]], clips: dict[str, int], cpu: dict[str, list[float]], **setting: Any
) -> list[dict[str, Any]]:
    """Rows of one reader and number of workers.

    Args:
        times: seconds of every round, by ``"how/videos"``.
        clips: in a round.
        cpu: processor seconds of every round, for the ratios; empty where workers have taken them: then of ``times``.
        **setting: reader and workers.
    """
    rows: list[dict[str, Any]] = []
    costs = cpu or times
    for name, taken in costs.items():
        way, videos = name.split("/")
        row = {"videos": videos, "way": way, **setting}
        row["clips_per_s"] = round(clips[name] / statistics.median(times[name]), 1)
        row["cpu_ms_a_clip"] = round(statistics.median(taken) / clips[name] * 1000, 2) if cpu else ""
        plain, original = costs.get(f"{PLAIN}/{videos}"), costs.get(f"{way}/original")
        if way == SEGMENTS and plain:
            gain = spread(plain, taken)
            row |= {"speedup": gain["ratio"], "lowest": gain["lowest"], "highest": gain["highest"]}
        if original and videos != "original":
            row["over_original"] = spread(original, taken)["ratio"]
        rows.append(row)
    return rows


def measure_loading(
    roots: dict[str, Path], readers: list[str], workers: list[int], repeats: int
) -> list[dict[str, Any]]:
    """Rows of clips a second: all ways of a reader in turns."""
    rows: list[dict[str, Any]] = []
    sizes = {videos: round(megabytes(root), 1) for videos, root in roots.items()}
    for count, reader in itertools.product(workers, readers):
        ways = ways_of(roots, reader, count)
        times = in_turns(ways, repeats)
        cpu = {name: way.cpu[1:] for name, way in ways.items()} if count == 0 else {}  # the first round is a warm-up
        rows += rows_of(times, {name: way.clips for name, way in ways.items()}, cpu, reader=reader, workers=count)
        ways.clear()  # ends the workers
    return [{**row, "megabytes": sizes[row["videos"]]} for row in rows]


def available() -> list[str]:
    """The readers that are installed."""
    found = []
    for name, reader in READERS.items():
        try:
            reader.require()
        except ReaderNotAvailableError:
            continue
        found.append(name)
    return found


def videos(folder: Path, data: Path | None, count: int) -> dict[str, Path]:
    """The videos in all forms. PyAV's encoder fails once decord has been imported, so this comes first."""
    original = data or write_like_ssv2(folder / "original", count)
    return {
        "original": original,
        "key frame every 8": rewrite(original, folder / "dense", interval=8),
        "160 px high": rewrite(original, folder / "small", short_side=max(SHORT_SIDE)),
        "jpeg": write_frames(original, folder / "jpeg"),
    }


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="real videos in the layout of Something-Something V2")
    parser.add_argument("--videos", type=int, default=48, help="number of generated videos")
    parser.add_argument("--readers", nargs="+", default=available())
    parser.add_argument("--workers", nargs="+", type=int, default=[0, 2])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=8, help="training steps that are timed; 0: no training")
    parser.add_argument("--device", default="cpu", help="of the training; videos are decoded on the CPU")
    parser.add_argument("--output", type=Path, default=RESULTS / "loading.csv")
    options = parser.parse_args()
    threads, about = torch.get_num_threads(), {"precision": "uint8", "layout": "BCTHW"}
    about["input"] = "real videos" if options.data else f"{options.videos} generated videos"

    def output(part: str) -> Path:
        return Path(options.output).with_name(f"{options.output.stem}_{part}.csv")

    with tempfile.TemporaryDirectory() as folder:
        roots = videos(Path(folder), options.data, options.videos)
        natural = {reader: roots["jpeg" if reader == "frames" else "original"] for reader in options.readers}
        torch.set_num_threads(1)
        rows = measure_loading(roots, options.readers, options.workers, options.repeats)
        report(rows, environment("cpu", **about), options.output)
        rows = [row for reader, root in natural.items() for row in measure_parts(root, reader, options.repeats)]
        report(rows, environment("cpu", **about), output("parts"))
        if options.steps:
            torch.set_num_threads(threads)
            settings = itertools.product(options.readers, options.workers)
            modules = {(reader, count): data_module(natural[reader], reader, count) for reader, count in settings}
            rows = measure_training(modules, options.steps, options.device)
            about |= {"precision": "float32", "network": "resnet3d_r18"}
            report(rows, environment(options.device, **about), output("training"))


if __name__ == "__main__":
    main()

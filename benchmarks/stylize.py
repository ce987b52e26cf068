# SPDX-License-Identifier: Apache-2.0
"""How fast ``staticdropout data stylize`` is, beside what reading, styling and writing alone take.

The videos are those of Something-Something V2 (of the small piece below ``STATICDROPOUT_TEST_DATA``, or of a data set
given with ``--data``, those of at most 240 lines; generated ones where there is neither), in the four default styles.
One row a part:

- ``data stylize``: the whole command, into an empty folder: starting the Trainer, and the three parts side by side;
- ``reading``: decoding the videos, in this process;
- ``styling``: rendering chunks that are in memory, in all styles;
- ``writing``: encoding and writing frames that are in memory, by the threads of the writer.

``frames_per_s`` counts the frames that come in, ``styled_per_s`` those that come out. ``share`` is the time of a part
over that of the whole command: the median of neighbouring measurements, with the lowest and the highest; they add up to
more than 1 where parts run beside each other. ``file_kb`` is the mean size of a frame's file (10^3 bytes).

Run: ``python benchmarks/stylize.py`` (about 1 minute on two cores).
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import shutil
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from parts.common import RESULTS, HelpFormatter, environment, in_turns, report, spread
from parts.options import add_device

from staticdropout.callbacks.styled_frames_writer import StyledFramesWriter
from staticdropout.datamodules import open_video, write_moving_shapes
from staticdropout.datamodules.style_sources import list_videos
from staticdropout.datamodules.whole_videos import WholeVideoDataModule
from staticdropout.lightning_modules.video_stylizer import VideoStylizer
from staticdropout.perturbations.styles.style_set import DEFAULT_STYLES
from staticdropout.verbs.stylize import stylize_data

DATA = os.environ.get("STATICDROPOUT_TEST_DATA", str(Path(__file__).parents[2] / "shared" / "data"))
WHOLE = "data stylize"
LINES = 240

Chunks = list[dict[str, Any]]


def source(given: Path | None, folder: Path) -> tuple[Path, str]:
    """The data set, and what the column ``input`` says of it."""
    found = given or Path(DATA) / "ssv2_mini"
    if not found.is_dir():
        made = write_moving_shapes(folder / "shapes", 1, 12, 1, num_frames=40, height=240, width=320, progress=False)
        return made / "20bn-something-something-v2", "generated videos"
    links = folder / "videos"
    links.mkdir()
    for video in list_videos(found, splits=["all"]).videos:
        if open_video(video.path).get_batch([0]).shape[1] <= LINES:
            (links / video.path.name).symlink_to(video.path.resolve())
    return links, found.name


class Parts:
    """The three parts of the command, each by itself, over what the one before it gave.

    Args:
        root: the data set.
        limit: videos.
        threads: of the writer.
        quality: of JPEG.
        device: for the styles.
    """

    def __init__(self, root: Path, limit: int, threads: int | None, quality: int, device: str) -> None:
        self.root, self.limit, self.quality, self.device = root, limit, quality, device
        self.threads = StyledFramesWriter(threads).num_threads
        self.stylizer = VideoStylizer(DEFAULT_STYLES)
        self.chunks = self.read()
        self.styled = self.style()

    def read(self) -> Chunks:
        """All chunks of the videos."""
        data = WholeVideoDataModule(str(self.root), "nowhere", limit=self.limit, num_workers=0)
        data.setup("predict")
        return [chunk for chunk in data.predict_dataloader() if "video" in chunk]

    @torch.inference_mode()
    def style(self) -> list[dict[int, torch.Tensor]]:
        """The chunks in all styles."""
        moved = ({**chunk, "video": chunk["video"].to(self.device)} for chunk in self.chunks)
        rendered = (self.stylizer.predict_step(chunk, number) for number, chunk in enumerate(moved))
        return [{style: frames.cpu() for style, frames in chunk.items()} for chunk in rendered]

    def write(self, folder: Path) -> None:
        """The styled chunks as files."""
        from staticdropout.callbacks.styled_frames_writer import _write

        shutil.rmtree(folder, ignore_errors=True)
        with ThreadPoolExecutor(self.threads) as pool:
            writing = []
            for chunk, styled in zip(self.chunks, self.styled, strict=True):
                for style, files in zip(chunk["styles"], chunk["files"], strict=True):
                    place = folder / f"style_{style}" / chunk["id"]
                    place.mkdir(parents=True, exist_ok=True)
                    frames = zip(styled[style].numpy(), files, strict=True)
                    writing += [pool.submit(_write, place / file, frame, self.quality) for frame, file in frames]
            for one in writing:
                one.result()


def rows_of(times: Mapping[str, Sequence[float]], frames: int, styles: int, file_kb: float) -> list[dict[str, Any]]:
    """A row for each part.

    Args:
        times: seconds of every round, by part.
        frames: frames that come in.
        styles: number of styles.
        file_kb: mean size of a file.
    """
    rows = []
    for part, taken in times.items():
        middle, found = statistics.median(taken), spread(taken, times[WHOLE])
        row = {"part": part, "seconds": round(middle, 2), "frames_per_s": round(frames / middle, 1)}
        row["styled_per_s"] = "" if part == "reading" else round(styles * frames / middle, 1)
        row |= {"share": found["ratio"], "lowest": found["lowest"], "highest": found["highest"]}
        rows.append({**row, "file_kb": round(file_kb, 1) if part in (WHOLE, "writing") else ""})
    return rows


def command(root: Path, output: Path, options: argparse.Namespace) -> None:
    """The whole command, into an empty folder, without its line on what it did."""
    shutil.rmtree(output, ignore_errors=True)
    number = options.device.partition(":")[2]
    place = {"accelerator": "gpu", "devices": f"{number},"} if number else {"accelerator": "cpu", "devices": 1}
    with contextlib.redirect_stdout(io.StringIO()):
        stylize_data(
            str(root),
            str(output),
            limit=options.limit,
            quality=options.quality,
            workers=options.workers,
            threads=options.threads,
            progress=False,
            **place,
        )


def measure(options: argparse.Namespace) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """All rows, and what they have in common."""
    with tempfile.TemporaryDirectory() as scratch:
        root, name = source(options.data, Path(scratch))
        parts = Parts(root, options.limit, options.threads, options.quality, options.device)
        out, written = Path(scratch, "out"), Path(scratch, "written")
        ways = {
            WHOLE: lambda: command(root, out, options),
            "reading": parts.read,
            "styling": parts.style,
            "writing": lambda: parts.write(written),
        }
        times = in_turns(ways, options.repeats, options.device)
        sizes = [file.stat().st_size for file in out.rglob("*.jpg")]
    frames = sum(chunk["video"].shape[2] for chunk in parts.chunks)
    if len(sizes) != frames * len(DEFAULT_STYLES):
        raise RuntimeError(f"{len(sizes)} files were written of {frames} frames.")
    videos = len({chunk["id"] for chunk in parts.chunks})
    height, width = parts.chunks[0]["video"].shape[3:]
    about = {
        "input": f"{name}: {videos} videos, {frames} frames, the first {width}x{height}",
        "styles": " ".join(DEFAULT_STYLES),
        "quality": options.quality,
        "workers": options.workers,
        "writer_threads": parts.threads,
    }
    return rows_of(times, frames, len(DEFAULT_STYLES), statistics.mean(sizes) / 1000), about


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of a data set; by default the small real one")
    parser.add_argument("--limit", type=int, default=6, help="videos")
    parser.add_argument("--quality", type=int, default=95, help="of JPEG")
    parser.add_argument("--workers", type=int, default=2, help="processes that read, in the whole command")
    parser.add_argument("--threads", type=int, help="threads that write; by default one a core, at most 8")
    parser.add_argument("--repeats", type=int, default=3, help="timed rounds")
    add_device(parser, "reading and writing stay on the host")
    parser.add_argument("--output", type=Path, default=RESULTS / "stylize.csv", help="the CSV")
    options = parser.parse_args()
    rows, shared = measure(options)
    about = environment(
        options.device,
        ("decord", "pillow"),
        **shared,
        precision="float32",
        layout="BCTHW",
        clock="wall",
        repeats=options.repeats,
    )
    report(rows, about, options.output)


if __name__ == "__main__":
    main()

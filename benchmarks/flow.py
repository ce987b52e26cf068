# SPDX-License-Identifier: Apache-2.0
"""What flow on disk costs: computing it with ``compute_flow``, its files, and loading them.

One row for each method, size, format and number of workers. The frames are generated: two textures, one of them an
ellipse that moves before the other, as JPEG. All times in milliseconds, medians over the repetitions:

- ``pair_ms``: of ``compute_flow`` for a pair of frames, from reading both JPEGs to the written file; ``ratio`` to the
  same with the first number of ``--workers``, the median over the turns, with the ``lowest`` and the ``highest``;
- ``estimator_ms``: of the flow alone, for two frames in memory, without other work;
- ``file_kb``: mean size of a file (10^3 bytes);
- ``picture_ms``: of ``read_flow_picture`` for a file, which draws what a .flo file holds; ``pixels_ms``: of
  ``read_flow``, which turns colours into pixels. Both read from the memory of the operating system.

RAFT has random weights: its time is that of trained ones, its flow is noise, so its files and their loading are left
out. On the CPU ``compute_flow`` gives it one worker, and all of PyTorch's threads.

Run: ``python benchmarks/flow.py`` (about 2 minutes on two cores).
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import torch
import torchvision
from parts.common import RESULTS, HelpFormatter, device_name, environment, in_turns, report, seconds, spread
from parts.options import add_device
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torchvision.models.optical_flow import raft_small

from staticdropout.datamodules.flow import (
    FileFormat,
    FlowEstimator,
    RaftFlow,
    compute_flow,
    get_estimator,
    read_flow,
    read_flow_picture,
)

SIZES = ((480, 854), (256, 256))
FILES: tuple[FileFormat, ...] = ("png", "flo")


def texture(height: int, width: int, seed: int) -> Tensor:
    """Smooth noise of several scales, (3, H, W) in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    scene = torch.zeros(3, height, width)
    for cells in (4, 16, 64, 192):
        coarse = torch.rand(1, 3, cells, cells, generator=generator)
        scene += F.interpolate(coarse, (height, width), mode="bicubic")[0] / cells**0.5
    return (scene - scene.amin()) / (scene.amax() - scene.amin())


def moving(count: int, height: int, width: int) -> Tensor:
    """Frames (count, 3, H, W), uint8: the background moves by (2, 1) pixels a frame, an ellipse by (-3, 2)."""
    background, thing = (texture(height + 3 * count, width + 3 * count, seed) for seed in (0, 1))
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    frames = []
    for t in range(count):
        inside = ((x - width * 0.6 + 3 * t) / (width / 5)) ** 2 + ((y - height * 0.4 - 2 * t) / (height / 4)) ** 2 < 1
        behind = background[:, 2 * count - t :, 2 * count - 2 * t :][:, :height, :width]
        before = thing[:, 2 * count - 2 * t :, 3 * t :][:, :height, :width]
        frames.append(torch.where(inside, before, behind))
    return (torch.stack(frames) * 255).round().byte()


def milliseconds(times: Sequence[float]) -> float:
    """Median of times in seconds."""
    return round(1000 * statistics.median(times), 3)


def computing(
    estimator: FlowEstimator, frames: Sequence[Path], folder: Path, workers: int, form: FileFormat
) -> Callable[[], object]:
    """A call that computes the flow of a sequence, into a new folder below the given one each time."""

    def compute() -> None:
        out = tempfile.mkdtemp(dir=folder)
        compute_flow([("moving", frames)], out, estimator, file_format=form, num_workers=workers, progress=False)

    return compute


def measure(
    estimator: FlowEstimator, images: Tensor, folder: Path, form: FileFormat, options: argparse.Namespace
) -> list[dict[str, Any]]:
    """Return a row for each number of workers."""
    size = "x".join(map(str, images.shape[:-3:-1]))
    frames = [folder / f"{size}_{index:05d}.jpg" for index in range(len(images))]
    for path, image in zip(frames, images, strict=True):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(path, quality=95)
    out = folder / f"{estimator.name}_{size}_{form}"
    out.mkdir()
    workers = [str(number) for number in options.workers] if estimator.parallel else ["1"]
    device = "cpu" if estimator.name == "dis" else options.device
    ways = {number: computing(estimator, frames, out, int(number), form) for number in workers}
    times = in_turns(ways, options.repeats, device)
    (alone,) = in_turns({"": lambda: estimator(images[:2])}, options.repeats, device).values()
    columns: dict[str, Any] = {"estimator_ms": milliseconds(alone), "file_kb": "", "picture_ms": "", "pixels_ms": ""}
    if estimator.name == "dis":
        files = sorted(next(out.iterdir()).rglob(f"*.{form}"))
        again = [file for _ in range(options.repeats) for file in files]
        columns["file_kb"] = round(statistics.mean(file.stat().st_size for file in files) / 1e3, 1)
        # Not by common.in_turns: a garbage collection before each call takes longer than the call.
        columns["picture_ms"] = milliseconds([seconds(partial(read_flow_picture, file)) for file in again])
        columns["pixels_ms"] = milliseconds([seconds(partial(read_flow, file)) for file in again])
    rows = []
    for number, taken in times.items():
        row = {"method": estimator.name, "size": size, "format": form, "workers": number, "pairs": len(frames) - 1}
        row |= {"pair_ms": round(milliseconds(taken) / (len(frames) - 1), 3), **spread(taken, times[workers[0]])}
        rows.append({**row, **columns, "device": device_name(device)})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HelpFormatter)
    parser.add_argument("--workers", nargs="+", type=int, default=[1, 2], help="threads of compute_flow")
    parser.add_argument("--pairs", type=int, default=20, help="of the sequence for DIS; RAFT gets a tenth")
    parser.add_argument("--repeats", type=int, default=5, help="timed rounds")
    add_device(parser, "for RAFT: all else runs on the CPU")
    parser.add_argument("--output", type=Path, default=RESULTS / "flow.csv", help="the CSV")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        torch.save(raft_small().state_dict(), folder / "raft_small.pth")
        estimators = {
            "dis": get_estimator("dis"),
            "raft": RaftFlow("raft_small", folder / "raft_small.pth", device=options.device),
        }
        for height, width in SIZES:
            images = moving(options.pairs + 1, height, width)
            for form in FILES:
                rows += measure(estimators["dis"], images, folder, form, options)
            rows += measure(estimators["raft"], images[: max(2, options.pairs // 10 + 1)], folder, "png", options)
    about = environment("cpu", precision="float32", layout="NCHW", clock="wall", repeats=options.repeats)
    report(rows, about | {"opencv": cv2.__version__, "torchvision": torchvision.__version__}, options.output)


if __name__ == "__main__":
    main()

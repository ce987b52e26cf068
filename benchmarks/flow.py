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

Run: ``python benchmarks/flow.py``
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import torch
import torchvision
from parts.common import RESULTS, environment, report
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


def milliseconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1000


def median(values: Sequence[float]) -> float:
    return round(statistics.median(values), 3)


def compute(estimator: FlowEstimator, frames: Sequence[Path], out: Path, workers: int, form: FileFormat) -> float:
    """Compute the flow of a sequence into an empty folder: milliseconds a pair."""
    sequences = [("moving", frames)]
    spent = milliseconds(
        lambda: compute_flow(sequences, out, estimator, file_format=form, num_workers=workers, progress=False)
    )
    return spent / (len(frames) - 1)


def measure(
    estimator: FlowEstimator, images: Tensor, folder: Path, form: FileFormat, options: argparse.Namespace
) -> list[dict[str, Any]]:
    """Return a row for each number of workers."""
    size = "x".join(map(str, images.shape[:-3:-1]))
    frames = [folder / f"{size}_{index:05d}.jpg" for index in range(len(images))]
    for path, image in zip(frames, images, strict=True):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(path, quality=95)
    workers = options.workers if estimator.parallel else [1]
    times: dict[int, list[float]] = {number: [] for number in workers}
    for turn in range(options.repeats + 1):
        for number in workers:
            out = folder / f"{estimator.name}_{size}_{form}_{turn}_{number}"
            times[number].append(compute(estimator, frames, out, number, form))
    alone = median([milliseconds(lambda: estimator(images[:2])) for _ in range(options.repeats + 1)][1:])
    columns: dict[str, Any] = {"estimator_ms": alone, "file_kb": "", "picture_ms": "", "pixels_ms": ""}
    if estimator.name == "dis":
        files = sorted(out.rglob(f"*.{form}"))
        again = [file for _ in range(options.repeats) for file in files]
        columns["file_kb"] = round(statistics.mean(file.stat().st_size for file in files) / 1e3, 1)
        columns["picture_ms"] = median([milliseconds(partial(read_flow_picture, file)) for file in again])
        columns["pixels_ms"] = median([milliseconds(partial(read_flow, file)) for file in again])
    rows = []
    for number in workers:  # the first turn has warmed up
        ratios = [t / first for t, first in zip(times[number][1:], times[workers[0]][1:], strict=True)]
        row = {"method": estimator.name, "size": size, "format": form, "workers": number, "pairs": len(frames) - 1}
        row |= {"pair_ms": median(times[number][1:]), "ratio": median(ratios)}
        rows.append(row | {"lowest": round(min(ratios), 3), "highest": round(max(ratios), 3), **columns})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--pairs", type=int, default=20, help="of the sequence for DIS; RAFT gets a tenth")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path, default=RESULTS / "flow.csv")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        torch.save(raft_small().state_dict(), folder / "raft_small.pth")
        estimators = {
            "dis": get_estimator("dis"),
            "raft": RaftFlow("raft_small", folder / "raft_small.pth", device="cpu"),
        }
        for height, width in SIZES:
            images = moving(options.pairs + 1, height, width)
            for form in FILES:
                rows += measure(estimators["dis"], images, folder, form, options)
            rows += measure(estimators["raft"], images[: max(2, options.pairs // 10 + 1)], folder, "png", options)
    about = environment("cpu", precision="float32", layout="NCHW", repeats=options.repeats)
    report(rows, about | {"opencv": cv2.__version__, "torchvision": torchvision.__version__}, options.output)


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""What measuring costs: both factors at five layers, as this package does it and as the released code does it.

The ways:

- ``ours``: three forward passes a clip serve both factors and all layers; moments are kept, in the size of the layers.
- ``ours, with styles``: the same, and the triplets are made from the clips on the way. In all other rows they are
  given, as they are to the released code, which reads stylized videos from disk.
- ``released``: two forward passes a pair; one run for each layer, whose passes end behind that layer; the averaged
  vectors of all pairs are kept in memory, and the estimate is made from them at the end.
- ``released, whole passes``: the same where a network cannot stop behind a layer.

``released`` is restated here from a description of the authors' code. Every way gets N pairs of each factor, where N
is the number of clips. The first CSV has clips a second at the size of a real network, timed in turns, and the ratio
of each way's time to ``ours``; ``rounds`` are four times as many for the styles, which add little. The second,
``…_memory.csv``, has whole measurements of few and many small clips, each in a process of its own: seconds, and by how
much the highest memory exceeds that of a measurement of one batch.

Run: ``python benchmarks/cost_measuring.py`` (about 6 minutes on two cores). Needs psutil.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from itertools import cycle, islice
from typing import Any, Self

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from parts.common import in_turns, report, seconds, spread
from parts.cost_parts import CLASSES, about, batches, cost_parser
from parts.options import clock, parse
from parts.trainers import trainer_for
from torch import Tensor, nn

from staticdropout.callbacks import VideoInputs
from staticdropout.callbacks.bias_measurement import BiasMeasurement
from staticdropout.lightning_modules import VideoClassifier
from staticdropout.metrics import LayerBias
from staticdropout.metrics.bias import Estimator
from staticdropout.perturbations import Triplet, VideoTriplets

LAYERS = ("stem", "res2", "res3", "res4", "res5")
STAGES = ("stem", "res2", "pool2", "res3", "res4", "res5", "head")
DYNAMIC, STATIC = 0, 1
STYLES = 4  # rounds with and without styles, for one round of all else
Vectors = NDArray[np.float32]
Pair = tuple[int, Vectors, Vectors]  # the factor, and the vectors (B, C) of both sides


def dim_est(pairs: Iterable[Pair]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The released estimate from the vectors of all pairs: shares in percent and unit scores, dynamic before static."""
    kept = list(pairs)
    sides = [[np.concatenate([pair[side] for pair in kept if pair[0] == f]) for side in (1, 2)] for f in (0, 1)]
    variance = np.concatenate([side for factor in sides for side in factor]).var(0).sum()
    layer, units = [], []
    for a, b in sides:
        middle = 0.5 * (a.mean(0) + b.mean(0))
        covariance = ((a - middle) * (b - middle)).mean(0)
        layer.append(covariance.sum() / variance)
        with np.errstate(invalid="ignore"):  # a channel without variance gives NaN there, too
            units.append(covariance / np.concatenate([a, b]).var(0))
    logits = np.array([*layer, 1.0])
    exponentials = np.exp(logits - logits.max())
    channels = len(units[0])
    whole = [int(share * channels) for share in exponentials / exponentials.sum()][:2]
    return 100 * np.array([*whole, channels - sum(whole)]) / channels, np.array(units)


def vectors_at(model: nn.Module, video: Tensor, layer: str, whole: bool) -> Tensor:
    """Run the stages up to a layer, or all, and average that layer's output over space and time."""
    vectors = video
    for stage in STAGES:
        video = getattr(model, stage)(video)
        if stage == layer:
            vectors = video.mean((2, 3, 4))
            if not whole:
                break
    return vectors


def released(
    module: VideoClassifier, triplets: Callable[[], Iterable[Triplet]], whole: bool = False
) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """One run for each layer; both factors, two passes a pair, all vectors kept until the end."""
    results = {}
    with torch.no_grad():
        for layer in LAYERS:
            pairs: list[Pair] = []
            for triplet in triplets():
                for factor, other in ((DYNAMIC, triplet.same_dynamic), (STATIC, triplet.same_static)):
                    pixels = [(side - module.mean) / module.std for side in (triplet.anchor, other)]
                    a, b = (vectors_at(module.model, side, layer, whole).cpu().numpy() for side in pixels)
                    pairs.append((factor, a, b))
            results[layer] = dim_est(pairs)
    return results


def ours(
    module: VideoClassifier,
    device: str,
    triplets: Iterable[Triplet],
    clips: int,
    styles: VideoTriplets | None = None,
    estimator: Estimator = "paper",
) -> dict[str, LayerBias]:
    """A measurement as BiasMonitor makes it; with styles, the anchors are the clips to make triplets of."""
    trainer = trainer_for(device, [])
    names = [f"model.{layer}" for layer in LAYERS]
    measurement = BiasMeasurement(names, styles or _given, VideoInputs(), num_clips=clips, estimator=estimator)
    for triplet in triplets:
        ids = [str(measurement.num_seen + i) for i in range(len(triplet.anchor))]
        measurement.add(trainer, module, {"video": triplet.anchor, "triplet": triplet, "id": ids})
    return measurement.compute(trainer, module)


def _given(batch: dict[str, Any]) -> Triplet:
    triplet: Triplet = batch["triplet"]
    return triplet


def random_triplets(count: int, batch_size: int, frames: int, size: int, device: str) -> list[Triplet]:
    """Triplets of random clips: the sides have half of their pixels in common."""
    clips = [batch["video"] for batch in batches(3 * count, batch_size, frames, size, device)]
    return [Triplet(a, (a + b) / 2, (a + c) / 2) for a, b, c in zip(*[iter(clips)] * 3, strict=True)]


def network(model: str, device: str, model_args: dict[str, Any] | None = None) -> VideoClassifier:
    torch.manual_seed(0)
    return VideoClassifier(model, num_classes=CLASSES, model_args=model_args).to(device).eval()


def rates(model: str, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Clips a second of every way, timed in turns on one batch."""
    clips, device = options.batch_size, options.device
    module, (triplet,) = network(model, device), random_triplets(1, clips, options.frames, options.size, device)
    given: dict[str, Callable[[], Any]] = {"ours": lambda: ours(module, device, [triplet], clips)}
    styles = {"ours, with styles": lambda: ours(module, device, [triplet], clips, VideoTriplets())}
    others = {
        "released": lambda: released(module, lambda: [triplet]),
        "released, whole passes": lambda: released(module, lambda: [triplet], whole=True),
    }
    # What styles add is small, so it takes more rounds to tell; what the others take is several times as long.
    for ways, rounds, reported in (
        (given | styles, STYLES * options.rounds, (*given, *styles)),
        (given | others, options.rounds, tuple(others)),
    ):
        times = in_turns(ways, rounds, device)
        for way in reported:
            row = {"model": model, "way": way, "passes_a_clip": 3 if way.startswith("ours") else 4 * len(LAYERS)}
            rate = {"rounds": rounds, "clips_per_s": round(clips / statistics.median(times[way]), 3)}
            yield {**row, **rate, **spread(times[way], times["ours"])}


class MemoryWatch:
    """Highest memory of this process while it is watched, in MB: resident on the host, allocated on the GPU."""

    def __init__(self, device: str, interval: float = 0.01) -> None:
        self.device, self.interval = device, interval
        self.cuda = device.startswith("cuda")
        self.highest = psutil.Process().memory_info().rss / 1e6
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def _look(self) -> None:
        process = psutil.Process()
        while not self._over.wait(self.interval):
            self.highest = max(self.highest, process.memory_info().rss / 1e6)

    def __enter__(self) -> Self:
        gc.collect()
        if self.cuda:
            torch.cuda.reset_peak_memory_stats(self.device)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self.peaks = {"host": self.highest}
        """Highest memory by place, once the watch is over."""
        if self.cuda:
            self.peaks["gpu"] = torch.cuda.max_memory_allocated(self.device) / 1e6


def whole_measurement(way: str, clips: int, options: argparse.Namespace) -> dict[str, Any]:
    """One measurement of many small clips, and by how much its memory exceeds that of a measurement of one batch."""
    device, size = options.device, options.small_batch
    module = network(options.small_model, device)
    few = random_triplets(4, size, options.small_frames, options.small_size, device)

    def stream(count: int) -> Iterator[Triplet]:
        return islice(cycle(few), count // size)

    def measure(count: int) -> None:
        if way == "ours":
            ours(module, device, stream(count), count)
        else:
            released(module, lambda: stream(count))

    measure(size)  # warms up
    with MemoryWatch(device) as one_batch:
        measure(size)
    with MemoryWatch(device) as watch:
        taken = seconds(lambda: measure(clips), device)
    row = {"model": options.small_model, "way": way, "clips": clips, "seconds": round(taken, 2)}
    row["clips_per_s"] = round(clips / taken, 2)
    for place, peak in watch.peaks.items():
        row |= {f"{place}_peak_mb": round(peak), f"{place}_grown_mb": round(peak - one_batch.peaks[place], 1)}
    return row


def in_own_process(way: str, clips: int) -> dict[str, Any]:
    """The same in a process of its own, which begins with no memory of another way."""
    command = [sys.executable, __file__, *sys.argv[1:], "--child", way, str(clips)]
    ran = subprocess.run(command, check=True, capture_output=True, text=True)
    row: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return row


def run(options: argparse.Namespace) -> None:
    if options.child:
        print(json.dumps(whole_measurement(options.child[0], int(options.child[1]), options)))
        return
    rows = [row for model in options.models for row in rates(model, options)]
    shape = f"{options.batch_size}x3x{options.frames}x{options.size}x{options.size}"
    described = about(options, input=shape, precision="float32", layout="BCTHW")
    report(rows, described, options.output)
    rows = [in_own_process(way, clips) for clips in options.clips for way in ("ours", "released")]
    shape = f"{options.small_batch}x3x{options.small_frames}x{options.small_size}x{options.small_size}"
    described = about(options, input=shape, precision="float32", layout="BCTHW")
    report(rows, described, options.output.with_name(f"{options.output.stem}_memory.csv"))


def main() -> None:
    parser = cost_parser(__doc__, "cost_measuring.csv")
    parser.add_argument("--models", nargs="+", default=["resnet3d_r18", "resnet3d_r50"], help="networks by name")
    parser.add_argument("--batch-size", type=int, default=8, help="clips in a batch")
    parser.add_argument("--frames", type=int, default=8, help="of a clip")
    parser.add_argument("--size", type=int, default=112, help="of the frames, in pixels")
    parser.add_argument("--rounds", type=int, default=3, help="timed rounds")
    parser.add_argument("--clips", type=int, nargs="+", default=[300, 3000], help="of the measurements for memory")
    parser.add_argument("--small-model", default="resnet3d_r18", help="the network of those, by name")
    parser.add_argument("--small-batch", type=int, default=20, help="clips in a batch of theirs")
    parser.add_argument("--small-frames", type=int, default=4, help="of a clip of theirs")
    parser.add_argument("--small-size", type=int, default=32, help="of their frames, in pixels")
    parser.add_argument("--child", nargs=2, metavar=("WAY", "CLIPS"), help=argparse.SUPPRESS)
    options = parse(parser)
    with clock(options):
        run(options)


if __name__ == "__main__":
    main()

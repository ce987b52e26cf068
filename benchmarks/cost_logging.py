# SPDX-License-Identifier: Apache-2.0
"""What it costs to log a measurement of five layers: milliseconds and bytes, and how both grow over a training.

The first CSV has a row for each part of what BiasMonitor does once the last clip has been measured, for layers as wide
as those of a classic ResNet-18 and of a ResNet-50: ``estimate`` (scores and intervals from the moments),
``scalars`` for TensorBoard and for CSVLogger, ``figures`` (drawing, TensorBoard, PNG files), ``JSON``, ``CSV``, and
``everything else``: the points of the dashboard's two sub-runs, and giving back the memory of the figures.
The estimate is made where the network is, on ``--device``; all else is the host's work, as ``device`` says in each row.
``bytes`` is what one measurement adds; for the CSV and the PNG files, which are written anew each time, their size.

The second CSV, ``…_growth.csv``, has the parts that depend on how many measurements there were before:
``rewritten_mb`` is what all rewritings of ``bias.csv`` up to then have written in sum, ``draw`` all figures but the
triplets, before they are rendered.

Run: ``python benchmarks/cost_logging.py`` (about a minute).
"""

from __future__ import annotations

import argparse
import copy
import io
import statistics
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from parts.common import device_name, in_turns, report, seconds
from parts.cost_parts import Watch, about, computed, cost_parser
from parts.options import clock, parse

from staticdropout.callbacks import bias_publisher
from staticdropout.callbacks.bias_files import PendingFiles, history_csv
from staticdropout.callbacks.bias_publisher import BiasPublisher
from staticdropout.callbacks.bias_report import draw_report
from staticdropout.callbacks.loggers import bias_scalars
from staticdropout.metrics import LayerBias, StaticDynamicBias, summarize
from staticdropout.perturbations import VideoTriplets

WIDTHS = {"ResNet-18": (64, 64, 128, 256, 512), "ResNet-50": (64, 256, 512, 1024, 2048)}
LAYERS = ("model.stem", "model.res2", "model.res3", "model.res4", "model.res5")
PAGES = {"bias": LAYERS}
GROWTH_REPEATS = 3
ESTIMATE = "estimate"
SETTINGS = {"estimator": "paper", "threshold": 0.5, "num_clips": 100, "interval": "95 %, over 20 groups of clips"}
# What BiasPublisher calls, and the part that its time counts for.
PARTS = {
    "figures: draw": ((bias_publisher, "draw_report"), (bias_publisher, "rendered")),
    "figures: TensorBoard": ((bias_publisher, "log_image"),),
    "figures: PNG": ((bias_publisher, "png_bytes"),),
    "JSON": ((bias_publisher, "measurement_json"),),
    "CSV": ((bias_publisher, "history_csv"),),
    "write files": ((PendingFiles, "write"),),
}


def metrics_of(widths: Sequence[int], clips: int = 100, device: str = "cpu") -> dict[str, StaticDynamicBias]:
    """A metric for each layer that has seen random features, on the device."""
    generator, metrics = torch.Generator().manual_seed(0), {}
    for layer, width in zip(LAYERS, widths, strict=True):
        anchor, *noise = torch.randn(3, clips, width, generator=generator)
        metrics[layer] = StaticDynamicBias(width).to(device)
        metrics[layer].update(anchor, anchor + noise[0], anchor + noise[1])
    return metrics


def record_of(biases: dict[str, LayerBias], step: int) -> dict[str, Any]:
    """A measurement as BiasMonitor keeps it."""
    numbers = {layer: summarize(bias) for layer, bias in biases.items()}
    return {"step": step, "epoch": step // 100, "stage": "fit", "layers": numbers}


def size(folder: Path, pattern: str = "*") -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob(pattern) if path.is_file())


class Costs:
    """Milliseconds and bytes by part, one entry a measurement."""

    def __init__(self) -> None:
        self.ms: dict[str, list[float]] = {}
        self.bytes: dict[str, int] = {}

    def add(self, part: str, taken: float, size: int | None = None) -> None:
        self.ms.setdefault(part, []).append(1000 * taken)
        if size is not None:
            self.bytes[part] = size  # of the last measurement

    def rows(self, model: str, device: str) -> list[dict[str, Any]]:
        return [
            {"layers_of": model, "part": part, "ms": round(statistics.median(ms[1:]), 2)}
            | {"slowest_ms": round(max(ms[1:]), 2), "bytes": self.bytes.get(part, "")}
            | {"device": device_name(device if part == ESTIMATE else "cpu")}
            for part, ms in self.ms.items()
        ]


def one_by_one(model: str, repeats: int, device: str = "cpu") -> list[dict[str, Any]]:
    """Log measurements of one training and time each part; the first warms up."""
    costs, metrics, watch = Costs(), metrics_of(WIDTHS[model], device=device), Watch()
    picture = {name: torch.rand(8, 112, 112, 3) for name in ("anchor", "same static", "same dynamic")}
    with tempfile.TemporaryDirectory() as name, watch.watching(PARTS):
        folder = Path(name)
        tensorboard, table = TensorBoardLogger(folder / "tensorboard"), CSVLogger(folder / "table")
        publisher = BiasPublisher("bias", folder / "bias", SETTINGS | VideoTriplets().description)
        history: list[dict[str, Any]] = []
        watch.running = True
        for step in range(repeats + 1):
            costs.add(ESTIMATE, seconds(partial(computed, metrics), device))
            biases = {layer: LayerBias(*(part.cpu() for part in bias)) for layer, bias in computed(metrics).items()}
            history.append(record_of(biases, step))
            scalars = bias_scalars(history[-1]["layers"])
            for part, logger in (("scalars: TensorBoard", tensorboard), ("scalars: CSVLogger", table)):
                before = flushed(logger, folder)
                taken = seconds(partial(log, logger, scalars, step))
                costs.add(part, taken, flushed(logger, folder) - before)
            watch.seconds.clear()
            before = flushed(tensorboard, folder)
            taken = seconds(partial(publisher.publish, [tensorboard], PAGES, history, biases, picture))
            for part in PARTS:
                costs.add(part, watch.seconds[part])
            costs.add("everything else", taken - sum(watch.seconds[part] for part in PARTS))
            costs.bytes["figures: TensorBoard"] = flushed(tensorboard, folder) - before
        files = folder / "bias"
        costs.bytes |= {"figures: PNG": size(files, "*.png"), "CSV": size(files, "*.csv") // len(history)}
        costs.bytes["JSON"] = size(files, "*.json") // len(history)
    return costs.rows(model, device)


def log(logger: Logger, scalars: dict[str, float], step: int) -> None:
    logger.log_metrics(scalars, step)
    logger.save()


def flushed(logger: Logger, folder: Path) -> int:
    """Bytes on disk once all that was logged is there."""
    if isinstance(logger, TensorBoardLogger):
        logger.experiment.flush()
    return size(folder / ("tensorboard" if isinstance(logger, TensorBoardLogger) else "table"))


def growth(model: str, counts: Sequence[int], repeats: int = 3) -> list[dict[str, Any]]:
    """What depends on the number of measurements so far; the figures without triplets, and not yet rendered."""
    metrics = metrics_of(WIDTHS[model])
    biases = computed(metrics)
    record = record_of(biases, 0)
    settings = SETTINGS | VideoTriplets().description
    rows = []
    for count in counts:
        # Copies: pickle would store the numbers of one record once.
        history = [copy.deepcopy(record) | {"step": step} for step in range(count)]
        text, checkpoint = history_csv(history), io.BytesIO()
        torch.save(history, checkpoint)
        ways: dict[str, Callable[[], Any]] = {
            "csv": partial(history_csv, history),
            "draw": partial(draw_report, history, history[-1], biases, {}, settings),
        }
        csv, draw = (statistics.median(taken) for taken in in_turns(ways, repeats).values())
        row = {"layers_of": model, "measurements": count, "csv_ms": round(1000 * csv, 2), "csv_bytes": len(text)}
        row |= {"rewritten_mb": round(len(text) * (count + 1) / 2e6, 1), "draw_ms": round(1000 * draw, 1)}
        rows.append(row | {"checkpoint_bytes": checkpoint.tell()})
    return rows


def run(options: argparse.Namespace) -> None:
    rows = [row for model in WIDTHS for row in one_by_one(model, options.repeats, options.device)]
    described = about(
        options,
        packages=("matplotlib", "tensorboard"),
        input="5 layers, 100 clips",
        precision="float64",
        layout="(clips, units)",
        repeats=options.repeats,
    )
    report(rows, described, options.output)
    rows = growth("ResNet-50", options.counts, GROWTH_REPEATS)
    report(
        rows,
        described | {"device": "cpu", "repeats": GROWTH_REPEATS},
        options.output.with_name(f"{options.output.stem}_growth.csv"),
    )


def main() -> None:
    parser = cost_parser(__doc__, "cost_logging.csv")
    parser.add_argument("--repeats", type=int, default=10, help="measurements that are logged and timed")
    parser.add_argument(
        "--counts", type=int, nargs="+", default=[1, 10, 100, 1000], help="measurements so far, for the second CSV"
    )
    options = parse(parser)
    with clock(options):
        run(options)


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""How each cost grows: with channels, layers, clips and frames.

One size varies at a time. With channels only what comes behind the forward passes can be told apart, so those rows are
of random features of 8 clips; all others are of a network. The costs:

- ``step: hook``: StaticDropout in every training step; ``step: forward and backward`` is the training step beside it;
- ``estimate of scores``: what StaticDropout does every 30 steps, with its two forward passes (with channels: without);
- ``measure clips``: triplets and three forward passes of so many clips (with channels: the metric's update alone);
- ``intervals``: scores, shares and jackknife at the end of it; ``scalars, JSON, CSV``: what the host writes then.

Run: ``python benchmarks/cost_growth.py`` (about 2 minutes on two cores); it also draws ``docs/images/cost_growth.png``.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator
from parts.common import device_name, in_turns, report
from parts.cost_parts import CLASSES, about, batches, computed, cost_parser
from parts.options import clock, parse
from parts.trainers import trainer_for

from staticdropout.callbacks import StaticDropout, VideoInputs
from staticdropout.callbacks.bias_files import history_csv, measurement_json
from staticdropout.callbacks.bias_measurement import BiasMeasurement
from staticdropout.callbacks.loggers import bias_scalars
from staticdropout.lightning_modules import VideoClassifier
from staticdropout.metrics import LayerBias, StaticDynamicBias, summarize
from staticdropout.models.layer_names import find_layers
from staticdropout.models.static_dropout import StaticDropoutLayer
from staticdropout.perturbations import VideoTriplets

IMAGE = Path(__file__).parents[1] / "docs" / "images" / "cost_growth.png"
Ways = dict[str, Callable[[], Any]]
HOOK, STEP, ESTIMATE = "step: hook", "step: forward and backward", "estimate of scores"
MEASURE, INTERVALS, WRITE = "measure clips", "intervals", "scalars, JSON, CSV"
COLORS = {
    STEP: "#000000",
    HOOK: "#999999",
    ESTIMATE: "#d55e00",
    MEASURE: "#0072b2",
    INTERVALS: "#56b4e9",
    WRITE: "#009e73",
}
MARKS = {STEP: "s", HOOK: "x", ESTIMATE: "o", MEASURE: "o", INTERVALS: "^", WRITE: "v"}


def by_channels(channels: int, options: argparse.Namespace) -> Ways:
    """What happens to the features of 8 clips at a layer of so many channels."""
    anchor, static, dynamic = torch.rand(3, 8, channels, device=options.device).unbind()
    layer = StaticDropoutLayer(channels).to(options.device)
    metric = StaticDynamicBias(channels).to(options.device)
    features = anchor.clone().requires_grad_()

    def observe() -> None:
        layer.observe(anchor, static)
        layer.statistics()

    return {
        HOOK: lambda: layer(features).sum().backward(),
        ESTIMATE: observe,
        MEASURE: lambda: metric.update(anchor, static, dynamic),
        INTERVALS: lambda: computed({"layer": metric}),
    }


class Network:
    """A classifier with what the callbacks do to it, as calls."""

    def __init__(self, options: argparse.Namespace, layers: Sequence[str] | None = None) -> None:
        torch.manual_seed(0)
        self.options, self.trainer = options, trainer_for(options.device, [])
        self.module = VideoClassifier(options.model, num_classes=CLASSES).to(options.device)
        self.layers = layers or ["model.stem", "model.res*"]

    def train(self, batch: dict[str, Any]) -> None:
        self.module.train()(batch["video"]).sum().backward()

    def estimate(self, batch: dict[str, Any]) -> Callable[[], None]:
        dropout = StaticDropout()
        dropout.on_fit_start(self.trainer, self.module)
        return lambda: dropout._probe(self.trainer, self.module, batch)

    def measure(self, given: list[dict[str, Any]]) -> dict[str, StaticDynamicBias]:
        clips = sum(len(batch["video"]) for batch in given)
        measurement = BiasMeasurement(self.layers, VideoTriplets(), VideoInputs(), num_clips=clips)
        for batch in given:
            measurement.add(self.trainer, self.module, batch)
        return {str(layer): metric for layer, metric in measurement.metrics.items()}


def write(biases: dict[str, LayerBias]) -> None:
    """What a measurement writes but for its figures."""
    numbers = {layer: summarize(bias) for layer, bias in biases.items()}
    record = {"step": 0, "epoch": 0, "stage": "fit", "layers": numbers}
    bias_scalars(numbers)
    measurement_json(record, {}, biases)
    history_csv([record])


def by_layers(count: int, options: argparse.Namespace) -> Ways:
    """Measuring 8 clips at so many blocks of the network, the last ones."""
    blocks = [layer.name for layer in find_layers(Network(options).module, ["model.res*.*", "model.stem"])]
    network = Network(options, blocks[-count:])
    given = batches(1, 8, options.frames, options.size, options.device)
    metrics = network.measure(given)
    biases = {name: LayerBias(*(part.cpu() for part in bias)) for name, bias in computed(metrics).items()}
    return {
        MEASURE: lambda: network.measure(given),
        INTERVALS: lambda: computed(metrics),
        WRITE: lambda: write(biases),
    }


def by_clips(count: int, options: argparse.Namespace) -> Ways:
    """Measuring so many clips, 4 at a time, at five layers; and a training batch of so many."""
    network = Network(options)
    given = batches(count // 4, 4, options.frames, options.size, options.device)
    (batch,) = batches(1, count, options.frames, options.size, options.device)
    metrics = network.measure(given)
    return {
        STEP: lambda: network.train(batch),
        ESTIMATE: network.estimate(batch),
        MEASURE: lambda: network.measure(given),
        INTERVALS: lambda: computed(metrics),
    }


def by_frames(count: int, options: argparse.Namespace) -> Ways:
    """Everything for 4 clips of so many frames."""
    network = Network(options)
    given = batches(1, 4, count, options.size, options.device)
    metrics = network.measure(given)
    return {
        STEP: lambda: network.train(given[0]),
        ESTIMATE: network.estimate(given[0]),
        MEASURE: lambda: network.measure(given),
        INTERVALS: lambda: computed(metrics),
    }


AXES: dict[str, tuple[Callable[[int, argparse.Namespace], Ways], tuple[int, ...]]] = {
    "channels": (by_channels, (64, 256, 1024, 4096)),
    "layers": (by_layers, (1, 2, 4, 8)),
    "clips": (by_clips, (4, 8, 16, 32)),
    "frames": (by_frames, (2, 4, 8, 16)),
}


def draw(rows: Sequence[dict[str, Any]]) -> Figure:
    """One panel for each size that grows."""
    figure = Figure(figsize=(11, 7.6), layout="constrained")
    panels = figure.subplots(2, 2).flat
    for axes, (panel, (_, values)) in zip(panels, AXES.items(), strict=True):
        here = [row for row in rows if row["grows"] == panel]
        for cost in dict.fromkeys(row["cost"] for row in here):
            points = [(row["value"], row["ms"]) for row in here if row["cost"] == cost]
            axes.plot(*zip(*points, strict=True), color=COLORS[cost], marker=MARKS[cost], label=cost)
        axes.set(xscale="log", yscale="log", xlabel=panel, ylabel="ms", title=f"Cost by number of {panel}")
        axes.set_xticks(values, [str(value) for value in values])
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(FormatStrFormatter("%g"))
        axes.minorticks_off()
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    return figure


def run(options: argparse.Namespace) -> None:
    rows = []
    for name, (ways, values) in AXES.items():
        for value in values:
            times = in_turns(ways(value, options), options.repeats, options.device)
            medians = {cost: round(1000 * statistics.median(taken), 3) for cost, taken in times.items()}
            rows += [
                {"grows": name, "value": value, "cost": cost, "ms": ms}
                | {"device": device_name("cpu" if cost == WRITE else options.device)}
                for cost, ms in medians.items()
            ]
    shape = f"{options.model}, {options.frames} frames, {options.size} px"
    described = about(options, input=shape, precision="float32", layout="BCTHW", repeats=options.repeats)
    report(rows, described, options.output)
    options.image.parent.mkdir(parents=True, exist_ok=True)
    draw(rows).savefig(options.image, dpi=110)
    print(f"drawn: {options.image}")


def main() -> None:
    parser = cost_parser(__doc__, "cost_growth.csv")
    parser.add_argument("--model", default="resnet3d_r18", help="network by name")
    parser.add_argument("--frames", type=int, default=8, help="of a clip, where they do not grow")
    parser.add_argument("--size", type=int, default=32, help="of the frames, in pixels")
    parser.add_argument("--repeats", type=int, default=5, help="timed rounds")
    parser.add_argument("--image", type=Path, default=IMAGE, help="the figure")
    options = parse(parser)
    with clock(options):
        run(options)


if __name__ == "__main__":
    main()

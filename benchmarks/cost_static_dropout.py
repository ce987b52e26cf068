# SPDX-License-Identifier: Apache-2.0
"""What StaticDropout costs a training step, with an estimate of the scores every 30 steps.

One Trainer trains a network and takes turns: a step without StaticDropout, one forward pass of the same batch (the
floor), an estimate of the scores, a step with StaticDropout. The hook's own work in a step is far below the noise
between two steps, so it is timed at the classifier alone. From the medians:

    ratio = (30 * (step + hook) + estimate) / (30 * step)        floor = 1 + forward / (30 * step)

``ratio`` is the median over rounds with the lowest and the highest round. ``step_ratio`` is the plain comparison of
neighbouring steps with and without, for control. The last row, ``whole windows``, checks the composition: windows of
30 whole steps, with an estimate in each or with StaticDropout paused, timed in turns.

A second CSV, ``…_parts.csv``, says in percent of 30 plain steps what the extra time is made of: ``first_forward`` is
the floor, everything else lies above it. ``rest`` is mostly putting the network into eval mode and back, and keeping
the random states.

Run: ``python benchmarks/cost_static_dropout.py`` (about 6 minutes on two cores).
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from parts.common import report, seconds, spread, wait
from parts.cost_parts import CLASSES, Noise, Watch, about, cost_parser
from parts.options import clock, parse
from parts.trainers import trainer_for
from torch.utils.data import DataLoader

from staticdropout.callbacks import StaticDropout, VideoInputs
from staticdropout.callbacks import static_dropout as implementation
from staticdropout.callbacks.measuring import traceless
from staticdropout.lightning_modules import VideoClassifier
from staticdropout.models import capture
from staticdropout.models.static_dropout import StaticDropoutLayer

EVERY = 30
WARMUP = 2  # steps before the first window
PARTS: dict[str, tuple[tuple[Any, str], ...]] = {
    "forwards": ((VideoInputs, "call"),),
    "shuffling": ((implementation, "shuffled_by_key"),),
    "moments": ((implementation, "pair_moments"), (StaticDropoutLayer, "observe_moments")),
    "statistics": ((StaticDropoutLayer, "statistics"),),
    "logging": ((TensorBoardLogger, "log_metrics"),),
}


class InTurns(StaticDropout):
    """Steps without StaticDropout alternate with steps before each of which the scores are estimated."""

    def __init__(self, watch: Watch, batch_size: int, **options: Any) -> None:
        super().__init__(**options)
        self.watch, self.batch_size = watch, batch_size
        self.seconds: dict[str, list[float]] = {name: [] for name in ("plain", "with", "forward", "estimate", "hook")}
        self.parts: list[dict[str, float]] = []

    def should_probe(self, step: int) -> bool:
        return True

    def clock(self) -> float:
        wait(self.watch.device)
        return time.perf_counter()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self.paused = batch_idx % 2 == 0
        self.watch.seconds.clear()
        self.watch.running = not self.paused
        start = self.clock()
        super().on_train_batch_start(trainer, pl_module, batch, batch_idx)
        self.start = self.clock()
        self.watch.running = False
        if not self.paused:
            self.seconds["estimate"].append(self.start - start)
            self.parts.append(dict(self.watch.seconds))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        self.seconds["plain" if self.paused else "with"].append(self.clock() - self.start)
        if self.paused:
            self.seconds["forward"].append(self.forward(trainer, pl_module, batch))

    def forward(self, trainer: Trainer, module: LightningModule, batch: Any) -> float:
        """Seconds of one pass up to the classifier, without gradient: the least that an estimate can take."""
        assert self._target is not None
        with traceless(trainer, module), capture(module, self._target.name, stop_early=True) as run:
            start = self.clock()
            run(self.inputs.call, module, batch["video"], batch)
            return self.clock() - start

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The classifier alone, forward and backward, with and without the hook's work."""
        assert self._target is not None
        assert self.dropout is not None
        classifier, device = self._target.module, self.watch.device
        features = torch.rand(self.batch_size, self.dropout.num_channels, requires_grad=True)

        def classify() -> None:
            with trainer.precision_plugin.forward_context():
                classifier(features.to(device)).sum().backward()

        def taken(paused: bool) -> float:
            self.paused = paused
            return seconds(classify, device)

        # Not by common.in_turns: a garbage collection before each call takes a hundred times longer than the call.
        pairs = [(taken(True), taken(False)) for _ in range(100)]
        without, with_hook = (statistics.median(column) for column in zip(*pairs, strict=True))
        self.seconds["hook"] = [max(with_hook - without, 0.0)]


class Windows(Callback):
    """Times windows of whole steps and pauses StaticDropout in every other one."""

    def __init__(self, dropout: StaticDropout, device: str) -> None:
        self.dropout, self.device = dropout, device
        self.seconds: dict[bool, list[float]] = {False: [], True: []}
        self.start = 0.0

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        step = batch_idx - WARMUP
        if step >= 0 and step % EVERY == 0:
            self.dropout.paused = bool(step // EVERY % 2)
            wait(self.device)
            self.start = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = batch_idx - WARMUP
        if step >= 0 and step % EVERY == EVERY - 1:
            wait(self.device)
            self.seconds[self.dropout.paused].append(time.perf_counter() - self.start)


def compose(times: dict[str, list[float]], parts: list[dict[str, float]]) -> tuple[dict[str, float], dict[str, float]]:
    """The ratio with its floor, and what the extra time is made of in percent, from the seconds of every round."""
    (hook,), plain = times["hook"], times["plain"]
    steps = EVERY * statistics.median(plain)
    forward, estimate = statistics.median(times["forward"]), statistics.median(times["estimate"])
    medians = {part: statistics.median(entry.get(part, 0.0) for entry in parts) for part in PARTS}
    parts_of = {
        "first_forward": forward,
        "second_forward": medians.pop("forwards") - forward,
        **medians,
        "hook": EVERY * hook,
    }
    parts_of["rest"] = EVERY * hook + estimate - sum(parts_of.values())
    whole = [EVERY * (p + hook) + e for p, e in zip(plain, times["estimate"], strict=True)]
    ratio = {
        **spread(whole, [EVERY * p for p in plain]),
        "floor": round(1 + forward / steps, 4),
        "step_ratio": spread(times["with"], plain)["ratio"],
        "step_s": round(steps / EVERY, 4),
        "forward_s": round(forward, 4),
        "estimate_s": round(estimate, 4),
        "hook_ms": round(1000 * hook, 3),
    }
    return ratio, {part: round(100 * value / steps, 4) for part, value in parts_of.items()}


def fit(model: str, precision: str, steps: int, callbacks: list[Callback], options: argparse.Namespace) -> None:
    """Train for some steps on clips that cost nothing to load."""
    data = Noise(steps * options.batch_size, options.frames, options.size)
    with tempfile.TemporaryDirectory() as folder:
        trainer = trainer_for(options.device, callbacks, precision, TensorBoardLogger(folder))
        module = VideoClassifier(model, num_classes=CLASSES, model_args=options.model_args)
        trainer.fit(module, DataLoader(data, options.batch_size))


def by_turns(model: str, precision: str, options: argparse.Namespace) -> tuple[dict[str, Any], dict[str, Any]]:
    watch = Watch(options.device)
    dropout = InTurns(watch, options.batch_size, rate=0.3)
    with watch.watching(PARTS):
        fit(model, precision, 2 * (options.rounds + 1), [dropout], options)
    # The first round warms up.
    times = {name: values[1:] if len(values) > 1 else values for name, values in dropout.seconds.items()}
    ratio, parts = compose(times, dropout.parts[1:])
    row = {"model": model, "precision": precision}
    return {**row, "how": "composed", **ratio}, {**row, **{f"{part}_%": value for part, value in parts.items()}}


def by_windows(model: str, precision: str, options: argparse.Namespace) -> dict[str, Any]:
    dropout = StaticDropout(rate=0.3, every_n_steps=EVERY)
    windows = Windows(dropout, options.device)
    fit(model, precision, WARMUP + 2 * EVERY * options.windows, [windows, dropout], options)
    ratio = spread(windows.seconds[False], windows.seconds[True])
    return {"model": model, "precision": precision, "how": "whole windows", **ratio}


def run(options: argparse.Namespace) -> None:
    options.model_args = {}
    measured = [by_turns(model, precision, options) for model in options.models for precision in options.precisions]
    rows, parts = ([pair[i] for pair in measured] for i in (0, 1))
    if options.windows:
        rows.append(by_windows(options.models[0], options.precisions[0], options))
    shape = f"{options.batch_size}x3x{options.frames}x{options.size}x{options.size}"
    described = about(options, input=shape, layout="BCTHW", rounds=options.rounds, every_n_steps=EVERY)
    report(rows, described, options.output)
    report(parts, described, options.output.with_name(f"{options.output.stem}_parts.csv"))


def main() -> None:
    parser = cost_parser(__doc__, "cost_static_dropout.csv")
    parser.add_argument("--models", nargs="+", default=["resnet3d_r18", "resnet3d_r50"], help="networks by name")
    parser.add_argument("--precisions", nargs="+", default=["32-true", "bf16-mixed"], help="as the Trainer names them")
    parser.add_argument("--batch-size", type=int, default=8, help="clips in a batch")
    parser.add_argument("--frames", type=int, default=8, help="of a clip")
    parser.add_argument("--size", type=int, default=112, help="of the frames, in pixels")
    parser.add_argument("--rounds", type=int, default=10, help="timed rounds")
    parser.add_argument("--windows", type=int, default=2, help="pairs of whole windows, of the first model alone")
    options = parse(parser)
    with clock(options):
        run(options)


if __name__ == "__main__":
    main()

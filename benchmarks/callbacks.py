# SPDX-License-Identifier: Apache-2.0
"""What the callbacks cost: StaticDropout in a training step, and a measurement in forward passes.

- ``StaticDropout``: one training, in windows of 30 steps that alternate between active (one estimate of the scores a
  window) and paused. ``ratio`` is the median over neighbouring windows, active over paused, with the lowest and the
  highest; two forward passes in 30 steps are the floor.
- ``BiasMonitor``: time to measure clips at five layers for both factors, over the time of one plain forward pass of the
  same clips; three forward passes are the floor.

Run: ``python benchmarks/callbacks.py``
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from common import RESULTS, environment, report
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.utils.data import DataLoader, Dataset

from staticdropout.callbacks import StaticDropout, VideoInputs
from staticdropout.callbacks.bias_measurement import BiasMeasurement
from staticdropout.lightning_modules import VideoClassifier
from staticdropout.perturbations import VideoTriplets


class Noise(Dataset[dict[str, Any]]):
    """The same random clip again and again: loading costs nothing."""

    def __init__(self, length: int, frames: int, size: int) -> None:
        self.length, self.clip = length, torch.rand(3, frames, size, size)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"video": self.clip.roll(index, -1), "label": index % 4, "id": str(index)}


class Windows(Callback):
    """Times windows of steps and pauses StaticDropout in every other one."""

    def __init__(self, dropout: StaticDropout, steps: int) -> None:
        self.dropout, self.steps = dropout, steps
        self.seconds: dict[bool, list[float]] = {False: [], True: []}
        self.start = 0.0

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if batch_idx % self.steps == 0:
            self.dropout.paused = bool(batch_idx // self.steps % 2)
            _wait(pl_module)
            self.start = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx % self.steps == self.steps - 1:
            _wait(pl_module)
            self.seconds[self.dropout.paused].append(time.perf_counter() - self.start)


def _wait(module: LightningModule) -> None:
    if module.device.type == "cuda":
        torch.cuda.synchronize()


def trainer_for(device: str, callbacks: list[Callback]) -> Trainer:
    return Trainer(
        accelerator="gpu" if device.startswith("cuda") else "cpu",
        devices=1,
        max_epochs=1,
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
    )


def spread(ratios: list[float]) -> dict[str, float]:
    """Median of the ratios of neighbouring measurements, with the lowest and the highest."""
    return {
        "ratio": round(statistics.median(ratios), 4),
        "lowest": round(min(ratios), 4),
        "highest": round(max(ratios), 4),
    }


def static_dropout(model: str, options: argparse.Namespace) -> dict[str, Any]:
    dropout = StaticDropout(rate=0.3, every_n_steps=30)
    windows = Windows(dropout, 30)
    steps = 30 * 2 * (options.repeats + 1)
    data = Noise(steps * options.batch_size, options.frames, options.size)
    trainer = trainer_for(options.device, [windows, dropout])
    trainer.fit(VideoClassifier(model, num_classes=4), DataLoader(data, options.batch_size))
    active, paused = (statistics.median(windows.seconds[key][1:]) / 30 for key in (False, True))
    ratios = [a / p for a, p in zip(windows.seconds[False][1:], windows.seconds[True][1:], strict=True)]
    return {
        "what": "StaticDropout every 30 steps",
        "model": model,
        "seconds_without": round(paused, 4),
        "seconds_with": round(active, 4),
        **spread(ratios),
        "unit": "training step",
    }


def bias_monitor(model: str, options: argparse.Namespace) -> dict[str, Any]:
    clips = 8 * options.batch_size
    trainer = trainer_for(options.device, [])
    module = VideoClassifier(model, num_classes=4).to(options.device).eval()
    loader = DataLoader(Noise(clips, options.frames, options.size), options.batch_size)
    batches = [{**batch, "video": batch["video"].to(options.device)} for batch in loader]
    plain, measured = [], []
    for _ in range(options.repeats + 1):
        start = time.perf_counter()
        with torch.no_grad():
            for batch in batches:
                module(batch["video"])
        _wait(module)
        plain.append((time.perf_counter() - start) / clips)
        layers = ["model.stem", "model.res*"]
        measurement = BiasMeasurement(layers, VideoTriplets(), VideoInputs(), num_clips=clips)
        start = time.perf_counter()
        for batch in batches:
            measurement.add(trainer, module, batch)
        _wait(module)
        measured.append((time.perf_counter() - start) / clips)
    without, with_measure = statistics.median(plain[1:]), statistics.median(measured[1:])
    return {
        "what": "BiasMonitor, 5 layers, 2 factors",
        "model": model,
        "seconds_without": round(without, 4),
        "seconds_with": round(with_measure, 4),
        **spread([m / p for m, p in zip(measured[1:], plain[1:], strict=True)]),
        "unit": "clip (without: one forward pass)",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["resnet3d_r18"])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path, default=RESULTS / "callbacks.csv")
    options = parser.parse_args()
    rows = [measure(model, options) for model in options.models for measure in (static_dropout, bias_monitor)]
    shape = f"{options.batch_size}x3x{options.frames}x{options.size}x{options.size}"
    about = environment(options.device, input=shape, precision="float32", layout="BCTHW", repeats=options.repeats)
    report(rows, about, options.output)


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""One training of the study, and everything that is measured of the trained network."""

from __future__ import annotations

import logging
import statistics
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.loggers.logger import DummyLogger
from parts.common import wait
from parts.shapes_arms import Arm
from parts.shapes_network import STAGES, ShapesNet
from parts.shapes_task import Shapes, Task, load
from parts.trainers import trainer_for
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

from staticdropout.callbacks import DropoutFreeFinetune, VideoInputs
from staticdropout.callbacks.bias_measurement import BiasMeasurement
from staticdropout.lightning_modules import VideoClassifier
from staticdropout.metrics import StaticDynamicBias, summarize
from staticdropout.models.features import capture
from staticdropout.perturbations import VideoTriplets
from staticdropout.perturbations.shuffling import shuffled_by_key

KEPT = (
    "static", "dynamic", "score_static", "score_dynamic", "units_static", "units_dynamic", "units_joint",
    "units_residual",
)  # fmt: skip
"""What is kept of the measurement of a stage."""


@dataclass(frozen=True)
class Schedule:
    """How every arm is trained."""

    epochs: int = 16
    finetune_epochs: int = 2
    finetune_lr: float = 1e-3
    batch_size: int = 32
    width: int = 8
    lr: float = 0.05
    weight_decay: float = 1e-4
    measured_clips: int = 400


class Memory(DummyLogger):
    """Keeps what StaticDropout logs at its estimates."""

    def __init__(self) -> None:
        super().__init__()
        self.tilt: list[dict[str, float]] = []

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Keep the figures of the first StaticDropout."""
        if "static_dropout/inclusion_ratio" in metrics:
            values = {name.partition("/")[2]: float(value) for name, value in metrics.items()}
            self.tilt.append({"step": float(step or 0), **values})


class Clock(Callback):
    """Seconds of each step: of the processor, which other programs do not change; on a GPU of the wall."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.seconds: list[float] = []

    def _time(self) -> float:
        wait(self.device)
        return time.perf_counter() if self.device.startswith("cuda") else time.process_time()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._start = self._time()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.seconds.append(self._time() - self._start)


def train_one(task: Task, schedule: Schedule, arm: Arm, seed: int, cache: Path, device: str = "cpu") -> dict[str, Any]:
    """Train one arm on one seed.

    The seed decides on the clips, the first weights and the order of training, alike in all arms: runs of one seed
    are pairs.

    Returns:
        Plain values: figures by name, and under ``tilt`` what StaticDropout logged.
    """
    logging.getLogger("lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    train, val = (load(task, seed, training, cache) for training in (True, False))
    seed_everything(seed, verbose=False)
    network = ShapesNet(task.num_classes, schedule.width)
    network.head.dropout.p = arm.dropout
    module = VideoClassifier(network, task.num_classes, optimizer=lambda parameters: torch.optim.SGD(
        parameters, lr=schedule.lr, momentum=0.9, nesterov=True, weight_decay=schedule.weight_decay,
    ), lr_scheduler=lambda optimizer: torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=schedule.lr, total_steps=schedule.epochs, pct_start=0.15))  # fmt: skip
    order = torch.Generator().manual_seed(seed)
    loader = DataLoader(train, schedule.batch_size, shuffle=True, generator=order, drop_last=True)
    memory, clock = Memory(), Clock(device)
    callbacks = [*arm.callbacks(), DropoutFreeFinetune(schedule.finetune_epochs, schedule.finetune_lr), clock]
    trainer = trainer_for(device, callbacks, logger=memory, max_epochs=schedule.epochs)
    trainer.fit(module, loader)
    learnt = float(trainer.callback_metrics["train/top1"])
    module.eval().to(device)
    results = {"accuracy_training": learnt} | evaluate(module, val, task.common(seed), device)
    results |= bias(trainer, module, val, schedule.measured_clips, device)
    return results | {"step_milliseconds": 1000 * statistics.mean(clock.seconds), "tilt": memory.tilt}


@torch.no_grad()
def logits_of(module: VideoClassifier, shapes: Shapes, device: str, shuffled: bool) -> Tensor:
    """Logits of all clips, of their frames in order or shuffled."""
    parts = []
    for start in range(0, len(shapes), 100):
        video = shapes.video[start : start + 100].float() / 255
        if shuffled:
            video = shuffled_by_key(video, range(start, start + len(video)), seed=0)
        parts.append(module(video.to(device)).cpu())
    return torch.cat(parts)


def evaluate(module: VideoClassifier, val: Shapes, common: list[int], device: str) -> dict[str, float]:
    """Accuracies in percent, and how far the confidence can be believed."""
    logits, shuffled = (logits_of(module, val, device, flag) for flag in (False, True))
    right = logits.argmax(1) == val.label
    is_common = torch.isin(val.label, torch.tensor(common))
    probabilities = logits.softmax(1)
    return {
        "accuracy": _percent(right),
        "accuracy_shuffled": _percent(shuffled.argmax(1) == val.label),
        "accuracy_common": _percent(right[is_common]),
        "accuracy_rare": _percent(right[~is_common]),
        "follows_looks": _percent((logits.argmax(1) == val.looks)[val.label != val.looks]),
        "loss": float(cross_entropy(logits, val.label)),
        "calibration_error": calibration_error(probabilities, right),
        "confidence": 100 * float(probabilities.amax(1).mean()),
        **plain_static_scores(module, val, device),
        "confidence_shuffled": 100 * float(shuffled.softmax(1).amax(1).mean()),
    }


@torch.no_grad()
def plain_static_scores(module: VideoClassifier, val: Shapes, device: str) -> dict[str, float]:
    """Static scores at the classifier's input between clips and their shuffled copies, without styles.

    This is the score that StaticDropout uses. The measure's static pairs are styled alike, and differences of style
    between clips raise their correlation.
    """
    assert isinstance(module.model, ShapesNet)
    metric = StaticDynamicBias(module.model.head.fc.in_features)
    with capture(module, "model.head.fc[input]") as run:
        for start in range(0, len(val), 100):
            video = (val.video[start : start + 100].float() / 255).to(device)
            copy = shuffled_by_key(video, range(start, start + len(video)), seed=0)
            clips, shuffled = (next(iter(run(module, member).values())).cpu() for member in (video, copy))
            metric.update(clips, shuffled, clips)
    static = metric.compute().unit_scores[0]
    return {"plain_static_score": float(static.mean()), "plain_static_units": _percent(static > 0.5)}


def _percent(hits: Tensor) -> float:
    return 100 * float(hits.double().mean())


def calibration_error(probabilities: Tensor, right: Tensor, bins: int = 15) -> float:
    """Expected calibration error in percent: mean distance of confidence and accuracy over equal bins."""
    confidence = probabilities.amax(1)
    place = (confidence * bins).long().clamp(max=bins - 1)
    gap = torch.zeros(bins).index_add_(0, place, confidence - right.float())
    return 100 * float(gap.abs().sum() / len(confidence))


def bias(trainer: Trainer, module: VideoClassifier, val: Shapes, clips: int, device: str) -> dict[str, float]:
    """Static and dynamic share and units of every stage, by the measure's defaults."""
    layers = [f"model.{stage}" for stage in STAGES]
    measurement = BiasMeasurement(layers, VideoTriplets(), VideoInputs(), num_clips=clips)
    for batch in DataLoader(val, 100):
        video = (batch["video"].float() / 255).to(device)
        measurement.add(trainer, module, batch | {"video": video})
    found: dict[str, float] = {}
    for layer, result in measurement.compute(trainer, module).items():
        numbers = summarize(result)
        found |= {f"{layer.removeprefix('model.')}/{name}": numbers[name] for name in KEPT}
    return found

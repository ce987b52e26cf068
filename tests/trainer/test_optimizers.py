# SPDX-License-Identifier: Apache-2.0
"""Optimizers: steps are those that ``trainer.global_step`` counts, whoever makes them."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import GradientAccumulationScheduler
from lightning.pytorch.loggers import CSVLogger
from torch import nn
from torch.utils.data import DataLoader
from toys import Clips, fit, loaders, make_trainer, same_weights
from trainer_watch import Smooth, both, names, seeded, watch


class Manual(Smooth):
    """Makes a step by hand after every second batch."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> None:  # type: ignore[override]
        optimizers: Any = self.optimizers()
        several = optimizers if isinstance(optimizers, list) else [optimizers]
        self.manual_backward(nn.functional.cross_entropy(self(batch["video"]), batch["label"]))
        if batch_idx % 2 == 1:
            for optimizer in several:
                optimizer.step()
                optimizer.zero_grad()


class TwoOptimizers(Manual):
    """Gives its convolutions and its classifier an optimizer each."""

    def configure_optimizers(self) -> Any:
        parts = [self.backbone.layer1, self.backbone.fc]
        return [torch.optim.SGD(part.parameters(), lr=self.lr) for part in parts]


@pytest.mark.cell("accumulate_grad_batches", "StaticDropout")
def test_accumulated_batches_are_one_step_and_the_first_of_them_is_probed(tmp_path: Path) -> None:
    watched = watch()
    trainer = make_trainer(tmp_path, both(watched), accumulate_grad_batches=2)
    trainer.fit(seeded(), DataLoader(Clips(48), 8), loaders()[1])
    assert watched.probed == [
        (0, names(range(8))),
        (2, names(range(32, 40))),
        (4, names(range(16, 24))),
    ]
    assert watched.masks == 12  # every batch is thinned


@pytest.mark.cell("accumulate_grad_batches", "BiasMonitor")
def test_curves_are_drawn_over_steps_not_batches(tmp_path: Path) -> None:
    watched = watch()
    fit(tmp_path, both(watched), seeded(), accumulate_grad_batches=4)
    assert watched.points == [0, 2, 4]  # the last step of an epoch has the two batches that are left


@pytest.mark.cell("GradientAccumulationScheduler", "StaticDropout")
@pytest.mark.cell("GradientAccumulationScheduler", "BiasMonitor")
def test_a_schedule_of_accumulation_changes_nothing_about_that(tmp_path: Path) -> None:
    watched = watch()
    fit(tmp_path, [*both(watched), GradientAccumulationScheduler({0: 1, 1: 3})], seeded())
    assert watched.probes == [0, 2, 4, 6]
    assert watched.points == [0, 6, 8]


@pytest.mark.cell("manual optimization", "StaticDropout")
@pytest.mark.cell("manual optimization", "BiasMonitor")
def test_steps_made_by_hand_are_counted(tmp_path: Path) -> None:
    watched = watch()
    fit(tmp_path, both(watched), Manual())
    assert watched.probes == [0, 2, 4]
    assert watched.masks == 12
    assert watched.points == [0, 3, 6]


@pytest.mark.cell("several optimizers", "StaticDropout")
@pytest.mark.cell("several optimizers", "BiasMonitor")
def test_the_steps_of_all_optimizers_are_counted_together(tmp_path: Path) -> None:
    watched = watch(every_n_steps=4)
    fit(tmp_path, both(watched), TwoOptimizers(), logger=CSVLogger(tmp_path, name="", version=""))
    assert watched.probes == [0, 4, 8]
    assert watched.points == [0, 6, 12]
    rows = list(csv.DictReader((tmp_path / "metrics.csv").open()))
    assert [int(row["step"]) for row in rows if row["bias/backbone.layer2/static"]] == watched.points
    assert [int(row["step"]) for row in rows if row["static_dropout/score_mean"]] == watched.probes


@pytest.mark.cell("several optimizers", "StaticDropout")
@pytest.mark.cell("manual optimization", "StaticDropout")
@pytest.mark.cell("manual optimization", "BiasMonitor")
@pytest.mark.cell("several optimizers", "BiasMonitor")
@pytest.mark.parametrize("kind", [Manual, TwoOptimizers])
def test_manual_optimization_at_rate_zero_is_bit_identical(tmp_path: Path, kind: type[Smooth]) -> None:
    plain, _ = fit(tmp_path, module=seeded(kind))
    watched, _ = fit(tmp_path, both(watch(rate=0.0)), seeded(kind))
    assert same_weights(plain, watched)


class Norms(Smooth):
    """Keeps the norm of its gradients as the optimizer gets them."""

    def __init__(self) -> None:
        super().__init__()
        self.norms: list[float] = []

    def optimizer_step(self, *args: Any, **options: Any) -> None:
        super().optimizer_step(*args, **options)
        gradients = [part.grad.flatten() for part in self.parameters() if part.grad is not None]
        self.norms.append(float(torch.cat(gradients).norm()))


@pytest.mark.cell("gradient_clip_val", "StaticDropout")
@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_the_gradients_of_the_thinned_model_are_clipped(tmp_path: Path, rate: float) -> None:
    module = seeded(Norms)
    fit(tmp_path, [watch(rate=rate).dropout], module, gradient_clip_val=0.01)
    assert isinstance(module, Norms)
    assert module.norms == pytest.approx([0.01] * 12, rel=1e-3)


@pytest.mark.cell("gradient_clip_val", "StaticDropout")
@pytest.mark.cell("gradient_clip_val", "BiasMonitor")
@pytest.mark.parametrize("algorithm", ["norm", "value"])
def test_clipping_at_rate_zero_is_bit_identical(tmp_path: Path, algorithm: str) -> None:
    options: dict[str, Any] = {"gradient_clip_val": 0.01, "gradient_clip_algorithm": algorithm}
    plain, _ = fit(tmp_path, module=seeded(), **options)
    watched, _ = fit(tmp_path, both(watch(rate=0.0)), seeded(), **options)
    assert same_weights(plain, watched)

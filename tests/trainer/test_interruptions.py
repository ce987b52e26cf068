# SPDX-License-Identifier: Apache-2.0
"""Errors in the midst of a step, and copies of the module: nothing of the callbacks is left behind."""

from __future__ import annotations

import copy
import pickle
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from toys import count_hooks, fit, same_weights
from trainer_watch import Smooth, both, seeded, watch


class Fails(Smooth):
    """Throws what it is told to, where it is told to."""

    place, error = "", RuntimeError

    def maybe(self, place: str) -> None:
        if place == self.place and (place != "training" or self.trainer.global_step == 3):
            raise self.error("boom")

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        self.maybe("training")
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.maybe("validation")

    def forward(self, video: Tensor) -> Tensor:
        if not self.training and not self.trainer.sanity_checking:
            self.maybe("measurement")
        if not self.training and self.trainer.training:
            self.maybe("probe")
        return super().forward(video)


@pytest.fixture
def _interruptible() -> Iterator[None]:
    """Lightning ignores further interrupts after the first, for good."""
    handler = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, handler)


@pytest.mark.usefixtures("_interruptible")
@pytest.mark.cell("an exception in a step", "StaticDropout")
@pytest.mark.cell("an exception in a step", "BiasMonitor")
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("place", ["training", "validation", "measurement", "probe"])
def test_an_exception_leaves_no_hook_and_no_half_measurement(
    tmp_path: Path, place: str, error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Fails, "place", place)
    monkeypatch.setattr(Fails, "error", error)
    watched, module = watch(), seeded(Fails)
    with pytest.raises((RuntimeError, ValueError, SystemExit)):  # Lightning exits at KeyboardInterrupt
        fit(tmp_path, both(watched), module, num_sanity_val_steps=0)
    assert count_hooks(module) == 0
    assert watched.points == ([] if place == "measurement" else [0])
    assert all(part.training for part in module.modules()) or place == "validation"
    monkeypatch.setattr(Fails, "place", "")
    module.train()  # Lightning leaves it in eval mode where validation was interrupted
    fit(tmp_path, both(watched), module)  # the same module and callbacks can be trained again
    assert (watched.points, watched.masks) == ([0, 6, 12], 12)


def duplicates() -> list[Callable[[Any], Any]]:
    return [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))]


@pytest.mark.cell("deepcopy and pickle of the module", "StaticDropout")
@pytest.mark.cell("deepcopy and pickle of the module", "BiasMonitor")
@pytest.mark.parametrize("duplicate", duplicates(), ids=["deepcopy", "pickle"])
def test_a_trained_module_can_be_copied_and_so_can_the_callbacks(
    tmp_path: Path, duplicate: Callable[[Any], Any]
) -> None:
    watched = watch()
    module, _ = fit(tmp_path, both(watched), seeded())
    twin = duplicate(module)
    assert same_weights(module, twin)
    assert count_hooks(twin) == 0
    dropout, monitor = duplicate(watched.dropout), duplicate(watched.monitor)
    assert torch.equal(dropout.dropout.scores, watched.scores())
    assert monitor.history == watched.monitor.history
    fit(tmp_path, [dropout, monitor], twin, max_epochs=1)
    assert watched.points == [0, 6, 12]
    assert [entry["step"] for entry in monitor.history] == [0, 6]


class Copier(Callback):
    """Copies the module after its fourth step."""

    def __init__(self, duplicate: Callable[[Any], Any], place: str) -> None:
        self.duplicate, self.place = duplicate, place
        self.twin: LightningModule | None = None

    def take(self, trainer: Trainer, module: LightningModule, place: str) -> None:
        if place == self.place and trainer.global_step >= 4 and self.twin is None:
            self.twin = self.duplicate(module)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        self.take(trainer, pl_module, "training")

    def on_validation_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        self.take(trainer, pl_module, "validation")


@pytest.mark.cell("deepcopy and pickle of the module", "StaticDropout")
@pytest.mark.cell("deepcopy and pickle of the module", "BiasMonitor")
@pytest.mark.parametrize("duplicate", duplicates(), ids=["deepcopy", "pickle"])
@pytest.mark.parametrize("place", ["training", "validation"])
def test_a_module_can_be_copied_in_the_midst_of_training(
    tmp_path: Path, duplicate: Callable[[Any], Any], place: str
) -> None:
    watched, copier = watch(), Copier(duplicate, place)
    fit(tmp_path, [*both(watched), copier], seeded())
    assert copier.twin is not None
    features: list[Tensor] = []
    copier.twin.get_submodule("backbone.fc").register_forward_pre_hook(lambda module, args: features.append(args[0]))
    copier.twin.train()(torch.rand(4, 3, 6, 12, 12))
    assert not (features[-1] == 0).any()  # nothing is dropped in the copy
    assert watched.masks == 12

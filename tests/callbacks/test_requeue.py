# SPDX-License-Identifier: Apache-2.0
"""The requeue signal of SLURM is answered between two steps."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.environments import SLURMEnvironment  # type: ignore[attr-defined]
from toys import ToyClassifier, fit, loaders

from staticdropout.callbacks import BiasMonitor, RandomState, RequeueBetweenSteps, StaticDropout


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A SLURM of one task whose ``scontrol`` notes what it was called with."""
    log = tmp_path / "scontrol.log"
    program = tmp_path / "bin" / "scontrol"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >> {log}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    for name, value in {"JOB_ID": "77", "NTASKS": "1", "PROCID": "0", "LOCALID": "0", "NODEID": "0"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    return log


class SignalledToy(ToyClassifier):
    """Gets the signal in the middle of a forward pass, or of a validation."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self.where = where

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> torch.Tensor:
        loss = super().training_step(batch, batch_idx)
        if self.where == "training" and self.global_step == 2:
            os.kill(os.getpid(), signal.SIGUSR1)
        return loss

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        super().validation_step(batch, batch_idx)
        if self.where == "validation" and not self.trainer.sanity_checking and self.global_step == 6 and batch_idx == 1:
            os.kill(os.getpid(), signal.SIGUSR1)


class Look(Callback):
    """Notes the handlers of the signal during training."""

    def __init__(self) -> None:
        self.handlers: set[Any] = set()
        self.kinds: list[type[Callback]] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        self.handlers.add(signal.getsignal(signal.SIGUSR1))
        self.kinds = [type(callback) for callback in trainer.callbacks]  # type: ignore[attr-defined]


@pytest.mark.parametrize(("where", "step"), [("training", 3), ("validation", 6)])
@pytest.mark.parametrize("first", [StaticDropout, BiasMonitor])
def test_the_checkpoint_of_a_requeued_job_is_written_when_the_step_is_over(
    tmp_path: Path, slurm: Path, where: str, step: int, first: type[Callback]
) -> None:
    before = signal.getsignal(signal.SIGUSR1)
    callback = first(figures=False, verbose=False) if first is BiasMonitor else first()
    fit(tmp_path, [callback], SignalledToy(where), plugins=[SLURMEnvironment(auto_requeue=True)])
    assert slurm.read_text() == "requeue 77\n"
    (path,) = tmp_path.glob("hpc_ckpt_*.ckpt")
    checkpoint = torch.load(path, weights_only=True)
    progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["total"]
    assert checkpoint["global_step"] == progress["ready"] == progress["processed"] == step
    if where == "validation" and first is BiasMonitor:
        (state,) = (value for key, value in checkpoint["callbacks"].items() if key.startswith("BiasMonitor"))
        assert state["history"][-1]["step"] == step
    assert signal.getsignal(signal.SIGUSR1) == before


def test_it_is_added_last_and_once_and_gone_afterwards(tmp_path: Path, slurm: Path) -> None:
    look = Look()
    callbacks = [StaticDropout(), BiasMonitor(figures=False, verbose=False), RandomState(), look]
    options: dict[str, Any] = {"plugins": [SLURMEnvironment(auto_requeue=True)], "max_epochs": 1}
    _, trainer = fit(tmp_path, [*callbacks, ModelCheckpoint(tmp_path)], enable_checkpointing=True, **options)
    assert look.kinds.count(RequeueBetweenSteps) == 1
    assert look.kinds[-1] is RequeueBetweenSteps
    assert not any(isinstance(c, RequeueBetweenSteps) for c in trainer.callbacks)  # type: ignore[attr-defined]


def test_without_checkpoints_the_best_one_is_still_missed_in_lightnings_words(tmp_path: Path, slurm: Path) -> None:
    module, trainer = fit(tmp_path, [StaticDropout()], plugins=[SLURMEnvironment(auto_requeue=True)], max_epochs=1)
    assert trainer.checkpoint_callback is None
    with pytest.raises(ValueError, match="ModelCheckpoint"):
        trainer.validate(module, loaders()[1], ckpt_path="best")


def test_without_slurm_nothing_is_added_and_no_signal_is_touched(tmp_path: Path) -> None:
    look, before = Look(), signal.getsignal(signal.SIGUSR1)
    fit(tmp_path, [StaticDropout(), RequeueBetweenSteps(), look], max_epochs=1, enable_checkpointing=True)
    assert look.handlers == {before}
    _, trainer = fit(tmp_path, [StaticDropout(), BiasMonitor(figures=False, verbose=False)], max_epochs=1)
    assert not any(isinstance(c, RequeueBetweenSteps) for c in trainer.callbacks)  # type: ignore[attr-defined]


def test_a_handler_of_the_user_is_left_alone(tmp_path: Path, slurm: Path) -> None:
    def mine(number: int, frame: Any) -> None: ...

    look, before = Look(), signal.signal(signal.SIGUSR1, mine)
    try:
        fit(tmp_path, [StaticDropout(), look], plugins=[SLURMEnvironment(auto_requeue=True)], max_epochs=1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert look.handlers == {mine}

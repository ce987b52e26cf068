# SPDX-License-Identifier: Apache-2.0
"""The last epochs: no dropout, a fixed learning rate, exact under resume, with any scheduler."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from timm.layers.drop import DropPath
from torch import nn
from torch.optim import lr_scheduler
from torchvision.ops import StochasticDepth
from toys import ResumableLoader, ToyClassifier, fit, loaders, make_trainer, same_weights

from staticdropout.callbacks import DropoutFreeFinetune, StaticDropout

SCHEDULERS: dict[str, Callable[[torch.optim.Optimizer], Any]] = {
    "exponential": lambda o: lr_scheduler.ExponentialLR(o, 0.5),
    "cosine": lambda o: lr_scheduler.CosineAnnealingLR(o, 4),
    "one cycle": lambda o: {"scheduler": lr_scheduler.OneCycleLR(o, 0.1, total_steps=24), "interval": "step"},
    "plateau": lambda o: {"scheduler": lr_scheduler.ReduceLROnPlateau(o, patience=0), "monitor": "val_loss"},
}


class RecordingSGD(torch.optim.SGD):
    """Notes the learning rate that each step really uses."""

    applied: list[float]

    def step(self, closure: Any = None) -> Any:
        loss = super().step(closure)
        self.applied.append(self.param_groups[0]["lr"])
        return loss


torch.optim.SGD([nn.Parameter(torch.zeros(1))])  # from now on the hooks of a step run in super().step() as well


class Scheduled(ToyClassifier):
    def __init__(self, scheduler: str) -> None:
        super().__init__()
        self.scheduler = scheduler
        self.extra = nn.ModuleList([DropPath(0.3), StochasticDepth(0.4, "row"), nn.LSTM(2, 2, 2, dropout=0.1)])
        self.attention = nn.MultiheadAttention(4, 2, dropout=0.1)

    def configure_optimizers(self) -> Any:
        optimizer = RecordingSGD(self.backbone.parameters(), lr=0.05, momentum=0.9)
        optimizer.applied = []
        return {"optimizer": optimizer, "lr_scheduler": SCHEDULERS[self.scheduler](optimizer)}


class Watch(Callback):
    """The rates in force at every step, and what the scheduler holds after it."""

    def __init__(self) -> None:
        self.applied: list[float] = []
        self.scheduled: list[float] = []
        self.dropped: list[bool] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.applied = trainer.optimizers[0].applied  # type: ignore[attr-defined]

    def on_before_zero_grad(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        rates = [getattr(m, "p", getattr(m, "drop_prob", getattr(m, "dropout", 0))) for m in pl_module.modules()]
        self.dropped.append(any(isinstance(rate, float) and rate > 0 for rate in rates))

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        self.scheduled.append(trainer.optimizers[0].param_groups[0]["lr"])


def callbacks(lr: float = 1e-5) -> tuple[DropoutFreeFinetune, StaticDropout, Watch]:
    return (
        DropoutFreeFinetune(num_epochs=2, lr=lr),
        StaticDropout(rate=0.5, layer="backbone.fc[input]", every_n_steps=4),
        Watch(),
    )


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_rate_and_dropout_of_the_last_epochs_under_any_scheduler(tmp_path: Path, scheduler: str) -> None:
    finetune, static, watch = callbacks()
    fit(tmp_path, [finetune, static, watch], Scheduled(scheduler), max_epochs=4)
    reference = Watch()
    fit(tmp_path, [reference], Scheduled(scheduler), max_epochs=4)
    assert watch.applied[12:] == [1e-5] * 12
    assert watch.applied[:12] == reference.applied[:12]
    if scheduler != "plateau":  # the plateau depends on the losses, which differ
        assert watch.scheduled == reference.scheduled
    assert watch.dropped == [True] * 12 + [False] * 12
    assert static.dropout is not None
    assert int(static.dropout.num_masks) == 12


def test_everything_is_put_back_afterwards(tmp_path: Path) -> None:
    finetune, static, watch = callbacks()
    module, _ = fit(tmp_path, [finetune, static, watch], Scheduled("cosine"), max_epochs=3)
    assert isinstance(module, Scheduled)
    assert module.backbone.dropout.p == 0.2
    assert [module.extra[0].drop_prob, module.extra[1].p, module.extra[2].dropout] == [0.3, 0.4, 0.1]
    assert module.attention.dropout == 0.1
    assert not static.paused


def test_an_error_in_the_phase_puts_everything_back_too(tmp_path: Path) -> None:
    class Failing(Callback):
        def on_train_batch_start(self, trainer: Trainer, *args: Any) -> None:
            if trainer.current_epoch == 2:
                raise RuntimeError("boom")

    finetune, static, _ = callbacks()
    module = Scheduled("cosine")
    with pytest.raises(RuntimeError, match="boom"):
        fit(tmp_path, [finetune, static, Failing()], module, max_epochs=3)
    assert module.backbone.dropout.p == 0.2
    assert not static.paused


@pytest.mark.parametrize("scheduler", ["exponential", "cosine", "one cycle"])
@pytest.mark.parametrize("epoch", [0, 1, 2])
def test_resuming_before_or_within_the_phase_is_exact(tmp_path: Path, scheduler: str, epoch: int) -> None:
    def run(ckpt_path: Path | None) -> LightningModule:
        saved = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)
        torch.manual_seed(0)
        module = Scheduled(scheduler)
        module.backbone.dropout.p = 0.0  # its random state is not in checkpoints
        finetune, static, _ = callbacks(lr=0.01)
        train, val = loaders()
        trainer = make_trainer(tmp_path, [finetune, static, saved], max_epochs=4, enable_checkpointing=True)
        trainer.fit(module, ResumableLoader(train.dataset, 8), val, ckpt_path=ckpt_path)
        return module

    assert same_weights(run(None), run(tmp_path / f"epoch={epoch}.ckpt"))


def test_resuming_in_the_middle_of_an_epoch_of_the_phase_is_exact(tmp_path: Path) -> None:
    """No epoch starts then: the phase has to begin with the training itself."""

    def run(ckpt_path: Path | None) -> tuple[LightningModule, list[float]]:
        saved = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=9, save_top_k=-1)
        torch.manual_seed(0)
        module = Scheduled("exponential")
        module.backbone.dropout.p = 0.0
        finetune, static, watch = callbacks(lr=0.01)
        train, val = loaders()
        trainer = make_trainer(tmp_path, [finetune, static, watch, saved], max_epochs=3, enable_checkpointing=True)
        trainer.fit(module, ResumableLoader(train.dataset, 8), val, ckpt_path=ckpt_path)
        return module, watch.applied

    whole, _ = run(None)
    resumed, applied = run(tmp_path / "step=9.ckpt")
    assert applied == [0.01] * 9
    assert same_weights(whole, resumed)


def test_an_error_within_a_step_leaves_the_schedulers_rate(tmp_path: Path) -> None:
    class FailingStep(Callback):
        def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
            if trainer.current_epoch == 2:
                raise RuntimeError("boom")

    trainer = make_trainer(tmp_path, [DropoutFreeFinetune(num_epochs=2), FailingStep()], max_epochs=3)
    with pytest.raises(RuntimeError, match="boom"):
        trainer.fit(Scheduled("exponential"), *loaders())
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.05 / 4)


@pytest.mark.parametrize("epochs", [2, -1])
def test_a_trainer_that_does_not_know_its_end_is_refused(tmp_path: Path, epochs: int) -> None:
    with pytest.raises(MisconfigurationException, match="Set Trainer"):
        fit(tmp_path, [DropoutFreeFinetune(num_epochs=2)], max_epochs=epochs, max_steps=3)


@pytest.mark.parametrize("options", [{"num_epochs": 0}, {"lr": -1.0}])
def test_wrong_options_are_refused_at_once(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        DropoutFreeFinetune(**options)

# SPDX-License-Identifier: Apache-2.0
"""Other callbacks beside ours, in any order."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import (
    BaseFinetuning,
    EarlyStopping,
    LearningRateMonitor,
    ModelCheckpoint,
    OnExceptionCheckpoint,
    RichProgressBar,
    StochasticWeightAveraging,
    TQDMProgressBar,
    WeightAveraging,
)
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor
from toys import count_hooks, fit, loaders, make_trainer, same_weights
from trainer_watch import LAYER, Smooth, Still, Watched, both, seeded, watch

STATIC = f"bias/{LAYER}/static"
ORDERS = ["first", "last"]


def ordered(watched: Watched, other: Callback, order: str) -> list[Callback]:
    """The other callback before ours, or behind them."""
    return [other, *both(watched)] if order == "first" else [*both(watched), other]


@pytest.mark.cell("ModelCheckpoint", "StaticDropout")
@pytest.mark.cell("ModelCheckpoint", "BiasMonitor")
def test_a_checkpoint_holds_the_same_in_any_order(tmp_path: Path) -> None:
    contents = []
    for order in ORDERS:
        watched = watch()
        saver = ModelCheckpoint(tmp_path / order, monitor=STATIC, filename="best", save_top_k=1, mode="min")
        fit(tmp_path, ordered(watched, saver, order), seeded(), enable_checkpointing=True)
        content = torch.load(tmp_path / order / "best.ckpt", weights_only=True)
        state = content["callbacks"][watched.dropout.state_key]
        history = content["callbacks"][watched.monitor.state_key]["history"]
        assert history[-1]["step"] == content["global_step"]
        best = min(watched.monitor.history[1:], key=lambda entry: float(entry["layers"][LAYER]["static"]))
        assert history[-1] == best
        assert state["last_probe"] == content["global_step"] - 2
        contents.append((history, state["dropout"]["scores"], content["state_dict"]["backbone.fc.weight"]))
    for history, scores, weight in contents[1:]:
        assert history == contents[0][0]
        assert torch.equal(scores, contents[0][1])
        assert torch.equal(weight, contents[0][2])


class Weights(Callback):
    """Adds up the parameters after every step, and keeps the average at every validation."""

    def __init__(self) -> None:
        self.sums: list[Tensor] = []
        self.steps = 0
        self.averages: list[list[Tensor]] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        self.steps += 1
        # Running averages of the statistics too, as WeightAveraging does by default.
        now = [part.detach().double().clone() for part in pl_module.state_dict().values()]
        self.sums = [sum_ + part for sum_, part in zip(self.sums, now, strict=True)] if self.sums else now

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.steps:
            self.averages.append([part / self.steps for part in self.sums])


def of_average(folder: Path, average: list[Tensor]) -> float:
    """The static share of a module with the averaged weights."""
    module, watched = seeded(), watch()
    values = zip(module.state_dict().items(), average, strict=True)
    module.load_state_dict({name: mean.to(value.dtype) for (name, value), mean in values})
    make_trainer(folder, [watched.monitor]).validate(module, loaders()[1], verbose=False)
    return watched.static()[0]


@pytest.mark.cell("WeightAveraging", "StaticDropout")
@pytest.mark.cell("WeightAveraging", "BiasMonitor")
@pytest.mark.parametrize("order", ORDERS)
def test_averaged_weights_are_right_and_are_what_is_measured(tmp_path: Path, order: str) -> None:
    watched, weights = watch(), Weights()
    module, _ = fit(tmp_path, [*ordered(watched, WeightAveraging(), order), weights], seeded())
    assert watched.masks == 12
    final = zip(module.state_dict().values(), weights.averages[-1], strict=True)
    for found, mean in final:
        if found.is_floating_point():
            torch.testing.assert_close(found.double(), mean, rtol=0, atol=1e-6)
    assert watched.points == [0, 6, 12]
    assert watched.static()[1] == pytest.approx(of_average(tmp_path, weights.averages[0]), abs=1e-2)
    assert watched.static()[2] == pytest.approx(of_average(tmp_path, weights.averages[1]), abs=1e-2)
    assert count_hooks(module) == 0


@pytest.mark.cell("StochasticWeightAveraging", "StaticDropout")
@pytest.mark.cell("StochasticWeightAveraging", "BiasMonitor")
@pytest.mark.parametrize("order", ORDERS)
def test_the_last_point_of_a_curve_is_that_of_the_stochastic_average(tmp_path: Path, order: str) -> None:
    watched = watch()
    averaging = StochasticWeightAveraging(0.01, swa_epoch_start=1)
    module, trainer = fit(tmp_path, ordered(watched, averaging, order), seeded(), max_epochs=3)
    # Lightning adds an epoch in which the averaged model collects its running statistics; nothing is learned in it.
    assert [(entry["step"], entry["epoch"]) for entry in watched.monitor.history[1:-1]] == [(6, 0), (12, 1), (18, 2)]
    assert watched.monitor.history[-1]["epoch"] == 3
    trainer.validate(module, loaders()[1], verbose=False)
    assert watched.static()[-1] == pytest.approx(watched.static()[-2], abs=1e-3)
    assert watched.static()[-1] != pytest.approx(watched.static()[-3], abs=1e-3)
    assert watched.masks == 24
    assert count_hooks(module) == 0


@pytest.mark.cell("EarlyStopping", "BiasMonitor")
@pytest.mark.parametrize("order", ORDERS)
def test_training_stops_when_a_share_no_longer_changes(tmp_path: Path, order: str) -> None:
    watched, stopping = watch(), EarlyStopping(STATIC, patience=2, verbose=False)
    fit(tmp_path, ordered(watched, stopping, order), seeded(Still), max_epochs=9)
    assert watched.points == [0, 6, 12, 18]
    assert float(stopping.best_score) == pytest.approx(watched.static()[1])


@pytest.mark.cell("EarlyStopping", "BiasMonitor")
def test_a_validation_that_is_not_measured_repeats_the_last_share(tmp_path: Path) -> None:
    watched = watch(every_n_validations=3)
    stopping = EarlyStopping(STATIC, patience=2, verbose=False)
    fit(tmp_path, [*both(watched), stopping], seeded(), max_epochs=9)
    assert watched.points == [0, 6]
    assert stopping.stopped_epoch == 2


@pytest.mark.cell("EarlyStopping", "StaticDropout")
def test_scores_are_no_metric_to_stop_by(tmp_path: Path) -> None:
    stopping = EarlyStopping("static_dropout/score_mean")
    with pytest.raises(RuntimeError, match="which is not available"):
        fit(tmp_path, [*both(watch()), stopping], seeded())


def learning_rates(folder: Path, callbacks: list[Callback]) -> list[tuple[str, str]]:
    logger = CSVLogger(folder, name="", version="")
    fit(folder, [*callbacks, LearningRateMonitor("step")], seeded(), logger=logger)
    rows = csv.DictReader((folder / "metrics.csv").open())
    return [(row["step"], row["lr-SGD"]) for row in rows if row["lr-SGD"]]


@pytest.mark.cell("LearningRateMonitor", "StaticDropout")
@pytest.mark.cell("LearningRateMonitor", "BiasMonitor")
def test_the_curve_of_the_learning_rate_is_the_same(tmp_path: Path) -> None:
    alone = learning_rates(tmp_path / "alone", [])
    assert len(alone) == 12
    assert learning_rates(tmp_path / "beside", both(watch())) == alone


class FirstLayerJoinsLater(BaseFinetuning):
    """Keeps the first layer frozen, its statistics too, until the second epoch."""

    def freeze_before_training(self, pl_module: LightningModule) -> None:
        self.freeze(pl_module.get_submodule("backbone.layer1"), train_bn=False)

    def finetune_function(self, pl_module: LightningModule, epoch: int, optimizer: Any) -> None:
        if epoch == 1:
            self.make_trainable(pl_module.get_submodule("backbone.layer1"))


@pytest.mark.cell("BaseFinetuning", "StaticDropout")
@pytest.mark.cell("BaseFinetuning", "BiasMonitor")
def test_frozen_layers_stay_frozen_and_at_rate_zero_nothing_changes(tmp_path: Path) -> None:
    def frozen() -> list[Callback]:
        return [FirstLayerJoinsLater()]

    plain, _ = fit(tmp_path, frozen(), seeded())
    watched = watch(rate=0.0, every_n_steps=1)
    module, _ = fit(tmp_path, [*both(watched), *frozen()], seeded())
    assert same_weights(plain, module)
    assert len(watched.probes) == 12
    one, _ = fit(tmp_path, [*both(watch()), *frozen()], seeded(), max_epochs=1)
    before, after = (part.get_submodule("backbone.layer1").state_dict() for part in (seeded(), one))
    assert all(torch.equal(value, after[name]) for name, value in before.items())  # the running statistics too


class Fails(Smooth):
    """Fails in its sixth step."""

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        if self.trainer.global_step == 5:
            raise RuntimeError("boom")
        return super().training_step(batch, batch_idx)


@pytest.mark.cell("OnExceptionCheckpoint", "StaticDropout")
@pytest.mark.cell("OnExceptionCheckpoint", "BiasMonitor")
@pytest.mark.parametrize("order", ORDERS)
def test_what_is_saved_at_an_error_can_be_resumed(tmp_path: Path, order: str) -> None:
    failed, module = watch(), seeded(Fails)
    with pytest.raises(RuntimeError, match="boom"):
        fit(tmp_path, ordered(failed, OnExceptionCheckpoint(tmp_path), order), module, enable_checkpointing=True)
    assert count_hooks(module) == 0
    saved = torch.load(tmp_path / "on_exception.ckpt", weights_only=True)["callbacks"]
    assert torch.equal(saved[failed.dropout.state_key]["dropout"]["scores"], failed.scores())
    assert saved[failed.monitor.state_key]["history"] == failed.monitor.history
    resumed = watch()
    fit(tmp_path, both(resumed), seeded(), ckpt_path=tmp_path / "on_exception.ckpt")
    assert failed.probes == [0, 2, 4]
    assert resumed.probes == [6, 8, 10]
    assert resumed.points[0] == 0
    assert resumed.points[-1] == 12


def bars(text: str) -> set[str]:
    """The titles of the bars that tqdm has drawn."""
    return set(re.findall(r"([A-Z][A-Za-z ]+?)(?: \d+)?:\s+\d+%\|", text))


@pytest.mark.cell("progress bars", "StaticDropout")
@pytest.mark.cell("progress bars", "BiasMonitor")
def test_the_measurement_before_training_has_a_bar_and_a_probe_has_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    titles = []
    for callbacks in ([], [watch().dropout], both(watch())):
        fit(tmp_path, [*callbacks, TQDMProgressBar()], seeded(), max_epochs=1, enable_progress_bar=True)
        output = capsys.readouterr()
        titles.append(bars(output.err + output.out))
    assert "Epoch" in titles[0]
    assert titles[1] == titles[0]
    assert titles[2] == titles[0] | {"Measuring bias before training"}


@pytest.mark.cell("progress bars", "BiasMonitor")
@pytest.mark.parametrize("rich", [False, True])
def test_it_has_a_bar_where_the_trainer_has_one(tmp_path: Path, rich: bool, capsys: pytest.CaptureFixture[str]) -> None:
    callbacks: list[Callback] = [*both(watch()), *([RichProgressBar()] if rich else [])]
    fit(tmp_path, callbacks, seeded(), max_epochs=1, enable_progress_bar=rich)
    assert ("Measuring bias before training" in capsys.readouterr().err) == rich


@pytest.mark.cell("WeightAveraging", "StaticDropout")
@pytest.mark.cell("StochasticWeightAveraging", "StaticDropout")
@pytest.mark.cell("WeightAveraging", "BiasMonitor")
@pytest.mark.cell("StochasticWeightAveraging", "BiasMonitor")
@pytest.mark.parametrize("average", [WeightAveraging, lambda: StochasticWeightAveraging(0.01, swa_epoch_start=1)])
def test_averages_at_rate_zero_are_bit_identical(tmp_path: Path, average: Callable[[], Callback]) -> None:
    plain, _ = fit(tmp_path, [average()], seeded())
    watched, _ = fit(tmp_path, [*both(watch(rate=0.0)), average()], seeded())
    assert same_weights(plain, watched)


class Brings(Smooth):
    """Brings its callbacks along."""

    def __init__(self) -> None:
        super().__init__()
        self.watched = watch()

    def configure_callbacks(self) -> list[Callback]:
        return both(self.watched)


@pytest.mark.cell("configure_callbacks of the module", "StaticDropout")
@pytest.mark.cell("configure_callbacks of the module", "BiasMonitor")
def test_callbacks_of_the_module_work_as_those_of_the_trainer(tmp_path: Path) -> None:
    module, given = seeded(Brings), watch()
    assert isinstance(module, Brings)
    fit(tmp_path, module=module)
    plain, _ = fit(tmp_path, both(given), seeded())
    assert same_weights(plain, module)
    assert (module.watched.probes, module.watched.points) == (given.probes, given.points)
    assert module.watched.static() == given.static()

# SPDX-License-Identifier: Apache-2.0
"""From ``fit`` to ``predict``, once, twice and resumed: what runs and what is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor
from toys import count_hooks, fit, loaders, make_trainer, same_weights
from trainer_watch import Smooth, both, seeded, watch


class Tested(Smooth):
    """Has every kind of step."""

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.log("test_loss", self(batch["video"]).square().mean())

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        logits: Tensor = self(batch["video"])
        return logits


@pytest.mark.cell("trainer.validate", "StaticDropout")
@pytest.mark.cell("trainer.test", "StaticDropout")
@pytest.mark.cell("trainer.predict", "StaticDropout")
@pytest.mark.cell("trainer.test", "BiasMonitor")
@pytest.mark.cell("trainer.predict", "BiasMonitor")
@pytest.mark.parametrize("verb", ["validate", "test", "predict"])
def test_nothing_is_dropped_outside_fit_and_only_validation_is_measured(tmp_path: Path, verb: str) -> None:
    results, watched, module = [], watch(), seeded(Tested)
    for callbacks in ([], both(watched)):
        run = getattr(make_trainer(tmp_path, callbacks), verb)
        results.append(run(module, loaders()[1], **({} if verb == "predict" else {"verbose": False})))
    if verb == "predict":
        assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
    else:
        assert results[0] == results[1]
    assert watched.dropout.dropout is None
    assert watched.probed == []
    assert (watched.points, (tmp_path / "bias").exists()) == (([0], True) if verb == "validate" else ([], False))
    assert count_hooks(module) == 0


@pytest.mark.cell("trainer.validate", "BiasMonitor")
def test_validating_measures_a_model_with_the_weights_of_a_checkpoint_at_its_step(tmp_path: Path) -> None:
    trained = watch()
    saver = ModelCheckpoint(tmp_path, save_last=True)
    fit(tmp_path, [*both(trained), saver], seeded(), enable_checkpointing=True)
    again = watch(dirpath=tmp_path / "again")
    trainer = make_trainer(tmp_path, both(again))
    trainer.validate(Smooth(), loaders()[1], ckpt_path=str(tmp_path / "last.ckpt"), verbose=False)
    assert [(entry["step"], entry["stage"]) for entry in again.monitor.history][-2:] == [(12, "fit"), (12, "validate")]
    assert again.static()[-1] == again.static()[-2] == trained.static()[-1]


@pytest.mark.cell("inference_mode=False", "StaticDropout")
@pytest.mark.cell("inference_mode=False", "BiasMonitor")
def test_inference_mode_changes_no_number_and_poisons_no_later_training(tmp_path: Path) -> None:
    results = []
    for mode in (True, False):
        watched, module = watch(), seeded()
        make_trainer(tmp_path, both(watched), inference_mode=mode).validate(module, loaders()[1], verbose=False)
        before = watched.static()
        fit(tmp_path, both(watched), module, max_epochs=1, inference_mode=mode)
        results.append((before, watched.static(), watched.probes, watched.scores().tolist()))
    assert results[0] == results[1]


@pytest.mark.cell("fit called twice", "StaticDropout")
@pytest.mark.cell("fit called twice", "BiasMonitor")
def test_the_same_trainer_goes_on(tmp_path: Path) -> None:
    watched, module = watch(), seeded()
    trainer = make_trainer(tmp_path, both(watched), max_epochs=1)
    trainer.fit(module, *loaders())
    trainer.fit(module, *loaders())  # max_epochs is reached: nothing runs
    assert (watched.probes, watched.points, watched.masks) == ([0, 2, 4], [0, 6], 6)
    assert trainer.fit_loop.max_epochs == 1
    trainer.fit_loop.max_epochs = 2
    trainer.fit(module, *loaders())
    assert (watched.probes, watched.points, watched.masks) == ([0, 2, 4, 6, 8, 10], [0, 6, 12], 12)
    assert count_hooks(module) == 0


@pytest.mark.cell("fit called twice", "StaticDropout")
@pytest.mark.cell("fit called twice", "BiasMonitor")
def test_a_new_trainer_starts_anew_with_the_same_callbacks(tmp_path: Path) -> None:
    watched = watch()
    modules, scores = [], []
    for _ in range(2):
        modules.append(fit(tmp_path, both(watched), seeded(), max_epochs=1)[0])
        scores.append(watched.scores())
        assert (watched.points, watched.masks) == ([0, 6], 6)
    assert same_weights(*modules)
    assert torch.equal(*scores)


@pytest.mark.cell('ckpt_path="last"', "StaticDropout")
@pytest.mark.cell('ckpt_path="last"', "BiasMonitor")
def test_the_last_checkpoint_is_found_and_probes_masks_and_curves_go_on(tmp_path: Path) -> None:
    runs = [watch(dirpath=tmp_path / "bias") for _ in range(2)]
    for epochs, watched in enumerate(runs, 1):
        saver = ModelCheckpoint(tmp_path, save_last=True)
        options: dict[str, Any] = {"max_epochs": epochs, "enable_checkpointing": True, "ckpt_path": "last"}
        fit(tmp_path, [*both(watched), saver], seeded(), **options)
    assert [watched.probes for watched in runs] == [[0, 2, 4], [6, 8, 10]]
    assert [watched.points for watched in runs] == [[0, 6], [0, 6, 12]]
    assert [watched.masks for watched in runs] == [6, 12]
    whole = watch()
    fit(tmp_path, both(whole), seeded())
    assert runs[1].static()[:2] == whole.static()[:2]


@pytest.mark.cell("a checkpoint made without the callbacks", "StaticDropout")
@pytest.mark.cell("a checkpoint made without the callbacks", "BiasMonitor")
def test_training_goes_on_with_callbacks_that_the_checkpoint_does_not_know(tmp_path: Path) -> None:
    saver = ModelCheckpoint(tmp_path, save_last=True)
    fit(tmp_path, [saver], seeded(), max_epochs=1, enable_checkpointing=True)
    watched = watch()
    fit(tmp_path, both(watched), seeded(), ckpt_path=tmp_path / "last.ckpt")
    assert watched.probes == [6, 8, 10]
    assert watched.points == [12]
    assert watched.masks == 6


@pytest.mark.cell("max_steps, max_time, min_epochs", "StaticDropout")
@pytest.mark.cell("max_steps, max_time, min_epochs", "BiasMonitor")
@pytest.mark.parametrize(
    ("options", "probes", "points"),
    [
        ({"max_steps": 5}, [0, 2, 4], [0]),
        ({"max_steps": 5, "val_check_interval": 2}, [0, 2, 4], [0, 2, 4]),
        ({"max_time": {"seconds": 0}}, [], []),
        ({"max_time": {"seconds": 0}, "min_epochs": 1, "max_epochs": 3}, [0, 2, 4], [0, 6]),
    ],
)
def test_wherever_training_stops_no_hook_is_left(
    tmp_path: Path, options: dict[str, Any], probes: list[int], points: list[int]
) -> None:
    watched = watch()
    module, _ = fit(tmp_path, both(watched), seeded(), **options)
    assert (watched.probes, watched.points) == (probes, points)
    assert count_hooks(module) == 0

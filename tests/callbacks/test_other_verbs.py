# SPDX-License-Identifier: Apache-2.0
"""A checkpoint that is validated, tested or resumed beside a training takes nothing from it."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint, WeightAveraging
from lightning.pytorch.loggers import CSVLogger, Logger
from lightning.pytorch.utilities.combined_loader import CombinedLoader
from torch.utils.data import DataLoader, RandomSampler
from toys import Clips, ResumableLoader, ToyClassifier, fit, loaders, make_trainer, same_weights

from staticdropout.callbacks import BiasMonitor, StaticDropout, VideoInputs
from staticdropout.callbacks.loggers import run_folder

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


class Tested(ToyClassifier):
    """Can be tested."""

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.validation_step(batch, batch_idx)


def monitor(**options: Any) -> BiasMonitor:
    return BiasMonitor(layers="backbone.layer*", num_clips=24, figures=False, verbose=False, **options)


def saver(folder: Path, every: int = 6) -> ModelCheckpoint:
    return ModelCheckpoint(folder / "steps", filename="{step}", every_n_train_steps=every, save_top_k=-1)


def steps(watching: BiasMonitor) -> list[tuple[str, int, int]]:
    return [(point["stage"], point["step"], point["epoch"]) for point in watching.history]


@pytest.mark.parametrize("verb", ["validate", "test"])
def test_a_checkpoint_looked_at_after_a_fit_keeps_curves_and_scores(tmp_path: Path, verb: str) -> None:
    watching, dropping = monitor(), StaticDropout(every_n_steps=4)
    module, trainer = fit(tmp_path, [watching, dropping, saver(tmp_path)], Tested(), enable_checkpointing=True)
    before, state = list(watching.history), dropping.state_dict()
    getattr(trainer, verb)(module, loaders()[1], ckpt_path=tmp_path / "steps" / "step=6.ckpt", verbose=False)
    assert watching.history[: len(before)] == before
    assert steps(watching)[len(before) :] == ([("validate", 6, 0)] if verb == "validate" else [])
    assert dropping.state_dict().keys() == state.keys()
    assert dropping.state_dict()["last_probe"] == state["last_probe"]


@pytest.mark.parametrize("verb", ["validate", "test"])
def test_a_checkpoint_looked_at_before_a_fit_is_not_continued(tmp_path: Path, verb: str) -> None:
    fit(tmp_path, [monitor(), StaticDropout(every_n_steps=4), saver(tmp_path)], Tested(), enable_checkpointing=True)
    watching, dropping = monitor(), StaticDropout(every_n_steps=4)
    trainer = make_trainer(tmp_path, [watching, dropping])
    module = Tested()
    getattr(trainer, verb)(module, loaders()[1], ckpt_path=tmp_path / "steps" / "step=12.ckpt", verbose=False)
    trainer.fit(module, *loaders())
    assert steps(watching) == [("fit", 0, 0), ("fit", 6, 0), ("fit", 12, 1)]
    assert dropping.state_dict()["num_probes"] == 3


def test_a_validation_without_a_checkpoint_counts_for_no_earlier_one(tmp_path: Path) -> None:
    fit(tmp_path, [monitor(), saver(tmp_path)], enable_checkpointing=True)
    watching = monitor(dirpath=tmp_path / "again")
    trainer = make_trainer(tmp_path, [watching])
    trainer.validate(ToyClassifier(), loaders()[1], ckpt_path=tmp_path / "steps" / "step=12.ckpt", verbose=False)
    trainer.validate(ToyClassifier(), loaders()[1], verbose=False)
    assert steps(watching)[-2:] == [("validate", 12, 1), ("validate", 0, 0)]


def _resumed(folder: Path, callbacks: list[Callback], ckpt_path: Path | None = None) -> LightningModule:
    torch.manual_seed(0)
    module = ToyClassifier()
    module.backbone.dropout.p = 0.0
    trainer = make_trainer(folder, callbacks, val_check_interval=3, enable_checkpointing=True)
    trainer.fit(module, ResumableLoader(Clips(24), 4), DataLoader(Clips(12), 6), ckpt_path=ckpt_path)
    return module


def test_what_others_watch_is_there_after_a_resume_too(tmp_path: Path) -> None:
    name = "bias/backbone.layer2/dynamic"
    _resumed(tmp_path, [monitor(), saver(tmp_path, 1)])

    best, stopping = ModelCheckpoint(tmp_path / "best", monitor=name), EarlyStopping(name, patience=9)
    # The first validation after the resume, at step 6, is not measured.
    watching = monitor(every_n_validations=2, dirpath=tmp_path / "resumed")
    _resumed(tmp_path, [watching, stopping, best], tmp_path / "steps" / "step=4.ckpt")
    values = [point["layers"]["backbone.layer2"]["dynamic"] for point in watching.history]
    assert any(float(stopping.best_score) == pytest.approx(value, rel=1e-5) for value in values)
    assert best.best_model_score is not None
    assert any(float(best.best_model_score) == pytest.approx(value, rel=1e-5) for value in values)


def test_a_measurement_that_is_made_up_for_sees_the_averaged_weights(tmp_path: Path) -> None:
    whole = monitor()
    _resumed(tmp_path, [WeightAveraging(), whole, saver(tmp_path, 1)])
    for step in (6, 9):
        resumed = monitor(dirpath=tmp_path / f"resumed{step}")
        _resumed(tmp_path, [WeightAveraging(), resumed], tmp_path / "steps" / f"step={step}.ckpt")
        assert resumed.history == whole.history


class Workers(Callback):
    """Counts the processes that live during training."""

    def __init__(self) -> None:
        self.alive: list[int] = []

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self.alive.append(len(multiprocessing.active_children()))


class Pairs(ToyClassifier):
    """Validated on combined batches."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        super().validation_step(batch["a"], batch_idx)


def test_the_pass_before_training_leaves_no_worker_of_combined_loaders(tmp_path: Path) -> None:
    both = CombinedLoader({name: DataLoader(Clips(12), 6, num_workers=1) for name in "ab"}, "max_size")
    workers = Workers()
    callbacks: list[Callback] = [monitor(inputs=VideoInputs(video="a.video")), workers]
    trainer = make_trainer(tmp_path, callbacks, max_epochs=1, num_sanity_val_steps=0)
    trainer.fit(Pairs(), DataLoader(Clips(16), 8), both)
    assert workers.alive == [0, 0]


def test_a_sampler_with_a_generator_of_its_own_is_left_as_it_was(tmp_path: Path) -> None:
    modules = []
    for callbacks in ([], [monitor()]):
        torch.manual_seed(0)
        generator = torch.Generator().manual_seed(1)  # of both loaders
        train = DataLoader(Clips(16), 4, sampler=RandomSampler(range(16), generator=generator))
        val = DataLoader(Clips(12), 6, sampler=RandomSampler(range(12), generator=generator))
        module = ToyClassifier()
        make_trainer(tmp_path, callbacks, num_sanity_val_steps=0).fit(module, train, val)
        modules.append(module)
    assert same_weights(*modules)


def test_the_folder_of_a_run_is_broadcast_once_on_every_rank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Elsewhere(Logger):
        name, version, save_dir = None, None, str(tmp_path / "all")

        def log_metrics(self, *args: Any, **options: Any) -> None: ...

        def log_hyperparams(self, *args: Any, **options: Any) -> None: ...

    for logger, expected in ((False, tmp_path), (CSVLogger(tmp_path, "a", 3), "a/version_3"), (Elsewhere(), "all")):
        trainer = make_trainer(tmp_path, logger=logger)
        calls: list[Any] = []
        monkeypatch.setattr(
            trainer.strategy, "broadcast", lambda value, src=0, calls=calls: calls.append(value) or value
        )
        assert run_folder(trainer) == tmp_path / expected
        assert len(calls) == 1  # as many as on a rank with another logger

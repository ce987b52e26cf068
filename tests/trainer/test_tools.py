# SPDX-License-Identifier: Apache-2.0
"""What else a Trainer brings: bare, deterministic, watched for anomalies, profiled, tuned, saved later."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import LearningRateFinder, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.plugins import AsyncCheckpointIO
from lightning.pytorch.tuner.tuning import Tuner
from torch.utils.data import DataLoader
from toys import Clips, count_hooks, fit, loaders, make_trainer, same_weights
from trainer_watch import Smooth, both, names, seeded, watch


@pytest.mark.cell("Trainer(barebones=True)", "StaticDropout")
@pytest.mark.cell("Trainer(barebones=True)", "BiasMonitor")
@pytest.mark.filterwarnings("ignore:You are trying to `self.log:UserWarning")
def test_the_bare_trainer_trains_and_measures_without_metrics(tmp_path: Path) -> None:
    watched = watch()
    trainer = Trainer(
        barebones=True, accelerator="cpu", max_epochs=1, callbacks=both(watched), default_root_dir=tmp_path
    )
    trainer.fit(seeded(), *loaders())
    assert (watched.probes, watched.points) == ([0, 2, 4], [0, 6])
    assert not trainer.callback_metrics
    assert (tmp_path / "bias" / "bias.csv").is_file()


@pytest.mark.cell("deterministic=True", "StaticDropout")
@pytest.mark.cell("deterministic=True", "BiasMonitor")
def test_deterministic_trainings_repeat_in_every_bit(tmp_path: Path) -> None:
    try:
        runs = []
        for _ in range(2):
            watched = watch()
            module, _ = fit(tmp_path, both(watched), seeded(), deterministic=True)
            runs.append((module, watched))
    finally:
        torch.use_deterministic_algorithms(False)
    assert same_weights(runs[0][0], runs[1][0])
    assert torch.equal(runs[0][1].scores(), runs[1][1].scores())
    assert runs[0][1].monitor.history == runs[1][1].monitor.history


@pytest.mark.cell("detect_anomaly=True", "StaticDropout")
@pytest.mark.cell("detect_anomaly=True", "BiasMonitor")
def test_anomaly_detection_finds_none_in_what_the_callbacks_do(tmp_path: Path) -> None:
    modules = []
    for detect in (False, True):
        watched = watch()
        modules.append(fit(tmp_path, both(watched), seeded(), detect_anomaly=detect)[0])
        assert (watched.probes, watched.points) == ([0, 2, 4, 6, 8, 10], [0, 6, 12])
    assert same_weights(*modules)


@pytest.mark.cell("profiler", "StaticDropout")
@pytest.mark.cell("profiler", "BiasMonitor")
def test_the_profiler_tells_what_probes_and_measurements_cost(tmp_path: Path) -> None:
    watched = watch()
    _, trainer = fit(tmp_path, both(watched), seeded(), profiler="simple")
    durations: dict[str, list[float]] = trainer.profiler.recorded_durations  # type: ignore[attr-defined]
    found = {name: len(times) for name, times in durations.items()}
    probing = f"[Callback]{watched.dropout.state_key}.on_train_batch_start"
    measuring = f"[Callback]{watched.monitor.state_key}.on_validation_batch_end"
    assert found[probing] == 12
    assert found[measuring] >= 6
    assert found[f"[Callback]{watched.monitor.state_key}.on_train_start"] == 1
    assert max(durations[probing]) > 0


@pytest.mark.cell("Tuner.lr_find, LearningRateFinder", "StaticDropout")
@pytest.mark.cell("Tuner.lr_find, LearningRateFinder", "BiasMonitor")
def test_the_search_for_a_learning_rate_is_left_alone(tmp_path: Path) -> None:
    watched, module = watch(), seeded()
    trainer = make_trainer(tmp_path, both(watched))
    Tuner(trainer).lr_find(module, *loaders(), num_training=5, update_attr=False)
    assert (watched.probed, watched.points, watched.dropout.dropout) == ([], [], None)
    assert same_weights(module, seeded())
    assert count_hooks(module) == 0
    torch.manual_seed(1)
    trainer.fit(module, *loaders())
    assert (watched.probes, watched.points) == ([0, 2, 4, 6, 8, 10], [0, 6, 12])


@pytest.mark.cell("Tuner.lr_find, LearningRateFinder", "StaticDropout")
@pytest.mark.cell("Tuner.lr_find, LearningRateFinder", "BiasMonitor")
@pytest.mark.parametrize("first", [True, False])
def test_training_begins_after_a_search_in_the_same_fit(tmp_path: Path, first: bool) -> None:
    watched, finder = watch(), LearningRateFinder(num_training_steps=5, update_attr=False)
    fit(tmp_path, [finder, *both(watched)] if first else [*both(watched), finder], seeded())
    assert (watched.probes, watched.points, watched.masks) == ([0, 2, 4, 6, 8, 10], [0, 6, 12], 12)


class Sized(Smooth):
    """Has a batch size for the Tuner to scale."""

    def __init__(self) -> None:
        super().__init__()
        self.batch_size = 2

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(Clips(48), self.batch_size)

    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(Clips(24), 8)


@pytest.mark.cell("Tuner.scale_batch_size", "StaticDropout")
@pytest.mark.cell("Tuner.scale_batch_size", "BiasMonitor")
def test_the_search_for_a_batch_size_is_left_alone(tmp_path: Path) -> None:
    watched, module = watch(), seeded(Sized)
    assert isinstance(module, Sized)
    trainer = make_trainer(tmp_path, both(watched), max_epochs=1)
    Tuner(trainer).scale_batch_size(module, steps_per_trial=1, init_val=4, max_trials=1)
    assert (watched.probed, watched.points, watched.dropout.dropout) == ([], [], None)
    size = module.batch_size
    trainer.fit(module)
    assert [note.clips for note in watched.probed][:1] == [names(range(size))]
    assert watched.points == [0, 48 // size]


class Example(Smooth):
    def __init__(self) -> None:
        super().__init__()
        self.example_input_array = torch.rand(2, 3, 6, 12, 12)


@pytest.mark.cell("enable_model_summary, log_graph=True", "StaticDropout")
@pytest.mark.cell("enable_model_summary, log_graph=True", "BiasMonitor")
def test_summary_and_graph_of_the_model_are_made_without_a_mask(tmp_path: Path) -> None:
    watched = watch()
    logger = TensorBoardLogger(tmp_path, name="", version="", log_graph=True)
    fit(tmp_path, both(watched), seeded(Example), logger=logger, enable_model_summary=True, max_epochs=1)
    assert (watched.masks, watched.points) == (6, [0, 6])
    (events,) = tmp_path.glob("events.out*")
    assert b"backbone/Linear[fc]" in events.read_bytes().replace(b"ToyNet[backbone]", b"backbone")


class Late(AsyncCheckpointIO):
    """Writes nothing before training is over."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[Callable[[], None]] = []

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        self.waiting.append(lambda: AsyncCheckpointIO.save_checkpoint(self, checkpoint, path, storage_options))

    def teardown(self) -> None:
        while self.waiting:
            self.waiting.pop()()
        super().teardown()


def state_written_late(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The callbacks' states in the checkpoint of step 6, which is written after step 12."""
    watched = watch()
    saver = ModelCheckpoint(folder, filename="{step}", save_top_k=-1)
    fit(folder, [*both(watched), saver], seeded(), plugins=[Late()], enable_checkpointing=True)
    states = torch.load(folder / "step=6.ckpt", weights_only=True)["callbacks"]
    return states[watched.dropout.state_key], states[watched.monitor.state_key]


@pytest.mark.cell("AsyncCheckpointIO", "StaticDropout")
def test_scores_that_are_written_later_are_those_of_their_step(tmp_path: Path) -> None:
    state, _ = state_written_late(tmp_path)
    assert state["last_probe"] == 4
    assert int(state["dropout"]["num_masks"]) == 6


@pytest.mark.cell("AsyncCheckpointIO", "BiasMonitor")
def test_curves_that_are_written_later_end_at_their_step(tmp_path: Path) -> None:
    _, state = state_written_late(tmp_path)
    assert [entry["step"] for entry in state["history"]] == [0, 6]

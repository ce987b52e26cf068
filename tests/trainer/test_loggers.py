# SPDX-License-Identifier: Apache-2.0
"""Loggers: scalars and figures arrive, and can be read back from where each logger keeps them."""

from __future__ import annotations

import csv
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.loggers import CSVLogger, MLFlowLogger, TensorBoardLogger, WandbLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from toys import fit
from trainer_wandb import wandb_history
from trainer_watch import LAYER, Watched, both, seeded, watch

STATIC, SCORE = f"bias/{LAYER}/static", "static_dropout/score_mean"
FIGURES = ("curves", "encodings", "units", "triplets")

needs_wandb = pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="wandb is not installed")
needs_mlflow = pytest.mark.skipif(importlib.util.find_spec("mlflow") is None, reason="mlflow is not installed")


def run(folder: Path, logger: Any, figures: bool = False, **options: Any) -> Watched:
    """One epoch of six steps: probes at 0, 2 and 4, measurements at 0 and 6, or at 6 alone with figures."""
    watched = watch(figures=figures, measure_at_start=not figures)
    fit(folder, both(watched), seeded(), logger=logger, max_epochs=1, **options)
    return watched


@pytest.mark.cell("logger=False", "StaticDropout")
@pytest.mark.cell("logger=False", "BiasMonitor")
def test_without_a_logger_the_files_are_in_the_root_folder(tmp_path: Path) -> None:
    watched = run(tmp_path, False)
    rows = list(csv.DictReader((tmp_path / "bias" / "bias.csv").open()))
    assert [int(row["step"]) for row in rows] == watched.points == [0, 6]
    assert [path.name for path in tmp_path.iterdir()] == ["bias"]
    assert watched.probes == [0, 2, 4]


def csv_points(path: Path, name: str) -> list[tuple[int, float]]:
    return [(int(row["step"]), float(row[name])) for row in csv.DictReader(path.open()) if row.get(name)]


@pytest.mark.cell("TensorBoardLogger and CSVLogger together", "StaticDropout")
@pytest.mark.cell("TensorBoardLogger and CSVLogger together", "BiasMonitor")
def test_every_logger_gets_every_scalar_and_tensorboard_the_figures(tmp_path: Path) -> None:
    first = CSVLogger(tmp_path / "csv", name="", version="")
    watched = run(tmp_path, [first, TensorBoardLogger(tmp_path / "tb", name="", version="")], figures=True)
    events = EventAccumulator(str(tmp_path / "tb"))
    events.Reload()
    for name, steps in ((STATIC, [6]), (SCORE, [0, 2, 4])):
        rows = csv_points(tmp_path / "csv" / "metrics.csv", name)
        shown = [(event.step, event.value) for event in events.Scalars(name)]
        assert [step for step, _ in rows] == [step for step, _ in shown] == steps
        assert [value for _, value in rows] == pytest.approx([value for _, value in shown])
    assert csv_points(tmp_path / "csv" / "metrics.csv", STATIC)[0][1] == pytest.approx(watched.static()[0])
    assert {f"bias_figures/{name}" for name in FIGURES} <= set(events.Tags()["images"])
    assert (tmp_path / "csv" / "bias" / "curves.png").is_file()  # beside the first logger
    assert not (tmp_path / "tb" / "bias").exists()


@pytest.mark.cell("log_every_n_steps", "StaticDropout")
@pytest.mark.cell("log_every_n_steps", "BiasMonitor")
def test_every_probe_and_measurement_is_logged_whatever_the_rhythm_of_the_log(tmp_path: Path) -> None:
    run(tmp_path, CSVLogger(tmp_path, name="", version=""), log_every_n_steps=100)
    assert [step for step, _ in csv_points(tmp_path / "metrics.csv", SCORE)] == [0, 2, 4]
    assert [step for step, _ in csv_points(tmp_path / "metrics.csv", STATIC)] == [0, 6]


@pytest.mark.cell("fast_dev_run", "StaticDropout")
@pytest.mark.cell("fast_dev_run", "BiasMonitor")
def test_a_run_for_debugging_does_everything_once_and_leaves_nothing(tmp_path: Path) -> None:
    watched = watch(figures=True)
    fit(tmp_path, both(watched), seeded(), logger=TensorBoardLogger(tmp_path), fast_dev_run=True)
    assert (watched.probes, watched.masks) == ([0], 1)
    assert (watched.points, watched.clips) == ([0, 1], [8, 8])
    assert not list(tmp_path.iterdir())


@pytest.fixture
def _offline(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "WANDB_ERROR_REPORTING": "false"}.items():
        monkeypatch.setenv(name, value)
    yield
    import wandb

    wandb.finish()


def offline(folder: Path) -> Any:
    import wandb

    return WandbLogger(save_dir=folder, offline=True, project="toys", settings=wandb.Settings(console="off"))


@needs_wandb
@pytest.mark.usefixtures("_offline")
@pytest.mark.cell("WandbLogger(offline=True)", "StaticDropout")
@pytest.mark.cell("WandbLogger(offline=True)", "BiasMonitor")
def test_wandb_gets_scalars_at_their_steps_and_figures_as_images(tmp_path: Path) -> None:
    import wandb

    watched = run(tmp_path, offline(tmp_path), figures=True)
    wandb.finish()
    rows = wandb_history(tmp_path)
    for name, steps in ((STATIC, [6]), (SCORE, [0, 2, 4])):
        assert [row["trainer/global_step"] for row in rows if name in row] == steps
    assert [row[STATIC] for row in rows if STATIC in row] == pytest.approx(watched.static())
    for name in FIGURES:
        (image,) = [row for row in rows if any(key.startswith(f"bias_figures/{name}") for key in row)]
        assert image["trainer/global_step"] == 6
        (picture,) = tmp_path.glob(f"wandb/offline-run-*/files/media/images/bias_figures/{name}_*.png")
        assert picture.read_bytes().startswith(b"\x89PNG")


@needs_wandb
@pytest.mark.usefixtures("_offline")
@pytest.mark.cell("WandbLogger(offline=True)", "BiasMonitor")
def test_two_wandb_runs_in_one_folder_keep_their_files_apart(tmp_path: Path) -> None:
    import wandb

    for _ in range(2):
        run(tmp_path, offline(tmp_path))
        wandb.finish()
    assert len(list(tmp_path.rglob("bias.csv"))) == 2


@needs_mlflow
@pytest.mark.cell("MLFlowLogger", "StaticDropout")
@pytest.mark.cell("MLFlowLogger", "BiasMonitor")
def test_mlflow_gets_scalars_at_their_steps_and_figures_as_artifacts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    logger = MLFlowLogger("toys", tracking_uri=f"file:{tmp_path / 'runs'}")
    watched = run(tmp_path, logger, figures=True)
    client = logger.experiment
    for name, steps in ((STATIC, [6]), (SCORE, [0, 2, 4])):
        assert [point.step for point in client.get_metric_history(logger.run_id, name)] == steps
    (last,) = client.get_metric_history(logger.run_id, STATIC)
    assert last.value == pytest.approx(watched.static()[0])
    for name in FIGURES:
        (artifact,) = client.list_artifacts(logger.run_id, f"bias_figures/{name}")
        assert artifact.path == f"bias_figures/{name}/step_00000006.png"
        assert artifact.file_size > 1000


@needs_mlflow
@pytest.mark.cell("MLFlowLogger", "BiasMonitor")
def test_no_file_of_ours_lies_where_mlflow_looks_for_experiments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    logger = MLFlowLogger("toys", tracking_uri=f"file:{tmp_path / 'runs'}")
    run(tmp_path, logger)
    assert {experiment.name for experiment in logger.experiment.search_experiments()} == {"Default", "toys"}
    assert "Malformed" not in caplog.text
    assert len(list(tmp_path.rglob("bias.csv"))) == 1

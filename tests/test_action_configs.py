# SPDX-License-Identifier: Apache-2.0
"""Configs of Kinetics, Diving48, ActivityNet and Something-Else: all are understood, one of each kind is trained."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from action_data import activitynet, diving48, kinetics, something_else
from small_models import SMALL

from staticdropout import cli
from staticdropout.callbacks import BiasMonitor, ShuffledValidation, StaticDropout
from staticdropout.config_files import find_config, load_config, packaged_configs
from staticdropout.models import analysis_layers, create_model, model_info
from staticdropout.models.checkpoints import to_official_names

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

ROOTS: dict[str, Callable[[Path], Path]] = {
    "kinetics": kinetics,
    "diving48": diving48,
    "activitynet": activitynet,
    "something_else": something_else,
}
CLASSES = {"kinetics": 400, "diving48": 48, "activitynet": 200, "something_else": 174}
CONFIGS = [name for name in packaged_configs() if name.split("/")[0] in ROOTS]


@pytest.fixture(scope="session")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: write(tmp_path_factory.mktemp(name)) for name, write in ROOTS.items()}


@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_is_understood_and_trains_its_model_on_its_clips(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as done:
        cli.run(["fit", "--config", name, "--print_config"])
    assert not done.value.code
    config = yaml.safe_load(capsys.readouterr().out)
    model, data, epochs = config["model"]["init_args"], config["data"]["init_args"], config["trainer"]["max_epochs"]
    assert model["num_classes"] == CLASSES[name.split("/")[0]]
    info = model_info(model["model"])
    assert data["num_frames"] == info.frames
    assert name.startswith(("something_else", "activitynet")) or data["stride"] == info.stride
    assert data["crop_size"] == info.crop
    schedule = model["lr_scheduler"]["init_args"]
    milestones = schedule.get("milestones", [schedule.get("t_initial", 0) - 1])
    assert max(milestones) < epochs
    callbacks = {
        callback["class_path"].rpartition(".")[2]: callback["init_args"] for callback in config["trainer"]["callbacks"]
    }
    assert data["shuffle_frames"] == name.endswith("_shuffled") == ("BiasMonitor" not in callbacks)
    assert ("StaticDropout" in callbacks) == name.endswith("_staticdropout")
    if "BiasMonitor" in callbacks:
        assert callbacks["BiasMonitor"]["layers"] == "paper"
        assert analysis_layers(model["model"])


def test_the_recipes_are_the_papers() -> None:
    def parts(name: str) -> tuple[Any, Any, int, int]:
        config = load_config(find_config(name))
        model, data = config["model"]["init_args"], config["data"]["init_args"]
        clips = data["batch_size"] * 8  # devices
        return (
            model["optimizer"]["init_args"]["lr"],
            model["lr_scheduler"]["init_args"],
            config["trainer"]["max_epochs"],
            clips,
        )

    cosine = {"t_initial": 100, "warmup_t": 10, "warmup_lr_init": 0.01}
    stepped = {"milestones": [40, 60, 80], "gamma": 0.1}
    assert parts("diving48/resnet3d_r50") == (0.1, cosine, 100, 64)  # Sec. 5.2
    assert parts("diving48/resnet3d_r50_staticdropout") == (0.1, cosine, 105, 64)
    assert parts("diving48/fastonly_r50") == (0.0375, stepped, 100, 32)  # Sec. 4.1.1
    assert parts("diving48/slowonly_r50") == (0.00375, stepped, 100, 32)
    assert parts("kinetics/fastonly_r50") == (0.03, {"milestones": [15, 30, 35], "gamma": 0.1}, 40, 32)
    assert parts("kinetics/fastonly_r50_shuffled") == parts("kinetics/fastonly_r50")
    assert parts("something_else/resnet3d_r50") == parts("ssv2/resnet3d_r50")
    finetune = load_config(find_config("diving48/resnet3d_r18_staticdropout"))["trainer"]["callbacks"][-1]
    assert finetune == {"class_path": "DropoutFreeFinetune", "init_args": {"num_epochs": 5, "lr": 1e-5}}


def shrunken(name: str, root: Path, folder: Path) -> list[str]:
    """What makes any config small enough for a test."""
    model = load_config(find_config(name))["model"]["init_args"]["model"]
    options: dict[str, Any] = {
        "data.root": root,
        "data.num_frames": 8,
        "data.stride": 1,
        "data.crop_size": 32,
        "data.eval_crop_size": 32,
        "data.short_side": 32,
        "data.batch_size": 2,
        "data.num_workers": 0,
        "data.test_clips": 2,
        "data.test_crops": 3,
        "model.init_args.model_args": next((SMALL[key] for key in SMALL if key[:5] == model[:5]), {"width": 8}),
        "trainer.accelerator": "cpu",
        "trainer.devices": 1,
        "trainer.precision": "32-true",
        "trainer.max_epochs": 6 if name.endswith("_staticdropout") else 1,
        "trainer.default_root_dir": folder,
        "trainer.enable_progress_bar": "false",
        "trainer.enable_model_summary": "false",
    }
    if model.startswith("timesformer"):
        options["model.init_args.inflate"] = "null"
    return [f"--{key}={value}" for key, value in options.items()]


@pytest.mark.parametrize(
    "name",
    [
        "kinetics/slowfast_r50_4x16",
        "kinetics/x3d_s",
        "kinetics/mvit_b_16x4",
        "kinetics/timesformer_divst_8x32",
        "kinetics/fastonly_r50_shuffled",
        "diving48/resnet3d_r18_staticdropout",
        "activitynet/slowonly_r50",
        "something_else/resnet3d_r18",
    ],
)
def test_a_config_of_each_kind_fits_measures_and_writes_its_classes(
    name: str, roots: dict[str, Path], tmp_path: Path
) -> None:
    trainer = cli.run(["fit", "--config", name, *shrunken(name, roots[name.split("/")[0]], tmp_path)]).trainer
    assert math.isfinite(trainer.callback_metrics["val/loss"])
    kinds = [type(callback) for callback in trainer.callbacks]
    assert (BiasMonitor in kinds) == (ShuffledValidation in kinds) == (not name.endswith("_shuffled"))
    assert (StaticDropout in kinds) == name.endswith("_staticdropout")
    if BiasMonitor in kinds and not name.startswith("activitynet"):  # one validation clip has no correlation
        (table,) = tmp_path.rglob("bias.csv")
        measured = [row["layer"] for row in csv.DictReader(table.open())]
        assert list(dict.fromkeys(measured)) == list(analysis_layers(trainer.lightning_module))
    (classes,) = tmp_path.rglob("val_classes.csv")
    assert sum(int(row["train_clips"]) for row in csv.DictReader(line for line in classes.open() if line[0] != "#")) > 0


@pytest.mark.parametrize("name", ["kinetics/slowfast_r50_4x16", "kinetics/x3d_s", "kinetics/mvit_b_16x4"])
def test_a_model_is_tested_on_many_views(name: str, roots: dict[str, Path], tmp_path: Path) -> None:
    shapes: list[tuple[int, ...]] = []

    def watch(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        if type(module).__name__ in ("SlowFast", "X3D", "MViT"):
            shapes.append(tuple(inputs[0].shape))

    handle = torch.nn.modules.module.register_module_forward_pre_hook(watch)
    try:
        trainer = cli.run(["test", "--config", name, *shrunken(name, roots["kinetics"], tmp_path)]).trainer
    finally:
        handle.remove()
    assert shapes == [(12, 3, 8, 32, 32)]  # two videos of two clips and three crops
    assert math.isfinite(trainer.callback_metrics["test/loss"])


@pytest.mark.parametrize("clips", [2, 1])
def test_validation_on_the_views_of_testing_scores_as_testing_and_measures_one_clip(
    clips: int, roots: dict[str, Path], tmp_path: Path
) -> None:
    options = [*shrunken("kinetics/x3d_s", roots["kinetics"], tmp_path), f"--data.test_clips={clips}"]
    found = []
    for verb, more in (("test", []), ("validate", ["--data.val_views=true"]), ("validate", [])):
        trainer = cli.run([verb, "--config", "kinetics/x3d_s", *options, *more]).trainer
        stage = "test" if verb == "test" else "val"
        monitors = [callback for callback in trainer.callbacks if isinstance(callback, BiasMonitor)]
        scores = [bias.scores.tolist() for bias in monitors[0].latest.values()]
        found.append((float(trainer.callback_metrics[f"{stage}/loss"]), scores))
    assert found[1][0] == pytest.approx(found[0][0], rel=1e-5)
    assert found[1][1] == found[2][1] != []


def test_a_checkpoint_in_official_names_is_measured_by_validate(roots: dict[str, Path], tmp_path: Path) -> None:
    args = SMALL["slowfast_r18_4x16"]
    torch.manual_seed(0)
    model = create_model("slowfast_r50_8x8", 400, zero_init_last_bn=False, **args)
    torch.save({"model_state": to_official_names(model.state_dict(), "slowfast")}, tmp_path / "SLOWFAST_8x8_R50.pkl")
    options = shrunken("kinetics/slowfast_r50_8x8", roots["kinetics"], tmp_path / "run")
    checkpoint = f"--model.checkpoint={tmp_path / 'SLOWFAST_8x8_R50.pkl'}"
    trainer = cli.run(["validate", "--config", "kinetics/slowfast_r50_8x8", *options, checkpoint]).trainer
    loaded = trainer.lightning_module.model.state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in model.state_dict().items())
    (monitor,) = (callback for callback in trainer.callbacks if isinstance(callback, BiasMonitor))
    assert list(monitor.latest) == [
        *(f"SF-Slow.stage{stage}" for stage in range(1, 6)),
        *(f"SF-Fast.stage{stage}" for stage in range(1, 6)),
        *(f"SF-Fused.stage{stage}" for stage in range(1, 6)),
    ]
    channels = [bias.unit_scores.shape[1] for bias in monitor.latest.values()]
    assert channels[10:] == [20, 80, 160, 320, 576]

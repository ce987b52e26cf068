# SPDX-License-Identifier: Apache-2.0
"""The commands, called in-process: every packaged config fits on generated data with a shrunken model."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml

from staticdropout import __version__, cli
from staticdropout.callbacks import BiasMonitor, DropoutFreeFinetune, ShuffleConfusion, StaticDropout
from staticdropout.config_files import find_config, load_config, packaged_configs
from staticdropout.datamodules import write_moving_shapes
from staticdropout.errors import VideoDecodeError
from staticdropout.verbs import VERBS


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight training and four validation clips in the layout of Something-Something v2."""
    root = tmp_path_factory.mktemp("shapes") / "data"
    return write_moving_shapes(root, 8, 4, 2, num_classes=2, num_frames=10, height=40, width=44, progress=False)


def shrunken(shapes: Path, folder: Path) -> list[str]:
    """What makes any SSv2 config small enough for a test."""
    return [
        f"--data.root={shapes}",
        "--data.num_frames=4",
        "--data.crop_size=32",
        "--data.short_side=[36, 40]",
        "--data.batch_size=4",
        "--data.num_workers=0",
        "--model.init_args.num_classes=2",
        "--model.init_args.model_args={'width': 8}",
        "--trainer.accelerator=cpu",
        "--trainer.devices=1",
        "--trainer.precision=32-true",
        f"--trainer.default_root_dir={folder}",
        "--trainer.limit_train_batches=2",
        "--trainer.limit_val_batches=1",
        "--trainer.enable_progress_bar=false",
        "--trainer.enable_model_summary=false",
    ]


BEHIND = "ssv2/shuffle_confusion"
SSV2 = [name for name in packaged_configs() if name.startswith("ssv2/") and name != BEHIND]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", SSV2)
def test_every_ssv2_config_fits(name: str, shapes: Path, tmp_path: Path) -> None:
    epochs = 3 if "staticdropout" in name else 1
    extra = ["--data.eval_crop_size=32"]
    arguments = ["fit", "--config", name, *shrunken(shapes, tmp_path), *extra, f"--trainer.max_epochs={epochs}"]
    trainer = cli.run(arguments).trainer
    assert trainer.global_step == 2 * epochs
    kinds = [type(callback) for callback in trainer.callbacks]
    shuffled = name.endswith("_shuffled")
    assert (BiasMonitor in kinds) == (not shuffled)
    assert trainer.datamodule.shuffle_frames == shuffled
    assert (StaticDropout in kinds) == (DropoutFreeFinetune in kinds) == ("staticdropout" in name)
    assert bool(list(tmp_path.rglob("bias/curves.png"))) == (not shuffled)
    dropout = [part.p for part in trainer.lightning_module.modules() if isinstance(part, torch.nn.Dropout)]
    assert (0.3 in dropout) == name.endswith("_dropout")


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", ["ssv2/slowonly_r18", "ssv2/slowonly_r18_staticdropout"])
def test_shuffle_confusion_joins_any_config(name: str, shapes: Path, tmp_path: Path) -> None:
    arguments = ["fit", "--config", name, "--config", BEHIND, *shrunken(shapes, tmp_path), "--trainer.max_epochs=3"]
    trainer = cli.run([*arguments, "--data.eval_crop_size=32"]).trainer
    found = [callback for callback in trainer.callbacks if isinstance(callback, ShuffleConfusion)]
    recipe = load_config(find_config(BEHIND))["model"]["init_args"]
    assert [(c.weight, c.every_n_steps) for c in found] == [
        (recipe["shuffle_confusion"], recipe["shuffle_confusion_every"])
    ]
    kinds = [type(callback) for callback in trainer.callbacks]
    assert (StaticDropout in kinds) == name.endswith("_staticdropout")
    assert trainer.lightning_module.hparams["model"] == "slowonly_r18"  # of the config before it


def test_all_asked_for_configs_are_there() -> None:
    assert BEHIND in packaged_configs()
    models = ("slowonly_r18", "slowonly_r50", "fastonly_r50", "resnet3d_r18", "resnet3d_r50")
    recipes = [f"ssv2/{m}{v}" for m in models for v in ("", "_dropout", "_staticdropout")]
    more = ["slowonly_r50_shuffled", "fastonly_r50_shuffled", "slowfast_r50_8x8", "slowfast_r50_16x8"]
    assert sorted(SSV2) == sorted([*recipes, *(f"ssv2/{name}" for name in more)])


def test_the_recipe_is_the_papers() -> None:
    config = load_config(find_config("ssv2/slowonly_r50_staticdropout"))
    model, trainer = config["model"]["init_args"], config["trainer"]
    assert model["optimizer"]["init_args"] == {"lr": 0.1, "momentum": 0.9, "weight_decay": 1e-4, "nesterov": True}
    assert model["lr_scheduler"]["init_args"] == {"t_initial": 30, "warmup_t": 3, "warmup_lr_init": 0.08}
    assert trainer["max_epochs"] == 30 + 2
    assert {"num_epochs": 2, "lr": 1e-5} in [callback.get("init_args") for callback in trainer["callbacks"]]
    assert {"rate": 0.3, "every_n_steps": 30} in [callback.get("init_args") for callback in trainer["callbacks"]]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_demo_fits_and_ends_with_table_picture_accuracies_and_tensorboard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    small = [
        "--data.num_train=16",
        "--data.num_val=8",
        "--data.num_test=2",
        "--data.clip_frames=10",
        "--data.num_workers=0",
    ]
    cli.main(["fit", "--config", "configs/demo.yaml", "--trainer.max_epochs=2", "--trainer.accelerator=cpu", *small])
    out = capsys.readouterr().out
    for part in (
        "static",
        "dynamic",
        "residual",
        "model.res5",
        "±",
        "curves.png",
        "on shuffled frames",
        "tensorboard --logdir",
    ):
        assert part in out, part
    folder = tmp_path / "runs" / "demo" / "version_0"
    assert (folder / "bias" / "curves.png").is_file()
    assert (folder / "config.yaml").is_file()
    # What was saved starts the same run again.
    assert yaml.safe_load((folder / "config.yaml").read_text())["data"]["class_path"].endswith("MovingShapesDataModule")


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_callbacks_are_configured_in_yaml_with_short_class_names(shapes: Path, tmp_path: Path) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text(
        """
        extends: EXTENDS
        trainer:
          callbacks:
            - class_path: BiasMonitor
              init_args:
                layers: [model.res5]
                num_clips: 20
                estimator: released
                triplets: {class_path: VideoTriplets, init_args: {styles: [paint, neon], seed: 3}}
                inputs: {video: video, layout: BCTHW}
            - class_path: StaticDropout
              init_args: {rate: 0.5, sampling: bernoulli, layer: model.res5}
        """.replace("EXTENDS", str(find_config("ssv2/resnet3d_r18")))
    )
    arguments = [*shrunken(shapes, tmp_path), "--data.eval_crop_size=32", "--trainer.max_epochs=1"]
    trainer = cli.run(["fit", "--config", str(config), *arguments]).trainer
    monitor, dropout = trainer.callbacks[:2]
    assert monitor.settings["style_names"] == ["paint", "neon"]
    assert monitor.settings["seed"] == 3
    assert list(monitor.latest) == ["model.res5"]
    assert dropout.dropout.sampling == "bernoulli"


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_training_is_resumed_and_the_config_not_the_checkpoint_says_what_the_model_is(
    shapes: Path, tmp_path: Path
) -> None:
    arguments = [*shrunken(shapes, tmp_path), "--data.eval_crop_size=32"]
    first = cli.run(["fit", "--config", "ssv2/resnet3d_r18", *arguments, "--trainer.max_epochs=1"]).trainer
    last = f"--ckpt_path={first.checkpoint_callback.last_model_path}"
    more = [*arguments, last, "--trainer.max_epochs=2", "--model.init_args.label_smoothing=0.1"]
    second = cli.run(["fit", "--config", "ssv2/resnet3d_r18", *more]).trainer
    assert second.global_step == 4
    assert second.lightning_module.loss.label_smoothing == 0.1


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("verb", ["validate", "test", "predict"])
def test_the_other_loops_run(verb: str, shapes: Path, tmp_path: Path) -> None:
    arguments = [argument for argument in shrunken(shapes, tmp_path) if "limit" not in argument]
    trainer = cli.run([verb, "--config", "ssv2/resnet3d_r18", *arguments, "--data.eval_crop_size=32"]).trainer
    assert trainer.state.finished
    assert verb == "predict" or any(name.endswith("/top1") for name in trainer.callback_metrics)


def test_print_config_shows_the_whole_config(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["fit", "--config", "ssv2/resnet3d_r18_staticdropout", "--print_config"])
    assert stop.value.code == 0
    config = yaml.safe_load(capsys.readouterr().out)
    assert config["trainer"]["callbacks"][-2]["init_args"]["rate"] == 0.3
    assert config["model"]["init_args"]["model"] == "resnet3d_r18"


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert __version__ in capsys.readouterr().out
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    text = capsys.readouterr().out
    for part in ("fit", "validate", "test", "predict", "models layers", "data check", "ssv2/slowonly_r50"):
        assert part in text


@pytest.mark.parametrize("group", ["models", "data", "styles"])
def test_verbs_have_help(group: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main([group, "--help"])
    assert stop.value.code == 0
    for verb in VERBS[group]:
        with pytest.raises(SystemExit) as stop:
            cli.main([group, verb, "--help"])
        assert stop.value.code == 0
        assert "usage" in capsys.readouterr().out


def test_models_are_listed_by_glob(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["models", "list", "--pattern", "slow*"])
    out = capsys.readouterr().out
    assert "slowonly_r50" in out
    assert "fastonly_r50" not in out


@pytest.mark.parametrize("target", ["resnet3d_r18", "demo"])
def test_layers_of_a_model_or_a_config_are_listed_by_the_names_that_callbacks_take(
    target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    cli.main(["models", "layers", target, "--size", "32"])
    out = capsys.readouterr().out
    assert "model.res4" in out
    assert "model.head.fc[input]" in out
    assert "stage4" in out  # the papers' names


def test_data_check_tells_by_its_exit_code(shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["data", "check", str(shapes), "--workers", "1"])
    with pytest.raises(SystemExit) as stop:
        cli.main(["data", "check", str(shapes), "--min_frames", "50", "--workers", "1"])
    assert stop.value.code == 1
    assert "short" in capsys.readouterr().out


def test_a_sheet_of_styles_is_written(shapes: Path, tmp_path: Path) -> None:
    video = next(shapes.rglob("*.webm"))
    cli.main(["styles", "sheet", str(video), "--output", str(tmp_path / "sheet.png"), "--frames", "3"])
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")


NOWHERE = [
    "--data.root=/nowhere",
    "--trainer.accelerator=cpu",
    "--trainer.devices=1",
    "--trainer.precision=32-true",
    "--model.init_args.model_args={'width': 8}",
]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit", "--config", "nowhere.yaml"], "no such file"),
        (["modells", "list"], "no command called 'modells'.*models"),
        (
            ["fit", "--config", "ssv2/resnet3d_r18", *NOWHERE, "--model.model=resnet3d_r19"],
            "no model called 'resnet3d_r19'",
        ),
        (
            ["fit", "--config", "ssv2/resnet3d_r18", *NOWHERE, "--model.checkpoint=/no.pkl"],
            "no checkpoint at '/no.pkl'",
        ),
        (["fit", "--config", "demo", "--trainer.callbacks=StaticDropout", "--trainer.callbacks.rate=1.5"], r"rate=1.5"),
        (["models", "layers", "slowonly_r5"], "slowonly_r50"),
        (["models", "list", "--pattern=swin*"], "no model"),
        (["data", "check", "/nowhere"], "does not exist"),
        (["styles", "sheet", "/nowhere.mp4"], "/nowhere.mp4"),
        (["fit", "--config", "ssv2/resnet3d_r18", *NOWHERE], "No data set at '/nowhere'"),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_errors_end_with_one_sentence_and_no_traceback(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=message):
        cli.main(arguments)


def test_subcommands_of_others_are_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []

    class Foreign(EntryPoint):
        dist = SimpleNamespace(name="lightning_sdk")  # type: ignore[assignment]

        def load(self) -> Any:
            return lambda: seen.append(list(sys.argv[1:]))

    own = SimpleNamespace(dist=SimpleNamespace(name="staticdropout"), load=lambda: pytest.fail("ours again"))
    foreign = Foreign("lightning", "lightning_sdk.cli:main", "console_scripts")
    monkeypatch.setattr(cli, "entry_points", lambda **_: [own, foreign])
    before = list(sys.argv)
    cli.main(["login", "--fast"])
    assert seen == [["login", "--fast"]]
    assert sys.argv == before


def test_what_a_worker_process_says_is_one_sentence_with_the_options_of_the_command() -> None:
    raised = VideoDecodeError(
        "Caught VideoDecodeError in DataLoader worker process 1.\nOriginal Traceback (most recent call last):\n"
        "  File \"x.py\", line 1, in <module>\nstaticdropout.errors.VideoDecodeError: Cannot read 'a': broken. "
        "Take --data.reader pyav.\n"
    )
    assert cli._in_words_of(["data"], str(raised)) == "Cannot read 'a': broken. Take --reader pyav."
    assert cli._in_words_of(["validate"], str(raised)) == "Cannot read 'a': broken. Take --data.reader pyav."

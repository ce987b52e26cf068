# SPDX-License-Identifier: Apache-2.0
"""Every example runs: projects that know nothing of this package, trained with both callbacks and measured."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from projects import frame_models, moving_masks, mvit, r3d, slowfast, swin3d, video_mae
from projects.moving_squares import Sizes
from toys import count_hooks, make_trainer, same_weights

from staticdropout.callbacks import BiasMonitor, StaticDropout, VideoInputs, bias_publisher

pytestmark = pytest.mark.filterwarnings("ignore:The bias was measured on . clips only:UserWarning")

EXAMPLES = Path(__file__).parents[2] / "examples"
SMALLEST = "--accelerator cpu --max_epochs 1 --train_clips 4 --val_clips 4 --batch_size 2 --pixels 16 --every_n_steps 1"


class Expected(NamedTuple):
    """What a script should find in its project."""

    module: Callable[[], LightningModule]
    dropped_at: str
    channels: int
    units: dict[str, int]


SCRIPTS = {
    "train_r3d": Expected(
        r3d.ActionRecognizer,
        "model.fc[input]",
        512,
        {"model.stem": 64, "model.layer1": 64, "model.layer2": 128, "model.layer3": 256, "model.layer4": 512},
    ),
    "train_mvit": Expected(
        lambda: mvit.Transformer(size=16),
        "model.head.1[input]",
        768,
        {"model.blocks.0[0]": 96, "model.blocks.7[0]": 384, "model.blocks.15[0]": 768, "model.norm": 768},
    ),
    "train_swin3d": Expected(
        swin3d.WindowedTransformer,
        "net.head[input]",
        768,
        {"net.patch_embed": 96, "net.norm": 768}
        | {f"net.features.{stage}": units for stage, units in enumerate([96, 192, 192, 384, 384, 768, 768])},
    ),
    "train_frame_model": Expected(
        lambda: frame_models.FrameClassifier("gru"),
        "model.fc[input]",
        64,
        {f"model.backbone.layer{stage}": 64 * 2 ** (stage - 1) for stage in range(1, 5)} | {"model.fc[input]": 64},
    ),
    "train_slowfast": Expected(
        slowfast.SlowFastClassifier,
        "model.projection[input]",
        160,
        {f"model.slow{stage}": 16 * 2**stage for stage in (1, 2, 3)}
        | {f"model.fast{stage}": 4 * 2**stage for stage in (1, 2, 3)},
    ),
    "train_video_mae": Expected(
        lambda: video_mae.HuggingFaceProject(size=16),
        "model.classifier[input]",
        96,
        {f"model.encoder.layer.{block}": 96 for block in range(3)},
    ),
    "train_moving_masks": Expected(
        moving_masks.MotionSegmenter,
        "model.compare",
        48,
        {"model.stem": 24, "model.compare.0": 48, "model.compare.1": 48},
    ),
}
WITH_FIGURES = "train_slowfast"


@pytest.fixture(scope="module", params=SCRIPTS)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Trainer, Path]:
    """A script, run with its smallest settings."""
    script, folder = request.param, tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        if script != WITH_FIGURES:
            patch.setattr(bias_publisher, "draw_report", lambda *args, **kwargs: {})
        trainer = importlib.import_module(script).main([*SMALLEST.split(), "--default_root_dir", str(folder)])
    return script, trainer, folder


def callback_of(trainer: Trainer, kind: type) -> Any:
    (found,) = [callback for callback in trainer.callbacks if isinstance(callback, kind)]  # type: ignore[attr-defined]
    return found


def test_every_script_is_run_and_described() -> None:
    assert set(SCRIPTS) == {path.stem for path in EXAMPLES.glob("train_*.py")}
    table = (EXAMPLES / "README.md").read_text()
    assert all(f"`{script}.py`" in table for script in SCRIPTS)


def test_training_goes_through_and_static_dropout_drops_at_the_classifier(run: tuple[str, Trainer, Path]) -> None:
    script, trainer, _ = run
    assert trainer.state.finished
    assert torch.isfinite(trainer.callback_metrics["train_loss"])
    callback = callback_of(trainer, StaticDropout)
    assert callback._target.name == SCRIPTS[script].dropped_at
    assert callback.dropout.num_channels == SCRIPTS[script].channels
    assert callback.dropout.scores.isfinite().all()
    assert callback.dropout.scores.abs().max() > 0
    assert int(callback.dropout.num_clips) == 4
    assert int(callback.dropout.num_masks) == trainer.global_step == 2


def test_the_bias_is_measured_at_the_start_and_after_the_epoch(run: tuple[str, Trainer, Path]) -> None:
    script, trainer, folder = run
    monitor = callback_of(trainer, BiasMonitor)
    assert [entry["step"] for entry in monitor.history] == [0, 2]
    for entry in monitor.history:
        assert {layer: numbers["num_units"] for layer, numbers in entry["layers"].items()} == SCRIPTS[script].units
        for numbers in entry["layers"].values():
            assert numbers["num_clips"] == 4
            assert 0 < numbers["static"] < 100
            assert 0 < numbers["dynamic"] < 100
    assert all(bias.unit_scores.isfinite().all() for bias in monitor.latest.values())
    assert len(list(folder.rglob("bias.csv"))) == 1
    assert len(list(folder.rglob("curves.png"))) == (script == WITH_FIGURES)


def test_the_module_is_left_as_it_was(run: tuple[str, Trainer, Path]) -> None:
    script, trainer, _ = run
    with torch.device("meta"):
        fresh = SCRIPTS[script].module()
    assert list(trainer.lightning_module.state_dict()) == list(fresh.state_dict())
    assert count_hooks(trainer.lightning_module) == count_hooks(fresh)


def test_the_frames_may_be_averaged_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bias_publisher, "draw_report", lambda *args, **kwargs: {})
    main = importlib.import_module("train_frame_model").main
    trainer = main([*SMALLEST.split(), "--head", "mean", "--default_root_dir", str(tmp_path)])
    assert callback_of(trainer, StaticDropout).dropout.num_channels == 512
    assert callback_of(trainer, BiasMonitor).history[-1]["step"] == 2


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_has_help(script: str, capsys: pytest.CaptureFixture[str]) -> None:
    module = importlib.import_module(script)
    with pytest.raises(SystemExit) as exit_code:
        module.main(["--help"])
    assert exit_code.value.code == 0
    told = capsys.readouterr().out
    assert "--max_epochs" in told
    assert (module.__doc__ or "").split()[0] in told


@pytest.mark.parametrize("path", sorted((EXAMPLES / "projects").glob("*.py")), ids=lambda path: path.stem)
def test_no_project_knows_this_package(path: Path) -> None:
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names.append(node.module or "")
    assert names
    assert not [name for name in names if name.split(".")[0] == "staticdropout"]
    assert "staticdropout" not in path.read_text().lower()


@pytest.mark.parametrize(
    ("project", "module", "inputs"),
    [
        (r3d, r3d.ActionRecognizer, VideoInputs()),
        (mvit, lambda: mvit.Transformer(size=16), VideoInputs(mean=mvit.MEAN, std=mvit.STD)),  # stochastic depth
        (slowfast, slowfast.SlowFastClassifier, VideoInputs(mean=[0.45], std=[0.225])),  # dropout
    ],
)
def test_with_rate_zero_the_weights_are_those_of_a_training_without_callbacks(
    tmp_path: Path, project: Any, module: Callable[[], LightningModule], inputs: VideoInputs
) -> None:
    trained = []
    for watched in (False, True):
        seed_everything(0, verbose=False)
        monitor = BiasMonitor(inputs=inputs, figures=False, verbose=False)
        callbacks = [StaticDropout(rate=0.0, every_n_steps=1), monitor] if watched else []
        trained.append(module())
        make_trainer(tmp_path, callbacks, max_epochs=1).fit(trained[-1], *project.loaders(Sizes(4, 4, 2, 16)))
    assert same_weights(*trained)

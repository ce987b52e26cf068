# SPDX-License-Identifier: Apache-2.0
"""Every DAVIS config trains and validates, through the command line, on a generated data set in the official layout."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from staticdropout import cli
from staticdropout.callbacks import BiasMonitor, TrainOnly
from staticdropout.config_files import packaged_configs
from staticdropout.datamodules import write_camouflage
from staticdropout.lightning_modules import RTNetSchedule, VideoObjectSegmenter

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

CONFIGS = (
    "matnet",
    "matnet_bidirectional",
    "matnet_ccg",
    "matnet_nobar",
    "rtnet34",
    "rtnet_rx50",
    "rtnet_star",
    "fusionseg",
)
NARROW = "backbone: resnet18, backbone_args: {channels: [8, 16, 16, 24]}"
PARTS = {"rtnet34": NARROW, "rtnet_rx50": NARROW, "fusionseg": f"{NARROW}, width: 16, early_width: 8"}


@pytest.fixture(scope="session")
def davis(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two training and two validation sequences of five frames, without flow."""
    root = tmp_path_factory.mktemp("davis") / "DAVIS"
    return write_camouflage(root, 2, 2, 5, height=64, width=80, progress=False)


def shrunken(name: str, davis: Path, folder: Path) -> list[str]:
    """What makes any DAVIS config small enough for a test."""
    options: dict[str, Any] = {
        "data.root": davis,
        "data.size": [64, 80],
        "data.eval_size": [64, 80],
        "data.batch_size": 2,
        "data.num_workers": 0,
        "model.init_args.model_args": f"{{{PARTS.get(name, f'{NARROW}, width: 8, boundary_width: 4')}}}",
        "model.init_args.pretrained": "false",
        "trainer.accelerator": "cpu",
        "trainer.devices": 1,
        "trainer.max_epochs": 1,
        "trainer.limit_train_batches": 2,
        "trainer.default_root_dir": folder,
        "trainer.enable_progress_bar": "false",
        "trainer.enable_model_summary": "false",
    }
    if name.startswith("rtnet") and name != "rtnet_star":
        options |= {"trainer.sync_batchnorm": "false", "model.init_args.random_sizes": [[64, 80], [48, 64]]}
    return ["--config", f"davis/{name}", *(f"--{key}={value}" for key, value in options.items())]


def test_all_asked_for_configs_are_there() -> None:
    found = {name.removeprefix("davis/") for name in packaged_configs() if name.startswith("davis/")}
    assert found == {*CONFIGS, "moca", "youtube_vos"}


@pytest.mark.parametrize("name", CONFIGS)
def test_every_davis_config_computes_flow_fits_measures_and_scores(name: str, davis: Path, tmp_path: Path) -> None:
    trainer = cli.run(["fit", *shrunken(name, davis, tmp_path)]).trainer
    assert trainer.global_step == 2
    assert list(davis.glob("FlowImages_gap1/*/00000.png"))
    assert {"val/J", "val/F", "val/JF", "train/loss"} <= set(trainer.callback_metrics)
    (monitor,) = (callback for callback in trainer.callbacks if isinstance(callback, BiasMonitor))
    streams = {f"model.encoder.connect{s}[{stream}]" for s in range(2, 6) for stream in ("appearance", "motion")}
    assert streams <= set(monitor.latest)
    assert any("fuse" in layer for layer in monitor.latest)
    for figure in ("curves", "encodings", "units", "triplets"):
        assert list(tmp_path.rglob(f"bias/{figure}.png"))
    assert list(tmp_path.rglob("segmentation/masks.png"))
    assert list(tmp_path.rglob("center_bias.png"))


def test_the_recipes_reach_optimizer_schedule_and_callbacks(davis: Path, tmp_path: Path) -> None:
    matnet = cli.run(["fit", *shrunken("matnet", davis, tmp_path), "--trainer.limit_train_batches=1"])
    assert sorted(group["lr"] for group in matnet.trainer.optimizers[0].param_groups) == [1e-4, 1e-3]
    assert isinstance(matnet.model, VideoObjectSegmenter)
    assert matnet.model.flip_average
    rtnet = cli.run(["fit", *shrunken("rtnet34", davis, tmp_path), "--trainer.limit_train_batches=1"])
    assert isinstance(rtnet.trainer.lr_scheduler_configs[0].scheduler, RTNetSchedule)
    assert any(isinstance(callback, TrainOnly) for callback in rtnet.trainer.callbacks)
    assert rtnet.model.loss.ssim_weight == rtnet.model.loss.iou_weight == 1
    assert list(davis.glob("FlowImages_gap-1/*/00001.png")), "RTNet takes the flow in both directions"


def test_validate_prints_scores_and_writes_masks_in_the_official_layout(
    davis: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = shrunken("matnet", davis, tmp_path)
    trained = cli.run(["fit", *arguments]).trainer
    checkpoint = next(tmp_path.rglob("last.ckpt"))
    capsys.readouterr()
    validated = cli.run(["validate", *arguments, "--ckpt_path", str(checkpoint)]).trainer
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("camouflaged_001", "salient_001", "J&F", "mean", "Masks:"))
    assert validated.callback_metrics["val/J"] == pytest.approx(float(trained.callback_metrics["val/J"]))
    folder = Path(validated.log_dir or "") / "segmentation"
    masks = sorted(path.relative_to(folder / "masks").as_posix() for path in (folder / "masks").rglob("*.png"))
    assert masks == [f"{name}_001/{frame:05d}.png" for name in ("camouflaged", "salient") for frame in range(4)]
    with Image.open(folder / "masks" / masks[0]) as mask:
        assert mask.size == (80, 64)
        assert set(np.unique(np.asarray(mask))) <= {0, 255}
    assert len(list((folder / "overlays").rglob("*.jpg"))) == 8
    rows = list(csv.DictReader((folder / "val_sequences.csv").open()))
    assert [row["sequence"] for row in rows] == ["camouflaged_001", "salient_001", "mean"]


def test_two_processes_train_and_score_as_one(davis: Path, tmp_path: Path) -> None:
    arguments = shrunken("matnet", davis, tmp_path / "two")
    both = ["--trainer.devices=2", "--trainer.strategy=ddp", "--data.num_workers=0"]
    command = [sys.executable, "-m", "staticdropout"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}

    def run(*words: str) -> None:
        subprocess.run([*command, *words], check=True, timeout=200, env=environment, capture_output=True)

    run("fit", *arguments, *both)
    checkpoint = next((tmp_path / "two").rglob("last.ckpt"))
    run("validate", *arguments, *both, f"--ckpt_path={checkpoint}")
    alone = shrunken("matnet", davis, tmp_path / "one")
    cli.run(["validate", *alone, f"--ckpt_path={checkpoint}"])

    def results(folder: str) -> list[dict[str, str]]:
        newest = max((tmp_path / folder).rglob("val_sequences.csv"), key=lambda path: path.stat().st_mtime)
        return list(csv.DictReader(newest.open()))

    for row, expected in zip(results("two"), results("one"), strict=True):
        assert row["sequence"] == expected["sequence"]
        for name in list(row)[1:]:
            assert float(row[name]) == pytest.approx(float(expected[name]), abs=1e-6)
    assert len(list((tmp_path / "two").rglob("masks/*/*.png"))) == 8


def test_youtube_vos_joins_any_config(davis: Path, tmp_path: Path) -> None:
    from sequences import youtube_vos

    more = f"[{{root: {youtube_vos(tmp_path / 'YouTube-VOS')}, layout: youtube_vos, every: 1}}]"
    arguments = [*shrunken("matnet", davis, tmp_path), "--config", "davis/youtube_vos", f"--data.more={more}"]
    data = cli.run(["fit", *arguments]).datamodule
    sequences = {name for batch in data.train_dataloader() for name in batch["sequence"]}
    assert len(sequences) > 2
    assert "camouflaged_000" in sequences


def test_flow_jitter_is_chosen_in_the_config(davis: Path, tmp_path: Path) -> None:
    config = tmp_path / "vector.yaml"
    config.write_text(
        """
trainer:
  callbacks:
    - class_path: BiasMonitor
      init_args:
        layers: model.encoder.fuse5
        triplets:
          class_path: FlowTriplets
          init_args:
            styles: [paint, neon]
            jitter: {class_path: FlowJitter, init_args: {mode: vector}}
"""
    )
    arguments = [*shrunken("matnet", davis, tmp_path), "--config", str(config)]
    trainer = cli.run(["fit", *arguments]).trainer
    (monitor,) = (callback for callback in trainer.callbacks if isinstance(callback, BiasMonitor))
    assert monitor.settings["jitter"]["mode"] == "vector"
    assert monitor.settings["style_names"] == ["paint", "neon"]


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda root: (root / "JPEGImages/480p/salient_000/00002.jpg").unlink(), "00002.jpg"),
        (lambda root: (root / "Annotations/480p/salient_000/00002.png").unlink(), "00002.png"),
        (
            lambda root: Image.new("L", (10, 10)).save(root / "Annotations/480p/salient_000/00001.png"),
            r"(?s)00001.png.*10.*64",
        ),
        (lambda root: (root / "ImageSets/480p/train.txt").write_text("one two three\n"), r"(?s)train\.txt.*one two"),
    ],
)
def test_what_is_wrong_with_the_data_is_said_before_training(
    break_it: Any, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_camouflage(tmp_path / "DAVIS", 2, 2, 5, height=64, width=80, progress=False)
    break_it(root)
    with pytest.raises(SystemExit, match=said):
        cli.main(["fit", *shrunken("matnet", root, tmp_path)])
    assert not list(tmp_path.rglob("*.ckpt"))
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        cli.main(["data", "check", str(root)])
    assert stop.value.code == 1 or "one two" in str(stop.value.code)


def test_missing_flow_names_the_command_that_makes_it(
    davis: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*shrunken("matnet", davis, tmp_path), "--data.flow=folder", f"--data.flow_dir={tmp_path / 'flow'}"]
    with pytest.raises(SystemExit, match="staticdropout data flow"):
        cli.main(["fit", *arguments])
    cli.main(["data", "flow", str(davis), "--output", str(tmp_path / "flow")])
    assert "16 flow files written" in capsys.readouterr().out
    assert cli.run(["fit", *arguments]).trainer.global_step == 2


def test_layers_of_a_segmentation_config_and_model_are_listed(
    davis: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "small.yaml"
    config.write_text(
        f"model:\n  class_path: VideoObjectSegmenter\n  init_args:\n    model: rtnet34\n    model_args: {{{NARROW}}}\n"
    )
    cli.main(["models", "layers", str(config), "--size", "64"])
    shown = capsys.readouterr().out
    assert "model.encoder.connect5[appearance]" in shown
    assert "model.encoder.fuse4" in shown

# SPDX-License-Identifier: Apache-2.0
"""Configs of the authors' protocol: all are understood with the authors' numbers, one of each kind is measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from sequences import davis2016
from small_models import SMALL
from styled_data import STYLES, ssv2_labels, write_styled_davis, write_styled_squares

from staticdropout import cli
from staticdropout.callbacks import BiasMonitor
from staticdropout.config_files import find_config, load_config, packaged_configs
from staticdropout.datamodules.styled_davis import StyledDavisDataModule
from staticdropout.datamodules.styled_frames import StyledFramesDataModule
from staticdropout.models import analysis_layers, model_info

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

CONFIGS = [name for name in packaged_configs() if name.startswith("paper/")]
CLASSES = {"activitynet": 400, "ssv2": 174, "diving48": 48}
DEFAULT = (64, 256, 256)
# window, shorter side, crop: n_sample_frames, scale_size and image_size of get_model in the released utils.py
SIZES = {
    "x3d_xs": (4 * 12, 182, 160),
    "x3d_s": (13 * 6, 182, 160),
    "x3d_m": (16 * 5, 256, 224),
    "x3d_l": (16 * 5, 356, 312),
    "mvit_b_16x4": (16 * 4, 256, 224),
    "timesformer_divst_8x32": (8 * 32, 256, 256),
    "timesformer_divst_16x8": (16 * 8, 256, 256),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_has_the_authors_numbers(name: str) -> None:
    config = load_config(find_config(name))
    model, data = config["model"]["init_args"], config["data"]["init_args"]
    (monitor,) = config["trainer"]["callbacks"]
    assert monitor == {"class_path": "BiasMonitor", "init_args": {"layers": "paper", "estimator": "released"}}
    assert model_info(model["model"])
    assert not {"pretrained", "inflate", "checkpoint"} & set(model), "weights are those that are asked for"
    assert tuple(data["seeds"]) == (1, 2, 3, 4)
    assert "oddities" not in data
    task, _, network = name.removeprefix("paper/").partition("_")
    if task == "davis":
        module = StyledDavisDataModule(**data)
        assert module.protocol.repetitions == 5
        assert module.eval_size == (480, 854)
        assert module.clip_frames == model_info(model["model"]).frames
        return
    frames = StyledFramesDataModule(**data)
    assert model["num_classes"] == CLASSES[task]
    assert frames.protocol.num_examples == 3000
    assert frames.layout == task
    assert frames.use_labels == (task != "activitynet")
    assert (frames.protocol.window, frames.short_side, frames.crop_size) == SIZES.get(network, DEFAULT)
    expected = 16 if network == "timesformer_divst_16x8" else model_info(model["model"]).frames
    assert frames.protocol.num_frames == expected


# each of the parts that the others are put together from; a model's part differs in names and numbers alone
@pytest.mark.parametrize(
    "name",
    [
        "activitynet_timesformer_divst_8x32",
        "activitynet_x3d_s",
        "ssv2_timesformer_divst_16x8",
        "diving48_resnet3d_r18",
        "davis_fusionseg",
        "davis_rtnet_rx50",
    ],
)
def test_a_config_of_each_kind_is_understood(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        cli.run(["validate", "--config", f"paper/{name}", "--print_config"])
    assert not done.value.code
    config = yaml.safe_load(capsys.readouterr().out)
    assert config["trainer"]["callbacks"][0]["init_args"]["triplets"] is None, "so that pairs are measured"


def test_every_model_that_the_paper_measures_has_its_config() -> None:
    found = {name.removeprefix("paper/") for name in CONFIGS}
    kinetics = ("c2d_r50", "i3d_r50", "i3d_nln_r50", "slowonly_r50", "fastonly_r50", "slowfast_r50_8x8", "x3d_m")
    assert {f"activitynet_{model}" for model in (*kinetics, "mvit_b_16x4", "timesformer_divst_8x32")} <= found
    assert {f"{data}_{model}" for data in ("ssv2", "diving48") for model in ("slowonly_r50", "fastonly_r50")} <= found
    assert {f"davis_{model}" for model in ("fusionseg", "matnet", "rtnet_rx50")} <= found


VIDEOS = [str(number) for number in range(10, 22)]


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve styled videos of ten frames, and annotations of Something-Something V2 for eleven of them."""
    root = write_styled_squares(tmp_path_factory.mktemp("squares"), VIDEOS)
    return ssv2_labels(root, {video: int(video) % 2 for video in VIDEOS[:0:-1]})


def run(name: str, root: Path, source: Path, folder: Path, *more: str) -> Any:
    options: dict[str, Any] = {
        "data.root": root,
        "data.source_root": source,
        "data.num_workers": 0,
        "data.seeds": "[1, 2]",
        "trainer.accelerator": "cpu",
        "trainer.default_root_dir": folder,
        "trainer.enable_progress_bar": "false",
        "trainer.enable_model_summary": "false",
    }
    arguments = ["validate", "--config", f"paper/{name}", *(f"--{key}={value}" for key, value in options.items())]
    return cli.run([*arguments, *more]).trainer


def monitor_of(trainer: Any) -> BiasMonitor:
    (monitor,) = (callback for callback in trainer.callbacks if isinstance(callback, BiasMonitor))
    return monitor


TINY = ("--data.window=16", "--data.num_frames=4", "--data.short_side=40", "--data.crop_size=32", "--data.batch_size=4")


def test_validate_measures_styled_videos_and_reports_protocol_styles_and_seeds(squares: Path, tmp_path: Path) -> None:
    trainer = run("ssv2_slowonly_r50", squares, squares, tmp_path, *TINY, "--model.init_args.model_args={width: 8}")
    assert "val/top1" in trainer.callback_metrics
    monitor = monitor_of(trainer)
    assert list(monitor.latest) == list(analysis_layers(trainer.lightning_module))
    for bias in monitor.latest.values():
        assert int(bias.num_clips.sum()) == 22
        assert bias.shares.isfinite().all()
    settings = monitor.settings
    assert settings["protocol"] == "kowal-action"
    assert settings["estimator"] == "released"
    assert settings["pairs_per_seed"] == 11
    assert settings["seeds"] == [1, 2]
    assert settings["oddities"] == []
    assert len(settings["style_names"]) == len(STYLES)
    (report,) = tmp_path.rglob("bias/**/*.json")
    (table,) = tmp_path.rglob("bias.csv")
    for written in (report.read_text(), table.read_text()):
        assert all(word in written for word in ("kowal-action", "released", settings["style_hash"]))


def test_pathways_sampled_apart_are_measured_and_clips_of_unknown_class_not_scored(
    squares: Path, tmp_path: Path
) -> None:
    options = [
        f"--model.init_args.model_args={SMALL['slowfast_r18_8x8']}",
        "--data.num_frames=8",
        "--data.slow_frames=2",
        "--data.oddities=[independent_pathways, units_of_first_seed]",
        "--data.use_labels=false",
        "--trainer.callbacks.figures=false",
    ]
    trainer = run("ssv2_slowfast_r50_8x8", squares, squares, tmp_path, *TINY, *options)
    monitor = monitor_of(trainer)
    assert list(monitor.latest) == list(analysis_layers(trainer.lightning_module))
    assert monitor.settings["oddities"] == ["independent_pathways", "units_of_first_seed"]
    assert monitor.settings["slow_frames"] == 2
    assert "val/top1" not in trainer.callback_metrics
    assert not list(tmp_path.rglob("val_classes.csv"))


@pytest.mark.parametrize("name", ["davis_matnet", "davis_rtnet34"])
def test_validate_measures_styled_davis_and_computes_the_flow(name: str, tmp_path: Path) -> None:
    source = davis2016(tmp_path / "DAVIS", 5, splits={"val": ("swan", "dog")})
    root = write_styled_davis(tmp_path / "styled", source)
    narrow = "backbone: resnet18, backbone_args: {channels: [8, 16, 16, 24]}"
    args = narrow if "rtnet" in name else f"{narrow}, width: 8, boundary_width: 4"
    options = [f"--model.init_args.model_args={{{args}}}", "--data.eval_size=[48, 64]", "--data.repetitions=2"]
    options.append("--trainer.callbacks.figures=false")
    trainer = run(name, root, source, tmp_path, *options)
    assert {"val/J", "val/F"} <= set(trainer.callback_metrics)
    monitor = monitor_of(trainer)
    assert set(monitor.latest) == set(analysis_layers(trainer.lightning_module))
    settings = monitor.settings
    assert (settings["protocol"], settings["estimator"]) == ("kowal-davis", "released")
    assert settings["style_names"] == sorted(STYLES)
    assert settings["pairs_per_seed"] == 2 * 2 * (3 if "rtnet" in name else 4)
    assert settings["flow"] == "dis"
    assert list(source.glob("FlowImages_gap1/*/00001.png"))


def test_training_on_pairs_is_refused_in_a_sentence(squares: Path) -> None:
    arguments = ["fit", "--config", "paper/ssv2_slowonly_r50", f"--data.root={squares}", "--trainer.accelerator=cpu"]
    with pytest.raises(SystemExit, match="lightning validate"):
        cli.main([*arguments, f"--data.source_root={squares}", "--model.init_args.model_args={width: 8}"])

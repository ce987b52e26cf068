# SPDX-License-Identifier: Apache-2.0
"""BiasMonitor: when it measures, what it writes, and that it leaves no trace in training."""

from __future__ import annotations

import csv
import json
import random
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn
from torch.utils.data import DataLoader
from toys import Clips, ResumableLoader, ToyClassifier, count_hooks, fit, loader_of, loaders, make_trainer, same_weights

from staticdropout import files
from staticdropout.callbacks import BiasMonitor, VideoInputs, bias_files
from staticdropout.callbacks.bias_measurement import BiasMeasurement
from staticdropout.callbacks.measurement import video_numbers
from staticdropout.errors import BatchError, LayerNotFoundError
from staticdropout.models import capture
from staticdropout.perturbations import FlowTriplets, Triplet, VideoTriplets

LAYERS = ["backbone.layer*", "backbone.fc[input]"]
NAMES = ["backbone.layer1", "backbone.layer2", "backbone.fc[input]"]


def monitor(**options: Any) -> BiasMonitor:
    defaults: dict[str, Any] = {"layers": LAYERS, "num_clips": 24, "verbose": False}
    return BiasMonitor(**(defaults | options))


def test_it_measures_before_training_and_in_every_validation_but_not_in_the_sanity_check(tmp_path: Path) -> None:
    watching = monitor()
    fit(tmp_path, [watching], num_sanity_val_steps=2)
    assert [(entry["step"], entry["epoch"]) for entry in watching.history] == [(0, 0), (6, 0), (12, 1)]
    assert list(watching.latest) == NAMES
    assert {entry["layers"][NAMES[0]]["num_clips"] for entry in watching.history} == {24}


@pytest.mark.parametrize(
    ("options", "trainer", "steps"),
    [
        ({"measure_at_start": False}, {}, [6, 12]),
        ({"every_n_validations": 2}, {"max_epochs": 3}, [0, 6, 18]),
        ({}, {"val_check_interval": 3, "max_epochs": 1}, [0, 3, 6]),
        ({}, {"check_val_every_n_epoch": 2}, [0, 12]),
        ({}, {"limit_val_batches": 0}, []),
    ],
)
def test_when_it_measures_is_a_choice(
    tmp_path: Path, options: dict[str, Any], trainer: dict[str, Any], steps: list[int]
) -> None:
    watching = monitor(figures=False, **options)
    fit(tmp_path, [watching], **trainer)
    assert [entry["step"] for entry in watching.history] == steps


@pytest.mark.parametrize("clips", [5, 8, 13, 100])
def test_only_the_first_clips_are_measured_whatever_the_batches(tmp_path: Path, clips: int) -> None:
    results = []
    for batch_size in (8, 5):
        watching = monitor(num_clips=clips, num_groups=2, figures=False)
        make_trainer(tmp_path, [watching]).validate(_seeded(), DataLoader(Clips(24), batch_size), verbose=False)
        results.append(watching.latest)
        assert int(watching.latest[NAMES[0]].num_clips) == min(clips, 24)
    for layer in NAMES:
        torch.testing.assert_close(results[0][layer].unit_scores, results[1][layer].unit_scores, rtol=0, atol=1e-5)
        torch.testing.assert_close(
            results[0][layer].shares_interval, results[1][layer].shares_interval, rtol=1e-3, atol=1e-3
        )


class Views(Clips):
    """Four clips of each video."""

    def __getitem__(self, index: int) -> dict[str, Any]:
        return super().__getitem__(index) | {"id": f"set/video{index // 4}/{index}"}


@pytest.mark.parametrize("batch_size", [24, 5])
def test_clips_of_one_video_stay_in_one_group_where_that_is_asked_for(tmp_path: Path, batch_size: int) -> None:
    weights = {}
    for group_by in ("clip", "video"):
        measurement = BiasMeasurement(
            ["backbone.layer1"], VideoTriplets(), VideoInputs(), 24, num_groups=8, group_by=group_by
        )
        trainer = make_trainer(tmp_path)
        for batch in DataLoader(Views(24), batch_size):
            measurement.add(trainer, _seeded(), batch)
        weights[group_by] = measurement.metrics["backbone.layer1"].moments[:, 0, 0, 0]
    assert weights["clip"].tolist() == [3.0] * 8
    assert weights["video"].sum() == 24
    assert (weights["video"] % 4 == 0).all()
    expected = (video_numbers([f"set/video{n // 4}/{n}" for n in range(24)]) % 8).bincount(minlength=8)
    assert weights["video"].tolist() == expected.tolist()


def test_a_measurement_says_what_its_groups_were_made_of(tmp_path: Path) -> None:
    intervals = {}
    for group_by in ("clip", "video"):
        watching = monitor(figures=False, num_groups=6, group_by=group_by)
        logger = CSVLogger(tmp_path / group_by, name="", version="")
        make_trainer(tmp_path, [watching], logger=logger).validate(_seeded(), DataLoader(Views(24), 8), verbose=False)
        (file,) = (tmp_path / group_by / "bias" / "measurements").glob("*.json")
        settings = json.loads(file.read_text())["settings"]
        assert settings["interval"] == f"95 %, over 6 groups of {group_by}s"
        intervals[group_by] = watching.history[-1]["layers"][NAMES[0]]["static_interval"]
    assert intervals["clip"] != intervals["video"]


def test_videos_cannot_be_told_without_ids(tmp_path: Path) -> None:
    clips = [(torch.rand(3, 6, 12, 12), 0) for _ in range(4)]
    measurement = BiasMeasurement(["backbone.layer1"], VideoTriplets(), VideoInputs(), 4, group_by="video")
    with pytest.raises(BatchError, match="Add an entry 'id'"):
        measurement.add(make_trainer(tmp_path), _seeded(), next(iter(loader_of(clips, 4))))


class TwoStreams(LightningModule):
    """Takes a picture and its flow."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(6, 4, 3)

    def forward(self, image: Tensor, flow: Tensor) -> Tensor:
        maps: Tensor = self.layer(torch.cat([image, flow], 1))
        return maps


@pytest.mark.parametrize("ids", [True, False])
def test_frames_of_a_sequence_stay_in_one_group_where_they_have_ids(tmp_path: Path, ids: bool) -> None:
    pictures = torch.rand(2, 8, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    batch: dict[str, Any] = {"image": pictures[0], "flow": pictures[1]}
    if ids:
        batch["id"] = [f"{name}/{frame}" for name in ("bear", "bus") for frame in range(4)]
    measurement = BiasMeasurement(["layer"], FlowTriplets(), VideoInputs(), 8, num_groups=8)
    measurement.add(make_trainer(tmp_path), TwoStreams().eval(), batch)
    weights = sorted(measurement.metrics["layer"].moments[:, 0, 0, 0].tolist())
    assert weights == ([0.0] * 6 + [4.0, 4.0] if ids else [1.0] * 8)
    assert measurement.grouped_by == ("video" if ids else "clip")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        measurement.conclude(make_trainer(tmp_path), TwoStreams())
    assert any("have no ids" in str(warning.message) for warning in caught) != ids


def _seeded() -> ToyClassifier:
    torch.manual_seed(0)
    return ToyClassifier()


def test_the_measure_is_that_of_plain_features_and_numpy(tmp_path: Path) -> None:
    module = _seeded().eval()
    watching = monitor(figures=False)
    make_trainer(tmp_path, [watching]).validate(module, loaders()[1], verbose=False)
    clips = [Clips()[index] for index in range(24)]
    triplet = VideoTriplets()(torch.stack([clip["video"] for clip in clips]), [clip["id"] for clip in clips])
    with torch.no_grad(), capture(module.backbone, "layer2") as run:
        anchor, *others = (run(module, side)["layer2"].double().numpy() for side in triplet)
    for row, other in enumerate(others):
        alive = (anchor.std(0) > 0) & (other.std(0) > 0)
        expected = np.corrcoef(anchor[:, alive], other[:, alive], rowvar=False)
        found = watching.latest["backbone.layer2"].unit_scores[row].numpy()
        np.testing.assert_allclose(found[alive], np.diag(expected, alive.sum()), atol=1e-4)
        assert not found[~alive].any()


def test_three_forward_passes_a_clip_serve_all_layers_and_both_factors(tmp_path: Path) -> None:
    module, passes = _seeded(), []
    module.backbone.fc.register_forward_hook(lambda _, args, out: passes.append(len(out)))
    make_trainer(tmp_path, [monitor(figures=False)]).validate(module, loaders()[1], verbose=False)
    assert sum(passes) == 24 + 3 * 24  # the validation itself, and the triplets


def test_two_measurements_of_one_model_are_the_same(tmp_path: Path) -> None:
    first, second = monitor(figures=False), monitor(figures=False)
    for watching in (first, second):
        make_trainer(tmp_path, [watching]).validate(_seeded(), loaders()[1], verbose=False)
    for layer in NAMES:
        assert all(torch.equal(a, b) for a, b in zip(first.latest[layer], second.latest[layer], strict=True))


class Watch(Callback):
    """Sees that weights, statistics, modes and random states are the same before and after a measurement."""

    def __init__(self, watching: BiasMonitor) -> None:
        self.compared = 0
        original = BiasMeasurement.add

        def add(measurement: BiasMeasurement, trainer: Trainer, module: LightningModule, batch: Any) -> None:
            before, modes = self.state(module), [part.training for part in module.modules()]
            original(measurement, trainer, module, batch)
            assert all(torch.equal(a, b) for a, b in zip(before, self.state(module), strict=True))
            assert modes == [part.training for part in module.modules()]
            self.compared += 1

        self.add = add

    @staticmethod
    def state(module: LightningModule) -> list[Tensor]:
        numpy_state = np.random.get_state(legacy=True)  # noqa: NPY002 - the global state is the point
        assert isinstance(numpy_state, tuple)
        words = torch.from_numpy(np.array(numpy_state[1], dtype=np.int64))
        python = torch.tensor(hash(random.getstate()))
        return [*(value.clone() for value in module.state_dict().values()), torch.get_rng_state(), words, python]


def test_a_measurement_leaves_statistics_and_random_states_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = Watch(monitor())
    monkeypatch.setattr(BiasMeasurement, "add", watch.add)
    fit(tmp_path, [monitor(figures=False)])
    assert watch.compared == 9


def test_starting_the_loader_before_training_does_not_shift_the_shuffling(tmp_path: Path) -> None:
    orders: list[list[list[str]]] = []
    for callbacks in ([], [monitor(figures=False)]):

        class Order(Callback):
            def __init__(self) -> None:
                self.seen: list[list[str]] = []

            def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
                self.seen.append(batch["id"])

        order = Order()
        fit(tmp_path, [*callbacks, order])
        orders.append(order.seen)
    assert orders[0] == orders[1]


def test_what_is_written_beside_the_logs(tmp_path: Path) -> None:
    watching = monitor()
    logger = CSVLogger(tmp_path, name="", version="")
    fit(tmp_path, [watching], logger=logger)
    folder = tmp_path / "bias"
    for name in ("curves", "encodings", "units", "triplets"):
        assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    rows = list(csv.DictReader((folder / "bias.csv").open()))
    assert [(row["step"], row["layer"]) for row in rows] == [
        (step, name) for step in ("0", "6", "12") for name in NAMES
    ]
    assert float(rows[0]["static"]) == pytest.approx(watching.history[0]["layers"][NAMES[0]]["static"])
    content = json.loads((folder / "measurements" / "fit_step_00000012.json").read_text())
    assert content["settings"]["estimator"] == "paper"
    assert content["settings"]["style_names"] == ["paint", "chalk", "neon", "relief"]
    assert content["settings"]["style_hash"]
    layer = content["layers"]["backbone.layer2"]
    assert len(layer["unit_scores_static"]) == len(layer["unit_encodings"]) == 16
    assert not [path for path in folder.rglob("*") if path.name.startswith(".")]


def test_tensorboard_gets_scalars_figures_and_a_page_of_charts(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path, name="", version="")
    fit(tmp_path, [monitor()], logger=logger)
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    tags = events.Tags()
    limits = {"intervals/bias/backbone.fc.input/dynamic_upper", "intervals/bias/backbone.fc.input/dynamic_lower"}
    assert {"bias/backbone.layer1/static", "bias/backbone.fc.input/dynamic"} | limits <= set(tags["scalars"])
    assert {"units/bias/backbone.layer2/joint", "units/bias/backbone.layer2/undefined"} <= set(tags["scalars"])
    assert [event.step for event in events.Scalars("bias/backbone.layer1/static")] == [0, 6, 12]
    figures = ("curves", "layers", "encodings", "encoding_curves", "units", "triplets")
    assert {f"bias_figures/{name}" for name in figures} <= set(tags["images"])
    assert "bias/about/text_summary" in tags["tensors"]
    from tensorboard.plugins.custom_scalar import layout_pb2

    layout = layout_pb2.Layout()
    layout.ParseFromString(events.Tensors("custom_scalars__config__")[0].tensor_proto.string_val[0])
    assert layout.category[0].title.startswith("Static and dynamic")
    chart = layout.category[0].chart[-1]
    assert chart.title == "backbone.layer1"
    assert chart.margin.series[0].value == "bias/backbone.layer1"
    # Two runs for all curves, and not one for every curve, as add_scalars would make.
    folders = {path.parent.relative_to(tmp_path) for path in tmp_path.rglob("events.out*")}
    assert folders == {Path(), Path("dynamic"), Path("static")}


def test_checkpoints_can_be_chosen_by_bias(tmp_path: Path) -> None:
    best = ModelCheckpoint(tmp_path, monitor="bias/backbone.layer2/dynamic", mode="max")
    _, trainer = fit(tmp_path, [monitor(figures=False), best], enable_checkpointing=True)
    assert best.best_model_score is not None
    assert {"bias/backbone.layer2/static", "bias/backbone.fc.input/dynamic"} <= set(trainer.callback_metrics)


def test_a_resumed_run_goes_on_with_its_curves(tmp_path: Path) -> None:
    whole = monitor()
    saved = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)
    fit(tmp_path / "a", [whole, saved], enable_checkpointing=True)
    resumed = monitor(dirpath=tmp_path / "b")
    fit(tmp_path / "b", [resumed], ckpt_path=tmp_path / "epoch=0.ckpt")
    assert resumed.history[:2] == whole.history[:2]
    assert [entry["step"] for entry in resumed.history] == [0, 6, 12]
    assert len((tmp_path / "b" / "bias.csv").read_text().splitlines()) == 1 + 3 * 3


def test_a_validated_checkpoint_is_measured_at_its_own_step(tmp_path: Path) -> None:
    saver = ModelCheckpoint(tmp_path, save_last=True)
    fit(tmp_path, [monitor(figures=False), saver], enable_checkpointing=True)
    watching = monitor(figures=False, dirpath=tmp_path / "again")
    module = ToyClassifier()
    trainer = make_trainer(tmp_path, [watching])
    trainer.validate(module, loaders()[1], ckpt_path=str(tmp_path / "last.ckpt"), verbose=False)
    assert [(entry["stage"], entry["step"]) for entry in watching.history] == [
        ("fit", 0),
        ("fit", 6),
        ("fit", 12),
        ("validate", 12),
    ]
    assert (tmp_path / "again" / "measurements" / "validate_step_00000012.json").is_file()


def test_validate_measures_prints_and_writes_with_no_further_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    watching = monitor(verbose=True)
    make_trainer(tmp_path, [watching]).validate(_seeded(), loaders()[1], verbose=False)
    printed = capsys.readouterr().out
    for word in ("backbone.layer1", "backbone.fc[input]", "static", "units %", "±", "24 clips", "layers.png"):
        assert word in printed
    assert (tmp_path / "bias" / "measurements" / "validate_step_00000000.json").is_file()


def test_a_run_for_debugging_leaves_no_files(tmp_path: Path) -> None:
    fit(tmp_path, [monitor()], fast_dev_run=True)
    assert not (tmp_path / "bias").exists()


def test_a_full_disk_costs_one_warning_and_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_space = monitor(dirpath=tmp_path / "with_space")
    fit(tmp_path, [with_space])
    calls: list[Path] = []

    def full(path: Path, content: bytes | str) -> None:
        calls.append(path)
        if len(calls) <= 2:  # the first two measurements, each at its first file
            raise OSError(28, "No space left on device")
        files.write_whole(path, content)

    monkeypatch.setattr(bias_files, "write_whole", full)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(tmp_path, [monitor(dirpath=tmp_path / "full")])
    assert sum("No space left on device" in str(warning.message) for warning in caught) == 1
    names = sorted(path.relative_to(tmp_path / "full") for path in (tmp_path / "full").rglob("*"))
    assert names == sorted(path.relative_to(tmp_path / "with_space") for path in (tmp_path / "with_space").rglob("*"))
    for name in names:
        if (tmp_path / "full" / name).is_file():
            assert (tmp_path / "full" / name).read_bytes() == (tmp_path / "with_space" / name).read_bytes()


@pytest.mark.parametrize("what", ["add_image", "add_custom_scalars"])
def test_a_logger_that_cannot_take_figures_costs_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    def broken(*args: Any, **options: Any) -> None:
        raise OSError(28, "No space left on device")

    logger = TensorBoardLogger(tmp_path)
    monkeypatch.setattr(type(logger.experiment), what, broken)
    with pytest.warns(UserWarning, match="handed to the loggers.*No space left"):
        fit(tmp_path, [monitor()], logger=logger)
    assert (Path(logger.log_dir) / "bias" / "curves.png").is_file()


def _fit_in_order(folder: Path, callbacks: list[Callback], ckpt_path: Path | None = None) -> None:
    """Six steps an epoch, validations after every second; nothing random that a checkpoint does not hold."""
    torch.manual_seed(0)
    module = ToyClassifier()
    module.backbone.dropout.p = 0.0
    trainer = make_trainer(folder, callbacks, val_check_interval=2, enable_checkpointing=True)
    trainer.fit(module, ResumableLoader(Clips(24), 4), DataLoader(Clips(12), 6), ckpt_path=ckpt_path)


@pytest.mark.parametrize(("every", "measured"), [(1, [0, 2, 4, 6, 8, 10, 12]), (2, [0, 2, 6, 10])])
def test_resuming_at_any_step_gives_the_curves_of_the_uninterrupted_run(
    tmp_path: Path, every: int, measured: list[int]
) -> None:
    # ModelCheckpoint writes these before the validation of their step, which Lightning does not repeat.
    saver = ModelCheckpoint(tmp_path / "steps", filename="{step}", every_n_train_steps=1, save_top_k=-1)
    whole = monitor(figures=False, dirpath=tmp_path / "whole", every_n_validations=every)
    _fit_in_order(tmp_path, [whole, saver])
    assert [entry["step"] for entry in whole.history] == measured
    for step in range(1, 13):
        resumed = monitor(figures=False, dirpath=tmp_path / f"resumed{step}", every_n_validations=every)
        _fit_in_order(tmp_path, [resumed], tmp_path / "steps" / f"step={step}.ckpt")
        assert resumed.history == whole.history, f"resumed at step {step}"


def test_without_layers_the_input_of_the_classifier_is_measured(tmp_path: Path) -> None:
    watching = monitor(layers=None, figures=False)
    make_trainer(tmp_path, [watching]).validate(_seeded(), loaders()[1], verbose=False)
    assert list(watching.latest) == ["backbone.fc[input]"]


class Foreign(ToyClassifier):
    """Takes normalised (B, T, C, H, W) pixels in a tuple and has a network, but no forward."""

    forward = LightningModule.forward

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self.backbone(batch[0].transpose(1, 2)), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.backbone(batch[0].transpose(1, 2))


def test_foreign_batches_and_modules_are_served_by_arguments(tmp_path: Path) -> None:
    samples = [Clips()[index] for index in range(24)]
    normalised = [((sample["video"].transpose(0, 1) - 0.45) / 0.225, sample["label"]) for sample in samples]

    def forward(module: LightningModule, video: Any, batch: Any) -> Any:
        assert isinstance(module, Foreign)
        return module.backbone(video.transpose(1, 2))

    inputs = VideoInputs(mean=(0.45,) * 3, std=(0.225,) * 3, forward=forward)
    watching = monitor(inputs=inputs, figures=False)
    torch.manual_seed(0)
    make_trainer(tmp_path, [watching]).validate(Foreign(), loader_of(normalised, 8), verbose=False)
    assert int(watching.latest[NAMES[0]].num_clips) == 24


def test_normalised_pixels_without_mean_and_std_are_reported(tmp_path: Path) -> None:
    data = loader_of([{"video": sample["video"] * 4 - 2, "label": 0} for sample in (Clips()[i] for i in range(8))], 4)
    with pytest.raises(BatchError, match=r"mean=\.\.\., std=\.\.\."):
        make_trainer(tmp_path, [monitor()]).validate(_seeded(), data, verbose=False)


def test_pictures_without_names_get_draws_of_their_own_in_every_batch(tmp_path: Path) -> None:
    class Watching(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.image, self.flow = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)
            self.seen: list[Tensor] = []

        def forward(self, image: Tensor, flow: Tensor) -> Tensor:
            self.seen.append(flow)
            fused: Tensor = self.image(image) + self.flow(flow)
            return fused

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            return None

    one = {"image": torch.rand(3, 16, 16), "flow": torch.rand(3, 16, 16)}
    module = Watching()
    watching = monitor(layers=["image", "flow"], triplets=FlowTriplets(), figures=False)
    make_trainer(tmp_path, [watching]).validate(module, loader_of([one] * 4, 1), verbose=False)
    jittered = module.seen[1::3]
    assert len(jittered) == 4
    assert not torch.equal(jittered[0], jittered[1])
    assert not torch.equal(jittered[2], jittered[3])


def test_models_of_several_inputs_take_a_triplet_function(tmp_path: Path) -> None:
    class TwoInputs(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.image, self.flow = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)

        def forward(self, image: Tensor, flow: Tensor) -> Tensor:
            fused: Tensor = self.image(image) + self.flow(flow)
            return fused

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self(batch["image"], batch["flow"])

    def triplets(batch: Any) -> Triplet:
        image, flow = batch["image"], batch["flow"]
        return Triplet((image, flow), (image, flow.flip(1)), (1 - image, flow))

    data = loader_of([{"image": torch.rand(3, 8, 8), "flow": torch.rand(3, 8, 8)} for _ in range(24)], 8)
    watching = monitor(layers=["image", "flow"], triplets=triplets, figures=False)
    make_trainer(tmp_path, [watching]).validate(TwoInputs(), data, verbose=False)
    static, dynamic = watching.latest["image"].unit_scores
    assert (static > 0.99).all()
    assert (dynamic < -0.99).all()
    assert (watching.latest["flow"].unit_scores[1] > 0.99).all()


def test_a_diverged_model_costs_a_warning_not_the_training(tmp_path: Path) -> None:
    module = _seeded()
    nn.init.constant_(module.backbone.get_parameter("layer1.0.weight"), float("nan"))
    watching = monitor(figures=False)
    with pytest.warns(UserWarning, match="NaN or infinity"):
        make_trainer(tmp_path, [watching]).validate(module, loaders()[1], verbose=False)
    assert not watching.history


@pytest.mark.parametrize("stage", ["fit", "validate"])
def test_a_pattern_that_matches_nothing_is_reported_before_training(tmp_path: Path, stage: str) -> None:
    trainer, module = make_trainer(tmp_path, [monitor(layers="backbone.res*")]), _seeded()
    with pytest.raises(LayerNotFoundError, match=r"backbone\.layer1"):
        trainer.fit(module, *loaders()) if stage == "fit" else trainer.validate(module, loaders()[1])
    assert count_hooks(module) == 0


@pytest.mark.parametrize(
    "options",
    [
        {"num_clips": 0},
        {"num_groups": 0},
        {"group_by": "class"},
        {"every_n_validations": 0},
        {"estimator": "mean"},
        {"threshold": 2.0},
        {"dataloader_idx": -1},
    ],
)
def test_wrong_options_are_refused_at_once(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        BiasMonitor(**options)


@pytest.mark.parametrize(("clips", "message"), [(5, "measured on 5 clips only"), (1, "a correlation takes two")])
def test_too_few_clips_warn_with_the_number_that_was_seen(tmp_path: Path, clips: int, message: str) -> None:
    watching = monitor(figures=False)
    with pytest.warns(UserWarning, match=message):
        make_trainer(tmp_path, [watching]).validate(_seeded(), DataLoader(Clips(clips), 4), verbose=False)
    assert bool(watching.history) == (clips > 1)


def test_a_training_without_validation_is_warned_about(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="this training has none"):
        make_trainer(tmp_path, [monitor()], max_epochs=1).fit(ToyClassifier(), loaders()[0])


def test_half_precision_models_are_measured_in_their_precision(tmp_path: Path) -> None:
    results = []
    for precision in ("32-true", "bf16-mixed"):
        watching = monitor(figures=False)
        make_trainer(tmp_path, [watching], precision=precision).validate(_seeded(), loaders()[1], verbose=False)
        results.append(watching.latest["backbone.layer2"].shares)
    assert not torch.equal(*results)
    torch.testing.assert_close(*results, rtol=0, atol=1.0)


def test_training_with_the_monitor_is_bit_identical(tmp_path: Path) -> None:
    assert same_weights(fit(tmp_path)[0], fit(tmp_path, [monitor()])[0])


def test_training_is_bit_identical_with_persistent_workers_and_without_a_sanity_check(tmp_path: Path) -> None:
    results = []
    for callbacks in ([], [monitor(figures=False)]):
        torch.manual_seed(3)
        module = ToyClassifier()
        val = DataLoader(Clips(24), 8, num_workers=1, persistent_workers=True)
        make_trainer(tmp_path, callbacks, num_sanity_val_steps=0).fit(module, loaders()[0], val)
        results.append(module)
    assert same_weights(*results)


class SeveralLoaders(ToyClassifier):
    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self(batch["video"])


@pytest.mark.parametrize("kind", ["list", "dict"])
@pytest.mark.parametrize("index", [0, 1])
def test_one_of_several_validation_loaders_is_chosen(tmp_path: Path, kind: str, index: int) -> None:
    several = {"first": DataLoader(Clips(8), 4), "second": DataLoader(Clips(16), 4)}
    val: Any = list(several.values()) if kind == "list" else several
    watching = monitor(dataloader_idx=index, num_clips=100, figures=False)
    make_trainer(tmp_path, [watching], max_epochs=1).fit(SeveralLoaders(), loaders()[0], val)
    clips = [entry["layers"][NAMES[0]]["num_clips"] for entry in watching.history]
    assert clips == [[8, 8], [16, 16]][index]


def test_a_validation_loader_that_is_not_there_is_reported(tmp_path: Path) -> None:
    with pytest.raises(MisconfigurationException, match=r"dataloader_idx=1, but the number of validation .* is 1"):
        make_trainer(tmp_path, [monitor(dataloader_idx=1)]).validate(_seeded(), loaders()[1], verbose=False)


def test_two_monitors_with_two_names_keep_their_files_curves_and_state_apart(tmp_path: Path) -> None:
    paper, released = monitor(figures=False), monitor(name="released", estimator="released", figures=False)
    saved = ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)
    logger = TensorBoardLogger(tmp_path, name="", version="")
    _, trainer = fit(tmp_path, [paper, released, saved], logger=logger, enable_checkpointing=True)
    assert paper.history != released.history
    for watching in (paper, released):
        rows = list(csv.DictReader((tmp_path / watching.name / "bias.csv").open()))
        assert float(rows[-1]["static"]) == pytest.approx(watching.history[-1]["layers"][NAMES[-1]]["static"])
    assert {"bias/backbone.layer1/static", "released/backbone.layer1/static"} <= set(trainer.callback_metrics)
    resumed = monitor(name="released", estimator="released", figures=False)
    fit(tmp_path, [monitor(figures=False), resumed], ckpt_path=tmp_path / "epoch=0.ckpt")
    assert resumed.history[:2] == released.history[:2]
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    from tensorboard.plugins.custom_scalar import layout_pb2

    layout = layout_pb2.Layout()
    layout.ParseFromString(events.Tensors("custom_scalars__config__")[-1].tensor_proto.string_val[0])
    assert len(layout.category) == 4


def test_two_monitors_with_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="more than one stateful callback of type `BiasMonitor`"):
        fit(tmp_path, [monitor(), monitor(estimator="released")])


def test_a_monitor_used_again_starts_new_curves(tmp_path: Path) -> None:
    watching = monitor(figures=False)
    for _ in range(2):
        fit(tmp_path, [watching], max_epochs=1)
        assert [entry["step"] for entry in watching.history] == [0, 6]


def test_an_error_later_on_costs_nothing_that_was_measured(tmp_path: Path) -> None:
    class Failing(Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            if trainer.current_epoch == 1:
                raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        fit(tmp_path, [monitor(), Failing()])
    assert len((tmp_path / "bias" / "bias.csv").read_text().splitlines()) == 1 + 2 * 3
    assert len(list((tmp_path / "bias" / "measurements").glob("*.json"))) == 2
    assert (tmp_path / "bias" / "curves.png").is_file()


def test_a_module_whose_forward_takes_something_else_is_told_which_argument_to_set(tmp_path: Path) -> None:
    class TakesBatches(ToyClassifier):
        def forward(self, batch: Any) -> Tensor:
            return super().forward(batch["video"])

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self(batch)

    with pytest.raises(BatchError, match=r"TakesBatches could not be called with the video alone.*forward="):
        make_trainer(tmp_path, [monitor()]).validate(TakesBatches(), loaders()[1], verbose=False)

# SPDX-License-Identifier: Apache-2.0
"""Pairs that the data module has made: how they are read, measured and reported."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset, default_collate
from toys import ToyClassifier, make_trainer

from staticdropout.callbacks import BiasMonitor
from staticdropout.callbacks.batches import VideoInputs
from staticdropout.callbacks.pair_measurement import PairMeasurement
from staticdropout.callbacks.prepared_pairs import pair_pictures, read_pairs
from staticdropout.errors import BatchError, OptionError
from staticdropout.metrics import ENCODINGS, PairedBias, combine_seeds, merge_moments
from staticdropout.models import SlowFast
from staticdropout.models.features import capture
from staticdropout.perturbations import VideoTriplets

SEEDS = (1, 2, 3)
PROTOCOL = {
    "protocol": "toy pairs",
    "style_set": "default",
    "style_names": ["paint", "chalk"],
    "style_hash": "0123456789ab",
    "seeds": list(SEEDS),
    "oddities": [],
}


class Pairs(Dataset[dict[str, Any]]):
    """Random clips with a partner: the same frames in reverse, or the same clip inverted."""

    def __len__(self) -> int:
        return 16 * len(SEEDS)

    def __getitem__(self, index: int) -> dict[str, Any]:
        generator = torch.Generator().manual_seed(index)
        brightness = 255 * torch.rand(3, 1, 1, 1, generator=generator)
        video = (brightness * torch.rand(3, 6, 12, 12, generator=generator)).byte()
        factor = index % 2
        return {
            "video": video.float() / 255,
            "paired_video": video.flip(1) if factor == 0 else 255 - video,
            "factor": factor,
            "seed": SEEDS[index // 16],
            "label": 0,
            "id": f"clip{index % 16}",
        }


class PairData(LightningDataModule):
    """A data module that makes pairs."""

    def __init__(self, **changes: Any) -> None:
        super().__init__()
        self.pair_protocol = PROTOCOL | changes

    def val_dataloader(self) -> DataLoader[dict[str, Any]]:
        return DataLoader(Pairs(), 8)


def seeded() -> ToyClassifier:
    torch.manual_seed(0)
    return ToyClassifier()


def measure(folder: Path, data: PairData, **options: Any) -> BiasMonitor:
    monitor = BiasMonitor(layers="backbone.layer*", verbose=False, **options)
    logger = CSVLogger(folder, name="", version="")
    make_trainer(folder, [monitor], logger=logger).validate(seeded(), datamodule=data, verbose=False)
    return monitor


def test_all_pairs_are_measured_seed_by_seed_and_the_mean_is_reported(tmp_path: Path) -> None:
    monitor = measure(tmp_path, PairData(), estimator="released", num_clips=4)
    module = seeded().eval()
    items = [Pairs()[index] for index in range(len(Pairs()))]
    sides = torch.stack([item["video"] for item in items]), torch.stack([item["paired_video"] for item in items]) / 255
    with torch.no_grad(), capture(module.backbone, "layer2") as run:
        first, second = (run(module, side)["layer2"] for side in sides)
    factor, seed = (torch.tensor([item[name] for item in items]) for name in ("factor", "seed"))
    expected = []
    for number in SEEDS:
        metric = PairedBias(first.shape[1], "released")
        metric.update(first[seed == number], second[seed == number], factor[seed == number])
        expected.append(metric.compute())
    found, mean = monitor.latest["backbone.layer2"], combine_seeds(expected)
    torch.testing.assert_close(found.unit_scores, mean.unit_scores, rtol=0, atol=1e-4)
    torch.testing.assert_close(found.shares, mean.shares, rtol=0, atol=1e-6)
    torch.testing.assert_close(found.shares_interval, mean.shares_interval, rtol=0, atol=1e-6)
    assert int(found.num_clips) == 48


def test_files_and_table_say_by_which_protocol_and_styles(tmp_path: Path) -> None:
    measure(tmp_path, PairData(oddities=["units_of_first_seed"]), estimator="released")
    (file,) = (tmp_path / "bias" / "measurements").glob("*.json")
    settings = json.loads(file.read_text())["settings"]
    assert settings["protocol"] == "toy pairs"
    assert settings["style_hash"] == PROTOCOL["style_hash"]
    assert settings["estimator"] == "released"
    assert settings["seeds"] == list(SEEDS)
    assert settings["interval"] == "1.96 population deviations / sqrt(3), over seeds"
    with (tmp_path / "bias" / "bias.csv").open() as table:
        rows = list(csv.DictReader(table))
    assert {(row["protocol"], row["style_hash"], row["oddities"]) for row in rows} == {
        ("toy pairs", PROTOCOL["style_hash"], "units_of_first_seed")
    }
    assert {path.name for path in (tmp_path / "bias").glob("*.png")} >= {"triplets.png", "layers.png"}


def test_units_of_the_first_seed_are_an_oddity_that_is_off(tmp_path: Path) -> None:
    layer = "backbone.layer2"
    plain, odd = (
        measure(tmp_path / str(n), PairData(oddities=o)).latest[layer]
        for n, o in enumerate(([], ["units_of_first_seed"]))
    )
    assert torch.equal(plain.shares, odd.shares)
    assert not torch.equal(plain.unit_scores, odd.unit_scores)


def test_triplets_that_are_asked_for_come_before_pairs(tmp_path: Path) -> None:
    monitor = measure(tmp_path, PairData(), triplets=VideoTriplets(["paint", "chalk"]), num_clips=8)
    assert monitor.settings["triplets"] == "VideoTriplets"
    assert "protocol" not in monitor.settings
    assert int(monitor.latest["backbone.layer2"].num_clips) == 8


def test_numbers_of_two_protocols_are_not_joined_into_one_curve(tmp_path: Path) -> None:
    monitor = measure(tmp_path, PairData())
    trainer = make_trainer(tmp_path, [monitor], logger=CSVLogger(tmp_path, name="", version=""))
    with pytest.warns(UserWarning, match="cannot be compared with the last one.*style_hash"):
        trainer.validate(seeded(), datamodule=PairData(style_hash="another"), verbose=False)
    assert [record["measure"]["style_hash"] for record in monitor.history] == [PROTOCOL["style_hash"], "another"]


class KnownUnits(LightningModule):
    """Units that answer to colour (static), to the change from frame to frame (dynamic), to neither."""

    def __init__(self) -> None:
        super().__init__()
        self.units = nn.Identity()
        self.fc = nn.Linear(3, 2)

    def forward(self, video: Tensor) -> Tensor:
        colour = video.mean((1, 2, 3, 4))
        motion = (video.diff(dim=2)[:, :, 0].abs() - video.diff(dim=2)[:, :, -1].abs()).mean((1, 2, 3))
        logits: Tensor = self.fc(self.units(torch.stack([colour, motion, (37 * colour).sin() * motion], 1)))
        return logits

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self(batch["video"])


class Known(Pairs):
    """Static pairs reverse time; dynamic pairs show another brightness that moves alike."""

    def __len__(self) -> int:
        return 600

    def __getitem__(self, index: int) -> dict[str, Any]:
        generator = torch.Generator().manual_seed(index)
        base, other, speed = torch.rand(3, generator=generator).tolist()
        early = speed * 0.25
        moves = torch.tensor([0.0, early, early, early])
        video = (0.1 + 0.6 * base + moves).view(1, 4, 1, 1).expand(3, 4, 4, 4)
        partner = video.flip(1) if index % 2 == 0 else (0.1 + 0.6 * other + moves).view(1, 4, 1, 1).expand(3, 4, 4, 4)
        return {"video": video, "paired_video": partner, "factor": index % 2, "seed": 1, "label": 0, "id": str(index)}


def test_units_that_are_known_by_construction_are_found(tmp_path: Path) -> None:
    data = PairData(seeds=[1])
    data.val_dataloader = lambda: DataLoader(Known(), 50)  # type: ignore[method-assign]
    monitor = BiasMonitor(layers="units", verbose=False, figures=False)
    make_trainer(tmp_path, [monitor]).validate(KnownUnits(), datamodule=data, verbose=False)
    encoding = monitor.latest["units"].encoding.tolist()
    assert [ENCODINGS[unit] for unit in encoding] == ["static", "dynamic", "residual"]


def test_pathways_that_were_sampled_apart_reach_slowfast_apart(tmp_path: Path) -> None:
    model = SlowFast(num_classes=2, depth=18, block="basic", width=8, alpha=4).eval()
    video = torch.rand(2, 3, 16, 32, 32)
    slow = torch.rand(2, 3, 4, 32, 32)
    batch = {"video": video, "paired_video": video.flip(2), "slow": slow, "paired_slow": slow.flip(2)}
    pairs = read_pairs(batch | {"factor": torch.tensor([0, 0]), "seed": torch.tensor([1, 1])}, VideoInputs())
    assert torch.equal(pairs.first[0], slow)
    assert torch.equal(pairs.second[1], video.flip(2))
    with torch.no_grad():
        apart, packed = model(pairs.first), model(video)
        own = model([video[:, :, [0, 5, 10, 15]], video])
    assert not torch.allclose(apart, packed)
    torch.testing.assert_close(own, packed)
    with pytest.raises(BatchError, match="4 fast frames for each slow one, found 5 slow"):
        model([torch.rand(2, 3, 5, 32, 32), video])


class TwoStreams(LightningModule):
    """Takes a picture and its flow."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(6, 4, 3)

    def forward(self, image: Tensor, flow: Tensor) -> Tensor:
        maps: Tensor = self.layer(torch.cat([image, flow], 1))
        return maps


def test_pairs_of_pictures_and_flow_are_grouped_by_sequence(tmp_path: Path) -> None:
    parts = (255 * torch.rand(4, 8, 3, 12, 12, generator=torch.Generator().manual_seed(0))).byte()
    batch: dict[str, Any] = dict(zip(("image", "flow", "paired_image", "paired_flow"), parts, strict=True))
    batch |= {"factor": torch.arange(8) % 2, "seed": torch.ones(8).long()}
    batch["id"] = [f"{name}/{frame}" for name in ("bear", "bus") for frame in range(4)]
    measurement = PairMeasurement(["layer"], VideoInputs(), num_groups=8)
    measurement.add(make_trainer(tmp_path), TwoStreams().eval(), batch)
    assert measurement.grouped_by == "video"
    weights = measurement.metrics["layer", 1].moments[:, :, 0, 0].sum(1)
    assert sorted(weights.tolist()) == [0.0] * 6 + [4.0, 4.0]
    shown = pair_pictures(batch, read_pairs(batch, VideoInputs()), VideoInputs())
    assert {picture.shape for picture in shown.values()} == {(2, 12, 12, 3)}


def test_normalised_batches_get_partners_normalised_alike() -> None:
    inputs = VideoInputs(mean=[0.5, 0.5, 0.5], std=[0.25, 0.25, 0.25])
    pixels = (255 * torch.rand(2, 3, 4, 8, 8)).byte()
    batch = {"video": (pixels / 255 - 0.5) / 0.25, "paired_video": pixels}
    pairs = read_pairs(batch | {"factor": torch.tensor([0, 1]), "seed": torch.tensor([1, 1])}, inputs)
    torch.testing.assert_close(pairs.second, pairs.first)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"factor": None}, "Expected a batch of pairs"),
        ({"paired_video": None}, "Expected a batch of pairs"),
        ({"paired_video": torch.rand(2, 3, 5, 8, 8)}, "alike in shape"),
    ],
)
def test_batches_without_pairs_are_refused_with_what_they_hold(change: dict[str, Any], message: str) -> None:
    batch: dict[str, Any] = {"video": torch.rand(2, 3, 4, 8, 8), "paired_video": torch.rand(2, 3, 4, 8, 8)}
    batch |= {"factor": torch.tensor([0, 1]), "seed": torch.tensor([1, 1])} | change
    with pytest.raises(BatchError, match=message):
        read_pairs({name: value for name, value in batch.items() if value is not None}, VideoInputs())


def test_a_batch_of_which_no_video_could_be_read_is_passed_over(tmp_path: Path) -> None:
    empty = {"video": torch.zeros(0, 3, 6, 12, 12), "paired_video": torch.zeros(0, 3, 6, 12, 12, dtype=torch.uint8)}
    empty |= {"factor": torch.zeros(0).long(), "seed": torch.zeros(0).long()}
    measurement = PairMeasurement(["backbone.layer1"], VideoInputs())
    measurement.add(make_trainer(tmp_path), seeded(), empty | {"id": []})
    assert measurement.num_seen == 0


class TwoFrames(TwoStreams):
    """Sees the frames of a clip as pictures, clip by clip."""

    def forward(self, image: Tensor, flow: Tensor) -> Tensor:
        return super().forward(image.flatten(0, 1), flow.flatten(0, 1))


@pytest.mark.parametrize("apart", [True, False])
def test_frames_of_a_clip_are_samples_of_their_own_where_the_protocol_says_so(tmp_path: Path, apart: bool) -> None:
    parts = torch.rand(4, 8, 2, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    batch: dict[str, Any] = dict(zip(("image", "flow", "paired_image", "paired_flow"), parts, strict=True))
    batch |= {"factor": torch.arange(8) % 2, "seed": torch.ones(8).long(), "id": [f"bear/{n}" for n in range(8)]}
    module = TwoFrames().eval()
    measurement = PairMeasurement(["layer"], VideoInputs(), frames_apart=apart)
    measurement.add(make_trainer(tmp_path), module, batch)
    with torch.no_grad():
        sides = [module(*parts[n : n + 2]).mean((2, 3)).view(8, 2, 4) for n in (0, 2)]
    expected = PairedBias(4)
    first, second = (side.flatten(0, 1) if apart else side.mean(1) for side in sides)
    expected.update(first, second, (torch.arange(8) % 2).repeat_interleave(2 if apart else 1))
    (found,) = measurement.compute(make_trainer(tmp_path), module).values()
    torch.testing.assert_close(found.unit_scores, expected.compute().unit_scores, rtol=0, atol=1e-5)
    assert int(found.num_clips) == (16 if apart else 8)


def test_pairs_that_a_distributed_sampler_repeats_are_left_out(tmp_path: Path) -> None:
    items = [Pairs()[index] for index in range(11)]
    alone = PairMeasurement(["backbone.layer2"], VideoInputs(), 11)
    module, trainer = seeded().eval(), make_trainer(tmp_path)
    alone.add(trainer, module, default_collate(items))
    ranks = []
    for rank in range(2):
        measurement = PairMeasurement(["backbone.layer2"], VideoInputs(), 11)
        own = SimpleNamespace(world_size=2, global_rank=rank, precision_plugin=trainer.precision_plugin)
        measurement.add(own, module, default_collate([*items, items[0]][rank::2]))  # type: ignore[arg-type]
        ranks.append(measurement)
    assert [sum(measurement.tally.values()) for measurement in ranks] == [6, 5]
    key = ("backbone.layer2", 1)
    moments = merge_moments(torch.stack([measurement.metrics[key].moments for measurement in ranks]))
    torch.testing.assert_close(moments, alone.metrics[key].moments, rtol=1e-5, atol=1e-6)


def test_a_seed_without_two_pairs_of_each_factor_is_left_out_and_told(tmp_path: Path) -> None:
    data = PairData(pairs_per_seed=16)
    data.val_dataloader = lambda: DataLoader(Subset(Pairs(), range(16 + 3)), 8)  # type: ignore[method-assign]
    with pytest.warns(UserWarning, match=r"measured were 16 for \[1\]"):
        monitor = measure(tmp_path, data)
    assert monitor.settings["seeds"] == [1]
    assert monitor.settings["interval"].startswith("95 %")
    only = PairData(seeds=[1])
    only.val_dataloader = lambda: DataLoader(Subset(Pairs(), range(16)), 8)  # type: ignore[method-assign]
    expected = measure(tmp_path / "only", only).latest["backbone.layer2"]
    torch.testing.assert_close(monitor.latest["backbone.layer2"].shares, expected.shares)


def test_pairs_of_one_factor_alone_are_no_measurement(tmp_path: Path) -> None:
    data = PairData()
    data.val_dataloader = lambda: DataLoader(Subset(Pairs(), range(0, 16, 2)), 8)  # type: ignore[method-assign]
    with pytest.warns(UserWarning, match=r"no seed has two of each factor \(seed 1: 8 static, 0 dynamic\)"):
        monitor = measure(tmp_path, data)
    assert monitor.history == []


@pytest.mark.parametrize(
    "protocol",
    [
        "kowal-action",
        {"seeds": [1]},
        {"protocol": "mine", "seeds": 1},
        {"protocol": "mine", "oddities": None},
        {"protocol": "mine", "style_names": [1]},
        {"protocol": "mine", "path": Path("a")},
    ],
)
def test_a_data_module_that_describes_its_pairs_otherwise_is_told_before_anything_is_measured(
    tmp_path: Path, protocol: Any
) -> None:
    data = PairData()
    data.pair_protocol = protocol
    with pytest.raises(OptionError, match="dict of plain values with 'protocol'"):
        measure(tmp_path, data)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"factor": torch.zeros(2, 1).long()}, "'factor', one a pair"),
        ({"factor": torch.tensor([0.0, 1.0])}, "'factor', one a pair"),
        ({"factor": torch.tensor([0, 2])}, "0 static, 1 dynamic; found numbers from 0 to 2"),
        ({"seed": ["1", "1"]}, "'seed', one a pair"),
    ],
)
def test_factors_and_seeds_that_are_no_numbers_are_refused(change: dict[str, Any], message: str) -> None:
    batch: dict[str, Any] = {"video": torch.rand(2, 3, 4, 8, 8), "paired_video": torch.rand(2, 3, 4, 8, 8)}
    batch |= {"factor": torch.tensor([0, 1]), "seed": torch.tensor([1, 1])} | change
    with pytest.raises(BatchError, match=message):
        read_pairs(batch, VideoInputs())


def test_a_network_of_one_stream_is_not_called_with_two_pathways(tmp_path: Path) -> None:
    video, slow = torch.rand(2, 3, 16, 16, 16), torch.rand(2, 3, 4, 16, 16)
    batch: dict[str, Any] = {"video": video, "paired_video": video, "slow": slow, "paired_slow": slow}
    batch |= {"factor": torch.tensor([0, 1]), "seed": torch.tensor([1, 1]), "id": ["a", "b"]}
    with pytest.raises(BatchError, match=r"that is for SlowFast. Leave out the data module's slow_frames"):
        PairMeasurement(["backbone.layer1"], VideoInputs()).add(make_trainer(tmp_path), seeded().eval(), batch)

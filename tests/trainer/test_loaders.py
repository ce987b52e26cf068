# SPDX-License-Identifier: Apache-2.0
"""Loaders: which clips are probed and which are measured, whatever gives them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities.combined_loader import CombinedLoader
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset
from toys import Clips, count_hooks, make_trainer
from trainer_watch import Counted, Smooth, Still, both, in_order, names, seeded, watch

from staticdropout.errors import BatchError


class Pairs(Smooth):
    """Trains on a dict of batches."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return super().training_step(batch["a"], batch_idx)


class ValidatesOnPairs(Smooth):
    """Validates on a dict of batches."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        super().validation_step(batch["a"], batch_idx)


@pytest.mark.cell("several training loaders", "StaticDropout")
@pytest.mark.cell("several training loaders", "BiasMonitor")
@pytest.mark.parametrize(("mode", "steps"), [("max_size_cycle", [0, 2, 4]), ("min_size", [0, 2])])
def test_the_named_loader_is_probed(tmp_path: Path, mode: Any, steps: list[int]) -> None:
    watched = watch(video="a.video")
    monitor = watch().monitor
    train = CombinedLoader({"a": in_order(24), "b": in_order(48)}, mode)
    make_trainer(tmp_path, [watched.dropout, monitor], max_epochs=1).fit(seeded(Pairs), train, in_order(24))
    assert watched.probes == steps
    assert [entry["step"] for entry in monitor.history] == [0, [6, 3][mode == "min_size"]]


@pytest.mark.cell("several training loaders", "StaticDropout")
def test_without_a_name_the_error_shows_what_there_is(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, [watch().dropout], max_epochs=1)
    with pytest.raises(BatchError, match=r"a\.video.*b\.video.*VideoInputs\(video="):
        trainer.fit(seeded(Pairs), {"a": in_order(), "b": in_order()})


class SeveralLoaders(Smooth):
    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self(batch["video"])


@pytest.mark.cell("several validation loaders", "StaticDropout")
def test_nothing_is_probed_or_dropped_in_any_validation_loader(tmp_path: Path) -> None:
    watched = watch()
    make_trainer(tmp_path, both(watched), max_epochs=1).fit(seeded(SeveralLoaders), in_order(), [in_order(8)] * 3)
    assert watched.probes == [0, 2, 4]
    assert watched.masks == 6


@pytest.mark.cell("CombinedLoader for validation", "StaticDropout")
@pytest.mark.cell("CombinedLoader for validation", "BiasMonitor")
@pytest.mark.parametrize("at_start", [True, False])
def test_the_named_part_of_combined_validation_batches_is_measured(tmp_path: Path, at_start: bool) -> None:
    probing, watched = watch(), watch(video="a.video", measure_at_start=at_start)
    val = CombinedLoader({"a": in_order(16), "b": in_order(24)}, "min_size")
    make_trainer(tmp_path, [probing.dropout, watched.monitor], max_epochs=1).fit(
        seeded(ValidatesOnPairs), in_order(), val
    )
    assert watched.points == ([0, 6] if at_start else [6])
    assert set(watched.clips) == {16}
    assert probing.masks == 6


class Stream(IterableDataset[dict[str, Any]]):
    """Clips without a length; counts what it gives."""

    def __init__(self, length: int | None) -> None:
        self.length, self.given = length, 0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for number in itertools.count() if self.length is None else range(self.length):
            self.given += 1
            yield Clips()[number]


@pytest.mark.cell("iterable data sets", "StaticDropout")
def test_clips_of_a_stream_are_probed_as_they_come(tmp_path: Path) -> None:
    watched, stream = watch(), Stream(40)
    make_trainer(tmp_path, [watched.dropout], max_epochs=1).fit(seeded(), DataLoader(stream, 8))
    assert watched.probed == [(0, names(range(8))), (2, names(range(16, 24))), (4, names(range(32, 40)))]
    assert stream.given == 40


@pytest.mark.cell("iterable data sets", "BiasMonitor")
@pytest.mark.parametrize("num_clips", [10, 100])
def test_a_stream_is_measured_as_the_data_set_of_the_same_clips(tmp_path: Path, num_clips: int) -> None:
    results = []
    for data in (Stream(20), Clips(20)):
        watched = watch(num_clips=num_clips)
        torch.manual_seed(1)
        val: Any = DataLoader(data, 8)
        make_trainer(tmp_path, both(watched), max_epochs=1).fit(seeded(), in_order(), val)
        assert watched.clips == [min(num_clips, 20)] * 2
        results.append(watched.static())
    assert results[0] == results[1]


@pytest.mark.cell("infinite data sets", "StaticDropout")
@pytest.mark.cell("infinite data sets", "BiasMonitor")
def test_probes_and_measurements_in_an_infinite_stream_end(tmp_path: Path) -> None:
    watched, train, val = watch(num_clips=10), Stream(None), Stream(None)
    options: dict[str, Any] = {"max_epochs": -1, "max_steps": 4, "val_check_interval": 2, "limit_val_batches": 3}
    trainer = make_trainer(tmp_path, both(watched), num_sanity_val_steps=0, **options)
    trainer.fit(seeded(), DataLoader(train, 4), DataLoader(val, 4))
    assert watched.probes == [0, 2]
    assert watched.points == [0, 2, 4]
    assert watched.clips == [10, 10, 10]
    # Before training three batches of four hold ten clips; then two validations of three batches.
    assert 12 + 2 * 12 <= val.given <= 16 + 2 * 12


@pytest.mark.cell("infinite data sets", "BiasMonitor")
def test_the_measurement_before_training_stops_after_num_clips(tmp_path: Path) -> None:
    watched, val = watch(num_clips=6), Stream(None)
    options: dict[str, Any] = {"max_steps": 1, "val_check_interval": 1, "limit_val_batches": 8}
    trainer = make_trainer(tmp_path, both(watched), num_sanity_val_steps=0, max_epochs=-1, **options)
    trainer.fit(seeded(), DataLoader(Stream(None), 4), DataLoader(val, 4))
    assert watched.clips == [6, 6]
    assert 2 * 4 + 8 * 4 <= val.given <= 3 * 4 + 8 * 4  # one batch more at most, and one validation


class Counting(LightningDataModule):
    """Counts how often its loaders are asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = [0, 0]

    def train_dataloader(self) -> DataLoader[Any]:
        self.asked[0] += 1
        return in_order()

    def val_dataloader(self) -> DataLoader[Any]:
        self.asked[1] += 1
        return in_order(24)


@pytest.mark.cell("reload_dataloaders_every_n_epochs", "StaticDropout")
@pytest.mark.cell("reload_dataloaders_every_n_epochs", "BiasMonitor")
@pytest.mark.parametrize(("every", "sanity"), [(1, 0), (2, 2)])
def test_reloading_asks_for_no_loader_more_often(tmp_path: Path, every: int, sanity: int) -> None:
    options: dict[str, Any] = {"reload_dataloaders_every_n_epochs": every, "num_sanity_val_steps": sanity}
    asked, watched = [], watch()
    for callbacks in ([], both(watched)):
        data = Counting()
        make_trainer(tmp_path, callbacks, max_epochs=4, **options).fit(seeded(), datamodule=data)
        asked.append(data.asked)
    assert asked[0] == asked[1]
    assert watched.points == [0, 6, 12, 18, 24]
    assert watched.probes == list(range(0, 24, 2))


class Bytes(LightningDataModule):
    """Gives bytes and turns them into pixels on the device, brighter in training."""

    def train_dataloader(self) -> DataLoader[Any]:
        return in_order()

    def val_dataloader(self) -> DataLoader[Any]:
        return in_order(24)

    def on_before_batch_transfer(self, batch: dict[str, Any], dataloader_idx: int) -> dict[str, Any]:
        return batch | {"video": (batch["video"] * 200).byte()}

    def on_after_batch_transfer(self, batch: dict[str, Any], dataloader_idx: int) -> dict[str, Any]:
        assert self.trainer is not None
        assert batch["video"].dtype == torch.uint8
        return batch | {"video": batch["video"] / (200 if self.trainer.training else 255)}


@pytest.mark.cell("LightningDataModule with transfer hooks", "StaticDropout")
@pytest.mark.cell("LightningDataModule with transfer hooks", "BiasMonitor")
def test_the_hooks_of_a_data_module_are_called_for_what_is_measured_before_training_too(tmp_path: Path) -> None:
    watched = watch()
    make_trainer(tmp_path, both(watched), max_epochs=1).fit(seeded(Still), datamodule=Bytes())
    assert watched.static()[0] == watched.static()[1]
    assert watched.probed[0] == (0, names(range(8)))
    assert watched.scores().isfinite().all()


class TakesIterator(Smooth):
    """Fetches its batches itself."""

    def training_step(self, dataloader_iter: Any) -> Tensor:  # type: ignore[override]
        batch, _, _ = next(dataloader_iter)
        return nn.functional.cross_entropy(self(batch["video"]), batch["label"])

    def validation_step(self, dataloader_iter: Any) -> None:  # type: ignore[override]
        self(next(dataloader_iter)[0]["video"])


@pytest.mark.cell("training_step(dataloader_iter)", "StaticDropout")
def test_a_step_that_fetches_its_own_batches_cannot_be_probed_and_is_told_why(tmp_path: Path) -> None:
    module = seeded(TakesIterator)
    with pytest.raises(BatchError, match="dataloader_iter"):
        make_trainer(tmp_path, [watch().dropout]).fit(module, in_order())
    assert count_hooks(module) == 0


@pytest.mark.cell("training_step(dataloader_iter)", "BiasMonitor")
def test_a_step_that_fetches_its_own_batches_is_measured(tmp_path: Path) -> None:
    watched = watch()
    make_trainer(tmp_path, [watched.monitor], max_epochs=1).fit(seeded(TakesIterator), in_order(), in_order(24))
    assert watched.points == [0, 6]
    assert watched.clips == [24, 24]
    assert watched.measured[0].clips == watched.measured[3].clips == names(range(8))


@pytest.mark.cell("num_workers, persistent_workers", "StaticDropout")
def test_a_probe_reads_no_clip(tmp_path: Path) -> None:
    data, watched = Counted(48), watch(every_n_steps=1)
    make_trainer(tmp_path, [watched.dropout], max_epochs=1).fit(seeded(), DataLoader(data, 8))
    assert len(watched.probes) == 6
    assert data.read == 48

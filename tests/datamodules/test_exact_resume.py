# SPDX-License-Identifier: Apache-2.0
"""A training with our data that is interrupted goes on bit by bit as if it had not been."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint, OnExceptionCheckpoint
from lightning.pytorch.utilities import CombinedLoader
from resuming import NoisyData, NoisyToy, after_every_step, train
from sequences import davis2016
from torch.utils.data import DataLoader, IterableDataset
from toys import make_trainer, same_weights

from staticdropout.callbacks import RandomState
from staticdropout.datamodules import SSv2DataModule, VideoSegmentationDataModule
from staticdropout.lightning_modules import VideoClassifier

pytestmark = pytest.mark.filterwarnings("ignore:.*callbacks used to create the checkpoint.*:UserWarning")


def assert_goes_on(resumed: NoisyToy, whole: NoisyToy, steps: int) -> None:
    assert len(resumed.seen) == steps
    assert resumed.seen == whole.seen[len(whole.seen) - steps :]
    assert same_weights(resumed, whole)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"val_check_interval": 2},
        {"max_epochs": -1, "max_steps": 13, "limit_val_batches": 0},
        {"max_epochs": 2, "limit_train_batches": 3},
        {"max_epochs": -1, "max_steps": 8, "limit_train_batches": 3},
        {"max_epochs": 2, "accumulate_grad_batches": 2},
        {"max_epochs": 2, "reload_dataloaders_every_n_epochs": 1},
    ],
    ids=str,
)
def test_from_the_end_of_any_step(tmp_path: Path, options: dict[str, Any]) -> None:
    whole, trainer = train(tmp_path, [after_every_step(tmp_path)], **options)
    last, generator = trainer.global_step, torch.Generator().manual_seed(len(str(options)))
    for stop in {1, last, *torch.randint(1, last, (4,), generator=generator).tolist()}:
        resume = tmp_path / f"step={stop}.ckpt"
        progress = torch.load(resume, weights_only=True)["loops"]["fit_loop"]["epoch_loop.batch_progress"]
        resumed, _ = train(tmp_path, resume=resume, **options)
        assert_goes_on(resumed, whole, len(whole.seen) - progress["total"]["processed"])


@pytest.mark.parametrize("workers", [(0, 2), (2, 0)])
def test_with_another_number_of_workers(tmp_path: Path, workers: tuple[int, int]) -> None:
    whole, _ = train(tmp_path, [after_every_step(tmp_path)], NoisyData(workers[0]), max_epochs=2)
    resumed, _ = train(tmp_path, [], NoisyData(workers[1]), tmp_path / "step=3.ckpt", max_epochs=2)
    assert_goes_on(resumed, whole, 7)


@pytest.mark.parametrize("options", [{}, {"max_epochs": -1, "max_steps": 13}], ids=str)
def test_from_the_end_of_an_epoch(tmp_path: Path, options: dict[str, Any]) -> None:
    whole, _ = train(tmp_path, [ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1)], **options)
    for epoch in (0, 1):
        resumed, _ = train(tmp_path, resume=tmp_path / f"epoch={epoch}.ckpt", **options)
        assert_goes_on(resumed, whole, len(whole.seen) - 5 * (epoch + 1))


class Failing(NoisyToy):
    """Fails at the second step of the second epoch: before it, in it, or after it."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self.where = where

    def _fail(self, where: str) -> None:
        # A batch is counted when it is on the device.
        reached = self.trainer.fit_loop.epoch_loop.batch_idx == (0 if where == "transfer" else 1)
        if where == self.where and self.trainer.current_epoch == 1 and reached:
            raise RuntimeError("power cut")

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        self._fail("transfer")
        return super().on_after_batch_transfer(batch, dataloader_idx)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        self._fail("start")

    def on_train_batch_end(self, *args: Any) -> None:
        self._fail("end")


class KeptOnException(OnExceptionCheckpoint):
    """Not removed after a fit."""

    def teardown(self, *args: Any, **options: Any) -> None:
        pass


@pytest.mark.parametrize(("where", "steps"), [("transfer", 9), ("start", 9), ("end", 8)])
def test_no_batch_is_lost_or_repeated_after_an_exception(tmp_path: Path, where: str, steps: int) -> None:
    whole, _ = train(tmp_path)
    with pytest.raises(RuntimeError, match="power cut"):
        train(tmp_path, [KeptOnException(tmp_path, "failed")], module=Failing(where), enable_checkpointing=True)
    resumed, _ = train(tmp_path, resume=tmp_path / "failed.ckpt")
    assert resumed.seen == whole.seen[-steps:]
    if where != "start":  # there, numbers for the step that failed had been drawn on the device
        assert_goes_on(resumed, whole, steps)


class Endless(IterableDataset[int]):
    """Numbers without an end."""

    def __iter__(self) -> Iterator[int]:
        return count()


class OfTwoLoaders(NoisyData):
    """Without a length, so that Lightning fetches a batch ahead."""

    def train_dataloader(self) -> Any:
        return CombinedLoader([super().train_dataloader(), DataLoader(Endless(), 4)], "min_size")


class FirstOfTwo(NoisyToy):
    """Trains on the first of two loaders."""

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        if not self.trainer.training:
            return batch
        return super().on_after_batch_transfer(batch[0], dataloader_idx)


def test_a_batch_that_lightning_fetched_ahead_is_not_lost(tmp_path: Path) -> None:
    options: dict[str, Any] = {"max_epochs": 2, "limit_val_batches": 0}
    whole, _ = train(tmp_path, [after_every_step(tmp_path)], OfTwoLoaders(), module=FirstOfTwo(), **options)
    for stop in (1, 4, 7):
        resume = tmp_path / f"step={stop}.ckpt"
        resumed, _ = train(tmp_path, [], OfTwoLoaders(), resume, module=FirstOfTwo(), **options)
        assert_goes_on(resumed, whole, 10 - stop)


def test_a_checkpoint_that_does_not_tell_the_place_starts_at_the_beginning_of_the_epoch(tmp_path: Path) -> None:
    whole, _ = train(tmp_path, [after_every_step(tmp_path)])
    checkpoint = torch.load(tmp_path / "step=7.ckpt", weights_only=True)
    del checkpoint["loops"]["fit_loop"]["state_dict"]["combined_loader"]
    del checkpoint["callbacks"]["RandomState"], checkpoint["NoisyData"]
    torch.save(checkpoint, tmp_path / "old.ckpt")
    with pytest.warns(UserWarning, match="after 2 batches of an epoch"):
        resumed, trainer = train(tmp_path, resume=tmp_path / "old.ckpt", seed=2)  # of the resumed process: 3
    assert trainer.global_step == 15
    assert [seen[2:] for seen in resumed.seen[:3]] == [seen[2:] for seen in whole.seen[5:8]]
    assert resumed.seen[3:] == whole.seen[10:]


def test_a_second_fit_goes_on_with_the_next_epoch(tmp_path: Path) -> None:
    whole, _ = train(tmp_path, max_epochs=2)
    data = NoisyData()
    module, trainer = train(tmp_path, [], data, max_epochs=1)
    trainer.fit_loop.max_epochs = 2
    trainer.fit(module, datamodule=data)
    assert module.seen == whole.seen


def test_validating_a_checkpoint_does_not_seed_a_new_training(tmp_path: Path) -> None:
    train(tmp_path, [after_every_step(tmp_path)], max_epochs=1)
    expected, _ = train(tmp_path, max_epochs=1, seed=8)
    data, random_state = NoisyData(), RandomState()
    trainer = make_trainer(tmp_path, [random_state], max_epochs=1)
    trainer.validate(NoisyToy(), datamodule=data, ckpt_path=tmp_path / "step=3.ckpt", verbose=False)
    seed_everything(8, verbose=False)
    fresh = NoisyToy()
    trainer.fit(fresh, datamodule=data)
    assert_goes_on(fresh, expected, 5)


class Seen(Callback):
    """What is trained on, to the last pixel."""

    def __init__(self) -> None:
        self.batches: list[tuple[Any, ...]] = []

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self.batches.append((trainer.current_epoch, batch_idx, *batch["id"], batch["video"]))


def assert_same_batches(some: list[tuple[Any, ...]], others: list[tuple[Any, ...]]) -> None:
    assert [batch[:-1] for batch in some] == [batch[:-1] for batch in others]
    assert all(torch.equal(batch[-1], other[-1]) for batch, other in zip(some, others, strict=True))


def test_a_video_classifier_on_videos_goes_on_exactly(shapes_root: Path, tmp_path: Path) -> None:
    def run(seed: int, num_workers: int, resume: Path | None = None) -> tuple[VideoClassifier, Seen]:
        seed_everything(seed, verbose=False)
        data = SSv2DataModule(
            str(shapes_root),
            num_frames=4,
            crop_size=16,
            short_side=(16, 24),
            flip=True,
            batch_size=2,
            num_workers=num_workers,
        )
        small = {"width": 8, "block": "basic", "dropout": 0.5}
        model, seen = VideoClassifier("resnet3d_r18", num_classes=2, model_args=small), Seen()
        callbacks: list[Callback] = [seen] if resume else [seen, after_every_step(tmp_path)]
        trainer = make_trainer(tmp_path, callbacks, deterministic=True, enable_checkpointing=not resume)
        trainer.fit(model, datamodule=data, ckpt_path=resume)
        return model, seen

    model, whole = run(3, num_workers=0)
    assert len(whole.batches) == 6
    for stop, num_workers in ((1, 0), (2, 2), (3, 0), (5, 0)):
        resumed, rest = run(4, num_workers, tmp_path / f"step={stop}.ckpt")
        assert_same_batches(rest.batches, whole.batches[stop:])
        assert same_weights(resumed, model)


def test_frames_with_flow_and_masks_are_drawn_by_seed_and_epoch(tmp_path: Path) -> None:
    root = davis2016(tmp_path / "DAVIS", number=4)

    def batches(num_workers: int, skip: int = 0) -> list[dict[str, Any]]:
        seed_everything(5, verbose=False)
        data = VideoSegmentationDataModule(str(root), size=(16, 20), clip_frames=2, num_workers=num_workers)
        data.prepare_data()
        data.setup("fit")
        loader: Any = data.train_dataloader()
        if skip:
            loader.load_state_dict(loader.state_dict() | {"given": skip})
        passes = [*loader, *loader]
        del loader  # left to the garbage collector, its workers would be waited for
        return passes

    expected = batches(0)
    per_epoch = len(expected) // 2
    assert per_epoch > 1
    assert not all(torch.equal(a["image"], b["image"]) for a, b in zip(expected, expected[per_epoch:], strict=False))
    for found, kept in ((batches(2), expected), (batches(0, skip=1), expected[1:])):
        for one, other in zip(found, kept, strict=True):
            assert one["id"] == other["id"]
            assert all(torch.equal(one[name], other[name]) for name in ("image", "flow", "mask"))

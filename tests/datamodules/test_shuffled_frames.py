# SPDX-License-Identifier: Apache-2.0
"""Training and validating on clips whose frames come in another order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from action_data import SMALL, frame_numbers, kinetics, something_else, write_clip
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from resuming import after_every_step
from toys import make_trainer, same_weights

from staticdropout.datamodules import (
    Draw,
    Entry,
    EvalTransform,
    KineticsDataModule,
    SomethingElseDataModule,
    TrainTransform,
    VideoDataset,
)
from staticdropout.errors import OptionError
from staticdropout.lightning_modules import VideoClassifier

pytestmark = pytest.mark.filterwarnings("ignore:.*callbacks used to create the checkpoint.*:UserWarning")


@pytest.fixture(scope="session")
def entries(tmp_path_factory: pytest.TempPathFactory) -> list[Entry]:
    folder = tmp_path_factory.mktemp("clips")
    return [Entry(name, write_clip(folder / f"{name}.mp4"), 0) for name in ("a", "b", "c", "d")]


def dataset(entries: list[Entry], training: bool = False, crops: int = 1, **options: Any) -> VideoDataset:
    transform = TrainTransform(16, 16) if training else EvalTransform(16, 16, crops)
    spread: dict[str, Any] = {"num_frames": 6, "sampling": "dense", "stride": 3}  # no frame comes twice
    return VideoDataset(entries, transform, training=training, **{**spread, "shuffle_frames": True, **options})


def order(clip: torch.Tensor) -> list[int]:
    numbers = frame_numbers(clip)
    assert len(set(numbers)) == len(numbers) == 6
    return [sorted(numbers).index(number) for number in numbers]


def test_training_draws_another_order_each_time_and_never_the_one_they_came_in(entries: list[Entry]) -> None:
    data = dataset(entries, training=True)
    orders = [tuple(order(data[Draw(seed % 4, seed)]["video"])) for seed in range(60)]
    assert len(set(orders)) > 40
    assert tuple(range(6)) not in orders


def test_two_frames_are_always_swapped(entries: list[Entry]) -> None:
    for training in (False, True):
        data = dataset(entries, training=training, num_frames=2)
        for seed in range(8):
            first, second = frame_numbers(data[Draw(seed % 4, seed)]["video"])
            assert first > second


def test_the_order_in_training_depends_on_the_draw_alone(entries: list[Entry]) -> None:
    data = dataset(entries, training=True)
    torch.manual_seed(1)
    first = data[Draw(2, seed=7)]["video"]
    state = torch.get_rng_state()
    data[Draw(1, seed=3)]
    assert torch.equal(data[Draw(2, seed=7)]["video"], first)
    assert torch.equal(torch.get_rng_state(), state)
    generators = [torch.Generator().manual_seed(seed) for seed in (5, 5, 6)]
    same, again, other = (order(dataset(entries, training=True, generator=g)[0]["video"]) for g in generators)
    assert same == again != other


def test_shuffling_changes_the_order_and_nothing_else(entries: list[Entry]) -> None:
    for training in (False, True):
        plain = dataset(entries, training=training, shuffle_frames=False)[Draw(1, seed=9)]["video"]
        mixed = dataset(entries, training=training)[Draw(1, seed=9)]["video"]
        assert order(plain) == list(range(6))
        assert order(mixed) != list(range(6))
        if not training:  # in training, the crop is drawn after the order
            assert torch.equal(mixed[:, torch.tensor(order(mixed)).argsort()], plain)


def test_the_order_in_evaluation_is_fixed_by_the_id_and_differs_between_clips(entries: list[Entry]) -> None:
    data = dataset(entries)
    orders = [order(data[index]["video"]) for index in range(4)]
    assert orders == [order(dataset(entries[::-1])[3 - index]["video"]) for index in range(4)]
    assert len({tuple(one) for one in orders}) > 1
    renamed = [entry._replace(id=f"{entry.id}x") for entry in entries]
    assert orders != [order(dataset(renamed)[index]["video"]) for index in range(4)]


def test_crops_of_a_clip_share_its_order_and_clips_have_their_own(entries: list[Entry]) -> None:
    views = dataset(entries, crops=3, num_clips=4)[0]["video"]
    orders = [order(view) for view in views]
    for clip in range(4):
        assert orders[3 * clip] == orders[3 * clip + 1] == orders[3 * clip + 2]
    assert len({tuple(one) for one in orders}) > 1


def test_every_data_module_takes_the_option_for_training_and_validation(tmp_path: Path) -> None:
    # frames in order become brighter
    modules = (
        KineticsDataModule(str(kinetics(tmp_path / "k")), sampling="segment", shuffle_frames=True, **SMALL),
        SomethingElseDataModule(str(something_else(tmp_path / "s")), shuffle_frames=True, **SMALL),
    )
    for module in modules:
        module.setup()
        for loader in (module.train_dataloader(), module.val_dataloader(), module.test_dataloader()):
            for clip in next(iter(loader))["video"]:
                assert frame_numbers(clip) != sorted(frame_numbers(clip))


def test_clips_of_one_frame_cannot_be_shuffled() -> None:
    with pytest.raises(OptionError, match=r"at least 2 frames.*--data\.num_frames"):
        KineticsDataModule("x", num_frames=1, shuffle_frames=True)


@pytest.mark.parametrize("rate", [0.0, -30.0])
def test_a_target_rate_has_to_be_above_zero(rate: float) -> None:
    with pytest.raises(OptionError, match="target_fps"):
        KineticsDataModule("x", target_fps=rate)


class Seen(Callback):
    """What is trained on, to the last pixel."""

    def __init__(self) -> None:
        self.batches: list[tuple[list[str], torch.Tensor]] = []

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self.batches.append((batch["id"], batch["video"]))


def test_a_training_on_shuffled_frames_goes_on_exactly(tmp_path: Path) -> None:
    root = kinetics(tmp_path / "k")

    def run(seed: int, num_workers: int, resume: Path | None = None) -> tuple[VideoClassifier, Seen]:
        seed_everything(seed, verbose=False)
        options = {**SMALL, "short_side": (16, 24), "num_workers": num_workers}
        data = KineticsDataModule(str(root), stride=2, shuffle_frames=True, **options)
        small = {"width": 8, "block": "basic", "dropout": 0.5}
        model, seen = VideoClassifier("resnet3d_r18", num_classes=3, model_args=small), Seen()
        callbacks: list[Callback] = [seen] if resume else [seen, after_every_step(tmp_path)]
        trainer = make_trainer(tmp_path, callbacks, deterministic=True, enable_checkpointing=not resume, max_epochs=3)
        trainer.fit(model, datamodule=data, ckpt_path=resume)
        return model, seen

    model, whole = run(3, num_workers=0)
    assert len(whole.batches) == 6
    for stop, num_workers in ((1, 0), (3, 1)):
        resumed, rest = run(4, num_workers, tmp_path / f"step={stop}.ckpt")
        for (ids, video), (expected, pixels) in zip(rest.batches, whole.batches[stop:], strict=True):
            assert ids == expected
            assert torch.equal(video, pixels)
        assert same_weights(resumed, model)

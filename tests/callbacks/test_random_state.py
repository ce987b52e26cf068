# SPDX-License-Identifier: Apache-2.0
"""What draws from the global random states goes on after a resume where it was."""

from __future__ import annotations

import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
import torch.distributed
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from resuming import NoisyData, after_every_step
from torch import Tensor
from torch.utils.data import DataLoader
from toys import Clips, ToyClassifier, make_trainer, same_weights

from staticdropout.callbacks import RandomState, SkippedVideos
from staticdropout.lightning_modules import VideoClassifier, VideoObjectSegmenter

pytestmark = pytest.mark.filterwarnings("ignore:.*callbacks used to create the checkpoint.*:UserWarning")


def draw() -> tuple[float, ...]:
    """A number of each kind; normal numbers come in pairs, of which a state holds the second."""
    return float(torch.rand(())), float(torch.randn(())), random.gauss(), random.gauss(), *map(float, _numpy())


def _numpy() -> tuple[float, float]:
    return np.random.normal(), np.random.random()  # noqa: NPY002 - the global generator is what it is about


class DrawingToy(ToyClassifier):
    """Draws numbers in each step and writes them down."""

    def __init__(self) -> None:
        super().__init__()
        self.drawn: list[tuple[float, ...]] = []

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        self.drawn.append(draw())
        return super().training_step(batch, batch_idx)


def run(
    folder: Path, callbacks: list[Callback], resume: Path | None = None, loader: DataLoader[Any] | None = None
) -> DrawingToy:
    seed_everything(3 if resume is None else 4, verbose=False)
    module, data = DrawingToy(), None if loader else NoisyData()
    trainer = make_trainer(folder, callbacks, max_epochs=3, enable_checkpointing=resume is None)
    trainer.fit(module, loader, datamodule=data, ckpt_path=resume, weights_only=True)
    return module


@pytest.mark.parametrize("stop", [1, 4, 5, 9])
def test_all_global_generators_go_on_where_they_were(tmp_path: Path, stop: int) -> None:
    whole = run(tmp_path, [RandomState(), after_every_step(tmp_path)])
    resumed = run(tmp_path, [RandomState()], tmp_path / f"step={stop}.ckpt")
    assert resumed.drawn == whole.drawn[stop:]
    assert same_weights(resumed, whole)
    without = run(tmp_path, [], tmp_path / f"step={stop}.ckpt")
    assert all(number != other for number, other in zip(without.drawn[0], whole.drawn[stop], strict=True))


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_foreign_loader_goes_on_exactly_from_the_end_of_an_epoch(tmp_path: Path, num_workers: int) -> None:
    def loader() -> DataLoader[Any]:
        return DataLoader(Clips(12, 3, 4), 4, shuffle=True, num_workers=num_workers)

    checkpoints = ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1)
    whole = run(tmp_path, [RandomState(), checkpoints], loader=loader())
    resumed = run(tmp_path, [RandomState()], tmp_path / "epoch=1.ckpt", loader())
    assert resumed.drawn == whole.drawn[6:]
    assert same_weights(resumed, whole)


@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended")
def test_in_the_middle_of_an_epoch_steps_draw_on_though_a_foreign_loader_starts_anew(tmp_path: Path) -> None:
    whole = run(tmp_path, [RandomState(), after_every_step(tmp_path)], loader=DataLoader(Clips(12, 3, 4), 4))
    resumed = run(tmp_path, [RandomState()], tmp_path / "step=4.ckpt", DataLoader(Clips(12, 3, 4), 4))
    assert resumed.drawn == whole.drawn[4:]


def test_a_training_that_is_not_resumed_stays_the_same(tmp_path: Path) -> None:
    (tmp_path / "without").mkdir()
    with_it = run(tmp_path, [RandomState(), after_every_step(tmp_path)])
    without = run(tmp_path / "without", [after_every_step(tmp_path / "without")])
    assert with_it.drawn == without.drawn
    assert same_weights(with_it, without)


class Ranks:
    """A trainer and a process group of several ranks, seen from one of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, world_size: int, rank: int) -> None:
        strategy = SimpleNamespace(root_device=torch.device("cpu"))
        progress = SimpleNamespace(is_last_batch=False)
        loop = SimpleNamespace(epoch_loop=SimpleNamespace(batch_progress=progress))
        connector = SimpleNamespace(cluster_environment=None)
        self.trainer = cast(
            "Trainer",
            SimpleNamespace(
                strategy=strategy,
                world_size=world_size,
                global_rank=rank,
                fit_loop=loop,
                callbacks=[],
                _accelerator_connector=connector,
            ),
        )
        self.module = cast("LightningModule", None)
        self.others: dict[int, Any] = {}
        self.rank, self.gathered = rank, 0
        monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
        monkeypatch.setattr(torch.distributed, "get_world_size", lambda: world_size)
        monkeypatch.setattr(torch.distributed, "all_gather_object", self._gather)

    def _gather(self, into: list[Any], mine: Any) -> None:
        self.gathered += 1
        into[:] = [mine if rank == self.rank else self.others.get(rank) for rank in range(len(into))]

    def start(self, callback: RandomState, state: dict[str, Any] | None = None) -> None:
        callback.setup(self.trainer, self.module, "fit")
        if state is not None:
            callback.load_state_dict(state)
            callback.on_fit_start(self.trainer, self.module)
            callback.on_train_start(self.trainer, self.module)


def state_and_next(ranks: Ranks, seed: int) -> tuple[dict[str, Any], tuple[float, ...]]:
    seed_everything(seed, verbose=False)
    callback = RandomState()
    ranks.start(callback)
    return callback.state_dict(), draw()


def test_every_rank_gets_its_own_state_back(monkeypatch: pytest.MonkeyPatch) -> None:
    second = Ranks(monkeypatch, 2, 1)
    other, others_next = state_and_next(second, 11)
    first = Ranks(monkeypatch, 2, 0)
    first.others[1] = other["ranks"][1]
    state, own_next = state_and_next(first, 10)
    assert first.gathered == 1
    for ranks, expected in ((first, own_next), (second, others_next)):
        ranks.start(RandomState(), state)
        assert draw() == expected


def test_another_number_of_ranks_keeps_the_present_state_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    state, _ = state_and_next(Ranks(monkeypatch, 2, 0), 10)
    seed_everything(5, verbose=False)
    expected = draw()
    seed_everything(5, verbose=False)
    with pytest.warns(UserWarning, match=r"states of 2 rank\(s\), and training goes on with 3"):
        Ranks(monkeypatch, 3, 2).start(RandomState(), state)
    assert draw() == expected


def test_after_an_exception_a_rank_waits_for_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    ranks, callback = Ranks(monkeypatch, 2, 0), RandomState()
    ranks.start(callback)
    callback.on_exception(ranks.trainer, ranks.module, RuntimeError())
    assert len(callback.state_dict()["ranks"]) == 1
    assert ranks.gathered == 0


def test_the_state_of_a_cuda_device_is_kept_too(monkeypatch: pytest.MonkeyPatch) -> None:
    device, put_back = torch.device("cuda", 3), {}
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda of: torch.tensor([of.index]))
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, to: put_back.update({to: state.tolist()}))
    ranks = Ranks(monkeypatch, 1, 0)
    cast("Any", ranks.trainer.strategy).root_device = device
    state, expected = state_and_next(ranks, 1)
    ranks.start(RandomState(), state)
    assert put_back == {device: [3]}
    assert draw() == expected


@pytest.mark.parametrize(
    "module",
    [
        VideoClassifier("resnet3d_r18", num_classes=4, model_args={"width": 4}),
        VideoObjectSegmenter("matnet", model_args={"backbone": "resnet18", "width": 8}),
    ],
)
def test_our_modules_bring_it_along(module: VideoClassifier | VideoObjectSegmenter) -> None:
    assert RandomState in {type(callback) for callback in module.configure_callbacks()}


def test_there_is_never_a_second_one(tmp_path: Path) -> None:
    small = VideoClassifier("resnet3d_r18", num_classes=4, model_args={"width": 8, "block": "basic"})
    trainer = make_trainer(tmp_path, [RandomState()], fast_dev_run=1)
    trainer.fit(small, DataLoader(Clips(4, 4, 16), 4))
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    assert [type(callback) for callback in callbacks].count(RandomState) == 1
    assert any(isinstance(callback, SkippedVideos) for callback in callbacks)

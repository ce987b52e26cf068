# SPDX-License-Identifier: Apache-2.0
"""What is loaded depends on seed, epoch and item alone, and goes on where it was."""

from __future__ import annotations

import io
import random
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from resuming import NoisyClips
from torch.utils.data import default_collate

from staticdropout.datamodules.draws import Draw, DrawnConcatDataset, ShuffledDraws
from staticdropout.datamodules.loaders import make_loader
from staticdropout.datamodules.resumable_loader import ResumableLoader

LENGTH, BATCH, BATCHES = 11, 2, 5


class Counted(NoisyClips):
    """Counts what is loaded in this process."""

    loaded = 0

    def __getitem__(self, asked: Draw | int) -> dict[str, Any]:
        self.loaded += 1
        return super().__getitem__(asked)


def loader(num_workers: int = 0, seed: int = 0, length: int = LENGTH, batch_size: int = BATCH) -> ResumableLoader:
    made = make_loader(Counted(length), length, batch_size, True, num_workers, default_collate, None, seed)
    assert isinstance(made, ResumableLoader)
    return made


def content(batch: dict[str, Any]) -> tuple[Any, ...]:
    return (*batch["id"], *batch["video"].flatten(1).double().sum(1).tolist())


def contents(one_pass: ResumableLoader) -> list[tuple[Any, ...]]:
    return [content(batch) for batch in one_pass]


def kept(state: dict[str, int]) -> dict[str, int]:
    """A state that was in a checkpoint, read as Lightning reads it."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    loaded: dict[str, int] = torch.load(file, weights_only=True)
    return loaded


@pytest.mark.parametrize(("num_workers", "stops"), [(0, range(BATCHES + 1)), (2, [0, 3, BATCHES])])
def test_a_pass_that_is_stopped_after_any_batch_goes_on_as_if_it_had_not_been(num_workers: int, stops: Any) -> None:
    whole = loader()
    expected = [*contents(whole), *contents(whole)]  # two passes
    for stop in stops:
        stopped = loader(num_workers)
        batches = iter(stopped)
        assert [content(next(batches)) for _ in range(stop)] == expected[:stop]
        resumed = loader(num_workers)
        resumed.load_state_dict(kept(stopped.state_dict()))
        assert resumed.state_dict() == stopped.state_dict()
        rest = contents(resumed)
        assert rest == expected[stop : 2 * BATCHES if stop == BATCHES else BATCHES]
        assert resumed.dataset.loaded == (0 if num_workers else BATCH * len(rest)), "nothing is loaded to be skipped"  # type: ignore[attr-defined]
        if stop < BATCHES:
            assert contents(resumed) == expected[BATCHES:]


def test_workers_that_live_on_can_be_sent_to_another_place() -> None:
    whole, other = loader(), loader(2)
    expected = [*contents(whole), *contents(whole)]
    assert contents(other) == expected[:BATCHES]
    second = iter(other)
    assert [content(next(second)) for _ in range(3)] == expected[BATCHES : BATCHES + 3]
    place = other.state_dict()
    assert contents(other) != expected[BATCHES:], "a third pass"
    other.load_state_dict(place)
    assert contents(other) == expected[BATCHES + 3 :]


def test_epochs_and_seeds_have_orders_and_draws_of_their_own() -> None:
    def epoch(number: int, seed: int = 0) -> list[tuple[Any, ...]]:
        made = loader(seed=seed)
        made.sampler.set_epoch(number)  # type: ignore[attr-defined]
        return contents(made)

    def orders_and_draws(batches: list[tuple[Any, ...]]) -> tuple[list[str], dict[str, float]]:
        order = [name for batch in batches for name in batch[:BATCH]]
        return order, dict(zip(order, (x for batch in batches for x in batch[BATCH:]), strict=True))

    keys = [(0, 0), (1, 0), (0, 1), (1, 1), (2, 0)]
    seen = [orders_and_draws(epoch(*key)) for key in keys]
    assert [orders_and_draws(epoch(*key)) for key in keys] == seen
    for place, (order, draws) in enumerate(seen):
        for other_order, other_draws in seen[place + 1 :]:
            assert order != other_order
            assert all(draws[name] != other_draws[name] for name in set(order) & set(other_order))


def test_a_state_counts_for_its_own_epoch_only() -> None:
    stopped, resumed, fresh = loader(), loader(), loader()
    next(iter(stopped))
    resumed.load_state_dict(stopped.state_dict())
    for one in (resumed, fresh):
        one.sampler.set_epoch(1)  # type: ignore[attr-defined]
    assert contents(resumed) == contents(fresh)


@pytest.mark.parametrize(("length", "ranks"), [(12, 2), (13, 2), (10, 4), (2, 4)])
def test_ranks_share_one_order_and_draw_the_same_for_an_item(length: int, ranks: int) -> None:
    items = range(length)
    alone = list(ShuffledDraws(items, seed=5))
    assert sorted(draw.item for draw in alone) == list(items)
    shards = [list(ShuffledDraws(items, ranks, rank, seed=5)) for rank in range(ranks)]
    assert {len(shard) for shard in shards} == {-(-length // ranks)}, "ranks stay in step"
    merged = [draw for step in zip(*shards, strict=True) for draw in step]
    assert merged[:length] == alone
    assert set(merged) == set(alone), "what is added is repeated"
    assert max(Counter(merged).values()) == -(-len(merged) // length)


def test_every_item_is_first_equally_often() -> None:
    first = Counter(next(iter(ShuffledDraws(range(4), seed=seed))).item for seed in range(2000))
    assert sorted(first) == [0, 1, 2, 3]
    assert all(abs(count - 500) < 100 for count in first.values()), first  # five standard deviations


@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize("training", [True, False])
def test_loading_takes_no_number_from_the_global_generators(num_workers: int, training: bool) -> None:
    def state() -> tuple[Any, ...]:
        numpy: Any = np.random.get_state()  # noqa: NPY002 - the global generator is what it is about
        return torch.get_rng_state().tolist(), random.getstate(), numpy[1].tolist()

    dataset: Any = NoisyClips(6) if training else NoisyClips(6).clips
    before = state()
    made = make_loader(dataset, 6, 2, training, num_workers, default_collate, None)
    assert len(list(made)) == len(list(made)) == 3
    assert state() == before


def test_a_plain_index_draws_from_the_global_generator() -> None:
    for items in (NoisyClips(), DrawnConcatDataset([NoisyClips()])):
        torch.manual_seed(0)
        first, other = items[3]["video"], items[3]["video"]
        torch.manual_seed(0)
        assert torch.equal(items[3]["video"], first)
        assert not torch.equal(first, other)


def test_an_item_that_fails_leaves_the_global_generator_alone() -> None:
    state = torch.get_rng_state()
    with pytest.raises(IndexError):
        DrawnConcatDataset([[1, 2]])[Draw(2, 0)]  # type: ignore[list-item]
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (loader(length=9).state_dict(), "items=9, batch_size=2, ranks=1; now there are items=11"),
        (loader(batch_size=3).state_dict(), "items=11, batch_size=3, ranks=1; now there are .* batch_size=2"),
        ({"_snapshot": 3}, "items=None"),
        (loader().state_dict() | {"given": "3"}, "beginning"),
    ],
)
def test_a_state_of_other_batches_is_left_with_a_warning(state: dict[str, Any], message: str) -> None:
    resumed = loader()
    with pytest.warns(UserWarning, match=message):
        resumed.load_state_dict(state)
    assert contents(resumed) == contents(loader())


def test_training_drops_an_incomplete_batch_unless_it_is_the_only_one() -> None:
    assert [len(batch["id"]) for batch in loader(batch_size=4)] == [4, 4]
    assert [len(batch["id"]) for batch in loader(batch_size=20)] == [LENGTH]

# SPDX-License-Identifier: Apache-2.0
"""What is drawn for an item depends on the seed, the epoch and the item alone: not on workers, ranks or the past."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sized
from contextlib import contextmanager
from itertools import cycle, islice
from typing import Any, NamedTuple, cast

import torch
from torch.utils.data import ConcatDataset, Dataset, DistributedSampler

__all__ = ("Draw", "DrawnConcatDataset", "ShuffledDraws", "drawn", "hashed")


def hashed(*key: int) -> int:
    """A number in [0, 2^63) for some numbers; neighbouring keys have nothing in common.

    Example:
        >>> hashed(0, 1) == hashed(0, 1), hashed(0, 1) == hashed(1, 0)
        (True, False)
    """
    digest = hashlib.blake2b("/".join(map(str, key)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


class Draw(NamedTuple):
    """What a sampler asks for.

    Attributes:
        item: its index.
        seed: of everything that is drawn for it.
    """

    item: int
    seed: int


@contextmanager
def drawn(asked: Draw | int) -> Iterator[int]:
    """The index of the item that a data set is asked for, inside what it draws at random for it.

    For a draw, torch's global generator on the host starts at its seed, and afterwards goes on as if nothing had been:
    the same draw gives the same item in every process. For a plain index the generator is left as it is.

    Example:
        >>> with drawn(Draw(7, seed=3)) as index:
        ...     first = torch.rand(())
        >>> with drawn(Draw(7, seed=3)):
        ...     print(index, torch.equal(torch.rand(()), first))
        7 True
    """
    if not isinstance(asked, Draw):
        yield asked
        return
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(asked.seed)  # torch.manual_seed would reach the devices' generators, too
        yield asked.item


class DrawnConcatDataset(ConcatDataset[Any]):
    """Data sets one after the other, asked for by index or by :class:`Draw`.

    Example:
        >>> DrawnConcatDataset(["ab", "cd"])[Draw(2, seed=0)]
        'c'
    """

    def __getitem__(self, asked: Draw | int) -> Any:
        """Return an item of one of them."""
        with drawn(asked) as index:
            return super().__getitem__(index)  # type: ignore[no-untyped-call] # not annotated in torch


class ShuffledDraws(DistributedSampler[Draw]):
    """All items in random order, each with a seed of its own, by the seed, the epoch and the round alone.

    The ranks share one order: rank r takes places r, r + num_replicas, …, and where the last of them would get less,
    the order starts again. Rounds are passes without :meth:`set_epoch` in between, so that a plain loop over a loader
    sees another order each time; a Trainer sets the epoch before each pass.

    Args:
        dataset: what to sample from.
        num_replicas: number of ranks.
        rank: the own one, from 0.
        seed: of orders and items; the same on all ranks.

    Attributes:
        epoch: of the next pass.
        round: of the next pass, from 0 in each epoch.
        skip: items of this rank to leave out at the beginning of the next pass.

    Example:
        >>> sampler = ShuffledDraws(range(4))
        >>> sorted(draw.item for draw in sampler)
        [0, 1, 2, 3]
    """

    def __init__(self, dataset: Sized, num_replicas: int = 1, rank: int = 0, seed: int = 0) -> None:
        super().__init__(cast("Dataset[Any]", dataset), num_replicas, rank, seed=seed)
        self.round = self.skip = 0

    def set_epoch(self, epoch: int) -> None:
        """Start at the first round of an epoch."""
        super().set_epoch(epoch)
        self.round = self.skip = 0

    def __iter__(self) -> Iterator[Draw]:
        key, skip = (self.seed, self.epoch, self.round), self.skip
        self.round, self.skip = self.round + 1, 0
        order = torch.randperm(len(cast("Sized", self.dataset)), generator=torch.Generator().manual_seed(hashed(*key)))
        shared = islice(cycle(order.tolist()), self.total_size)
        mine = islice(shared, self.rank + skip * self.num_replicas, None, self.num_replicas)
        return (Draw(item, hashed(*key, item)) for item in mine)

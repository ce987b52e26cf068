# SPDX-License-Identifier: Apache-2.0
"""A loader of training data that goes on in the middle of an epoch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sized
from typing import Any, cast

from lightning.pytorch import Trainer
from lightning.pytorch.loops.fit_loop import _FitLoop
from lightning.pytorch.utilities import rank_zero_warn
from torch.utils.data import DataLoader, Dataset

from .draws import ShuffledDraws

__all__ = ("ResumableLoader",)


class ResumableLoader(DataLoader[Any]):
    """A DataLoader with a state: after :meth:`load_state_dict` the next pass starts where the last one had come to.

    What was already given is not loaded again. A Trainer keeps the state in its checkpoints and puts it back. Together
    with a :class:`ShuffledDraws` sampler, and a data set that draws inside :func:`.drawn`, the rest of the epoch has
    the same batches as without the interruption, whatever ``num_workers``.

    A state counts for its own epoch: where the sampler is set to another one, that starts at its beginning. So does
    every epoch where Lightning puts another sampler in place (``overfit_batches``).

    A pass begins with the first batch that is asked for, not with ``iter``: Lightning calls that before it tells the
    sampler the epoch.

    Args:
        dataset: what to load; it has to take the draws of the sampler.
        trainer: who uses the loader, to know which batches it has fetched and not trained on; None: nobody does so.
        **options: further arguments of DataLoader.

    Example:
        >>> from staticdropout.datamodules.draws import DrawnConcatDataset
        >>> def loader():
        ...     return ResumableLoader(DrawnConcatDataset([range(6)]), sampler=ShuffledDraws(range(6)), batch_size=2)
        >>> whole = [batch.tolist() for batch in loader()]
        >>> interrupted, resumed = loader(), loader()
        >>> first = next(iter(interrupted)).tolist()
        >>> resumed.load_state_dict(interrupted.state_dict())
        >>> [first, *(batch.tolist() for batch in resumed)] == whole
        True
    """

    def __init__(self, dataset: Dataset[Any], *, trainer: Trainer | None = None, **options: Any) -> None:
        super().__init__(dataset, **options)
        self.trainer = trainer
        self._position: dict[str, int] | None = None
        self._resumed: dict[str, int] | None = None
        self._was_told = False

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override] # DataLoader promises a class of its own
        start = self._begin()
        for given, batch in enumerate(super().__iter__(), start.get("given", 0) + 1):
            self._position = start | {"given": given}
            yield batch

    def _begin(self) -> dict[str, int]:
        """Set the sampler to the beginning of the next pass, or to where the state says."""
        sampler, resumed, self._resumed = self.sampler, self._resumed, None
        if not isinstance(sampler, ShuffledDraws):
            return {}
        if (loop := self._fit_loop()) is not None:
            self._follow(loop, sampler)
        given = 0
        if resumed is not None and resumed["epoch"] == sampler.epoch:
            sampler.seed, sampler.round, given = resumed["seed"], resumed["round"], resumed["given"]
            if given >= len(self):
                sampler.round, given = sampler.round + 1, 0
            sampler.skip = given * cast("int", self.batch_size)
        return {"seed": sampler.seed, "epoch": sampler.epoch, "round": sampler.round, "given": given}

    def _follow(self, loop: _FitLoop, sampler: ShuffledDraws) -> None:
        # With max_steps, and resumed from the end of an epoch, Lightning sets samplers to one epoch too many.
        if sampler.epoch != loop.trainer.current_epoch:
            sampler.set_epoch(loop.trainer.current_epoch)
        if not self._was_told and sampler.round == 0 and (ready := loop.epoch_loop.batch_progress.current.ready):
            rank_zero_warn(
                f"The checkpoint was written after {ready} batches of an epoch and does not say which. The epoch starts"
                " at its beginning: some items are seen twice and others not at all."
            )

    def _fit_loop(self) -> _FitLoop | None:
        """The loop that trains on this loader at this moment."""
        loop = None if self.trainer is None else self.trainer.fit_loop
        if loop is None or loop._data_fetcher is None or loop._combined_loader is None:
            return None
        return loop if any(loader is self for loader in loop._combined_loader.flattened) else None

    def _untrained(self) -> int:
        """Batches of this epoch that were fetched and not trained on: ahead of time, or in a step that failed."""
        loop = self._fit_loop()
        if loop is None or loop._data_fetcher is None:
            return 0
        trained: int = cast("Any", loop.epoch_loop.batch_progress.current).processed
        return max(0, loop._data_fetcher.fetched - trained)

    def _layout(self) -> dict[str, int]:
        """What a number of batches is relative to."""
        ranks = self.sampler.num_replicas if isinstance(self.sampler, ShuffledDraws) else 1
        return {"items": len(cast("Sized", self.dataset)), "batch_size": cast("int", self.batch_size), "ranks": ranks}

    def state_dict(self) -> dict[str, int]:
        """Seed, epoch, round and the number of batches given in it, less those that the Trainer has not trained on."""
        if not isinstance(self.sampler, ShuffledDraws):
            return {}
        if self._resumed is not None:
            return self._resumed | self._layout()
        start = {"seed": self.sampler.seed, "epoch": self.sampler.epoch, "round": self.sampler.round, "given": 0}
        position = self._position or start
        return position | {"given": max(0, position["given"] - self._untrained())} | self._layout()

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from a state at the next pass; one of other data or batches is left, with a warning."""
        if not isinstance(self.sampler, ShuffledDraws):
            return
        self._was_told = True
        position = {name: state_dict.get(name) for name in ("seed", "epoch", "round", "given")}
        found = {name: state_dict.get(name) for name in self._layout()}
        if found == self._layout() and all(isinstance(number, int) for number in position.values()):
            self._resumed = cast("dict[str, int]", position)
            return
        rank_zero_warn(
            f"The checkpoint tells how far the training data had come with {_listed(found)}; now there are "
            f"{_listed(self._layout())}. The epoch starts at its beginning: some items are seen twice and others not"
            " at all. To go on exactly, resume with the same data, batch_size and number of devices."
        )


def _listed(layout: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in layout.items())

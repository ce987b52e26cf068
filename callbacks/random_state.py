# SPDX-License-Identifier: Apache-2.0
"""Random states in the checkpoint, so that what draws from them goes on where it was."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
import torch.distributed
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn

from .requeue import hold_back_requeue

__all__ = ("RandomState",)


class RandomState(Callback):
    """Keeps the global random states in checkpoints, and puts them back when training is resumed.

    These are the states of torch (on the host and on the CUDA device), NumPy and Python, of every rank. Lightning keeps
    none of them: without this callback ``nn.Dropout``, and whatever else a step draws, goes on with other numbers after
    a resume. The LightningModules of this package bring it along; in another project add it to the Trainer. It changes
    nothing in a training that is not resumed.

    A resumed training is then bit-identical to an uninterrupted one as far as the rest is:

    - With the data modules of this package, from any checkpoint that was written between two optimizer steps, on the
      CPU or with ``deterministic=True``. CUDA kernels that are not deterministic give other numbers in any case.
    - With a DataLoader of torch, from a checkpoint at the end of an epoch, if its workers are not persistent: those
      start anew, with new random states. In the middle of an epoch Lightning starts such a loader at its beginning.
    - Not if something draws at the start of a training only (``on_train_start``), or between the checkpoint and the end
      of its step.

    The states are put back before the training loader is asked for its iterator, which draws a seed; in the middle of
    an epoch, where there was no such draw, once more after it.

    A checkpoint written after an exception holds the state of its own rank only. Where the number of ranks is not that
    of the checkpoint, the states stay as they are, with a warning.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> trainer = Trainer(callbacks=[RandomState()], logger=False, enable_checkpointing=False)
    """

    def __init__(self) -> None:
        self._device = torch.device("cpu")
        self._failed = self._is_back = False
        self._restored: list[dict[str, Any]] | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Start with nothing to put back; the states of a checkpoint come after this."""
        self._device, self._restored = trainer.strategy.root_device, None
        self._failed = self._is_back = False
        if stage == "fit":
            hold_back_requeue(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """From now on this rank may be the only one that saves: wait for no other."""
        self._failed = True

    def state_dict(self) -> dict[str, Any]:
        """The states of all ranks, as tensors and plain values."""
        states: list[Any] = [_collect(self._device)]
        if torch.distributed.is_available() and torch.distributed.is_initialized() and not self._failed:
            states *= torch.distributed.get_world_size()
            torch.distributed.all_gather_object(states, states[0])  # each rank asks, but rank 0 writes the file
        return {"ranks": states}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the states until training starts."""
        self._restored = state_dict.get("ranks", [])

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the states back before the loader's iterator is made."""
        self._put_back(trainer)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """In the middle of an epoch, undo what making the iterator has drawn."""
        if not (self._is_back and trainer.fit_loop.epoch_loop.batch_progress.is_last_batch):
            self._put_back(trainer)
        self._restored = None

    def _put_back(self, trainer: Trainer) -> None:
        if self._restored is None:
            return
        if len(self._restored) == trainer.world_size:
            _put_back(self._restored[trainer.global_rank], self._device)
            self._is_back = True
            return
        rank_zero_warn(
            f"The checkpoint holds random states of {len(self._restored)} rank(s), and training goes on with "
            f"{trainer.world_size}. They are left as they are, so dropout and the like draw other numbers than an "
            "uninterrupted training would have drawn. To go on exactly, resume with as many devices."
        )
        self._restored = None


def _collect(device: torch.device) -> dict[str, Any]:
    """The random states of this process; arrays and long tuples as tensors, since checkpoints hold no NumPy."""
    version, words, gauss = random.getstate()
    numpy = np.random.get_state(legacy=False)  # noqa: NPY002 - the global generator is what it is about
    state: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "python": {"version": version, "words": torch.tensor(words), "gauss": gauss},
        "numpy": numpy | {"state": {"key": torch.tensor(numpy["state"]["key"].tolist()), "pos": numpy["state"]["pos"]}},
    }
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def _put_back(state: dict[str, Any], device: torch.device) -> None:
    torch.set_rng_state(state["torch"])
    python, numpy = state["python"], state["numpy"]
    random.setstate((python["version"], tuple(python["words"].tolist()), python["gauss"]))
    words = numpy["state"]["key"].numpy().astype(np.uint32)
    np.random.set_state(numpy | {"state": {"key": words, "pos": numpy["state"]["pos"]}})  # noqa: NPY002 - likewise
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)

# SPDX-License-Identifier: Apache-2.0
"""A data module whose random draws stay those of one run, however often that is interrupted."""

from __future__ import annotations

import os
from typing import Any

import torch
from lightning import LightningDataModule

__all__ = ("SeededDataModule",)


class SeededDataModule(LightningDataModule):
    """Keeps the seed of its training loader in checkpoints, so that a resumed run goes on with it.

    The seed is that of ``seed_everything``. Without, it is that of ``torch.manual_seed`` on one device, and 0 on
    several, which have to share it.

    Example:
        >>> from lightning.pytorch import seed_everything
        >>> data = SeededDataModule()
        >>> _ = seed_everything(3, verbose=False)
        >>> data.training_seed(), data.state_dict()
        (3, {'seed': 3})
    """

    def __init__(self) -> None:
        super().__init__()
        self._seed: int | None = None
        self._resumed_seed: int | None = None

    def training_seed(self) -> int:
        """The seed of the training loader that is being made."""
        self._seed = self._resumed_seed
        if self._seed is None:
            alone = self.trainer is None or self.trainer.world_size == 1
            self._seed = int(os.environ.get("PL_GLOBAL_SEED", torch.initial_seed() % 2**31 if alone else 0))
        return self._seed

    def state_dict(self) -> dict[str, Any]:
        """The seed, once there is a training loader."""
        return {} if self._seed is None else {"seed": self._seed}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the seed of a checkpoint."""
        self._resumed_seed = state_dict.get("seed")

    def teardown(self, stage: str) -> None:
        """Forget the checkpoint: what comes next is another run."""
        self._resumed_seed = None

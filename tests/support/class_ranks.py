# SPDX-License-Identifier: Apache-2.0
"""A stranger's module that counts its classes; as a script, its validation in two processes (they fork)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torchmetrics.classification import MulticlassStatScores
from toys import CLASSES, Clips, ToyClassifier, make_trainer

from staticdropout.callbacks import ClassReport


class Counting(ToyClassifier):
    """Sets ``class_counts`` at the end of validation and test epochs."""

    def __init__(self, fixed: Any = None) -> None:
        super().__init__()
        self.fixed, self.blind = fixed, False
        self.class_counts: Tensor | None = None
        self.scores = MulticlassStatScores(CLASSES, average="none")

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.scores.update(self(batch["video"]), batch["label"])

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.scores.update(self(batch["video"]), batch["label"])

    def on_validation_epoch_end(self) -> None:
        if not self.blind:
            counts = self.scores.compute()
            self.class_counts = counts[:, [0, 4]] if self.fixed is None else self.fixed
        self.scores.reset()

    def on_test_epoch_end(self) -> None:
        self.on_validation_epoch_end()


def run(folder: Path, devices: int) -> None:
    """Validate the same weights on 24 clips."""
    torch.manual_seed(0)
    strategy = "ddp_fork" if devices > 1 else "auto"
    trainer = make_trainer(folder, [ClassReport()], devices=devices, strategy=strategy)
    trainer.validate(Counting(), DataLoader(Clips(24), 8 // devices), verbose=False)


if __name__ == "__main__":
    torch.set_num_threads(1)
    run(Path(sys.argv[1]), 2)

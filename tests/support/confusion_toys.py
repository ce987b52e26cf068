# SPDX-License-Identifier: Apache-2.0
"""Modules whose gradients a test can compute by hand, and callbacks that keep what a training did."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from drill_ranks import PlainNet
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader
from toys import CLASSES, Clips, ToyClassifier, make_trainer

from staticdropout.perturbations import shuffled_by_key

Gradients = dict[str, Tensor]


class PlainClassifier(ToyClassifier):
    """Every clip passes alone: no batch normalisation, no dropout."""

    def __init__(self, lr: float = 0.05) -> None:
        super().__init__(lr)
        self.backbone = PlainNet()  # type: ignore[assignment]


class KeepGradients(Callback):
    """Keeps the gradients that the optimizer gets, step by step."""

    def __init__(self) -> None:
        self.steps: list[Gradients] = []

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        self.steps.append(gradients(pl_module))


def gradients(module: nn.Module) -> Gradients:
    """The gradients of all parameters."""
    return {name: part.grad.clone() for name, part in module.named_parameters() if part.grad is not None}


def by_hand(module: ToyClassifier, numbers: range, weight: float, seed: int, step: int = 0) -> Gradients:
    """The gradients of cross-entropy plus confusion over some toy clips, without any of the callback."""
    batch = clips(numbers)
    shuffled = shuffled_by_key(batch["video"], batch["id"], f"{seed}/{step}")
    loss = cross_entropy(module(batch["video"]), batch["label"])
    loss = loss + weight * cross_entropy(module(shuffled), torch.full((len(numbers), CLASSES), 1 / CLASSES))
    module.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    return gradients(module)


def clips(numbers: range) -> dict[str, Any]:
    """Some toy clips as a batch."""
    items = [Clips()[number] for number in numbers]
    return {
        "video": torch.stack([item["video"] for item in items]),
        "label": torch.tensor([item["label"] for item in items]),
        "id": [item["id"] for item in items],
    }


def confused(
    folder: Path | str,
    callbacks: Sequence[Callback],
    module: LightningModule | None = None,
    length: int = 8,
    batch_size: int = 8,
    **options: Any,
) -> tuple[LightningModule, list[Gradients]]:
    """Train for an epoch on the toy clips in order; return the module and what its optimizer got."""
    module = module or seeded_plain()
    seed_everything(3, verbose=False)
    keep = KeepGradients()
    trainer = make_trainer(folder, [*callbacks, keep], **({"max_epochs": 1} | options))
    trainer.fit(module, DataLoader(Clips(length), batch_size))
    return module, keep.steps


def seeded_plain(kind: type[ToyClassifier] = PlainClassifier) -> ToyClassifier:
    """A module with the same weights every time."""
    torch.manual_seed(0)
    return kind()


def assert_close(ours: Gradients, theirs: Gradients, rtol: float = 1e-4, atol: float = 1e-7) -> None:
    """Assert that all gradients are the same, but for rounding."""
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], rtol=rtol, atol=atol, msg=name)

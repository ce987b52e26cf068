# SPDX-License-Identifier: Apache-2.0
"""Two processes: scores and curves are the same on both, and those of one process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from torch.utils.data import DataLoader
from toys import Clips, ToyClassifier, make_trainer

from staticdropout.callbacks import BiasMonitor, ShuffledValidation, StaticDropout


class Report(Callback):
    """Writes what each rank ends with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.masks: list[Any] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, ToyClassifier)
        pl_module.backbone.fc.register_forward_pre_hook(
            lambda module, args: self.masks.append((args[0] == 0).tolist()) if module.training else None
        )

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        dropout = next(c for c in callbacks if isinstance(c, StaticDropout))
        monitor = next(c for c in callbacks if isinstance(c, BiasMonitor))
        assert dropout.dropout is not None
        content = {
            "scores": dropout.dropout.scores.tolist(),
            "history": [entry["layers"] for entry in monitor.history],
            "mask": self.masks[0],
        }
        (self.folder / f"{trainer.world_size}_{trainer.global_rank}.json").write_text(json.dumps(content))


def run(folder: Path, devices: int) -> list[dict[str, Any]]:
    seed_everything(5, verbose=False)
    module = ToyClassifier(lr=0.0)
    module.backbone.dropout.p = 0.0
    callbacks = [
        StaticDropout(rate=0.5, every_n_steps=1, momentum=0.0),
        BiasMonitor(layers="backbone.layer*", num_clips=100, figures=False, verbose=False),
        ShuffledValidation(verbose=False),  # 23 clips: a distributed sampler repeats one
        Report(folder),
    ]
    strategy = "ddp_spawn" if devices > 1 else "auto"
    trainer = make_trainer(folder, callbacks, devices=devices, strategy=strategy, max_epochs=1)
    trainer.fit(module, DataLoader(Clips(16), 16 // devices), DataLoader(Clips(23), 8 // devices))
    return [json.loads((folder / f"{devices}_{rank}.json").read_text()) for rank in range(devices)]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_two_ranks_agree_with_each_other_and_with_one_process_and_draw_their_own_masks(tmp_path: Path) -> None:
    (alone,) = run(tmp_path, 1)
    first, second = run(tmp_path, 2)
    assert first["scores"] == second["scores"]
    assert first["history"] == second["history"]
    assert first["mask"] != second["mask"]
    # Before training: later the running statistics of BatchNorm differ, which each rank takes from its own clips.
    for layer, numbers in first["history"][0].items():
        for name, value in numbers.items():
            assert value == pytest.approx(alone["history"][0][layer][name], abs=1e-4), (layer, name)
    torch.testing.assert_close(torch.tensor(first["scores"]), torch.tensor(alone["scores"]), rtol=0, atol=1e-6)

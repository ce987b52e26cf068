# SPDX-License-Identifier: Apache-2.0
"""Some parts learn first; the rest waits, unmoved, and joins on time, also after a resume."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from lightning.pytorch import LightningModule, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from segmentation_toys import StrangersSegmenter, squares
from toys import make_trainer, same_weights

from staticdropout.callbacks import TrainOnly
from staticdropout.errors import LayerNotFoundError, OptionError

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


class Decayed(StrangersSegmenter):
    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.05, momentum=0.9, weight_decay=0.1)


def train(folder: Path, epochs: int, waiting: int, ckpt: str | None = None) -> LightningModule:
    seed_everything(1, verbose=False)
    module = Decayed()
    saver = ModelCheckpoint(folder, save_last=True)
    trainer = make_trainer(
        folder, [TrainOnly(["net.fuse", "net.h*"], waiting), saver], max_epochs=epochs, enable_checkpointing=True
    )
    trainer.fit(module, squares(), ckpt_path=ckpt)
    return module


def moved(module: LightningModule) -> set[str]:
    seed_everything(1, verbose=False)
    fresh = dict(Decayed().named_parameters())
    names = {name for name, parameter in module.named_parameters() if not torch.equal(parameter, fresh[name])}
    return {name.split(".")[1] for name in names}


def test_only_the_named_parts_move_not_even_by_weight_decay(tmp_path: Path) -> None:
    assert moved(train(tmp_path, epochs=2, waiting=2)) == {"fuse", "head"}


def test_the_rest_joins_after_the_epochs(tmp_path: Path) -> None:
    assert moved(train(tmp_path, epochs=3, waiting=2)) == {"appearance", "motion", "fuse", "head"}


def test_a_resumed_training_ends_bit_identical(tmp_path: Path) -> None:
    whole = train(tmp_path / "whole", epochs=3, waiting=2)
    train(tmp_path / "part", epochs=1, waiting=2)
    resumed = train(tmp_path / "part", epochs=3, waiting=2, ckpt=str(tmp_path / "part" / "last.ckpt"))
    assert same_weights(whole, resumed)


def test_a_part_that_does_not_exist_is_named_before_training(tmp_path: Path) -> None:
    with pytest.raises(LayerNotFoundError, match="fusion"):
        make_trainer(tmp_path, [TrainOnly("net.fusion")]).fit(StrangersSegmenter(), squares())
    with pytest.raises(OptionError, match="num_epochs=-1"):
        TrainOnly("net", -1)

# SPDX-License-Identifier: Apache-2.0
"""What lies beside the network, before it and around the loader: copies, steps that prepare, whole batches."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from foreign_batches import LAYERS, Stranger, loader, packed
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from toys import ToyClassifier, ToyNet, count_hooks, fit, loader_of, make_trainer

from staticdropout.callbacks import BiasMonitor, ShuffledValidation, StaticDropout, VideoInputs

pytestmark = pytest.mark.filterwarnings("ignore:The bias was measured on .* clips only:UserWarning")


class Beside(ToyClassifier):
    """Has a teacher, averages and no forward of its own."""

    forward = LightningModule.forward

    def __init__(self, prepare: bool = False) -> None:
        super().__init__()
        self.teacher = copy.deepcopy(self.backbone).requires_grad_(False)
        self.averages = AveragedModel(ToyNet())
        self.prepare = prepare

    def logits(self, batch: dict[str, Any]) -> Tensor:
        logits: Tensor = self.backbone((batch["video"] - 0.45) / 0.225 if self.prepare else batch["video"])
        return logits

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self.logits(batch), batch["label"])

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.logits(batch)


def test_the_classifier_is_that_of_the_network_and_not_of_its_copies(tmp_path: Path) -> None:
    dropping, watching = StaticDropout(), BiasMonitor(num_clips=8, figures=False, verbose=False)
    module, _ = fit(tmp_path, [dropping, watching], Beside(), max_epochs=1)
    assert dropping._target is not None
    assert dropping._target.name == "backbone.fc[input]"
    assert list(watching.latest) == ["backbone.fc[input]"]
    assert count_hooks(module) == 0


@pytest.mark.parametrize("name", ["StaticDropout", "BiasMonitor"])
def test_a_step_that_prepares_the_video_is_noticed_once(name: str, tmp_path: Path) -> None:
    monitor = BiasMonitor(num_clips=8, figures=False, verbose=False)
    callbacks: dict[str, Any] = {"StaticDropout": StaticDropout(every_n_steps=1), "BiasMonitor": monitor}
    with pytest.warns(UserWarning, match=f"Your step calls .* but {name} calls it") as caught:
        module, _ = fit(tmp_path, [callbacks[name]], Beside(prepare=True))
    assert len([one for one in caught if "Your step" in str(one.message)]) == 1
    assert count_hooks(module) == 0


@pytest.mark.parametrize("num_clips", [5, 100])
def test_a_data_set_of_whole_batches_is_counted_in_clips(num_clips: int, tmp_path: Path) -> None:
    batches = loader_of(packed("dict", "unit", "BCTHW"), None)
    module = Stranger()
    module.reading = lambda batch: (batch["video"], batch["label"])
    watching = BiasMonitor(layers=LAYERS, num_clips=num_clips, num_groups=2, figures=False, verbose=False)
    shuffled = ShuffledValidation(verbose=False)
    make_trainer(tmp_path, [watching, shuffled]).validate(module, batches, verbose=False)
    assert {int(bias.num_clips) for bias in watching.latest.values()} == {min(num_clips, 12)}
    normal = shuffled.latest["top1_normal"]
    plain = ShuffledValidation(verbose=False)
    make_trainer(tmp_path, [plain]).validate(module, loader("dict", "unit", "BCTHW"), verbose=False)
    assert normal == plain.latest["top1_normal"]


def test_forward_may_take_more_from_the_batch_than_the_clips_that_are_measured(tmp_path: Path) -> None:
    def with_all(module: Any, video: Tensor, batch: Any) -> Tensor:
        logits: Tensor = module(video + 0 * batch["label"].view(-1, 1, 1, 1, 1))
        return logits

    module = Stranger()
    module.reading = lambda batch: (batch["video"], batch["label"])
    results = []
    for inputs in (VideoInputs(), VideoInputs(forward=with_all)):
        watching = BiasMonitor(layers=LAYERS, num_clips=8, num_groups=2, figures=False, verbose=False, inputs=inputs)
        make_trainer(tmp_path, [watching]).validate(module, loader("dict", "unit", "BCTHW"), verbose=False)
        results.append(watching.latest)
    for layer in LAYERS:
        assert int(results[1][layer].num_clips) == 8
        torch.testing.assert_close(results[0][layer].unit_scores, results[1][layer].unit_scores)

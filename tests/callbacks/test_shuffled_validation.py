# SPDX-License-Identifier: Apache-2.0
"""Accuracy on shuffled frames: a model of dynamics loses it, a model of statics does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.utils.data import DataLoader
from toys import loader_of, make_trainer

from staticdropout.callbacks import ShuffledValidation, VideoInputs
from staticdropout.errors import BatchError


class Rising(LightningModule):
    """Says 1 where the brightness rises from the first frame to the last, or where the clip is bright."""

    def __init__(self, dynamic: bool) -> None:
        super().__init__()
        self.dynamic = dynamic
        self.unused = nn.Linear(1, 1)

    def forward(self, video: Tensor) -> Tensor:
        light = video.mean((1, 3, 4))
        evidence = light[:, -1] - light[:, 0] if self.dynamic else light.mean(1) - 0.5
        return torch.stack([-evidence, evidence], dim=1)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self(batch["video"])


def clips(dynamic: bool, count: int = 200) -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(0)
    samples = []
    for index in range(count):
        label = index % 2
        ramp = torch.linspace(0.3, 0.7, 6) if dynamic else torch.full((6,), 0.3 + 0.4 * label)
        ramp = ramp.flip(0) if dynamic and not label else ramp
        video = ramp.view(1, 6, 1, 1) + 0.01 * torch.rand(3, 6, 4, 4, generator=generator)
        samples.append({"video": video, "label": label, "id": f"{index}"})
    return loader_of(samples, 16)


@pytest.mark.parametrize(("dynamic", "low", "high"), [(True, 35, 60), (False, 100, 100)])
def test_shuffling_costs_a_model_of_dynamics_its_accuracy(tmp_path: Path, dynamic: bool, low: int, high: int) -> None:
    callback = ShuffledValidation(verbose=False)
    (result,) = make_trainer(tmp_path, [callback]).validate(Rising(dynamic), clips(dynamic), verbose=False)
    assert result["shuffled/top1_normal"] == 100
    assert low <= result["shuffled/top1"] <= high
    assert result["shuffled/relative"] == pytest.approx(result["shuffled/top1"])


def test_the_same_clips_are_shuffled_the_same_way_every_time(tmp_path: Path) -> None:
    results = []
    for size in (16, 7):
        loader = DataLoader(clips(True).dataset, size)
        results.append(
            make_trainer(tmp_path, [ShuffledValidation(verbose=False)]).validate(Rising(True), loader, verbose=False)
        )
    assert results[0] == results[1]


def test_only_so_many_clips_are_used_as_asked(tmp_path: Path) -> None:
    module, seen = Rising(True), []
    module.register_forward_hook(lambda _, args, out: seen.append(len(out)))
    make_trainer(tmp_path, [ShuffledValidation(num_clips=32, verbose=False)]).validate(
        module, clips(True), verbose=False
    )
    assert sum(seen) == 200 + 2 * 32


def test_the_last_accuracies_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_trainer(tmp_path, [ShuffledValidation()]).validate(Rising(False), clips(False), verbose=False)
    assert "Accuracy on normal frames 100.0 %, on shuffled frames 100.0 % (100 % of normal)" in capsys.readouterr().out


def test_logits_of_any_kind_are_read_by_an_argument(tmp_path: Path) -> None:
    inputs = VideoInputs(forward=lambda module, video, batch: {"logits": module(video), "extra": torch.ones(3)})
    callback = ShuffledValidation(inputs=inputs, verbose=False)
    make_trainer(tmp_path, [callback]).validate(Rising(False), clips(False), verbose=False)
    assert callback.latest["top1"] == 100


def test_a_batch_without_labels_is_reported(tmp_path: Path) -> None:
    loader = loader_of([{"video": torch.rand(3, 4, 4, 4)}] * 4, 2)
    with pytest.raises(BatchError, match="No class labels"):
        make_trainer(tmp_path, [ShuffledValidation()]).validate(Rising(False), loader, verbose=False)


def test_without_any_right_answer_nothing_is_relative(tmp_path: Path) -> None:
    callback = ShuffledValidation()
    dataset = clips(False, 8).dataset
    wrong = [{**dataset[index], "label": 1 - dataset[index]["label"]} for index in range(8)]
    (result,) = make_trainer(tmp_path, [callback]).validate(Rising(False), loader_of(wrong, 4), verbose=False)
    assert result["shuffled/top1_normal"] == 0
    assert "shuffled/relative" not in result


def test_a_loader_without_clips_gives_a_warning_and_no_number(tmp_path: Path) -> None:
    callback = ShuffledValidation()
    empty = {"video": torch.zeros(0, 3, 4, 4, 4), "label": torch.zeros(0).long()}
    with pytest.warns(UserWarning, match="saw no clip"):
        make_trainer(tmp_path, [callback]).validate(Rising(False), loader_of([empty], None), verbose=False)
    assert not callback.latest


def test_wrong_options_are_refused_at_once() -> None:
    with pytest.raises(ValueError, match="num_clips"):
        ShuffledValidation(num_clips=0)

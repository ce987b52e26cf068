# SPDX-License-Identifier: Apache-2.0
"""Strategies: which are refused, and a sampler of the user's own under DDP."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trainer_ranks
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import FSDPStrategy, ModelParallelStrategy
from toys import ToyClassifier
from trainer_watch import both, names, watch


@pytest.mark.cell("FSDP, ModelParallelStrategy, DeepSpeed", "StaticDropout")
@pytest.mark.cell("FSDP, ModelParallelStrategy, DeepSpeed", "BiasMonitor")
@pytest.mark.parametrize("strategy", [FSDPStrategy, ModelParallelStrategy])
@pytest.mark.parametrize("number", [0, 1])
def test_strategies_that_split_layers_are_refused_before_anything_is_built(strategy: Any, number: int) -> None:
    callback = both(watch())[number]
    trainer = cast("Trainer", SimpleNamespace(strategy=strategy()))
    message = rf"{type(callback).__name__} does not support {strategy.__name__}, which splits.*Use strategy='ddp'"
    with pytest.raises(MisconfigurationException, match=message):
        callback.setup(trainer, ToyClassifier(), "fit")


@pytest.mark.cell("FSDP, ModelParallelStrategy, DeepSpeed", "StaticDropout")
@pytest.mark.cell("FSDP, ModelParallelStrategy, DeepSpeed", "BiasMonitor")
@pytest.mark.parametrize("stage", ["test", "predict"])
@pytest.mark.parametrize("number", [0, 1])
def test_they_are_not_refused_where_the_callback_does_nothing(number: int, stage: str) -> None:
    trainer = cast("Trainer", SimpleNamespace(strategy=FSDPStrategy()))
    both(watch())[number].setup(trainer, ToyClassifier(), stage)


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranks")
    subprocess.run([sys.executable, trainer_ranks.__file__, folder], check=True, timeout=200)
    return folder


@pytest.mark.cell("DDP", "StaticDropout")
@pytest.mark.cell("DDP", "BiasMonitor")
@pytest.mark.cell("use_distributed_sampler=False", "StaticDropout")
@pytest.mark.cell("use_distributed_sampler=False", "BiasMonitor")
@pytest.mark.parametrize("sampler", trainer_ranks.SAMPLERS)
def test_two_ranks_share_the_clips_and_agree_with_one_process(tmp_path: Path, two_ranks: Path, sampler: str) -> None:
    trainer_ranks.run(tmp_path, 1, sampler)
    (alone,) = trainer_ranks.reports(tmp_path, 1)
    ranks = trainer_ranks.reports(two_ranks / sampler, 2)
    for rank, found in enumerate(ranks):
        assert found["measured"] == [names(range(start + rank, start + 8, 2)) for start in (0, 8, 16)] * 2
        assert found["clips"] == [24, 24]
    assert sorted(clip for found in ranks for clips in found["probed"] for clip in clips) == sorted(names(range(16)))
    for numbers, error in (("static", 1e-4), ("scores", 1e-6)):
        assert ranks[0][numbers] == ranks[1][numbers]
        if sampler == "own" or numbers == "static":  # Lightning's sampler shuffles the training clips of two ranks
            assert ranks[0][numbers] == pytest.approx(alone[numbers], abs=error)
    assert ranks[0]["mask"] != ranks[1]["mask"]
    assert {sum(row) for report in ranks for row in report["mask"]} == {8}

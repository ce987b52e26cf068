# SPDX-License-Identifier: Apache-2.0
"""Several stand-ins for the training_step of one module."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import pytest
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.signature_utils import is_param_in_hook_signature

from staticdropout.callbacks.stand_in import StandIn


class Project(LightningModule):
    """Returns its batch."""

    def training_step(self, batch: Any) -> Any:
        return batch


def stacked(project: Project) -> list[StandIn]:
    """Three, of which each does something else and the order matters."""
    return [
        StandIn(project, lambda step, *args: step(*args) + 1),
        StandIn(project, lambda step, *args: step(*args) * 10),
        StandIn(project, lambda step, *args: step(*args) - 3),
    ]


def test_each_calls_the_one_before_it() -> None:
    project = Project()
    stacked(project)
    assert project.training_step(1) == (1 + 1) * 10 - 3


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_they_can_be_removed_in_any_order(order: tuple[int, ...]) -> None:
    project = Project()
    all_of_them, does = stacked(project), [lambda x: x + 1, lambda x: x * 10, lambda x: x - 3]
    left = [0, 1, 2]
    for number in order:
        all_of_them[number].remove()
        left.remove(number)
        expected = 1
        for other in left:
            expected = does[other](expected)
        assert project.training_step(1) == expected
    assert "training_step" not in vars(project)


def test_lightning_sees_the_arguments_of_the_modules_own_step() -> None:
    project = Project()
    for _ in range(3):
        assert not is_param_in_hook_signature(project.training_step, "batch_idx", min_args=2)
        assert is_param_in_hook_signature(project.training_step, "batch", explicit=True)
        StandIn(project, lambda step, *args: step(*args))


def test_copies_have_the_modules_own_step_alone() -> None:
    project = Project()
    stacked(project)
    assert copy.deepcopy(project).training_step(1) == 1

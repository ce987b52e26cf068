# SPDX-License-Identifier: Apache-2.0
"""Normalisation layers are not decayed."""

from __future__ import annotations

import pytest
from torch import nn

from staticdropout.lightning_modules.parameter_groups import parameter_groups


def network() -> nn.Module:
    frozen = nn.Linear(2, 2)
    frozen.requires_grad_(False)
    return nn.Sequential(nn.Conv3d(3, 4, 1), nn.BatchNorm3d(4), nn.LayerNorm(4), nn.GroupNorm(2, 4), frozen)


@pytest.mark.parametrize("decay", [0.0, 0.01])
def test_norms_get_their_own_decay_and_every_trainable_parameter_is_there_once(decay: float) -> None:
    model = network()
    others, norms = parameter_groups(model, decay)
    assert "weight_decay" not in others
    assert norms["weight_decay"] == decay
    assert len(norms["params"]) == 6
    together = {id(parameter) for group in (others, norms) for parameter in group["params"]}
    assert together == {id(parameter) for parameter in model.parameters() if parameter.requires_grad}


def test_without_a_decay_for_norms_there_is_one_group() -> None:
    (group,) = parameter_groups(network(), None)
    assert len(group["params"]) == 8


def test_a_model_without_norms_gives_no_empty_group() -> None:
    assert len(parameter_groups(nn.Linear(2, 2))) == 1

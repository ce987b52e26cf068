# SPDX-License-Identifier: Apache-2.0
"""Normalisation layers are not decayed; parts may have learning rates of their own."""

from __future__ import annotations

import pytest
from torch import nn

from staticdropout.errors import OptionError
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


def test_parts_get_their_learning_rate_and_the_longest_name_wins() -> None:
    model = nn.ModuleDict(
        {
            "encoder": nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1)),
            "decoder": nn.Linear(2, 2),
            "other": nn.Linear(2, 2),
        }
    )
    groups = parameter_groups(model, None, {"encoder": 1e-4, "encoder.1": 1e-5, "decoder": 1e-3})
    rates = {id(parameter): group.get("lr") for group in groups for parameter in group["params"]}
    found = {name: rates[id(parameter)] for name, parameter in model.named_parameters()}
    assert found == {
        "encoder.0.weight": 1e-4,
        "encoder.0.bias": 1e-4,
        "encoder.1.weight": 1e-5,
        "encoder.1.bias": 1e-5,
        "decoder.weight": 1e-3,
        "decoder.bias": 1e-3,
        "other.weight": None,
        "other.bias": None,
    }


def test_decay_and_learning_rates_cross() -> None:
    model = nn.ModuleDict({"encoder": nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1))})
    groups = parameter_groups(model, 0.0, {"encoder": 1e-4})
    assert [(group["lr"], group.get("weight_decay"), len(group["params"])) for group in groups] == [
        (1e-4, None, 2),
        (1e-4, 0.0, 2),
    ]


def test_a_learning_rate_for_no_part_is_refused_with_close_matches() -> None:
    with pytest.raises(OptionError, match=r"no trainable part is called 'encodr'.*Close matches: encoder"):
        parameter_groups(nn.ModuleDict({"encoder": nn.Linear(2, 2)}), None, {"encodr": 1})

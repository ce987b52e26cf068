# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from staticdropout.errors import UnknownNameError
from staticdropout.models import registry
from staticdropout.models.registry import (
    ModelInfo,
    create_model,
    list_models,
    model_info,
    models_table,
    register_model,
)
from staticdropout.models.resnet3d import ResNet3d

NAMES = [
    "c2d_r50",
    "fastonly_r50",
    "i3d_nln_r50",
    "i3d_r50",
    "resnet3d_r18",
    "resnet3d_r50",
    "slowonly_r101",
    "slowonly_r18",
    "slowonly_r50",
]


def test_all_members_of_the_family_are_listed() -> None:
    assert set(NAMES) <= set(list_models())
    assert list_models("slow*") == ["slowonly_r101", "slowonly_r18", "slowonly_r50"]
    assert list_models("nothing*") == []


@pytest.mark.parametrize("name", NAMES)
def test_the_stated_number_of_parameters_is_the_real_one(name: str) -> None:
    with torch.device("meta"):
        model = create_model(name, num_classes=400)
    assert sum(p.numel() for p in model.parameters()) == model_info(name).params


@pytest.mark.parametrize("name", NAMES)
def test_every_name_builds_a_network_that_runs_on_its_clips(name: str) -> None:
    model = create_model(name, num_classes=3, width=8, dropout=0.5).eval()
    with torch.inference_mode():
        assert model(torch.randn(1, 3, model_info(name).frames, 32, 32)).shape == (1, 3)


def test_arguments_win_over_what_the_name_stands_for() -> None:
    model = create_model("slowonly_r18", num_classes=3, block="basic", width=8, stem_kernel=3)
    assert isinstance(model, ResNet3d)
    assert model.head.fc.in_features == 64
    assert model.stem.conv.kernel_size[0] == 3


def test_the_papers_3d_resnet_is_the_slowonly_network() -> None:
    for depth in (18, 50):
        ours, slow = (create_model(f"{family}_r{depth}", 3, width=8) for family in ("resnet3d", "slowonly"))
        assert [(k, v.shape) for k, v in ours.state_dict().items()] == [
            (k, v.shape) for k, v in slow.state_dict().items()
        ]


def test_the_table_describes_every_model_in_one_line() -> None:
    table = {info.name: info for info in models_table()}
    assert set(NAMES) <= set(table)
    assert all(table[name].description and "\n" not in table[name].description for name in NAMES)
    assert (table["fastonly_r50"].frames, table["fastonly_r50"].stride) == (32, 2)
    assert isinstance(model_info("c2d_r50"), ModelInfo)


def test_an_unknown_name_is_answered_with_close_ones() -> None:
    for ask in (lambda: create_model("slowonly_r5O", 3), lambda: model_info("slowonly_r5O")):
        with pytest.raises(UnknownNameError, match=r"no model called 'slowonly_r5O'.*slowonly_r50"):
            ask()


def test_a_model_of_ones_own_is_found_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    list_models()
    monkeypatch.setattr(registry, "_constructors", dict(registry._constructors))
    monkeypatch.setattr(registry, "_infos", dict(registry._infos))

    @register_model(frames=4, stride=1, crop=32)
    def my_linear(num_classes: int, **kwargs: Any) -> nn.Module:
        """Only a linear layer.

        More about it.
        """
        return nn.Linear(4, num_classes, **kwargs)

    model = create_model("my_linear", 2, bias=False)
    assert isinstance(model, nn.Linear)
    assert list(dict(model.named_parameters())) == ["weight"]
    assert model_info("my_linear").description == "Only a linear layer."


def test_a_name_that_is_taken_cannot_be_registered_again() -> None:
    with pytest.raises(ValueError, match="registered already"):

        @register_model(frames=8, stride=8)
        def slowonly_r50(num_classes: int) -> nn.Module:
            return nn.Linear(1, num_classes)

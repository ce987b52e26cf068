# SPDX-License-Identifier: Apache-2.0
"""Patterns find the layers that people mean."""

from typing import Any

import pytest
import torch
from torch import nn

from staticdropout.errors import LayerNotFoundError
from staticdropout.models import find_layers, last_linear
from staticdropout.models.layer_names import module_names


def network() -> nn.Module:
    def stage() -> nn.Module:
        return nn.Sequential(nn.Conv3d(4, 4, 1), nn.ReLU())

    backbone = nn.ModuleDict({"stem": nn.Conv3d(3, 4, 1), "layer1": stage(), "layer2": stage(), "layer10": stage()})
    return nn.ModuleDict({"backbone": backbone, "head": nn.ModuleDict({"fc": nn.Linear(4, 2)})})


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        ("backbone.layer*", ["backbone.layer1", "backbone.layer2", "backbone.layer10"]),
        ("backbone.layer?", ["backbone.layer1", "backbone.layer2"]),
        ("**.0", ["backbone.layer1.0", "backbone.layer2.0", "backbone.layer10.0"]),
        ("*", ["backbone", "head"]),
        (r"re:backbone\.layer\d\d", ["backbone.layer10"]),
        (["backbone.*", "!backbone.layer*"], ["backbone.stem"]),
        (
            ["backbone.layer2", "backbone.layer1", "backbone.layer*"],
            ["backbone.layer1", "backbone.layer2", "backbone.layer10"],
        ),
        (["head.fc", "head.fc[input]"], ["head.fc", "head.fc[input]"]),
        (["head.fc", "head.fc[input]", "!head.fc"], []),
        (["head.fc", "head.fc[input]", "!head.fc[input]"], ["head.fc"]),
        ("backbone.layer?[0]", ["backbone.layer1[0]", "backbone.layer2[0]"]),
    ],
)
def test_patterns(patterns: str | list[str], expected: list[str]) -> None:
    if not expected:
        with pytest.raises(LayerNotFoundError):
            find_layers(network(), patterns)
    else:
        assert [layer.name for layer in find_layers(network(), patterns)] == expected


@pytest.mark.parametrize("pattern", ["backbone.layr1", "re:[", "!nothing", [], "fc"])
def test_a_pattern_that_matches_nothing_is_an_error(pattern: str | list[str]) -> None:
    with pytest.raises(LayerNotFoundError, match="No layer matches"):
        find_layers(network(), pattern)


def test_the_error_names_close_matches_and_the_way_to_list_all() -> None:
    with pytest.raises(LayerNotFoundError, match=r"Close matches: .*backbone\.layer1.*models layers"):
        find_layers(network(), "backbone.layr1")


def test_names_are_clean_of_compile_wrappers() -> None:
    compiled: Any = torch.compile(network().get_submodule("backbone.layer1"))
    model = nn.ModuleDict({"model": compiled})
    assert list(module_names(model)) == ["model", "model.0", "model.1"]


def test_the_last_linear_is_found_and_its_absence_reported() -> None:
    assert last_linear(network()) == "head.fc"
    with pytest.raises(LayerNotFoundError, match="default layer"):
        last_linear(nn.Conv3d(1, 1, 1))

# SPDX-License-Identifier: Apache-2.0
"""Layers by the papers' names and by names of one's own, and what a measurement calls them."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule
from small_models import small_model
from torch import Tensor, nn
from toys import ToyClassifier, loaders, make_trainer

from staticdropout.callbacks import BiasMonitor
from staticdropout.callbacks.monitored_layers import monitored_layers, read_layer_option
from staticdropout.errors import LayerNotFoundError, OptionError


class Project(LightningModule):
    """Somebody's module around a network of this package."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.net = small_model(name)

    def forward(self, video: Tensor) -> Any:
        return self.net(video)


def test_the_papers_layers_are_found_wherever_the_network_is_in_a_module() -> None:
    layers = monitored_layers(Project("slowfast_r18_8x8"), read_layer_option("paper"))
    assert layers["SF-Slow.stage1"] == "net.slow.stem"
    assert layers["SF-Fused.stage4"] == "net.fuse4"
    assert layers["SF-Fused.stage5"] == "net.head.fc[input]"
    assert len(layers) == 15


def test_a_network_of_ones_own_can_tell_its_layers() -> None:
    class Mine(nn.Sequential):
        analysis_layers = {"first": "0"}  # noqa: RUF012 - as one would write it

    class Wrapped(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = Mine(nn.Conv3d(3, 4, 1))

    assert monitored_layers(Wrapped(), "paper") == {"first": "backbone.0"}


def test_a_network_without_papers_layers_is_told_so() -> None:
    with pytest.raises(LayerNotFoundError, match="no part of ToyClassifier has analysis_layers"):
        monitored_layers(ToyClassifier(), "paper")


def test_patterns_and_the_default_are_called_by_their_own_names() -> None:
    module = Project("x3d_s")
    assert monitored_layers(module, read_layer_option("net.res*")) == {
        f"net.res{i}": f"net.res{i}" for i in range(2, 6)
    }
    assert monitored_layers(module, read_layer_option(None)) == {"net.head.fc[input]": "net.head.fc[input]"}


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ({"a": "net.res*"}, r"a stands for 4 layers \(net.res2, .*\). Give each its own name"),
        ({"a/b": "net.res2"}, "must give each layer a name without '/'"),
        ({}, "must give each layer a name"),
    ],
)
def test_a_mapping_that_does_not_name_single_layers_is_refused(layers: dict[str, str], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        monitored_layers(Project("x3d_s"), read_layer_option(layers))


def test_curves_files_and_settings_have_the_names_and_the_numbers_of_the_layers(tmp_path: Path) -> None:
    options: dict[str, Any] = {"num_clips": 8, "verbose": False, "figures": False}
    named = BiasMonitor(layers={"early": "backbone.layer1", "late": "backbone.fc[input]"}, name="named", **options)
    plain = BiasMonitor(layers=["backbone.layer1"], name="plain", **options)
    torch.manual_seed(0)
    trainer = make_trainer(tmp_path, [named, plain], max_epochs=1)
    trainer.fit(ToyClassifier(), *loaders())
    assert list(named.latest) == ["early", "late"]
    torch.testing.assert_close(named.latest["early"].unit_scores, plain.latest["backbone.layer1"].unit_scores)
    assert {"named/early/static", "named/late/dynamic", "plain/backbone.layer1/static"} <= set(trainer.callback_metrics)
    with next(tmp_path.rglob("named/bias.csv")).open() as file:
        assert {row["layer"] for row in csv.DictReader(file)} == {"early", "late"}
    record = json.loads(sorted(tmp_path.rglob("named/**/*.json"))[-1].read_text())
    assert record["settings"]["layers"] == {"early": "backbone.layer1", "late": "backbone.fc[input]"}

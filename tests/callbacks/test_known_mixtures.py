# SPDX-License-Identifier: Apache-2.0
"""A network built by hand, whose units are known mixtures: the measure has to find their scores, not just classes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule
from parts.recovery_network import Mixtures, measured, moving_squares, population_scores, triplets_of
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from toys import make_trainer

from staticdropout.callbacks import BiasMonitor
from staticdropout.metrics import LayerBias, encode_units, layer_shares
from staticdropout.metrics.encodings import unit_percentages
from staticdropout.perturbations import Triplet

CLIPS = 120


class Squares(Dataset[dict[str, Any]]):
    def __len__(self) -> int:
        return CLIPS

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"video": moving_squares(index, 1)[0], "label": 0, "id": f"clip{index}"}


class MixtureModule(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.network = Mixtures()
        self.fc = nn.Linear(self.network.units.out_features, 2)

    def forward(self, video: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.network(video))
        return logits

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self(batch["video"])


@pytest.fixture(scope="module")
def many() -> list[Triplet]:
    """Triplets of clips that are measured nowhere below."""
    return triplets_of(10**6, 800)


@pytest.fixture(scope="module")
def bias(tmp_path_factory: pytest.TempPathFactory) -> LayerBias:
    """As BiasMonitor measures the network."""
    monitor = BiasMonitor(layers="network.units", num_clips=CLIPS, num_groups=20, figures=False, verbose=False)
    trainer = make_trainer(tmp_path_factory.mktemp("run"), [monitor])
    trainer.validate(MixtureModule(), DataLoader(Squares(), batch_size=40), verbose=False)
    return monitor.latest["network.units"]


def test_the_components_are_static_dynamic_joint_and_residual(many: list[Triplet]) -> None:
    network = Mixtures(4)
    network.units.weight.data = torch.eye(4)
    expected = torch.tensor([[1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 1.0, 0.0]])
    torch.testing.assert_close(population_scores(network, many).float(), expected, rtol=0, atol=0.12)


def test_scores_of_mixtures_follow_from_the_variances_of_their_components(many: list[Triplet]) -> None:
    network = Mixtures()
    sides = [torch.cat([network.components(part[side]) for part in many]) for side in (0, 1, 2)]
    weight = network.units.weight.detach().square()
    of_static, of_dynamic = (weight * sides[0].std(0) * sides[side].std(0) for side in (1, 2))
    total = [(weight * side.var(0)).sum(1).sqrt() for side in sides]
    expected = torch.stack(
        [of_static[:, [0, 2]].sum(1) / (total[0] * total[1]), of_dynamic[:, [1, 2]].sum(1) / (total[0] * total[2])]
    )
    torch.testing.assert_close(population_scores(network, many).float(), expected, rtol=0, atol=0.12)


def test_unit_scores_lie_within_the_error_of_a_correlation(bias: LayerBias, many: list[Triplet]) -> None:
    truth = population_scores(Mixtures(), many)
    off = (bias.unit_scores.atanh() - truth.atanh()) * (1 / (1 / CLIPS + 1 / 800)) ** 0.5
    assert (off.abs() < 4).all(), off
    assert float(off.square().mean().sqrt()) < 1.6  # 1 for independent normal units


def test_shares_and_percentages_lie_within_their_intervals(bias: LayerBias, many: list[Triplet]) -> None:
    truth = population_scores(Mixtures(), many)
    shares, percentages = layer_shares(truth.mean(-1), truth.shape[1]), unit_percentages(encode_units(truth))
    assert ((bias.shares - shares).abs() <= bias.shares_interval).all(), (bias.shares, shares)
    assert (bias.shares_interval < 4).all()
    assert ((bias.units - percentages).abs() <= bias.units_interval).all(), (bias.units, percentages)


def test_units_change_their_class_at_the_threshold_that_their_mixture_says(many: list[Triplet]) -> None:
    network = Mixtures()
    truth = population_scores(network, many)
    found = measured(network, triplets_of(0, 400)).compute()
    for threshold in (0.3, 0.5, 0.7):
        clear = (truth - threshold).abs().amin(0) > 0.15
        assert clear.sum() > 4
        assert torch.equal(encode_units(found.unit_scores, threshold)[clear], encode_units(truth, threshold)[clear])

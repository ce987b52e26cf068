# SPDX-License-Identifier: Apache-2.0
"""Networks built by hand, whose units are known: the measure has to find exactly them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from toys import make_trainer

from staticdropout.callbacks import BiasMonitor, StaticDropout
from staticdropout.metrics import ENCODINGS

KNOWN = ("static", "dynamic", "joint", "residual")


class MovingSquares(Dataset[tuple[Tensor, int]]):
    """A textured square that moves sideways at its own speed, over a plain background of its own colour."""

    def __len__(self) -> int:
        return 120

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        generator = torch.Generator().manual_seed(index)
        speed, left, top = (torch.rand(3, generator=generator) * torch.tensor([4.0, 12.0, 20.0])).tolist()
        speed -= 2.0
        left += 10
        background, inside = torch.rand(2, 3, 1, 1, generator=generator)
        texture = inside + 0.5 * (torch.rand(3, 12, 12, generator=generator) - 0.5)
        frames = []
        for time in range(8):
            frame = background.expand(3, 40, 52).clone()
            x = round(left + speed * (time - 3.5)) + 4
            frame[:, int(top) : int(top) + 12, x : x + 12] = texture
            frames.append(frame)
        return torch.stack(frames, dim=1).clamp(0, 1), 0


class KnownUnits(nn.Module):
    """Four units: a colour, a velocity, a place, and the product of colour and velocity.

    The colour of a frame is gone in another style, and does not care for the order of frames: static. The velocity, a
    quotient of temporal and spatial derivatives, survives inversion and recolouring, but not shuffling: dynamic. Where
    the edges are survives both: joint. The product survives neither: residual.
    """

    def forward(self, video: Tensor) -> Tensor:
        red, _, blue = video.unbind(1)
        colour = (red - blue).mean((1, 2, 3))
        light = nn.functional.avg_pool3d(video.mean(1, keepdim=True), (1, 5, 5), 1).squeeze(1)
        dx = (light[..., 2:] - light[..., :-2])[:, :-1] / 2
        dt = (light[:, 1:] - light[:, :-1])[..., 1:-1]
        velocity = -(dt * dx).sum((1, 2, 3)) / (dx * dx).sum((1, 2, 3)).clamp(min=1e-6)
        edges = dx.square().sum((1, 2))
        place = (edges * torch.arange(edges.shape[1])).sum(1) / edges.sum(1).clamp(min=1e-6)
        return torch.stack([colour, velocity, place, colour.sign() * velocity], dim=1)


class KnownModule(LightningModule):
    """The known units, four times over, and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.units = KnownUnits()
        self.fc = nn.Linear(4, 2)

    def forward(self, video: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.units(video))
        return logits

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self(batch[0])

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.0)


@pytest.fixture(scope="module")
def squares() -> DataLoader[Any]:
    return DataLoader(MovingSquares(), batch_size=20)


@pytest.mark.parametrize("estimator", ["paper", "released"])
def test_exactly_the_known_units_are_found(tmp_path: Path, squares: DataLoader[Any], estimator: Any) -> None:
    monitor = BiasMonitor(layers="units", num_clips=120, estimator=estimator, figures=False, verbose=False)
    make_trainer(tmp_path, [monitor]).validate(KnownModule(), squares, verbose=False)
    bias = monitor.latest["units"]
    found = tuple(ENCODINGS[index] for index in bias.encoding)
    assert found == KNOWN, bias.unit_scores
    static, dynamic = bias.unit_scores
    assert float(static[0]) == pytest.approx(1, abs=1e-5)  # shuffling frames leaves a mean over frames as it is
    assert (torch.stack([dynamic[1], dynamic[2], static[2]]) > 0.6).all()
    assert (torch.stack([dynamic[0], static[1], static[3], dynamic[3]]).abs() < 0.4).all()


def test_static_scores_of_static_dropout_find_them_too(tmp_path: Path, squares: DataLoader[Any]) -> None:
    callback = StaticDropout(rate=0.5, every_n_steps=1)
    make_trainer(tmp_path, [callback], max_epochs=1).fit(KnownModule(), squares)
    assert callback.dropout is not None
    scores = callback.dropout.scores
    # On clips that are not stylized the product is the velocity, with the colour's sign: not static either.
    assert (scores[[0, 2]] > 0.8).all()
    assert (scores[[1, 3]].abs() < 0.5).all()
    assert callback.dropout.inclusion[[0, 2]].min() > callback.dropout.inclusion[[1, 3]].max()

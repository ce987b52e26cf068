# SPDX-License-Identifier: Apache-2.0
"""Videos with known contents through a network with known units, triplets made by the package's own styles.

Four *components* are computed from pixels by hand: the colour of the frames, folded so often that another style has
an unrelated value (static: correlation 1 and 0); the velocity of the square (dynamic: gone when frames are shuffled);
its place (joint); and a fold of a random projection of all pixels (residual: correlation 0 and 0). The layer's units
are mixtures of them with known coefficients. Their population scores follow from the variances and covariances of the
four components, which a sample of its own, far larger than those measured, gives.
"""

from __future__ import annotations

from typing import Any

import torch
from parts.recovery_rows import Case, summary
from torch import Tensor, nn

from staticdropout.metrics import ENCODINGS, StaticDynamicBias, encode_units, layer_shares
from staticdropout.metrics.encodings import unit_percentages
from staticdropout.models import capture
from staticdropout.perturbations import Triplet, VideoTriplets

UNITS, CLIPS, FRAMES, HEIGHT, WIDTH, SIDE = 24, 100, 6, 24, 40, 8


def moving_squares(start: int, count: int) -> Tensor:
    """Clips ``(count, 3, T, H, W)``: a textured square that moves sideways at its own speed over a plain background."""
    clips = []
    for index in range(start, start + count):
        generator = torch.Generator().manual_seed(index)
        speed, left, top = (torch.rand(3, generator=generator) * torch.tensor([3.0, 12.0, HEIGHT - SIDE])).tolist()
        background, inside = torch.rand(2, 3, 1, 1, generator=generator)
        texture = inside + 0.5 * (torch.rand(3, SIDE, SIDE, generator=generator) - 0.5)
        clip = background.unsqueeze(1).expand(3, FRAMES, HEIGHT, WIDTH).clone()
        for time in range(FRAMES):
            x = round(10 + left + (speed - 1.5) * (time - (FRAMES - 1) / 2))
            clip[:, time, int(top) : int(top) + SIDE, x : x + SIDE] = texture
        clips.append(clip)
    return torch.stack(clips).clamp(0, 1)


class Components(nn.Module):
    """Static, dynamic, joint and residual component of clips, ``(B, 4)``, each of variance about 1."""

    weights: Tensor

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.register_buffer("weights", torch.randn(3, FRAMES, HEIGHT, WIDTH, generator=generator))

    def forward(self, video: Tensor) -> Tensor:
        colour = (video.mean((2, 3, 4)) * torch.tensor([400.0, 500.0, 600.0])).sum(1)
        projection = (video * self.weights).sum((1, 2, 3, 4))
        light = nn.functional.avg_pool3d(video.mean(1, keepdim=True), (1, 3, 3), 1).squeeze(1)
        dx = (light[..., 2:] - light[..., :-2])[:, :-1] / 2
        dt = (light[:, 1:] - light[:, :-1])[..., 1:-1]
        velocity = -(dt * dx).sum((1, 2, 3)) / (dx * dx).sum((1, 2, 3)).clamp(min=1e-6)
        edges = dx.square().sum((1, 2))
        place = (edges * torch.arange(edges.shape[1])).sum(1) / edges.sum(1).clamp(min=1e-6)
        return torch.stack([1.4 * colour.sin(), 2 * velocity, place / 4, 1.4 * (50 * projection).sin()], dim=1)


class Mixtures(nn.Module):
    """A network whose layer ``units`` mixes the four components by known coefficients."""

    def __init__(self, num_units: int = UNITS) -> None:
        super().__init__()
        self.components = Components()
        self.units = nn.Linear(4, num_units, bias=False)
        share = -torch.rand(num_units, 4, generator=torch.Generator().manual_seed(3)).log()
        sign = torch.randint(2, share.shape, generator=torch.Generator().manual_seed(4)) * 2 - 1
        self.units.weight.data = sign * (share / share.sum(1, keepdim=True)).sqrt()

    def forward(self, video: Tensor) -> Tensor:
        units: Tensor = self.units(self.components(video))
        return units


def triplets_of(start: int, count: int, batch: int = 50) -> list[Triplet]:
    """Triplets of generated clips, made by the package's four built-in styles."""
    make = VideoTriplets(seed=0)
    firsts = range(start, start + count, batch)
    sizes = [min(batch, start + count - first) for first in firsts]
    return [
        make(moving_squares(first, size), keys=range(first, first + size))
        for first, size in zip(firsts, sizes, strict=True)
    ]


@torch.no_grad()
def population_scores(network: Mixtures, triplets: list[Triplet]) -> Tensor:
    """Scores ``(2, C)`` of the units, by algebra from the covariances of the components over many clips."""
    sides = [torch.cat([network.components(side) for side in part]).double() for part in zip(*triplets, strict=True)]
    centred = [side - side.mean(0) for side in sides]
    weight = network.units.weight.double()

    def variance(x: Tensor, y: Tensor) -> Tensor:
        return torch.einsum("ci,cj,ij->c", weight, weight, x.T @ y / len(x))

    deviation = [variance(side, side).sqrt() for side in centred]
    return torch.stack([variance(centred[0], centred[k]) / (deviation[0] * deviation[k]) for k in (1, 2)])


@torch.no_grad()
def measured(network: nn.Module, triplets: list[Triplet], num_groups: int = 20) -> StaticDynamicBias:
    """The layer ``units`` measured on triplets, by capture and metric as in BiasMonitor."""
    metric = StaticDynamicBias(UNITS, num_groups=num_groups)
    with capture(network, ["units"]) as run:
        for triplet in triplets:
            metric.update(*(run(network, side)["units"] for side in triplet))
    return metric


def network_rows(repetitions: int) -> list[dict[str, Any]]:
    """Rows for ``recovery.csv``."""
    torch.set_num_threads(1)
    network = Mixtures()
    scores = population_scores(network, triplets_of(10**6, 50 * CLIPS))
    shares, percentages = layer_shares(scores.mean(-1), UNITS), unit_percentages(encode_units(scores))
    values: dict[str, list[Tensor]] = {}
    right = []
    for repetition in range(max(1, repetitions // 2)):
        bias = measured(network, triplets_of(repetition * CLIPS, CLIPS)).compute()
        for name, *numbers in zip(("static", "dynamic", "identical"), bias.shares, bias.shares_interval, strict=True):
            values.setdefault(f"{name} share, paper", []).append(torch.stack(numbers))
        for name, *numbers in zip(ENCODINGS, bias.units, bias.units_interval, strict=True):
            values.setdefault(f"{name} units", []).append(torch.stack(numbers))
        right.append(100 * (bias.encoding == encode_units(scores)).double().mean(0, keepdim=True))
    names = [f"{name} share, paper" for name in ("static", "dynamic", "identical")]
    known = dict(zip(names, shares, strict=True)) | {
        f"{name} units": value for name, value in zip(ENCODINGS, percentages, strict=True)
    }
    values["units in the right class"] = right
    about = Case("network", "moving squares, four styles", UNITS, CLIPS).about()
    return [{**about, **summary(name, known.get(name), torch.stack(rows))} for name, rows in values.items()]

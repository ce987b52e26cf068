# SPDX-License-Identifier: Apache-2.0
"""Layers of known scores, measured some hundred times: 95 % intervals hold the truth as often as they say."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from parts.recovery_layers import Layer, layer, weights_of
from torch import Tensor

from staticdropout.metrics import pair_moments
from staticdropout.metrics.bias import Estimator, layer_bias

REPETITIONS = 300
# 92 % and 98 %, less and more what 300 repetitions can be off by (2.5 standard deviations of a binomial).
LOWEST, HIGHEST = 0.92 - 0.04, 0.98 + 0.015


class Result(NamedTuple):
    """Coverage and mean half-width over error, of the shares ``(3,)`` and the units ``(4,)``."""

    shares: Tensor
    units: Tensor
    units_width: Tensor


def coverage(
    truth: Layer, clips: int, groups: int = 20, by_video: bool = False, estimator: Estimator = "paper"
) -> Result:
    index = torch.arange(clips)
    index = (index // truth.cluster if by_video else index) % groups
    errors, halves = [], []
    known = torch.cat([truth.shares(estimator), truth.units(0.5)])
    for repetition in range(REPETITIONS):
        anchor, *others = truth.draw(clips, torch.Generator().manual_seed(repetition))
        bias = layer_bias(torch.stack([pair_moments(anchor, x, index, groups) for x in others], dim=1), estimator)
        errors.append((torch.cat([bias.shares, bias.units]) - known).abs())
        halves.append(torch.cat([bias.shares_interval, bias.units_interval]))
    error, half = torch.stack(errors), torch.stack(halves)
    held = (error <= half + 1e-9).double().mean(0)
    return Result(held[:3], held[3:], half.mean(0)[3:] / error.square().mean(0).sqrt()[3:])


@pytest.mark.parametrize(
    ("truth", "clips", "groups"),
    [
        (layer("spread", 24), 100, 20),
        (layer("spread", 24), 100, 5),
        (layer("spread", 24, shared=0.5), 300, 10),
        (layer("style", 24), 100, 20),
        (layer("spread", 24, shape="relu"), 100, 20),
    ],
    ids=["spread", "five groups", "units that err together", "style units", "rectified"],
)
def test_intervals_hold_the_truth_about_as_often_as_they_say(truth: Layer, clips: int, groups: int) -> None:
    result = coverage(truth, clips, groups)
    assert (result.shares >= LOWEST).all(), result
    assert (result.shares <= HIGHEST).all(), result
    assert (result.units >= LOWEST).all(), result
    assert (result.units_width < 6).all(), result  # not by being wide as a barn


def test_whole_units_of_the_released_estimator_are_covered() -> None:
    assert (coverage(layer("spread", 24), 100, estimator="released").shares >= LOWEST).all()


def test_percentages_that_noise_has_biased_are_covered() -> None:
    truth = layer("crowd 0.6", 64)
    assert truth.units(0.5).tolist() == [0, 100, 0, 0]
    result = coverage(truth, 60)
    assert (result.units >= LOWEST).all(), result


def test_clips_of_one_video_have_to_be_in_one_group() -> None:
    videos = layer("spread", 24, cluster=5, likeness=0.8)
    by_clip, by_video = (coverage(videos, 200, 10, by_video=kind) for kind in (False, True))
    assert (by_clip.shares < 0.85).all(), by_clip
    assert (by_video.shares >= LOWEST).all(), by_video


@pytest.mark.parametrize("shape", ["normal", "relu", "lognormal"])
def test_the_known_scores_are_those_of_a_million_draws(shape: str) -> None:
    kind = "style" if shape == "normal" else "spread"
    truth = Layer(weights_of(kind, 5), shape=shape, cluster=5, likeness=0.5)
    anchor, *others = truth.draw(10**6, torch.Generator().manual_seed(0))
    expected = torch.stack(
        [
            torch.stack([torch.corrcoef(torch.stack(pair))[0, 1] for pair in zip(anchor.T, other.T, strict=True)])
            for other in others
        ]
    )
    torch.testing.assert_close(truth.scores().float(), expected, rtol=0, atol=0.03 if shape == "lognormal" else 0.006)


def test_units_that_tell_styles_apart_have_negative_dynamic_scores() -> None:
    weights = torch.tensor([[0.0], [0.0], [0.0], [0.9], [0.1]])
    assert Layer(weights).scores().flatten().tolist() == pytest.approx([0.9, -0.3])

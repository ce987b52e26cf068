# SPDX-License-Identifier: Apache-2.0
"""The released code's way of measuring, as the cost benchmark restates it, gives what our estimator for it gives."""

from __future__ import annotations

import argparse
import threading
from collections.abc import Iterator
from types import SimpleNamespace

import cost_measuring
import numpy as np
import psutil
import pytest
import torch
from cost_measuring import DYNAMIC, LAYERS, STATIC, MemoryWatch, dim_est, ours, random_triplets, released
from torch import Tensor

from staticdropout.lightning_modules import VideoClassifier
from staticdropout.metrics.bias import layer_bias
from staticdropout.metrics.correlation import pair_moments
from staticdropout.perturbations import Triplet


@pytest.fixture
def network() -> VideoClassifier:
    module = cost_measuring.network("resnet3d_r18", "cpu", {"width": 4})
    with torch.no_grad():
        # An untrained residual network hands its stem on as it is: let every block do something.
        for part in module.modules():
            if isinstance(part, torch.nn.BatchNorm3d):
                part.weight.uniform_(0.5, 1.5, generator=torch.Generator().manual_seed(1))
    return module


@pytest.fixture
def sides() -> tuple[Tensor, Tensor, Tensor]:
    """Anchor, same static, same dynamic: 200 clips, 7 channels of different mean and variance."""
    anchor, *noise = torch.randn(3, 200, 7, generator=torch.Generator().manual_seed(0)).double()
    scale = torch.linspace(0.5, 3, 7)
    return scale * anchor, scale * (anchor + noise[0]) + 1, scale * (anchor + torch.linspace(0, 3, 7) * noise[1])


def test_the_restated_estimate_equals_our_released_estimator(sides: tuple[Tensor, Tensor, Tensor]) -> None:
    anchor, same_static, same_dynamic = (side.numpy() for side in sides)
    halves = [slice(0, 50), slice(50, 200)]
    pairs = [(DYNAMIC, anchor[rows], same_dynamic[rows]) for rows in halves]
    pairs += [(STATIC, anchor[rows], same_static[rows]) for rows in halves]
    shares, units = dim_est(pairs)
    moments = torch.stack([pair_moments(sides[0], other) for other in sides[1:]], dim=1)
    expected = layer_bias(moments, "released")
    np.testing.assert_allclose(units[::-1], expected.unit_scores, atol=1e-9)
    np.testing.assert_allclose(shares[[1, 0, 2]], expected.shares, atol=1e-9)


@pytest.mark.parametrize("whole", [False, True])
def test_both_ways_measure_the_same_pairs_alike(network: VideoClassifier, whole: bool) -> None:
    triplets = random_triplets(3, 4, 4, 32, "cpu")
    theirs = released(network, lambda: triplets, whole)
    biases = ours(network, "cpu", triplets, 12, estimator="released")
    assert list(theirs) == list(LAYERS)
    for layer, (shares, units) in theirs.items():
        bias = biases[f"model.{layer}"]
        assert bias.num_clips == 12
        # A unit that a ReLU silences on one side has no score here, and a small one or NaN there.
        live = bias.unit_scores.numpy() != 0
        assert (~live).any(0).sum() <= bias.undefined
        np.testing.assert_allclose(units[::-1][live], bias.unit_scores.numpy()[live], atol=1e-4)
        np.testing.assert_allclose(shares[[1, 0, 2]], bias.shares, atol=1e-6)
        assert live.mean() > 0.6


def count_passes(network: VideoClassifier, stage: str) -> list[int]:
    """Clips that pass through a stage, one entry a pass."""
    sizes: list[int] = []
    network.model.get_submodule(stage).register_forward_hook(lambda module, args, output: sizes.append(len(args[0])))
    return sizes


def test_our_way_takes_three_passes_a_clip_and_the_released_way_twenty(network: VideoClassifier) -> None:
    triplets = random_triplets(2, 4, 4, 32, "cpu")
    stem, last, head = (count_passes(network, stage) for stage in ("stem", "res5", "head"))
    ours(network, "cpu", triplets, 8)
    assert [sum(sizes) / 8 for sizes in (stem, last, head)] == [3, 3, 3]
    for sizes in (stem, last, head):
        sizes.clear()
    released(network, lambda: triplets)
    assert [sum(sizes) / 8 for sizes in (stem, last, head)] == [20, 4, 0]  # the passes end behind the layer
    for sizes in (stem, head):
        sizes.clear()
    released(network, lambda: triplets, whole=True)
    assert [sum(sizes) / 8 for sizes in (stem, head)] == [20, 20]


def test_the_clips_of_the_benchmark_have_variance_and_correlate() -> None:
    (anchor, same_static, same_dynamic) = random_triplets(1, 4, 4, 16, "cpu")[0]
    assert anchor.std(0).min() >= 0
    assert anchor.flatten(1).std(0).max() > 0
    for other in (same_static, same_dynamic):
        assert 0.5 < float(np.corrcoef(anchor.flatten(), other.flatten())[0, 1]) < 0.9


def test_the_highest_memory_counts_also_where_it_falls_again(monkeypatch: pytest.MonkeyPatch) -> None:
    readings = iter([100e6, 300e6, 900e6, 200e6])
    seen = threading.Event()

    def reading(process: psutil.Process) -> SimpleNamespace:
        value = next(readings, None)
        if value is None:
            seen.set()
        return SimpleNamespace(rss=value or 150e6)

    monkeypatch.setattr(psutil.Process, "memory_info", reading)
    with MemoryWatch("cpu", interval=0.0001) as watch:
        assert seen.wait(10)
    assert watch.peaks == {"host": 900.0}


@pytest.mark.parametrize("way", ["ours", "released"])
def test_a_whole_measurement_measures_as_many_clips_as_it_says(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    real = cost_measuring.ours if way == "ours" else cost_measuring.released

    def spy(*args: object) -> object:
        if way == "ours":
            listed = list(args[2])  # type: ignore[call-overload]
            seen.append(sum(len(triplet.anchor) for triplet in listed))
            return {}
        triplets: Iterator[Triplet] = args[1]()  # type: ignore[operator]
        seen.append(sum(len(triplet.anchor) for triplet in triplets))
        return {}

    monkeypatch.setattr(cost_measuring, real.__name__, spy)
    monkeypatch.setattr(cost_measuring, "network", lambda *args: None)
    options = argparse.Namespace(device="cpu", small_batch=2, small_model="", small_frames=2, small_size=8)
    row = cost_measuring.whole_measurement(way, 12, options)
    assert seen == [2, 2, 12]  # the warm-up, one batch, all
    assert row["clips"] == 12

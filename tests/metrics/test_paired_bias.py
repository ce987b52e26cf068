# SPDX-License-Identifier: Apache-2.0
"""The measure on pairs that share one factor each."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from staticdropout.metrics import PairedBias, StaticDynamicBias
from staticdropout.metrics.bias import Estimator

UNITS = 6


@pytest.fixture
def pairs() -> tuple[Tensor, Tensor, Tensor]:
    """300 pairs, 180 static and 120 dynamic ones in mixed order, with units of different mean and variance."""
    generator = torch.Generator().manual_seed(3)
    first = torch.randn(300, UNITS, generator=generator) * torch.arange(1, UNITS + 1) + torch.arange(UNITS)
    factor = (torch.rand(300, generator=generator) < 0.4).long()
    factor[:300] = factor[torch.randperm(300, generator=generator)]
    shared = torch.linspace(0, 1, UNITS)
    kept = torch.where(factor[:, None] == 0, shared, 1 - shared)
    second = kept * first + (1 - kept) * torch.randn(300, UNITS, generator=generator) + 0.3
    return first, second, factor


def numpy_dim_est(first: Tensor, second: Tensor, factor: Tensor) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The authors' ``dim_est`` on pairs, restated: unit scores (2, C) and percent of static, dynamic, identical."""
    a, b, kinds = first.double().numpy(), second.double().numpy(), factor.numpy()
    pooled = np.concatenate([a, b])
    total = ((pooled - pooled.mean(0)) ** 2).mean(0).sum()
    units, layer = [], []
    for kind in (0, 1):
        x, y = a[kinds == kind], b[kinds == kind]
        middle = (x.mean(0) + y.mean(0)) / 2
        covariance = ((x - middle) * (y - middle)).mean(0)
        units.append(covariance / np.concatenate([x, y]).var(0))
        layer.append(covariance.sum() / total)
    weights = np.exp(np.array([*layer, 1.0]) - 1)
    whole = [int(share * UNITS) for share in weights / weights.sum()][:2]
    return np.array(units), 100 * np.array([*whole, UNITS - sum(whole)]) / UNITS


def test_the_released_estimator_is_the_authors_formula_on_pairs(pairs: tuple[Tensor, Tensor, Tensor]) -> None:
    metric = PairedBias(UNITS, "released")
    for part in range(0, 300, 70):
        metric.update(*(side[part : part + 70] for side in pairs))
    result = metric.compute()
    units, shares = numpy_dim_est(*pairs)
    np.testing.assert_allclose(result.unit_scores, units, atol=1e-9)
    np.testing.assert_allclose(result.shares, shares, atol=1e-9)
    assert int(result.num_clips) == 300


def test_the_paper_estimator_is_pearson_over_the_pairs_of_each_factor(pairs: tuple[Tensor, Tensor, Tensor]) -> None:
    metric = PairedBias(UNITS)
    metric.update(*pairs)
    first, second, factor = (side.double().numpy() for side in pairs)
    for kind in (0, 1):
        rows = factor == kind
        expected = [np.corrcoef(first[rows, unit], second[rows, unit])[0, 1] for unit in range(UNITS)]
        np.testing.assert_allclose(metric.compute().unit_scores[kind], expected, atol=1e-9)


@pytest.mark.parametrize("estimator", ["paper", "released"])
def test_pairs_of_the_same_clips_give_what_triplets_give(estimator: Estimator) -> None:
    anchor, static, dynamic = torch.randn(3, 90, UNITS, generator=torch.Generator().manual_seed(1))
    static, dynamic = static + anchor, dynamic + anchor
    index = torch.arange(90)
    triplets = StaticDynamicBias(UNITS, estimator)
    triplets.update(anchor, static, dynamic, index)
    paired = PairedBias(UNITS, estimator)
    factor = torch.cat([torch.zeros(90), torch.ones(90)]).long()
    paired.update(torch.cat([anchor, anchor]), torch.cat([static, dynamic]), factor, torch.cat([index, index]))
    ours, theirs = paired.compute(), triplets.compute()
    for name in ("shares", "shares_interval", "units", "units_interval", "unit_scores"):
        torch.testing.assert_close(getattr(ours, name), getattr(theirs, name), rtol=0, atol=1e-9)
    assert (int(ours.num_clips), int(theirs.num_clips)) == (180, 90)


def test_merged_ranks_give_what_one_process_gives(pairs: tuple[Tensor, Tensor, Tensor]) -> None:
    index = torch.arange(300)
    alone, *ranks = (PairedBias(UNITS) for _ in range(3))
    alone.update(pairs[0], pairs[1], pairs[2], index)
    for rank, metric in enumerate(ranks):
        metric.update(pairs[0][rank::2], pairs[1][rank::2], pairs[2][rank::2], index[rank::2])
    alone_again = PairedBias(UNITS)
    reduce = alone_again._reductions["moments"]
    assert callable(reduce)
    alone_again.moments = reduce(torch.stack([metric.moments for metric in ranks]))
    torch.testing.assert_close(alone_again.compute().shares_interval, alone.compute().shares_interval)


def test_a_factor_without_pairs_has_the_score_zero_and_no_interval() -> None:
    features = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
    metric = PairedBias(2)
    metric.update(features, features, torch.zeros(40, dtype=torch.long))
    result = metric.compute()
    assert result.scores.tolist() == pytest.approx([1.0, 0.0])
    assert result.shares_interval.isnan().all()


@pytest.mark.parametrize(
    ("factor", "second", "message"),
    [
        (torch.tensor([0, 2]), torch.zeros(2, 3), "0 \\(static\\) or 1 \\(dynamic\\)"),
        (torch.tensor([0]), torch.zeros(2, 3), "each of the 2 pairs"),
        (torch.tensor([0, 1]), torch.zeros(2, 4), "second: expected shape"),
        (torch.tensor([0, 1]), torch.full((2, 3), torch.nan), "NaN or infinity"),
    ],
)
def test_what_is_no_pair_is_refused(factor: Tensor, second: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PairedBias(3).update(torch.zeros(2, 3), second, factor)

# SPDX-License-Identifier: Apache-2.0
"""One result from several seeds."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from staticdropout.errors import OptionError
from staticdropout.metrics import LayerBias, StaticDynamicBias, combine_seeds, seed_interval


def results(seeds: int, units: int = 5) -> list[LayerBias]:
    found = []
    for seed in range(seeds):
        generator = torch.Generator().manual_seed(seed)
        anchor = torch.randn(60, units, generator=generator)
        others = [anchor + torch.randn(60, units, generator=generator) for _ in range(2)]
        metric = StaticDynamicBias(units)
        metric.update(anchor, *others)
        found.append(metric.compute())
    return found


def test_the_mean_of_four_seeds_has_the_authors_interval() -> None:
    four = results(4)
    combined = combine_seeds(four)
    shares = np.stack([one.shares.numpy() for one in four])
    np.testing.assert_allclose(combined.shares, shares.mean(0))
    np.testing.assert_allclose(combined.shares_interval, 1.96 * np.std(shares, axis=0) / np.sqrt(4))
    units = np.stack([one.units.numpy() for one in four])
    scores = np.stack([one.unit_scores.numpy() for one in four]).mean(0)
    static, dynamic = scores > 0.5
    kinds = (dynamic & ~static, static & ~dynamic, static & dynamic, ~static & ~dynamic)
    np.testing.assert_allclose(combined.units, [100 * kind.mean() for kind in kinds])
    np.testing.assert_allclose(combined.units_interval, 1.96 * np.std(units, axis=0) / np.sqrt(4))
    assert float(combined.shares.sum()) == pytest.approx(100)
    assert int(combined.num_clips) == 240


def test_units_may_come_from_the_first_seed_alone() -> None:
    four = results(4)
    combined = combine_seeds(four, units_of_first_seed=True)
    assert torch.equal(combined.units, four[0].units)
    assert torch.equal(combined.unit_scores, four[0].unit_scores)
    assert torch.equal(combined.shares, combine_seeds(four).shares)
    assert not torch.equal(combine_seeds(four).unit_scores, four[0].unit_scores)


def test_one_seed_keeps_its_own_intervals() -> None:
    (one,) = results(1)
    assert combine_seeds([one]) is one
    assert seed_interval(torch.ones(1, 3)).isnan().all()


def test_no_result_cannot_be_combined() -> None:
    with pytest.raises(OptionError, match="no result"):
        combine_seeds([])

# SPDX-License-Identifier: Apache-2.0
"""Layer shares, unit scores and encodings against independent statements of their formulas."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from staticdropout.metrics.bias import (
    ENCODINGS,
    encode_units,
    layer_bias,
    layer_scores,
    layer_shares,
    unit_scores,
)
from staticdropout.metrics.correlation import pair_moments


@pytest.fixture
def features() -> list[Tensor]:
    """Anchor, same static, same dynamic: 300 clips, 6 channels of different variance and mean."""
    generator = torch.Generator().manual_seed(3)
    static, dynamic, *noise = torch.randn(5, 300, 6, generator=generator).double()
    share = torch.linspace(0, 1, 6).double()
    scale = torch.tensor([1.0, 2.0, 4.0, 0.5, 1.0, 3.0]).double()
    anchor = share * static + (1 - share) * dynamic + 0.3 * noise[0]
    same_static = share * static + 0.3 * noise[1] + 0.5
    same_dynamic = (1 - share) * dynamic + 0.6 * noise[2]
    return [scale * side for side in (anchor, same_static, same_dynamic)]


def moments_of(features: list[Tensor], groups: Tensor | None = None, num_groups: int = 1) -> Tensor:
    anchor, *others = features
    return torch.stack([pair_moments(anchor, other, groups, num_groups) for other in others], dim=1)


def numpy_paper(features: list[Tensor]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Eq. 1 and 2 as printed, with the mean for the sum: unit scores and shares in percent."""
    anchor, *others = (side.numpy() for side in features)
    scores = np.array([[np.corrcoef(anchor[:, c], other[:, c])[0, 1] for c in range(6)] for other in others])
    exponentials = np.exp([*scores.mean(1), 1.0])
    return scores, 100 * exponentials / exponentials.sum()


def numpy_released(features: list[Tensor]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The authors' dim_est, restated from its description on raw vectors."""
    anchor, *others = (side.numpy() for side in features)
    everything = np.concatenate([anchor, others[0], anchor, others[1]])
    total_variance = ((everything - everything.mean(0)) ** 2).mean(0).sum()
    units, layer = [], []
    for other in others:
        middle = 0.5 * (anchor.mean(0) + other.mean(0))
        covariance = ((anchor - middle) * (other - middle)).mean(0)
        units.append(covariance / np.concatenate([anchor, other]).var(0))
        layer.append(covariance.sum() / total_variance)
    logits = np.array([*layer, 1.0])
    shares = np.exp(logits - logits.max())
    whole = [int(share * 6) for share in shares / shares.sum()][:2]
    return np.array(units), 100 * np.array([*whole, 6 - sum(whole)]) / 6


def test_paper_estimator_agrees_with_numpy(features: list[Tensor]) -> None:
    scores, shares = numpy_paper(features)
    result = layer_bias(moments_of(features), "paper")
    np.testing.assert_allclose(result.unit_scores, scores, atol=1e-10)
    np.testing.assert_allclose(result.shares, shares, atol=1e-9)
    np.testing.assert_allclose(result.scores, scores.mean(1), atol=1e-10)


def test_released_estimator_agrees_with_numpy(features: list[Tensor]) -> None:
    scores, shares = numpy_released(features)
    result = layer_bias(moments_of(features), "released")
    np.testing.assert_allclose(result.unit_scores, scores, atol=1e-10)
    np.testing.assert_allclose(result.shares, shares, atol=1e-9)


def test_the_two_estimators_differ_where_channels_differ_in_variance(features: list[Tensor]) -> None:
    moments = moments_of(features)
    assert not torch.allclose(layer_scores(moments, "paper"), layer_scores(moments, "released"), atol=0.01)


def test_groups_change_the_intervals_alone(features: list[Tensor]) -> None:
    whole = layer_bias(moments_of(features))
    grouped = layer_bias(moments_of(features, torch.arange(300) % 10, 10))
    torch.testing.assert_close(whole.shares, grouped.shares)
    torch.testing.assert_close(whole.unit_scores, grouped.unit_scores)
    assert whole.shares_interval.isnan().all()
    assert (grouped.shares_interval > 0).all()
    assert int(grouped.num_clips) == 300


def test_shares_add_up_and_identical_is_the_largest(features: list[Tensor]) -> None:
    for estimator in ("paper", "released"):
        shares = layer_bias(moments_of(features), estimator).shares
        assert float(shares.sum()) == pytest.approx(100)
        assert shares.argmax() == 2


def test_a_layer_of_pure_static_units_gives_the_softmax_of_1_0_1() -> None:
    anchor, noise = torch.randn(2, 200_000, 1, generator=torch.Generator().manual_seed(0))
    shares = layer_bias(moments_of([anchor, anchor, noise])).shares
    e = math.e
    np.testing.assert_allclose(shares, [100 * e / (2 * e + 1), 100 / (2 * e + 1), 100 * e / (2 * e + 1)], atol=0.1)


def test_encodings_are_disjoint_and_complete() -> None:
    scores = 2 * torch.rand(2, 1000, generator=torch.Generator().manual_seed(0)) - 1
    encoding = encode_units(scores)
    static, dynamic = scores
    expected = {
        "dynamic": (dynamic > 0.5) & (static <= 0.5),
        "static": (static > 0.5) & (dynamic <= 0.5),
        "joint": (static > 0.5) & (dynamic > 0.5),
        "residual": (static <= 0.5) & (dynamic <= 0.5),
    }
    for index, name in enumerate(ENCODINGS):
        assert torch.equal(encoding == index, expected[name])
    assert sum(int(mask.sum()) for mask in expected.values()) == 1000


def test_a_score_equal_to_the_threshold_counts_as_not_above_it() -> None:
    scores = torch.tensor([[0.5, 0.5, 0.9], [0.5, 0.9, 0.5]])
    assert [ENCODINGS[index] for index in encode_units(scores, 0.5)] == ["residual", "dynamic", "static"]


def test_undefined_units_are_residual_and_counted(features: list[Tensor]) -> None:
    for side in features:
        side[:, 2] = 7.0
    features[1][:, 4] = 0.0
    for estimator in ("paper", "released"):
        result = layer_bias(moments_of(features), estimator)
        assert int(result.undefined) == 2
        assert result.unit_scores.isfinite().all()
        assert ENCODINGS[int(result.encoding[2])] == "residual"


def test_an_unknown_estimator_is_refused(features: list[Tensor]) -> None:
    with pytest.raises(ValueError, match="Choose one of paper, released"):
        layer_bias(moments_of(features), "mean")  # type: ignore[arg-type]


def test_vectorised_scores_equal_single_ones(features: list[Tensor]) -> None:
    moments = moments_of(features)[0]
    stacked = torch.stack([moments, moments])
    for estimator in ("paper", "released"):
        torch.testing.assert_close(unit_scores(stacked, estimator).score[1], unit_scores(moments, estimator).score)
        torch.testing.assert_close(layer_scores(stacked, estimator)[1], layer_scores(moments, estimator))


def test_no_clip_at_all_gives_no_score_and_no_nan() -> None:
    result = layer_bias(torch.zeros(10, 2, 6, 3, dtype=torch.float64))
    assert int(result.num_clips) == 0
    assert int(result.undefined) == 3
    assert layer_shares(result.scores, 3).isfinite().all()


@pytest.mark.parametrize(("clips", "known"), [(2, False), (3, True)])
def test_there_is_no_interval_where_leaving_a_group_out_leaves_one_clip(
    features: list[Tensor], clips: int, known: bool
) -> None:
    few = [side[:clips] for side in features]
    result = layer_bias(moments_of(few, torch.arange(clips), clips))
    for interval in (result.shares_interval, result.units_interval):
        assert bool(interval.isfinite().all()) == known
        assert bool(interval.isnan().all()) == (not known)
    assert result.shares.isfinite().all()

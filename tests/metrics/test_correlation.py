# SPDX-License-Identifier: Apache-2.0
"""Streaming correlation against NumPy."""

import numpy as np
import pytest
import torch
from torch import Tensor

from staticdropout.metrics.correlation import correlation, decay_moments, empty_moments, merge_moments, pair_moments


def random_pairs(clips: int, channels: int, mean: float = 0.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    common, noise_a, noise_b = torch.randn(3, clips, channels, generator=generator)
    weight = torch.linspace(-1, 1, channels)
    return mean + noise_a + weight * common, mean + noise_b + weight * common


def numpy_correlation(a: Tensor, b: Tensor) -> np.ndarray:
    x, y = a.double().numpy(), b.double().numpy()
    return np.array([np.corrcoef(x[:, i], y[:, i])[0, 1] for i in range(x.shape[1])])


def test_agrees_with_numpy_on_100_000_float32_clips_of_mean_1000_and_deviation_1() -> None:
    a, b = random_pairs(100_000, 5, mean=1000.0)
    a, b = (1000 + (side - 1000) / (side - 1000).std() for side in (a, b))
    moments = empty_moments(5)
    for x, y in zip(torch.split(a, 333), torch.split(b, 333), strict=True):
        moments = merge_moments(torch.stack([moments, pair_moments(x, y)[0]]))
    np.testing.assert_allclose(correlation(moments).score.numpy(), numpy_correlation(a, b), rtol=0, atol=1e-6)


@pytest.mark.parametrize("sizes", [[1000], [1] * 1000, [999, 1], [7, 493, 500], [0, 1000, 0]])
def test_any_split_into_batches_gives_the_same(sizes: list[int]) -> None:
    a, b = random_pairs(1000, 4, mean=50.0)
    parts = [pair_moments(x, y)[0] for x, y in zip(torch.split(a, sizes), torch.split(b, sizes), strict=True)]
    sequential = empty_moments(4)
    for part in parts:
        sequential = merge_moments(torch.stack([sequential, part]))
    at_once = correlation(pair_moments(a, b)[0]).score
    torch.testing.assert_close(correlation(sequential).score, at_once, rtol=0, atol=1e-10)
    torch.testing.assert_close(correlation(merge_moments(torch.stack(parts))).score, at_once, rtol=0, atol=1e-10)


def test_groups_hold_the_moments_of_their_members() -> None:
    a, b = random_pairs(60, 3)
    groups = torch.arange(60) % 7
    split = pair_moments(a, b, groups, num_groups=8)
    for group in range(8):
        member = groups == group
        torch.testing.assert_close(split[group], pair_moments(a[member], b[member])[0])


def test_averaging_correlations_would_be_wrong_where_batches_differ_and_merging_is_not() -> None:
    generator = torch.Generator().manual_seed(1)
    shifts = 3 * torch.randn(40, 1, 1, generator=generator)
    a, b = (shifts + torch.randn(40, 8, 1, generator=generator) for _ in range(2))
    merged = merge_moments(torch.stack([pair_moments(x, y)[0] for x, y in zip(a, b, strict=True)]))
    averaged = torch.stack([correlation(pair_moments(x, y)[0]).score for x, y in zip(a, b, strict=True)]).mean()
    truth = numpy_correlation(a.flatten(0, 1), b.flatten(0, 1))[0]
    assert abs(float(correlation(merged).score) - truth) < 1e-10
    assert abs(float(averaged) - truth) > 0.5


def test_constant_channels_are_undefined_and_zero() -> None:
    a = torch.stack([torch.full((50,), 1000.3), torch.zeros(50), torch.arange(50.0), torch.full((50,), 1e-30)], 1)
    b = torch.arange(50.0).unsqueeze(1).expand(50, 4)
    score, undefined = correlation(pair_moments(a, b)[0])
    assert undefined.tolist() == [True, True, False, True]
    assert score[undefined].tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("scale", [1e-18, 1e-6, 1e15])
def test_scores_do_not_depend_on_the_scale_of_the_features(scale: float) -> None:
    a, b = random_pairs(200, 4)
    tiny = correlation(pair_moments(a.double() * scale, b.double() * scale)[0])
    assert not tiny.undefined.any()
    torch.testing.assert_close(tiny.score, correlation(pair_moments(a, b)[0]).score)


@pytest.mark.parametrize("clips", [0, 1])
def test_fewer_than_two_clips_give_no_score(clips: int) -> None:
    score, undefined = correlation(pair_moments(torch.rand(clips, 3), torch.rand(clips, 3))[0])
    assert undefined.all()
    assert not score.any()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 2e-2), (torch.float16, 2e-3), (torch.float64, 1e-7)])
def test_half_and_double_precision_features_go_in(dtype: torch.dtype, tolerance: float) -> None:
    a, b = random_pairs(500, 4)
    exact = correlation(pair_moments(a, b)[0]).score
    rounded = correlation(pair_moments(a.to(dtype), b.to(dtype))[0]).score
    assert rounded.dtype == torch.float64
    torch.testing.assert_close(rounded, exact, rtol=0, atol=tolerance)


def test_decay_weighs_clips_as_a_weighted_correlation_does() -> None:
    a, b = random_pairs(30, 2)
    moments = empty_moments(2)
    for x, y in zip(torch.split(a, 10), torch.split(b, 10), strict=True):
        moments = merge_moments(torch.stack([decay_moments(moments, 0.5), pair_moments(x, y)[0]]))
    weights = np.repeat([0.25, 0.5, 1.0], 10)
    for channel in range(2):
        covariance = np.cov(a[:, channel].double(), b[:, channel].double(), aweights=weights)
        expected = covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1])
        assert correlation(moments).score[channel] == pytest.approx(expected, abs=1e-10)


def test_decay_to_nothing_forgets() -> None:
    old, new = pair_moments(*random_pairs(30, 2))[0], pair_moments(*random_pairs(30, 2, seed=1))[0]
    torch.testing.assert_close(merge_moments(torch.stack([decay_moments(old, 0.0), new])), new)


def test_memory_depends_on_channels_alone() -> None:
    assert (
        pair_moments(torch.rand(10, 6), torch.rand(10, 6)).shape
        == pair_moments(torch.rand(9999, 6), torch.rand(9999, 6)).shape
    )


@pytest.mark.parametrize("shapes", [((4, 3), (4, 2)), ((4,), (4,)), ((4, 3, 2), (4, 3, 2))])
def test_wrong_shapes_are_refused(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match=r"shape \(N, C\)"):
        pair_moments(torch.rand(shapes[0]), torch.rand(shapes[1]))

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from staticdropout.errors import BatchError
from staticdropout.perturbations import draw_permutations, shuffle_frames, shuffled_by_key


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_permutations_are_uniform_over_all_but_the_identity() -> None:
    drawn = Counter(tuple(row) for row in draw_permutations(6000, 3, generator()).tolist())
    assert set(drawn) == {(0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)}
    assert all(abs(count - 1200) < 5 * (6000 * 0.2 * 0.8) ** 0.5 for count in drawn.values())


def test_every_row_is_a_permutation_and_clips_get_different_ones() -> None:
    drawn = draw_permutations(16, 12, generator())
    assert torch.equal(drawn.sort(dim=1).values, torch.arange(12).repeat(16, 1))
    assert len({tuple(row) for row in drawn.tolist()}) == 16


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float16, torch.int64])
@pytest.mark.parametrize("time_dim", [1, 2, -3])
def test_frames_are_reordered_as_numpy_would(dtype: torch.dtype, time_dim: int) -> None:
    video = torch.arange(2 * 4 * 4 * 3 * 3).reshape(2, 4, 4, 3, 3).to(dtype)
    order = torch.tensor([[3, 1, 0, 2], [1, 2, 3, 0]])
    result = shuffle_frames(video, order, time_dim)
    expected = np.stack([np.take(video[i].numpy(), order[i].numpy(), axis=time_dim % 5 - 1) for i in range(2)])
    assert result.dtype == dtype
    assert result.is_contiguous()
    assert np.array_equal(result.numpy(), expected)


def test_the_inverse_permutation_restores_the_video() -> None:
    video, order = torch.rand(3, 3, 7, 2, 2), draw_permutations(3, 7, generator())
    assert torch.equal(shuffle_frames(shuffle_frames(video, order), order.argsort(dim=1)), video)


def test_a_non_contiguous_video_is_shuffled_too_and_left_unchanged() -> None:
    video = torch.rand(2, 5, 3, 4, 4).transpose(1, 2)
    before = video.clone()
    order = draw_permutations(2, 5, generator())
    assert torch.equal(shuffle_frames(video, order), shuffle_frames(before, order))
    assert torch.equal(video, before)


def test_gradients_flow_through() -> None:
    video = torch.rand(2, 3, 4, 2, 2, requires_grad=True)
    torch.autograd.backward(shuffled_by_key(video, range(len(video))).sum())
    assert torch.equal(video.grad, torch.ones_like(video))  # type: ignore[arg-type]


def test_a_clip_of_equal_frames_looks_unchanged() -> None:
    video = torch.ones(1, 3, 4, 2, 2)
    assert torch.equal(shuffled_by_key(video, range(len(video))), video)


def test_by_key_the_order_depends_on_the_clip_alone() -> None:
    video, keys = torch.rand(6, 3, 5, 2, 2), list("abcdef")
    before = torch.get_rng_state()
    whole = shuffled_by_key(video, keys, seed=1)
    halves = torch.cat([shuffled_by_key(video[3:], keys[3:], seed=1), shuffled_by_key(video[:3], keys[:3], seed=1)])
    assert torch.equal(whole, halves[[3, 4, 5, 0, 1, 2]])
    assert not torch.equal(whole, shuffled_by_key(video, keys, seed=2))
    assert all(not torch.equal(clip, source) for clip, source in zip(whole, video, strict=True))
    assert torch.equal(before, torch.get_rng_state())


def test_by_key_all_orders_but_the_identity_come_equally_often() -> None:
    frames = torch.arange(3).view(1, 1, 3).expand(6000, 1, 3)
    orders = [tuple(row) for row in shuffled_by_key(frames, range(6000)).squeeze(1).tolist()]
    counts = [orders.count(order) for order in sorted(set(orders))]
    assert len(counts) == 5
    assert min(counts) > 1050
    assert max(counts) < 1350


def test_by_key_works_for_other_layouts_and_empty_batches() -> None:
    assert shuffled_by_key(torch.arange(2).view(1, 2, 1), ["a"], time_dim=1).flatten().tolist() == [1, 0]
    assert shuffled_by_key(torch.rand(0, 3, 4, 2, 2), []).shape == (0, 3, 4, 2, 2)


def test_by_key_there_must_be_a_key_for_each_clip() -> None:
    with pytest.raises(BatchError, match="one key for each of the 2 clips"):
        shuffled_by_key(torch.rand(2, 3, 4, 2, 2), ["a"])


def test_a_single_frame_cannot_be_shuffled() -> None:
    with pytest.raises(ValueError, match=r"1 frame.*cannot be shuffled"):
        shuffled_by_key(torch.rand(2, 3, 1, 4, 4), ["a", "b"])


@pytest.mark.parametrize("time_dim", [0, -5, 5, 7])
def test_a_wrong_dimension_of_time_is_named(time_dim: int) -> None:
    with pytest.raises(BatchError, match=f"time_dim={time_dim}"):
        shuffled_by_key(torch.rand(2, 3, 4, 4, 4), ["a", "b"], time_dim=time_dim)


def test_permutations_that_do_not_fit_are_refused() -> None:
    with pytest.raises(BatchError, match=r"shape \(2, 4\).*found \(2, 5\)"):
        shuffle_frames(torch.rand(2, 3, 4, 4, 4), torch.arange(5).repeat(2, 1))

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import random
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from staticdropout.perturbations import Triplet, VideoTriplets, get_style
from staticdropout.perturbations.styles import Paint

ALL = ("paint", "chalk", "neon", "relief")


class Tint:
    """A quick style: it adds its number and counts the clips it has seen."""

    temporal = False

    def __init__(self, number: int) -> None:
        self.name, self.number, self.calls = f"tint{number}", number, 0

    def __call__(self, clip: Tensor, *, seed: int = 0) -> Tensor:
        self.calls += 1
        return clip * 0.1 + 0.1 * self.number


class Average:
    """A temporal style: every frame becomes the running mean of the frames up to it."""

    name, temporal = "average", True

    def __call__(self, clip: Tensor, *, seed: int = 0) -> Tensor:
        steps = torch.arange(1, clip.shape[2] + 1).view(1, 1, -1, 1, 1)
        return clip.cumsum(2) / steps


def video(batch: int, length: int = 6, size: int = 12, seed: int = 0) -> Tensor:
    return torch.rand(batch, 3, length, size, size, generator=torch.Generator().manual_seed(seed))


def same_frames(a: Tensor, b: Tensor) -> bool:
    """Whether two clips (3, T, H, W) hold the same frames in any order."""
    key = [sorted(frame.flatten().tolist() for frame in clip.transpose(0, 1)) for clip in (a, b)]
    return key[0] == key[1]


def test_each_clip_is_styled_shuffled_and_styled_otherwise() -> None:
    clips = video(24)
    anchor, same_static, same_dynamic = VideoTriplets(seed=5)(clips)
    styled = {name: get_style(name)(clips) for name in ALL}
    for i in range(24):
        first = [name for name in ALL if torch.equal(anchor[i], styled[name][i])]
        second = [name for name in ALL if torch.equal(same_dynamic[i], styled[name][i])]
        assert len(first) == len(second) == 1
        assert first != second
        assert same_frames(anchor[i], same_static[i])
        assert not torch.equal(anchor[i], same_static[i])


def test_pairs_of_styles_and_orders_are_uniform() -> None:
    tints = [Tint(number) for number in range(3)]
    steps = (torch.arange(3) / 10).view(1, 1, 3, 1, 1).expand(3000, 3, 3, 1, 1)
    anchor, same_static, same_dynamic = VideoTriplets(tints)(steps)
    a = (anchor[:, 0, 0, 0, 0] * 10).round().int().tolist()
    b = (same_dynamic[:, 0, 0, 0, 0] * 10).round().int().tolist()
    orders = [tuple(row) for row in (same_static - anchor[:, :, :1])[:, 0, :, 0, 0].mul(100).round().int().tolist()]
    pairs = Counter(zip(a, b, strict=True))
    assert set(pairs) == {(i, j) for i in range(3) for j in range(3) if i != j}
    assert all(abs(count - 500) < 5 * (3000 / 6 * 5 / 6) ** 0.5 for count in pairs.values())
    assert len(set(orders)) == 5
    assert all(abs(count - 600) < 5 * (3000 / 5 * 4 / 5) ** 0.5 for count in Counter(orders).values())


def test_a_clip_gets_the_same_triplet_in_any_batch_order_or_measurement() -> None:
    clips, keys = video(8), [f"clip{i}" for i in range(8)]
    whole = VideoTriplets(seed=1)(clips, keys)
    order = [5, 2, 7, 0, 1, 6, 4, 3]
    triplets = VideoTriplets(seed=1)
    triplets(clips, keys)  # an earlier measurement leaves no trace
    mixed = triplets(clips[order], [keys[i] for i in order])
    alone = [triplets(clips[i : i + 1], keys[i : i + 1]) for i in range(8)]
    for part in range(3):
        assert torch.equal(mixed[part], whole[part][order])
        assert torch.equal(torch.cat([one[part] for one in alone]), whole[part])


def test_seed_and_keys_decide_what_is_drawn() -> None:
    clips = video(1).repeat(16, 1, 1, 1, 1)
    reference = VideoTriplets(seed=0)(clips).anchor
    assert not torch.equal(VideoTriplets(seed=1)(clips).anchor, reference)
    assert not torch.equal(VideoTriplets(seed=0)(clips, range(16, 32)).anchor, reference)
    assert len({clip.flatten()[0].item() for clip in reference}) == 4


@pytest.mark.parametrize("keys", [range(4), [0, 1, 2, 3], ["0", "1", "2", "3"], torch.arange(4), np.arange(4)])
def test_numbers_and_their_texts_are_the_same_keys_and_positions_the_default(keys: Any) -> None:
    triplets = VideoTriplets(["chalk", "neon"])
    expected, found = triplets(video(4)), triplets(video(4), keys)
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


def test_the_draws_of_a_key_stay_the_same_for_ever() -> None:
    clip = (torch.arange(6) / 100).view(1, 1, 6, 1, 1).expand(1, 3, 6, 1, 1)
    anchor, same_static, same_dynamic = VideoTriplets([Tint(number) for number in range(4)], seed=7)(clip, ["12345"])
    order = (same_static - anchor[:, :, :1])[0, 0, :, 0, 0].mul(1000).round().int().tolist()
    assert [round(float(clip[0, 0, 0] * 10)) for clip in (anchor, same_dynamic)] == [3, 0]
    assert order == [0, 5, 2, 1, 4, 3]


def test_each_style_runs_at_most_once_a_batch() -> None:
    tints = [Tint(number) for number in range(4)]
    VideoTriplets(tints)(video(32))
    assert [tint.calls for tint in tints] == [1, 1, 1, 1]


def test_frames_are_shuffled_after_a_temporal_style() -> None:
    clips = video(6)
    anchor, same_static, _ = VideoTriplets([Average(), Tint(1)])(clips)
    averaged = Average()(clips)
    styled = [i for i in range(6) if torch.equal(anchor[i], averaged[i])]
    assert styled
    assert all(same_frames(same_static[i], averaged[i]) for i in styled)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_dtype_is_kept(dtype: torch.dtype) -> None:
    assert all(part.dtype == dtype for part in VideoTriplets()(video(3).to(dtype)))


def test_no_global_generator_is_touched_and_no_gradient_kept() -> None:
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()  # type: ignore[index] # noqa: NPY002
    triplet = VideoTriplets()(video(3).requires_grad_())
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert np.array_equal(np.random.get_state()[1], before[2])  # type: ignore[index] # noqa: NPY002
    assert not any(part.requires_grad for part in triplet)


def test_a_style_object_with_settings_is_used_as_given() -> None:
    thick = Paint(radius=4)
    anchor = VideoTriplets([thick, "neon"])(video(4), ["a", "b", "c", "d"]).anchor
    expected = thick(video(4)), get_style("neon")(video(4))
    assert all(any(torch.equal(anchor[i], style[i]) for style in expected) for i in range(4))


def test_a_triplet_names_its_parts() -> None:
    assert Triplet._fields == ("anchor", "same_static", "same_dynamic")

# SPDX-License-Identifier: Apache-2.0
"""The pairs of action recognition follow the distributions of the released code, and each oddity shows where it is on.

What is expected is stated anew with NumPy; draws are fixed by their seeds, so a bound that holds once holds always.
"""

from __future__ import annotations

import random
from itertools import cycle, islice

import numpy as np
import pytest
import torch
from statistics_bounds import is_half, is_uniform

from staticdropout.errors import OptionError, UnknownNameError
from staticdropout.perturbations.protocols import ACTION_ODDITIES, ActionPair, ActionProtocol, ProtocolVideo

LONG = [(f"long{number}", 100) for number in range(4000)]
SHORT = [(f"short{number}", 20) for number in range(4000)]
DYNAMIC = 1


def drawn(videos: list[tuple[str, int]], seed: int = 1, **options: object) -> list[ActionPair]:
    return ActionProtocol(num_examples=len(videos), **options).draw(videos, seed)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def pairs() -> list[ActionPair]:
    return drawn(LONG)


def test_factors_are_drawn_from_two_and_styles_from_all_and_from_the_others(pairs: list[ActionPair]) -> None:
    assert is_half(sum(pair.factor for pair in pairs), len(pairs))
    assert is_uniform([pair.style_a for pair in pairs], 4)
    dynamic = [pair for pair in pairs if pair.factor == DYNAMIC]
    assert is_uniform([(pair.style_b - pair.style_a) % 4 - 1 for pair in dynamic], 3)
    assert all(pair.style_b == pair.style_a for pair in pairs if pair.factor != DYNAMIC)


def test_factor_style_and_start_have_nothing_to_do_with_each_other_nor_with_those_of_another_seed() -> None:
    videos = [(name, 64 + 11) for name, _ in LONG]  # twelve starts
    one, other = drawn(videos, seed=1), drawn(videos, seed=2)
    assert is_uniform([(pair.factor * 4 + pair.style_a) * 12 + pair.frames_a[0] for pair in one], 2 * 4 * 12)
    both = list(zip(one, other, strict=True))
    assert is_uniform([first.style_a * 4 + second.style_a for first, second in both], 16)
    assert is_uniform([first.frames_a[0] * 12 + second.frames_a[0] for first, second in both], 144)


def test_a_window_of_a_long_video_starts_anywhere_and_frames_are_spread_over_it(pairs: list[ActionPair]) -> None:
    starts = [pair.frames_a[0] for pair in pairs]
    assert is_uniform(starts, 100 - 64 + 1)
    spread = np.linspace(0, 63, 8).astype(int)
    assert all(list(pair.frames_a) == (pair.frames_a[0] + spread).tolist() for pair in pairs)


def test_a_short_video_starts_up_to_eight_frames_before_its_end_and_is_cycled() -> None:
    pairs = drawn(SHORT, num_frames=64)
    starts = [pair.frames_a[0] for pair in pairs]
    assert is_uniform(starts, 20 - 8 + 1)
    for pair, start in zip(pairs, starts, strict=True):
        assert list(pair.frames_a) == list(islice(cycle(range(start, 20)), 64))


def test_a_video_as_long_as_the_window_counts_as_short() -> None:
    starts = {pair.frames_a[0] for pair in drawn([(str(number), 64) for number in range(800)])}
    assert starts == set(range(57))


def test_subsampling_is_that_of_the_released_transform() -> None:
    for window, count in ((64, 8), (64, 32), (80, 16), (78, 13), (48, 4), (256, 8)):
        expected = torch.linspace(0, window - 1, count).clamp(0, window - 1).long().tolist()
        pair = drawn([("a", window + 1)], window=window, num_frames=count)[0]
        assert [frame - pair.frames_a[0] for frame in pair.frames_a] == expected


def test_static_pairs_are_the_same_frames_in_another_order_and_dynamic_pairs_in_the_same(
    pairs: list[ActionPair],
) -> None:
    identity = tuple(range(8))
    assert all(pair.frames_a == pair.frames_b for pair in pairs)
    orders = [pair.order for pair in pairs if pair.order is not None]
    assert len(orders) == sum(pair.factor != DYNAMIC for pair in pairs)
    assert all(sorted(order) == list(identity) and order != identity for order in orders)
    # every frame comes to every place equally often
    assert is_uniform([order[0] for order in orders], 8)
    assert is_uniform([order[5] for order in orders], 8)


def test_items_come_in_the_order_of_the_file_without_those_that_are_too_short() -> None:
    videos = [("a", 7), ("b", 8), ("c", 500), ("d", 3), ("e", 64), ("f", 90)]
    drawn_pairs = ActionProtocol(num_examples=3).draw(videos, seed=2)
    assert [(pair.video, pair.name) for pair in drawn_pairs] == [(1, "b"), (2, "c"), (4, "e")]


def test_a_pair_depends_on_seed_and_name_alone_and_no_global_generator_is_touched() -> None:
    states = (random.getstate(), torch.get_rng_state())
    alone = drawn([("long7", 100)])[0]
    among = drawn(LONG[:20])[7]
    assert alone[1:] == among[1:]
    assert drawn(LONG[:50]) == drawn(LONG[:50]) != drawn(LONG[:50], seed=2)
    assert random.getstate() == states[0]
    assert torch.equal(torch.get_rng_state(), states[1])


def test_activitynet_takes_the_first_segment_from_its_start_and_cycles_it() -> None:
    videos = [
        ProtocolVideo("short video", 31, ((0, 31),)),
        ProtocolVideo("short segment", 100, ((0, 15), (20, 60))),
        ProtocolVideo("cut off", 100, ((90, 300),)),
        ProtocolVideo("second is short", 100, ((10, 40), (50, 60))),
        ProtocolVideo("long", 300, ((7, 290),)),
        ProtocolVideo("none", 300, ()),
    ]
    pairs = ActionProtocol(num_frames=64).draw(videos, seed=1)
    assert [pair.name for pair in pairs] == ["second is short", "long"]
    assert list(pairs[0].frames_a) == list(islice(cycle(range(10, 40)), 64))
    assert list(pairs[1].frames_a) == list(range(7, 71))
    strict = ActionProtocol(oddities=("any_short_segment",))
    assert [pair.name for pair in strict.draw(videos, seed=1)] == ["long"]


def test_redraw_start_at_zero_moves_the_second_side_of_dynamic_pairs_alone() -> None:
    plain, odd = drawn(SHORT), drawn(SHORT, oddities=("redraw_start_at_zero",))
    changed = [one for one, other in zip(plain, odd, strict=True) if one != other]
    at_zero = [pair for pair in odd if pair.factor == DYNAMIC and pair.frames_a[0] == 0]
    starts = [pair.frames_b[0] for pair in at_zero]
    assert len(at_zero) > 100
    assert is_uniform(starts, 13)
    assert len(changed) == sum(start != 0 for start in starts)
    assert all(pair.factor == DYNAMIC and pair.frames_a[0] == 0 for pair in changed)


def test_identity_shuffles_leaves_one_in_six_clips_of_three_frames_in_order() -> None:
    odd = [pair.order for pair in drawn(LONG, num_frames=3, oddities=("identity_shuffles",)) if pair.order is not None]
    places = {order: number for number, order in enumerate(sorted(set(odd)))}
    assert len(places) == 6
    assert is_uniform([places[order] for order in odd], 6)
    plain = {pair.order for pair in drawn(LONG, num_frames=3)}
    assert (0, 1, 2) in places
    assert (0, 1, 2) not in plain


def test_extra_batch_is_one_batch_more_than_the_examples() -> None:
    assert ActionProtocol(num_examples=3000).pairs_wanted == 3000
    assert ActionProtocol(num_examples=3000, oddities=("extra_batch",)).pairs_wanted == 3002
    assert ActionProtocol(num_examples=3000, batch_size=7, oddities=("extra_batch",)).pairs_wanted == 7 * 429
    assert len(ActionProtocol(num_examples=10, oddities=("extra_batch",)).draw(LONG, seed=1)) == 12


def test_independent_pathways_subsample_the_window_twice_and_permute_each_clip_by_itself() -> None:
    pairs = drawn(LONG[:400], num_frames=32, slow_frames=8, oddities=("independent_pathways",))
    plain = drawn(LONG[:400], num_frames=32)
    assert [pair[:8] for pair in pairs] == [pair[:8] for pair in plain]
    for pair in pairs:
        assert pair.slow is not None
        start = pair.frames_a[0]
        assert [frame - start for frame in pair.slow.frames_a] == np.linspace(0, 63, 8).astype(int).tolist()
        assert (pair.slow.order is None) == (pair.order is None)
    static = [(pair.order, pair.slow.order) for pair in pairs if pair.order and pair.slow and pair.slow.order]
    # an order of 8 frames that followed from that of the 32 would rise where that one rises
    agree = sum((fast[0] < fast[-1]) == (slow[0] < slow[-1]) for fast, slow in static)
    assert is_half(agree, len(static))
    assert all(pair.slow is None for pair in plain)


def test_the_description_names_seeds_numbers_and_what_is_on_in_plain_values() -> None:
    protocol = ActionProtocol(oddities=("identity_shuffles", "extra_batch", "extra_batch"))
    told = protocol.description
    assert told["protocol"] == "kowal-action"
    assert told["seeds"] == [1, 2, 3, 4]
    assert told["oddities"] == ["extra_batch", "identity_shuffles"]
    assert (told["pairs_per_seed"], told["window"], told["num_frames"]) == (3002, 64, 8)
    assert ActionProtocol().description["oddities"] == []
    assert all("(" in place for place in ACTION_ODDITIES.values()), "each names its place in the source"


@pytest.mark.parametrize(
    "options",
    [
        {"num_examples": 0},
        {"num_styles": 1},
        {"num_frames": 1},
        {"seeds": ()},
        {"seeds": (1, 1)},
        {"seeds": (-1,)},
        {"slow_frames": 8},
        {"oddities": ("independent_pathways",)},
        {"slow_frames": 1, "oddities": ("independent_pathways",)},
        {"window": 7, "num_frames": 8},
        {"window": 8, "slow_frames": 9, "oddities": ("independent_pathways",)},
    ],
)
def test_numbers_out_of_range_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(OptionError):
        ActionProtocol(**options)  # type: ignore[arg-type]


def test_a_clip_may_show_every_frame_of_its_window_but_none_twice() -> None:
    for pair in ActionProtocol(window=8, num_frames=8).draw([(str(video), 40) for video in range(5)], seed=1):
        assert pair.frames_a == tuple(range(pair.frames_a[0], pair.frames_a[0] + 8))


def test_an_unknown_oddity_is_refused_with_close_names() -> None:
    with pytest.raises(UnknownNameError, match="redraw_start_at_zero"):
        ActionProtocol(oddities=("redraw_start",))

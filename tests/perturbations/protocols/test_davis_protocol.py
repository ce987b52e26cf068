# SPDX-License-Identifier: Apache-2.0
"""The pairs of DAVIS follow what the released code draws, and each oddity shows where it is on."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from statistics_bounds import is_uniform

from staticdropout.errors import OptionError, UnknownNameError
from staticdropout.perturbations import ColourDraw, FlowJitter
from staticdropout.perturbations.protocols import DavisPair, DavisProtocol, SharedBoundsJitter

VIDEOS = [(f"video{number}", 40 + number) for number in range(20)]
MANY = [(f"video{number}", 60) for number in range(800)]
STATIC, DYNAMIC = 0, 1


def test_every_sequence_comes_five_times_in_random_order_and_factors_alternate_from_static_on() -> None:
    pairs = DavisProtocol().draw(VIDEOS, seed=1)
    assert Counter(pair.name for pair in pairs) == {name: 5 for name, _ in VIDEOS}
    assert len({(pair.name, pair.repetition) for pair in pairs}) == 100
    assert [pair.factor for pair in pairs] == [STATIC, DYNAMIC] * 50
    assert [pair.sequence for pair in pairs] != sorted(pair.sequence for pair in pairs)
    assert all(VIDEOS[pair.sequence][0] == pair.name for pair in pairs)
    others = DavisProtocol().draw(VIDEOS, seed=2)
    assert [pair.name for pair in others] != [pair.name for pair in pairs]
    assert DavisProtocol().draw(VIDEOS, seed=1) == pairs


def test_the_order_is_uniform() -> None:
    firsts = [DavisProtocol(repetitions=1).draw(VIDEOS, seed)[0].sequence for seed in range(1000)]
    assert is_uniform(firsts, 20)


def test_styles_are_drawn_from_all_and_from_the_others() -> None:
    pairs = DavisProtocol().draw(MANY, seed=1)
    assert is_uniform([pair.style_a for pair in pairs], 4)
    dynamic = [pair for pair in pairs if pair.factor == DYNAMIC]
    assert is_uniform([(pair.style_b - pair.style_a) % 4 - 1 for pair in dynamic], 3)
    assert all(pair.style_a == pair.style_b for pair in pairs if pair.factor == STATIC)


def test_all_frames_but_the_last_are_used_and_rtnet_leaves_the_first_out_too() -> None:
    assert list(DavisProtocol().frames(6)) == [0, 1, 2, 3, 4]
    assert list(DavisProtocol(clip_frames=2).frames(6)) == [1, 2, 3, 4]
    assert not DavisProtocol().frames(1)
    assert not DavisProtocol(clip_frames=2).frames(2)


def test_an_offset_is_drawn_from_minus_ten_to_nine_without_zero_and_zero_offset_brings_it_in() -> None:
    plain = [pair.offset for pair in DavisProtocol(clip_frames=2).draw(MANY, seed=1)]
    assert is_uniform([offset + 10 if offset < 0 else offset + 9 for offset in plain], 19)
    assert 0 not in plain
    odd = [pair.offset for pair in DavisProtocol(clip_frames=2, oddities=("zero_offset",)).draw(MANY, seed=1)]
    assert is_uniform([offset + 10 for offset in odd], 20)
    assert {pair.offset for pair in DavisProtocol().draw(MANY, seed=1)} == {0}


def test_the_second_frame_of_a_short_sequence_is_another_one_as_well() -> None:
    # seven frames, of which five are usable: offsets of 5 and 10 lead back
    offsets = {pair.offset for pair in DavisProtocol(clip_frames=2).draw([("a", 7)] * 400, seed=1)}
    assert offsets
    assert not {offset % 5 for offset in offsets} & {0}
    odd = DavisProtocol(clip_frames=2, repetitions=60, oddities=("zero_offset",)).draw([("a", 7)], seed=1)
    assert any(pair.offset % 5 == 0 for pair in odd)
    assert {pair.offset for pair in DavisProtocol(clip_frames=2).draw([("b", 3)], seed=1)} == {0}


def test_jitter_is_drawn_anew_for_each_seed_repetition_and_frame() -> None:
    pairs = [DavisPair(0, "dog", repetition, STATIC, 0, 0) for repetition in range(5)]
    draws = {
        DavisProtocol().jitter(seed).draw(pair.key(stem))
        for seed in (1, 2, 3, 4)
        for pair in pairs
        for stem in ("00000", "00001")
    }
    assert len(draws) == 40


def test_both_directions_share_the_bounds_and_draw_for_themselves() -> None:
    jitter, plain = SharedBoundsJitter(seed=3), FlowJitter("paper", seed=3)
    keys = [f"video/{number:05d}" for number in range(4000)]

    def sizes(drawing: FlowJitter) -> torch.Tensor:
        found = []
        for key in keys:
            both = [drawing.draw(key, backward=backward) for backward in (False, True)]
            assert all(isinstance(one, ColourDraw) for one in both)
            found.append([abs(one[0]) for one in both])
        return torch.tensor(found).T

    shared, own = sizes(jitter), sizes(plain)
    assert torch.equal(shared[0], own[0])
    # |hue| = H * U: of independent draws with a common H ~ U(.1, .5) the correlation is var(H) / 4 over the whole
    bound_variance, bound_square = 0.4**2 / 12, 0.3**2 + 0.4**2 / 12
    expected = (bound_variance / 4) / (bound_square / 3 - 0.15**2)
    assert torch.corrcoef(shared)[0, 1].item() == pytest.approx(expected, abs=0.05)
    assert torch.corrcoef(own)[0, 1].item() == pytest.approx(0, abs=0.05)
    assert not torch.equal(shared[0], shared[1])


def test_the_description_names_seeds_numbers_and_what_is_on_in_plain_values() -> None:
    told = DavisProtocol(clip_frames=2, oddities=("zero_offset",)).description
    assert told == {
        "protocol": "kowal-davis",
        "repetitions": 5,
        "seeds": [1, 2, 3, 4],
        "num_styles": 4,
        "clip_frames": 2,
        "offsets": [-10, 9],
        "frames_apart": True,
        "oddities": ["zero_offset"],
    }


def test_options_out_of_range_are_refused() -> None:
    for options in ({"repetitions": 0}, {"clip_frames": 3}, {"num_styles": 1}, {"seeds": ()}):
        with pytest.raises(OptionError):
            DavisProtocol(**options)
    with pytest.raises(UnknownNameError, match="zero_offset"):
        DavisProtocol(oddities=("zero_offsets",))

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import styles
import torch
import triplets
from torch import nn


def test_shares_compare_one_clip_with_one_clip() -> None:
    times = {"made": [2.4, 2.4, 4.8], "small": [1.0, 2.0, 1.0], "large": [4.0, 4.0, 4.0]}
    small, large = triplets.rows_of(times, ["made"], clips=24, forward_clips=2, frames=8, size=112)
    assert (small["network"], large["network"]) == ("small", "large")
    assert (small["frames_per_s"], small["ms_a_clip"]) == (80, 100)  # a tenth of a second for 8 frames
    assert (small["three_forwards_ms_a_clip"], large["three_forwards_ms_a_clip"]) == (500, 2000)
    assert (small["share"], small["lowest"], small["highest"]) == (0.2, 0.1, 0.4)
    assert large["share"] == 0.05


def test_a_network_runs_once_for_each_member_of_a_triplet() -> None:
    class Counts(nn.Module):
        calls = 0

        def forward(self, image: torch.Tensor, flow: torch.Tensor) -> torch.Tensor:
            self.calls += 1
            assert not torch.is_grad_enabled()
            return image + flow

    network = Counts()
    triplets.three_forwards(network, torch.zeros(1), torch.zeros(1))
    assert network.calls == 3


def test_all_kinds_of_triplets_are_made_of_as_many_clips_as_asked_for() -> None:
    video = triplets.video_calls(3, 16, "cpu")["VideoTriplets"]()
    assert [member.shape for member in video] == [(3, 3, 8, 16, 16)] * 3
    ways = triplets.flow_calls(3, 16, "cpu")
    made = {way: call() for way, call in ways.items()}
    assert [image.shape for image, _ in made["FlowTriplets, paper"]] == [(3, 3, 16, 16)] * 3
    paper, vector = (made[f"FlowTriplets, {mode}"].same_static[1] for mode in ("paper", "vector"))
    assert not torch.equal(paper, vector)


def test_styles_that_take_turns_have_the_mean_time_and_not_the_mean_speed() -> None:
    found = styles.together({"slow": {"fps_112": 100.0}, "fast": {"fps_112": 900.0}})
    assert found == {"fps_112": pytest.approx(2 / (1 / 100 + 1 / 900))}


def test_every_style_is_timed_at_every_size() -> None:
    found = styles.speeds(["neon", "chalk"], [8, 16], "cpu", repeats=1)
    assert {name: list(row) for name, row in found.items()} == {key: ["fps_8", "fps_16"] for key in ("neon", "chalk")}
    assert all(speed > 0 for row in found.values() for speed in row.values())

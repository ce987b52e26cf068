# SPDX-License-Identifier: Apache-2.0
"""The self-test of few-shot training: what its scores say of results that are known."""

from __future__ import annotations

import pytest
import torch
from few_shot import scores
from keyframe_toys import drifting_clip

CLIP = drifting_clip()
TRUE = 1 - CLIP


def test_a_perfect_result_has_no_distance_and_the_flicker_of_the_style() -> None:
    found = scores(CLIP, TRUE, TRUE, 3)
    assert (found["l1_ratio"], found["flicker_ratio"], found["jitter"], found["holds"]) == (0, 1, 0, True)


def test_the_source_itself_does_not_pass_for_the_style() -> None:
    found = scores(CLIP, TRUE, CLIP, 3)
    assert found["l1_ratio"] == 1
    assert found["l1_source"] == found["l1_network"] == pytest.approx(255 * (CLIP - TRUE).abs().mean().item(), rel=0.02)
    assert not found["holds"]


def test_noise_shows_as_flicker_and_the_keyframe_counts_by_itself() -> None:
    noisy = TRUE + 0.3 * torch.randn(TRUE.shape, generator=torch.Generator().manual_seed(0))
    found = scores(CLIP, TRUE, noisy, 3)
    assert found["flicker_ratio"] > 1.5
    assert not found["holds"]
    wrong = TRUE.clone()
    wrong[:, 3] = 0
    assert scores(CLIP, TRUE, wrong, 3)["l1_network"] == 0
    assert scores(CLIP, TRUE, wrong, 3)["l1_keyframe"] > 50

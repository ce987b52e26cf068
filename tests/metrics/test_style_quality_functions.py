# SPDX-License-Identifier: Apache-2.0
"""What a style changes and keeps, against NumPy and cases with a known answer."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from staticdropout.datamodules.flow import DisFlow
from staticdropout.metrics.style_quality import (
    add_noise,
    flicker,
    flow_error,
    hellinger,
    mean_correlation,
    noisy_still,
    static_descriptor,
    warped_pair,
)


def texture(seed: int, size: int = 128) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    scene = torch.zeros(3, size, size)
    for cells in (4, 12, 32):
        coarse = torch.rand(1, 3, cells, cells, generator=generator)
        scene += F.interpolate(coarse, size, mode="bicubic")[0] / cells**0.5
    return (scene - scene.amin()) / (scene.amax() - scene.amin())


def test_the_distance_of_colours_matches_a_histogram_of_numpy() -> None:
    a, b = texture(0), texture(1)[:, :50]
    edges = [np.linspace(0, 8 / 7.999, 9)] * 3
    p, q = (np.histogramdd(clip.reshape(3, -1).T.double().numpy(), bins=edges)[0] for clip in (a, b))
    expected = np.sqrt(1 - np.sqrt(p / p.sum() * q / q.sum()).sum())
    assert hellinger(a, b) == pytest.approx(expected, abs=1e-6)
    assert 0.1 < expected < 0.9


def test_the_same_colours_are_at_distance_0_wherever_they_lie_and_disjoint_ones_at_1() -> None:
    clip = texture(0)[:, None]
    assert hellinger(clip, clip.flip(-1)) == pytest.approx(0, abs=1e-6)
    assert hellinger(torch.zeros(3, 1, 4, 4), torch.ones(3, 2, 8, 8)) == pytest.approx(1)
    half = torch.tensor([0.0, 1.0]).expand(3, 2)
    assert hellinger(half, torch.zeros(3, 2)) == pytest.approx(math.sqrt(1 - math.sqrt(0.5)))


def test_the_known_motion_has_the_length_that_was_asked_for_and_depends_on_the_seed_alone() -> None:
    frame = texture(0)
    state = torch.get_rng_state()
    pair, flow = warped_pair(frame, seed=3, length=2.0)
    again, _ = warped_pair(frame, seed=3, length=2.0)
    _, other = warped_pair(frame, seed=4, length=2.0)
    assert float(flow.norm(dim=0).mean()) == pytest.approx(2, abs=1e-3)
    assert torch.equal(pair, again)
    assert not torch.equal(flow, other)
    assert torch.equal(pair[:, 1], frame)
    assert torch.equal(torch.get_rng_state(), state)


def test_following_the_known_flow_leads_from_the_warped_copy_to_the_frame() -> None:
    frame = torch.linspace(0, 1, 96).expand(3, 96, 96) * 0.5 + 0.25  # a ramp to the right tells where a pixel is from
    pair, flow = warped_pair(frame, seed=0, sigma=0.0)
    middle = slice(16, -16)
    shift = (pair[0, 0] - frame[0])[middle, middle] * 95 / 0.5  # in pixels of the ramp
    np.testing.assert_allclose(shift.numpy(), flow[0][middle, middle].numpy(), atol=0.05)  # torch's cubic
    assert float(flow[0].abs().max()) > 3


def test_an_estimator_is_judged_by_the_median_distance_from_the_known_flow() -> None:
    pair, flow = warped_pair(texture(0), seed=0)
    off = torch.tensor([0.3, -0.4]).view(2, 1, 1)
    assert flow_error(pair, flow, lambda frames: (flow + off)[None]) == pytest.approx(0.5, abs=1e-5)
    border = torch.full_like(flow, 100.0)
    border[:, 16:-16, 16:-16] = 0
    assert flow_error(pair, flow, lambda frames: (flow + border)[None]) == pytest.approx(0, abs=1e-5)


def test_dense_inverse_search_recovers_the_known_motion_and_not_its_opposite() -> None:
    pair, flow = warped_pair(texture(0), seed=0)
    assert flow_error(pair, flow, DisFlow()) < 0.3
    assert flow_error(pair, -flow, DisFlow()) > 2


def test_a_texture_that_stands_still_hides_the_motion() -> None:
    pair, flow = warped_pair(texture(0), seed=0)
    canvas = torch.rand(1, 1, 128, 128, generator=torch.Generator().manual_seed(1))
    assert flow_error(0.5 * pair + 0.5 * canvas, flow, DisFlow()) > 5 * flow_error(pair, flow, DisFlow())


def test_a_frame_smaller_than_the_margins_is_judged_all_the_same() -> None:
    pair, flow = warped_pair(texture(0, size=24), seed=0)
    assert math.isfinite(flow_error(pair, flow, DisFlow()))


def test_flicker_is_the_mean_change_from_frame_to_frame() -> None:
    clip = torch.rand(3, 6, 5, 4, generator=torch.Generator().manual_seed(0))
    assert flicker(clip) == pytest.approx(np.abs(np.diff(clip.numpy(), axis=1)).mean(), rel=1e-6)
    assert flicker(clip[:, :1].expand(-1, 5, -1, -1)) == 0
    assert flicker(clip[:, :1]) == 0


def test_in_a_noisy_still_nothing_moves_and_the_noise_of_its_frames_is_independent() -> None:
    frame = 0.2 + 0.6 * texture(0)
    still = noisy_still(frame, seed=0)
    first, second = (still - frame[:, None]).transpose(0, 1).flatten(1).numpy() * 255
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.02
    np.testing.assert_allclose([first.std(), second.std()], 1, rtol=0.02)
    assert flicker(noisy_still(frame, seed=0, sigma=0.0)) == 0


def test_noise_flickers_as_its_deviation_says() -> None:
    still = torch.full((3, 8, 64, 64), 0.5)
    expected = 2 / math.sqrt(math.pi) / 255  # mean |x - y| of two independent normal numbers, of deviation 1 / 255
    assert flicker(add_noise(still, seed=0)) == pytest.approx(expected, rel=0.02)
    assert torch.equal(add_noise(still, seed=0), add_noise(still, seed=0))


def test_the_mean_correlation_is_that_of_numpy_over_the_units_that_vary() -> None:
    generator = np.random.default_rng(0)
    a = generator.normal(size=(20, 6))
    b = a * [1, -1, 0.5, 0, 1, 1] + generator.normal(size=(20, 6))
    expected = np.mean([np.corrcoef(a[:, i], b[:, i])[0, 1] for i in range(6)])
    a7, b7 = np.c_[a, np.full(20, 3.0)], np.c_[b, generator.normal(size=20)]
    assert mean_correlation(torch.from_numpy(a), torch.from_numpy(b)) == pytest.approx(expected, abs=1e-9)
    assert mean_correlation(torch.from_numpy(a7), torch.from_numpy(b7)) == pytest.approx(expected, abs=1e-9)
    assert math.isnan(mean_correlation(torch.ones(4, 2), torch.rand(4, 2)))


def test_the_descriptor_tells_colours_cells_and_the_direction_of_edges() -> None:
    stripes = torch.zeros(1, 3, 64, 64)
    stripes[:, 0, :32] = (torch.arange(64) // 4 % 2).float()  # red upright stripes in the upper half
    told = static_descriptor(torch.cat([stripes, stripes.transpose(-1, -2)]))
    assert told.shape == (2, 80)
    upright, lying = told
    np.testing.assert_allclose(upright[:4].numpy(), [0.5, 0.5, 0, 0], atol=1e-6)  # mean red in four cells
    np.testing.assert_allclose(lying[:4].numpy(), [0.5, 0, 0.5, 0], atol=1e-6)
    across, down = upright[20:24], upright[24:28]  # edges at the finest scale
    assert float(across[:2].min()) > 10 * float(down[2:].max().clamp(min=1e-6))
    np.testing.assert_allclose(upright[68:72].numpy(), [0.5, 0.5, 0, 0], atol=1e-3)  # spread of red

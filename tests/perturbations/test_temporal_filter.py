# SPDX-License-Identifier: Apache-2.0
"""Noise is averaged along the paths of pixels, and nothing else is."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from staticdropout.errors import BatchError, OptionError
from staticdropout.perturbations import DisFlow, filter_over_time
from staticdropout.perturbations.pixel_sampling import pixel_positions, sample_bilinear


def pan(length: int, size: int, step: tuple[int, int], seed: int = 0) -> tuple[Tensor, Tensor]:
    """A coarse random texture that moves by whole pixels, and its forward flow."""
    generator = torch.Generator().manual_seed(seed)
    extent = size + length * max(abs(step[0]), abs(step[1]), 1)
    coarse = torch.rand(1, 3, extent // 4, extent // 4, generator=generator) * 0.8 + 0.1
    texture = torch.nn.functional.interpolate(coarse, (extent, extent), mode="bilinear")[0]
    dx, dy = step
    starts = [
        (dy * (length - 1 - t) if dy >= 0 else -dy * t, dx * (length - 1 - t) if dx >= 0 else -dx * t)
        for t in range(length)
    ]
    frames = torch.stack([texture[:, y : y + size, x : x + size] for y, x in starts])
    flow = torch.tensor([dx, dy], dtype=torch.float32).view(1, 2, 1, 1).expand(length - 1, 2, size, size)
    return frames, flow


def stated_pixel(frames: np.ndarray, step: tuple[int, int], t: int, y: int, x: int, window: int) -> np.ndarray:
    """The filter at one pixel of a pan by whole pixels, as a plain sum."""
    centre, total, weights = frames[t, :, y, x], np.zeros(3), 0.0
    for s in range(max(0, t - window), min(len(frames), t + window + 1)):
        value = frames[s, :, y + step[1] * (s - t), x + step[0] * (s - t)]
        colour = np.sqrt((((value - centre) * 255) ** 2).sum())
        weight = math.exp(-((s - t) ** 2) / (2 * 5.0**2)) * math.exp(-(colour**2) / (2 * (441.673 / 16) ** 2))
        total, weights = total + weight * value, weights + weight
    return np.asarray(total / weights)


@pytest.mark.parametrize("step", [(0, 0), (2, -1)])
def test_a_pixel_is_the_stated_mean_over_its_path(step: tuple[int, int]) -> None:
    frames, flow = pan(9, 40, step)
    noisy = (frames + 0.05 * torch.randn(frames.shape, generator=torch.Generator().manual_seed(1))).clamp(0, 1)
    filtered = filter_over_time(noisy, flow, -flow)
    for t, y, x in ((0, 20, 18), (4, 20, 20), (8, 18, 22)):
        expected = stated_pixel(noisy.double().numpy(), step, t, y, x, window=15)
        assert np.allclose(filtered[t, :, y, x].numpy(), expected, atol=1e-4)


def test_a_noisy_pan_becomes_cleaner_and_keeps_its_detail() -> None:
    frames, flow = pan(12, 56, (2, 1))
    noise = 0.04 * torch.randn(frames.shape, generator=torch.Generator().manual_seed(1))
    inner = (slice(None), slice(None), slice(16, -16), slice(26, -26))
    filtered = filter_over_time(frames + noise, flow, -flow)
    assert float((filtered - frames)[inner].std()) < 0.5 * float(noise[inner].std())
    # The filter of a clean clip gives it back: there is no blur, neither across edges nor along them.
    assert float((filter_over_time(frames, flow, -flow) - frames)[inner].abs().max()) < 1e-4
    blurred = frames.roll(1, 0)  # a filter that did not follow the motion would mix frames as they stand
    assert float((blurred - frames)[inner].abs().mean()) > 0.03


def test_a_still_noisy_clip_approaches_its_mean() -> None:
    still, flow = torch.full((31, 3, 6, 6), 0.5), torch.zeros(30, 2, 6, 6)
    noise = 0.01 * torch.randn(still.shape, generator=torch.Generator().manual_seed(0))
    filtered = filter_over_time(still + noise, flow, flow)
    weights = np.exp(-(np.arange(-15, 16) ** 2) / 50)
    expected = 0.01 * math.sqrt((weights**2).sum()) / weights.sum()  # of a mean with these weights
    assert float(filtered[15].sub(0.5).std()) == pytest.approx(expected, rel=0.25)
    wide = filter_over_time(still + noise, flow, flow, window=1000, sigma_divisor=1e-3)
    assert torch.allclose(wide[15], (still + noise).mean(dim=0), atol=1e-4)


def test_what_comes_into_view_and_what_flow_gets_wrong_stays_as_it_is() -> None:
    frames = torch.zeros(6, 3, 8, 8)
    frames[3:] = 0.9  # a cut
    still = torch.zeros(5, 2, 8, 8)
    assert float((filter_over_time(frames, still, still) - frames).abs().max()) < 1e-5
    wrong = torch.full((5, 2, 8, 8), 100.0)
    assert bool(filter_over_time(frames, wrong, wrong).isfinite().all())


def test_window_bounds_the_frames_that_are_used() -> None:
    frames = torch.full((9, 3, 4, 4), 0.5)
    frames[8] = 0.52
    still = torch.zeros(8, 2, 4, 4)
    filtered = filter_over_time(frames, still, still, window=3)
    changed = [not torch.equal(filtered[t], frames[t]) for t in range(9)]
    assert changed == [False] * 5 + [True] * 4
    assert torch.equal(filter_over_time(frames, still, still, window=0), frames)
    assert torch.equal(filter_over_time(frames[:1], still[:0], still[:0]), frames[:1])


def test_with_estimated_flow_a_noisy_pan_becomes_cleaner_too() -> None:
    frames, _ = pan(8, 64, (1, 2), seed=3)
    noise = 0.03 * torch.randn(frames.shape, generator=torch.Generator().manual_seed(1))
    noisy = (frames + noise).clamp(0, 1)
    pixels = noisy.mul(255).round().byte()
    filtered = filter_over_time(noisy, DisFlow()(pixels), DisFlow()(pixels.flip(0)).flip(0))
    inner = (slice(None), slice(None), slice(16, -16), slice(16, -16))
    assert float((filtered - frames)[inner].std()) < 0.75 * float((noisy - frames)[inner].std())


def test_type_is_kept_and_wrong_shapes_and_options_are_named() -> None:
    frames, flow = pan(3, 16, (1, 0))
    assert filter_over_time(frames.half(), flow, -flow).dtype == torch.float16
    with pytest.raises(BatchError, match=r"backward flow of shape \(2, 2, 16, 16\).*found \(1, 2, 16, 16\)"):
        filter_over_time(frames, flow, flow[:1])
    with pytest.raises(BatchError, match=r"found \(3, 16, 16\)"):
        filter_over_time(frames[0], flow, flow)
    with pytest.raises(BatchError, match="uint8"):
        filter_over_time(frames.byte(), flow, flow)
    with pytest.raises(OptionError, match="found -1 and 16"):
        filter_over_time(frames, flow, flow, window=-1)
    with pytest.raises(OptionError, match="found 15 and 0"):
        filter_over_time(frames, flow, flow, sigma_divisor=0)


def test_values_between_pixels_are_bilinear_and_outside_those_of_the_border() -> None:
    y, x = np.mgrid[:5, :7].astype(np.float32)
    plane = torch.from_numpy(2 * x - 3 * y)[None, None]
    positions = torch.tensor([[0.25, 3.5, 6.0, -4.0, 9.0], [1.75, 0.0, 4.0, 2.0, 9.0]]).view(1, 2, 1, 5)
    found = sample_bilinear(plane, positions)[0, 0, 0]
    assert np.allclose(found, [0.5 - 5.25, 7, 0, -6, 0], atol=1e-5)
    assert torch.allclose(sample_bilinear(plane, pixel_positions(5, 7)[None]), plane, atol=1e-5)
    assert sample_bilinear(torch.ones(1, 1, 1, 1), torch.zeros(1, 2, 1, 1)).item() == 1

# SPDX-License-Identifier: Apache-2.0
"""What a default style must change (colour) and what it must keep (motion)."""

from __future__ import annotations

from itertools import combinations

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from staticdropout.perturbations import get_style

DEFAULT = ["paint", "chalk", "neon", "relief"]


def styled(name: str, frame: Tensor) -> Tensor:
    if name == "canvas":  # a texture fixed in image coordinates, as no style may have
        texture = torch.rand(frame.shape[-2:], generator=torch.Generator().manual_seed(0))
        return 0.5 * frame + 0.5 * texture
    return get_style(name)(frame[None, :, None])[0, :, 0]


def histogram(frame: Tensor) -> np.ndarray:
    red, green, blue = (frame * 7.999).long().flatten(1)
    counts = np.bincount((64 * red + 8 * green + blue).numpy(), minlength=512)
    return np.asarray(counts / counts.sum())


def hellinger(a: Tensor, b: Tensor) -> float:
    return float(np.sqrt(np.clip(1 - np.sqrt(histogram(a) * histogram(b)).sum(), 0, None)))


def known_warp(frame: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """A smoothly warped copy of the frame (mean 3 px) with noise of 1/255, and the flow from it to the frame."""
    generator = torch.Generator().manual_seed(seed)
    height, width = frame.shape[-2:]
    flow = F.interpolate(
        torch.randn(1, 2, 4, 4, generator=generator), (height, width), mode="bicubic", align_corners=True
    )[0]
    flow = flow * 3 / flow.norm(dim=0).mean()
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    grid = torch.stack([(x + flow[0]) * 2 / (width - 1) - 1, (y + flow[1]) * 2 / (height - 1) - 1], dim=-1)
    warped = F.grid_sample(frame[None], grid[None], mode="bicubic", padding_mode="reflection", align_corners=True)[0]
    return (warped + torch.randn(warped.shape, generator=generator) / 255).clamp(0, 1), flow


def flow_error(first: Tensor, second: Tensor, flow: Tensor) -> float:
    """Median end-point error of DIS flow in pixels, away from the border."""
    images = [(frame.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8) for frame in (first, second)]
    grey = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in images]
    empty = np.zeros((*grey[0].shape, 2), np.float32)
    found = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(grey[0], grey[1], empty)
    error = (torch.from_numpy(found).permute(2, 0, 1) - flow).norm(dim=0)
    return float(error[16:-16, 16:-16].median())


def error_ratio(name: str, frames: list[Tensor]) -> float:
    """Mean flow error of styled frames over that of the frames themselves."""
    warps = [known_warp(frame, seed) for seed, frame in enumerate(frames)]
    plain = [flow_error(warped, frame, flow) for frame, (warped, flow) in zip(frames, warps, strict=True)]
    after = [
        flow_error(styled(name, warped), styled(name, frame), flow)
        for frame, (warped, flow) in zip(frames, warps, strict=True)
    ]
    assert np.mean(plain) < 0.5, "the measure itself must be able to see the warp"
    return float(np.mean(after) / np.mean(plain))


@pytest.mark.parametrize("name", DEFAULT)
def test_a_style_changes_the_colours_of_real_clips(name: str, real_frames: list[Tensor]) -> None:
    assert np.mean([hellinger(frame, styled(name, frame)) for frame in real_frames]) > 0.8


@pytest.mark.parametrize("pair", list(combinations(DEFAULT, 2)), ids="-".join)
def test_styles_differ_in_colour_from_each_other(pair: tuple[str, str], real_frames: list[Tensor]) -> None:
    first, second = pair
    assert np.mean([hellinger(styled(first, frame), styled(second, frame)) for frame in real_frames]) > 0.8


@pytest.mark.parametrize("name", DEFAULT)
def test_motion_can_still_be_measured_in_generated_frames(name: str, generated_frames: list[Tensor]) -> None:
    assert error_ratio(name, generated_frames) < 1.5


@pytest.mark.parametrize("name", DEFAULT)
def test_motion_can_still_be_measured_in_real_clips(name: str, real_frames: list[Tensor]) -> None:
    assert error_ratio(name, real_frames) < 1.5


def test_the_measure_catches_a_style_that_hides_motion(generated_frames: list[Tensor]) -> None:
    assert error_ratio("canvas", generated_frames) > 3


@pytest.mark.parametrize("name", DEFAULT)
def test_noise_of_a_sensor_does_not_flicker(name: str, generated_frames: list[Tensor]) -> None:
    frame = generated_frames[0]
    noise = torch.randn(frame.shape, generator=torch.Generator().manual_seed(0)) / 255
    change = (styled(name, (frame + noise).clamp(0, 1)) - styled(name, frame)).abs().mean()
    assert float(change) < 4 * float(noise.abs().mean())

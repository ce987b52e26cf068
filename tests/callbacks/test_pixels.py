# SPDX-License-Identifier: Apache-2.0
"""Pixels out of a batch and back into it: every layout, range, type and order in memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from staticdropout.callbacks import VideoInputs
from staticdropout.errors import BatchError

VIDEO = torch.rand(2, 3, 8, 10, 12, generator=torch.Generator().manual_seed(0))
LAYOUTS = {"BCTHW": 2, "BTCHW": 1, "BTHWC": 1}


def laid_out(video: Tensor, layout: str) -> Tensor:
    return video.permute(["BCTHW".index(axis) for axis in layout]).contiguous()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", ["float", "uint8", "int64", "normalised", "half", "bfloat16"])
def test_pixels_and_back_for_every_layout_and_range(layout: str, kind: str) -> None:
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
    options: Any = {"mean": mean, "std": std} if kind == "normalised" else {}
    stored = laid_out(VIDEO, layout)
    if kind in ("uint8", "int64"):
        stored = (stored * 255).round().to(getattr(torch, kind))
    elif kind == "normalised":
        normalised = (VIDEO - torch.tensor(mean).view(1, 3, 1, 1, 1)) / torch.tensor(std).view(1, 3, 1, 1, 1)
        stored = laid_out(normalised, layout)
    elif kind != "float":
        stored = stored.to(getattr(torch, kind))
    inputs = VideoInputs(**options)
    assert inputs.time_dim(stored) == LAYOUTS[layout]
    pixels = inputs.pixels(stored)
    assert pixels.dtype == torch.float32
    torch.testing.assert_close(pixels, VIDEO, rtol=0, atol=1e-6 if kind in ("float", "normalised") else 0.003)
    restored = inputs.restore(pixels, like=stored)
    torch.testing.assert_close(restored, stored, rtol=0, atol=1e-5 if kind == "normalised" else 0)  # and the dtype
    assert restored.stride() == stored.stride()


@pytest.mark.parametrize(
    "video",
    [
        VIDEO.to(memory_format=torch.channels_last_3d),
        VIDEO.transpose(3, 4),
        VIDEO[:, :, ::2],
        VIDEO[:1].expand(4, -1, -1, -1, -1),
    ],
)
def test_any_order_in_memory_is_read_and_kept_where_it_is_dense(video: Tensor) -> None:
    inputs = VideoInputs()
    restored = inputs.restore(inputs.pixels(video), like=video)
    assert torch.equal(restored, video)
    assert restored.stride() == torch.empty_like(video).stride()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("options", [{}, {"mean": [0.45], "std": [0.225]}])
def test_grey_clips_are_styled_in_colour_and_become_grey_again(layout: str, options: Any) -> None:
    grey = laid_out(VIDEO[:, :1], layout)
    stored = (grey - 0.45) / 0.225 if options else grey
    inputs = VideoInputs(**options)
    assert inputs.time_dim(stored) == LAYOUTS[layout]
    pixels = inputs.pixels(stored)
    torch.testing.assert_close(pixels, VIDEO[:, :1].expand(-1, 3, -1, -1, -1))
    torch.testing.assert_close(inputs.restore(pixels, like=stored), stored)


@pytest.mark.parametrize("shape", [(2, 3, 3, 8, 8), (2, 3, 8, 8, 3), (2, 1, 1, 8, 8), (2, 4, 8, 8, 8)])
def test_an_unclear_layout_has_to_be_told(shape: tuple[int, ...]) -> None:
    video = torch.rand(shape)
    with pytest.raises(BatchError, match=r"dimension.* size .*layout='BCTHW'"):
        VideoInputs().time_dim(video)
    assert VideoInputs(layout="BTCHW").time_dim(video) == 1
    assert VideoInputs(layout="BCTHW").time_dim(video) == 2


def test_small_pictures_are_no_trouble() -> None:
    assert VideoInputs().time_dim(torch.rand(2, 3, 8, 3, 8)) == 2  # a height of 3 is in no layout's place of channels


@pytest.mark.parametrize(
    ("bad", "advice"),
    [
        (VIDEO * 4 - 2, r"from -2 to 2.*mean=\.\.\., std=\.\.\."),
        (VIDEO * 255, r"to 255\. For floats up to 255 set .*mean=\[0\], std=\[1 / 255\]"),
        (VIDEO * 2 - 1, r"from -1 to 1\. For values from -1 to 1 set .*mean=\[0\.5\], std=\[0\.5\]"),
        (VIDEO * float("nan"), "from nan to nan. Look for NaN"),
        (VIDEO / 0, "infinity"),
        ((VIDEO * 60000).int(), "whole numbers up to 255"),
    ],
)
def test_values_that_are_no_pixels_are_refused_with_the_way_out(bad: Tensor, advice: str) -> None:
    with pytest.raises(BatchError, match=advice):
        VideoInputs().pixels(bad)


@pytest.mark.parametrize(
    ("bad", "options"),
    [(VIDEO * 255, {"mean": [0], "std": [1 / 255]}), (VIDEO * 2 - 1, {"mean": [0.5], "std": [0.5]})],
)
def test_the_advice_about_ranges_is_right(bad: Tensor, options: Any) -> None:
    torch.testing.assert_close(VideoInputs(**options).pixels(bad), VIDEO)


def test_a_wrong_mean_and_std_are_reported_as_such() -> None:
    with pytest.raises(BatchError, match=r"after undoing mean and std, found values from -?[0-9.]+ to .*std="):
        VideoInputs(mean=[0.45], std=[0.225]).pixels(VIDEO * 255)
    with pytest.raises(BatchError, match="has 1 channel, but mean and std are for 3"):
        VideoInputs(mean=[0.45] * 3, std=[0.225] * 3).pixels(VIDEO[:, :1])


def test_what_a_resize_leaves_outside_the_range_is_clamped() -> None:
    pixels = VideoInputs().pixels(VIDEO * 1.16 - 0.08)
    assert (float(pixels.amin()), float(pixels.amax())) == (0, 1)


@pytest.mark.parametrize("channels", [2, 4])
def test_other_channels_cannot_be_styled(channels: int) -> None:
    with pytest.raises(BatchError, match=rf"{channels} channels in layout BCTHW.*triplets="):
        VideoInputs(layout="BCTHW").pixels(torch.rand(2, channels, 8, 10, 12))

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from scipy.interpolate import RegularGridInterpolator
from torch import Tensor

from staticdropout.errors import BatchError, UnknownNameError
from staticdropout.perturbations import Style, get_style, list_styles, register_style
from staticdropout.perturbations.styles import Paint, unregister_style

DEFAULT = ["paint", "chalk", "neon", "relief"]
MARGIN = 20  # no filter reaches further, in pixels


def test_the_four_default_styles_are_registered() -> None:
    assert set(DEFAULT) <= set(list_styles())
    assert list_styles() == sorted(list_styles())


@pytest.mark.parametrize("name", DEFAULT)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_shape_dtype_and_range_are_kept(name: str, dtype: torch.dtype, textured_clips: Tensor) -> None:
    style = get_style(name)
    styled = style(textured_clips.to(dtype))
    assert isinstance(style, Style)
    assert style.name == name
    assert not style.temporal
    assert styled.shape == textured_clips.shape
    assert styled.dtype == dtype
    assert styled.is_contiguous()
    assert 0 <= float(styled.min()) < float(styled.max()) <= 1
    assert float((styled.float() - style(textured_clips)).abs().mean()) < 0.02


@pytest.mark.parametrize("name", DEFAULT)
def test_the_same_clip_gives_the_same_bits_also_under_autocast(name: str, textured_clips: Tensor) -> None:
    first = get_style(name)(textured_clips)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        second = get_style(name)(textured_clips)
    assert torch.equal(first, second)


@pytest.mark.parametrize("name", DEFAULT)
def test_a_clip_styled_in_pieces_is_the_clip_styled_whole(name: str, textured_clips: Tensor) -> None:
    style = get_style(name)
    whole = style(textured_clips)
    pieces = [style(clip[None, :, t : t + 1]) for clip in textured_clips for t in range(clip.shape[1])]
    assert torch.equal(torch.cat(pieces, dim=2), torch.cat(list(whole), dim=1)[None])


@pytest.mark.parametrize("name", DEFAULT)
def test_groups_of_frames_do_not_show(name: str, textured_clips: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    style = get_style(name)
    whole = style(textured_clips)
    monkeypatch.setattr("staticdropout.perturbations.styles.base._PIXELS_PER_STEP", {"cpu": 3 * 72 * 80})
    assert torch.equal(style(textured_clips), whole)


@pytest.mark.parametrize("name", DEFAULT)
def test_a_shifted_clip_gives_the_shifted_style_away_from_the_border(name: str, textured_clips: Tensor) -> None:
    style = get_style(name)
    dy, dx = 3, 7
    styled = style(textured_clips)[..., dy + MARGIN : -MARGIN, dx + MARGIN : -MARGIN]
    shifted = style(textured_clips[..., dy:, dx:])[..., MARGIN:-MARGIN, MARGIN:-MARGIN]
    assert styled.numel()
    assert float((styled - shifted).abs().max()) <= 1e-6


@pytest.mark.parametrize("name", DEFAULT)
def test_no_global_generator_is_touched(name: str, textured_clips: Tensor) -> None:
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()  # type: ignore[index] # noqa: NPY002
    get_style(name)(textured_clips, seed=3)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert np.array_equal(np.random.get_state()[1], before[2])  # type: ignore[index] # noqa: NPY002


@pytest.mark.parametrize("name", DEFAULT)
def test_the_input_is_left_as_it_is_and_no_gradient_is_kept(name: str, textured_clips: Tensor) -> None:
    clip = textured_clips.clone().requires_grad_()
    styled = get_style(name)(clip)
    assert torch.equal(clip, textured_clips)
    assert not styled.requires_grad


@pytest.mark.parametrize("name", DEFAULT)
def test_seeds_are_variants_of_a_style(name: str, textured_clips: Tensor) -> None:
    style = get_style(name)
    variants = [style(textured_clips, seed=seed) for seed in range(4)]
    assert torch.equal(variants[0], style(textured_clips))
    for i, variant in enumerate(variants):
        assert all(float((variant - other).abs().mean()) > 0.05 for other in variants[:i])


@pytest.mark.parametrize("name", DEFAULT)
@pytest.mark.parametrize("shape", [(1, 3, 1, 1, 1), (2, 3, 1, 5, 3), (0, 3, 4, 8, 8)])
def test_tiny_and_empty_clips_work(name: str, shape: tuple[int, ...]) -> None:
    assert get_style(name)(torch.rand(shape)).shape == shape


@pytest.mark.parametrize("name", DEFAULT)
def test_a_clip_with_strides_of_its_own_gives_the_same(name: str, textured_clips: Tensor) -> None:
    strided = textured_clips.transpose(1, 2).contiguous().transpose(1, 2)
    assert torch.equal(get_style(name)(strided), get_style(name)(textured_clips))


@pytest.mark.parametrize("seed", [0, 5])
def test_paint_mixes_the_colours_of_its_table_evenly_in_three_dimensions(seed: int) -> None:
    paint, levels = Paint(), (0.0, 0.5, 1.0)
    table = np.array(paint._table(seed)).reshape(3, 3, 3, 3)  # blue, green, red, colour
    generator = torch.Generator().manual_seed(seed)
    colours = torch.cat([torch.rand(40, 3, generator=generator), torch.cartesian_prod(*[torch.tensor(levels)] * 3)])
    expected = RegularGridInterpolator((levels,) * 3, table)(colours.flip(1).double().numpy())
    flat = colours.view(1, -1, 3, 1, 1).transpose(1, 2).expand(1, 3, -1, 5, 6)  # no smoothing changes a flat frame
    painted = paint(flat, seed=seed)[0].permute(1, 2, 3, 0)
    assert float((painted - torch.from_numpy(expected).view(-1, 1, 1, 3)).abs().max()) < 2e-6


@pytest.mark.parametrize(
    ("clip", "message"),
    [
        (torch.rand(3, 4, 8, 8), r"found \(3, 4, 8, 8\)"),
        (torch.rand(2, 1, 4, 8, 8), r"found \(2, 1, 4, 8, 8\)"),
        (torch.rand(2, 4, 3, 8, 8), r"use video.transpose\(1, 2\)"),
        (torch.zeros(2, 3, 4, 8, 8, dtype=torch.uint8), r"uint8.*/ 255"),
    ],
)
def test_what_is_not_a_clip_is_refused_with_the_way_out(clip: Tensor, message: str) -> None:
    with pytest.raises(BatchError, match=message):
        get_style("paint")(clip)


def test_an_unknown_style_is_named_with_close_matches() -> None:
    with pytest.raises(UnknownNameError, match=r"no style called 'chalck'.*chalk"):
        get_style("chalck")


def test_a_style_can_be_registered_once_and_made_with_parameters() -> None:
    register_style("thick")(lambda radius=3: Paint(radius=radius))
    try:
        assert get_style("thick", radius=4) == Paint(radius=4)
        with pytest.raises(ValueError, match="already"):
            register_style("thick")(Paint)
    finally:
        unregister_style("thick")
    assert "thick" not in list_styles()

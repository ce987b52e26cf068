# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import math
import random
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import functional as pil

from staticdropout.errors import BatchError, OptionError, UnknownNameError
from staticdropout.perturbations import ColourDraw, Encoding, FlowJitter, JitterMode, VectorDraw, colour_to_flow
from staticdropout.perturbations import flow_to_colour as draw_flow

MODES: tuple[JitterMode, ...] = ("paper", "vector")


def vectors(*leading: int, size: int = 12, seed: int = 0) -> Tensor:
    return torch.randn(*leading, 2, size, size, generator=torch.Generator().manual_seed(seed))


def colours(*leading: int, size: int = 12, seed: int = 0) -> Tensor:
    return draw_flow(vectors(*leading, size=size, seed=seed), max_flow=5)


def both_ways(batch: int, seed: int = 0) -> Tensor:
    """Two-frame clips (B, 2, 6, H, W) whose four pictures are the same."""
    return colours(batch, 1, seed=seed).repeat(1, 2, 2, 1, 1)


def paper_draws(number: int) -> list[ColourDraw]:
    jitter = FlowJitter("paper", seed=1)
    return [cast("ColourDraw", jitter.draw(f"dog/{i:05d}")) for i in range(number)]


def test_hue_shifts_are_those_measured_for_the_released_code() -> None:
    degrees = np.abs([draw.hue for draw in paper_draws(20000)]) * 360
    assert degrees.max() < 180
    assert degrees.mean() == pytest.approx(54, abs=1.5)
    assert (degrees < 18).mean() == pytest.approx(0.2012, abs=0.015)  # ln 5 / 8
    assert (degrees > 90).mean() == pytest.approx(0.19, abs=0.015)
    assert np.mean([draw.hue for draw in paper_draws(20000)]) == pytest.approx(0, abs=0.01)


def test_saturation_factors_are_those_measured_for_the_released_code() -> None:
    factors = np.array([draw.saturation for draw in paper_draws(20000)])
    assert 0 <= factors.min() < 0.05
    assert 1.95 < factors.max() < 2
    assert factors.mean() == pytest.approx(1, abs=0.01)
    assert np.abs(factors - 1).mean() == pytest.approx(0.275, abs=0.01)


def test_hue_and_saturation_come_in_either_order() -> None:
    assert np.mean([draw.hue_first for draw in paper_draws(4000)]) == pytest.approx(0.5, abs=0.04)


def test_rotations_and_scales_are_uniform_over_their_ranges() -> None:
    jitter = FlowJitter("vector")
    draws = [cast("VectorDraw", jitter.draw(f"sequence{i}/00000")) for i in range(8000)]
    angles, scales = np.array(draws).T
    assert 45 <= angles.min() < 46
    assert 314 < angles.max() <= 315
    assert np.percentile(angles, [25, 50, 75]) == pytest.approx([112.5, 180, 247.5], abs=6)
    assert np.percentile(scales, [0, 25, 50, 75, 100]) == pytest.approx([0.5, 0.875, 1.25, 1.625, 2], abs=0.04)
    assert abs(np.corrcoef(angles, scales)[0, 1]) < 0.05


def test_the_draws_of_a_key_stay_the_same_for_ever() -> None:
    first = cast("ColourDraw", FlowJitter("paper", seed=7).draw("dog/00003"))
    second = cast("VectorDraw", FlowJitter("vector", seed=7).draw("dog/00003"))
    assert (round(first.hue, 6), round(first.saturation, 6), first.hue_first) == (0.083188, 0.434642, True)
    assert (round(second.angle, 4), round(second.scale, 6)) == (58.1101, 0.688228)


@pytest.mark.parametrize("number", range(6))
def test_colours_change_as_those_of_pil_pictures_do(number: int) -> None:
    flow, key, jitter = colours(1, size=32, seed=number), f"dog/{number}", FlowJitter("paper")
    draw = cast("ColourDraw", jitter.draw(key))
    picture = Image.fromarray(flow[0].mul(255).round().byte().permute(1, 2, 0).numpy())
    if draw.hue_first:
        picture = pil.adjust_saturation(pil.adjust_hue(picture, draw.hue), draw.saturation)
    else:
        picture = pil.adjust_hue(pil.adjust_saturation(picture, draw.saturation), draw.hue)
    found = jitter(flow, [key])[0].permute(1, 2, 0) * 255
    difference = (found - torch.from_numpy(np.array(picture))).abs()
    assert difference.mean() < 2  # PIL keeps hues in 256 steps, of up to 6 levels of a channel
    assert difference.max() < 18


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("encoding", ["middlebury", "hsv"])
def test_pixels_without_motion_stay_bit_identical(mode: JitterMode, encoding: Encoding) -> None:
    flow = vectors(16)
    flow[..., 3:9, 3:9] = 0
    drawn = draw_flow(flow, encoding)
    jittered = FlowJitter(mode, encoding=encoding)(drawn)
    assert torch.equal(jittered[..., 3:9, 3:9], drawn[..., 3:9, 3:9])
    assert all(not torch.equal(a, b) for a, b in zip(jittered, drawn, strict=True))


@pytest.mark.parametrize("mode", MODES)
def test_white_pictures_of_every_kind_stay_white(mode: JitterMode) -> None:
    for shape in ((4, 3, 5, 5), (4, 6, 5, 5), (4, 2, 6, 5, 5)):
        assert torch.equal(FlowJitter(mode)(torch.ones(shape)), torch.ones(shape))


def test_on_paper_every_picture_gets_draws_of_its_own() -> None:
    jittered = FlowJitter("paper")(both_ways(2), ["dog/00000", "dog/00001"])
    pictures = jittered.reshape(8, 3, 12, 12)
    same = [[torch.equal(a, b) for a in pictures] for b in pictures]
    assert torch.equal(torch.tensor(same)[:4, :4], torch.eye(4, dtype=torch.bool))
    jitter = FlowJitter("paper")
    forward, backward = ([jitter.draw(f"dog/{i}", backward=way)[0] for i in range(2000)] for way in (False, True))
    assert abs(np.corrcoef(forward, backward)[0, 1]) < 0.08


def test_vectors_turn_alike_forward_and_backward_and_over_a_sequence() -> None:
    flow = both_ways(1).repeat(3, 1, 1, 1, 1)
    jittered = FlowJitter("vector")(flow, ["a/b/00000", "a/b/00007", "a/c/00000"])
    first, second, other = jittered.reshape(3, 4, 3, 12, 12)
    assert all(torch.equal(picture, first[0]) for picture in (*first, *second))
    assert not torch.allclose(other[0], first[0], atol=0.1)


def test_the_forward_flow_of_a_sample_is_jittered_alike_with_and_without_the_backward_flow() -> None:
    forward, backward = colours(2, seed=1), colours(2, seed=2)
    for mode in MODES:
        jitter = FlowJitter(mode)
        assert torch.equal(jitter(torch.cat([forward, backward], 1))[:, :3], jitter(forward))


def test_vectors_are_rotated_on_the_screen_and_scaled() -> None:
    flow, jitter = vectors(3), FlowJitter("vector", seed=2)
    jittered = jitter(flow, keys=["a/0", "b/0", "c/0"])
    for i, key in enumerate("abc"):
        draw = cast("VectorDraw", jitter.draw(f"{key}/9"))
        upwards = torch.complex(flow[i, 0], -flow[i, 1])
        factor = draw.scale * complex(math.cos(math.radians(draw.angle)), math.sin(math.radians(draw.angle)))
        expected = upwards * factor
        assert torch.allclose(jittered[i], torch.stack((expected.real, -expected.imag)), atol=1e-5)


@pytest.mark.parametrize("encoding", ["middlebury", "hsv"])
def test_vectors_and_their_colours_are_jittered_alike(encoding: Encoding) -> None:
    flow, jitter = vectors(4, 2), FlowJitter("vector", encoding=encoding)
    expected = jitter(flow)
    assert expected.shape == flow.shape
    found = colour_to_flow(jitter(draw_flow(flow, encoding, max_flow=9)), encoding, max_flow=9)
    assert expected.norm(dim=-3).max() < 9
    assert torch.allclose(found, expected, atol=1e-4)


def test_marks_of_unknown_flow_stay() -> None:
    flow = torch.full((1, 2, 2, 2), 1.6666e9)
    flow[..., 0] = torch.nan
    assert torch.equal(FlowJitter("vector")(flow).nan_to_num(7), flow.nan_to_num(7))


@pytest.mark.parametrize("mode", MODES)
def test_a_sample_is_jittered_alike_in_any_batch_order_or_measurement(mode: JitterMode) -> None:
    flow, keys = colours(6), [f"sequence{i}/00000" for i in range(6)]
    whole, order, jitter = FlowJitter(mode, seed=3)(flow, keys), [4, 0, 5, 2, 1, 3], FlowJitter(mode, seed=3)
    mixed = jitter(flow[order], [keys[i] for i in order])
    alone = torch.cat([jitter(flow[i : i + 1], [keys[i]]) for i in range(6)])
    assert torch.equal(mixed, whole[order])
    assert torch.equal(alone, whole)
    assert not torch.equal(FlowJitter(mode, seed=4)(flow, keys), whole)


@pytest.mark.parametrize("mode", MODES)
def test_no_global_generator_is_touched_and_no_gradient_kept(mode: JitterMode) -> None:
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()  # type: ignore[index] # noqa: NPY002
    flow = colours(3).requires_grad_()
    copy = flow.detach().clone()
    assert not FlowJitter(mode)(flow).requires_grad
    assert torch.equal(flow, copy)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert np.array_equal(np.random.get_state()[1], before[2])  # type: ignore[index] # noqa: NPY002


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_shape_and_dtype_are_kept(mode: JitterMode, dtype: torch.dtype) -> None:
    flow = both_ways(2)
    jittered = FlowJitter(mode)(flow.to(dtype))
    assert jittered.dtype == dtype
    assert jittered.shape == flow.shape
    assert torch.allclose(jittered.float(), FlowJitter(mode)(flow), atol=0.1)
    assert FlowJitter(mode)(flow[:0].to(dtype)).shape == (0, 2, 6, 12, 12)


def test_the_description_is_plain_and_tells_modes_and_ranges_apart() -> None:
    descriptions = [FlowJitter("paper").description, FlowJitter("vector", angle=(90, 270), seed=2).description]
    assert json.loads(json.dumps(descriptions)) == descriptions
    assert descriptions[0] == {
        "mode": "paper", "hue": [0.1, 0.5], "saturation": [0.1, 1.0], "encoding": "middlebury", "seed": 0
    }  # fmt: skip
    assert descriptions[1]["angle"] == [90.0, 270.0]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"mode": "papers"}, UnknownNameError, "no mode of flow jitter called 'papers'. Close matches: paper"),
        ({"encoding": "hvs"}, UnknownNameError, "Close matches: hsv"),
        ({"hue": (0.1, 0.6)}, OptionError, r"hue must be two numbers.*between 0 and 0.5, found \(0.1, 0.6\)"),
        ({"saturation": (1.0, 0.1)}, OptionError, r"saturation.*lowest, highest.*found \(1.0, 0.1\)"),
        ({"scale": (-1, 2)}, OptionError, r"scale.*found \(-1, 2\)"),
        ({"angle": (1, 2, 3)}, OptionError, r"angle.*found \(1, 2, 3\)"),
        ({"seed": -1}, OptionError, "seed must not be negative, found -1"),
    ],
)
def test_options_out_of_range_are_named(options: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        FlowJitter(**options)


@pytest.mark.parametrize(
    ("mode", "flow", "message"),
    [
        ("paper", vectors(2), r"2 channels, shape \(2, 2, 12, 12\).*mode='vector'"),
        ("paper", colours(2)[0], r"found \(3, 12, 12\)"),
        ("vector", colours(2).transpose(1, 2), r"found \(2, 12, 3, 12\).*channels before height"),
        ("paper", (colours(2) * 255).byte(), r"floating-point flow in \[0, 1\], found torch.uint8"),
        ("vector", (colours(2) * 255).byte(), r"floating-point flow in \[0, 1\], found torch.uint8"),
        ("vector", vectors(2).int(), r"flow in pixels, found torch.int32"),
        ("paper", colours(2) * 255, "divide by 255"),
        ("vector", colours(2) * torch.nan, "from nan to nan"),
    ],
)
def test_what_is_not_flow_is_refused_with_the_way_out(mode: JitterMode, flow: Tensor, message: str) -> None:
    with pytest.raises(BatchError, match=message):
        FlowJitter(mode)(flow)


@pytest.mark.parametrize("mode", MODES)
def test_keys_must_be_one_for_each_sample(mode: JitterMode) -> None:
    with pytest.raises(BatchError, match="one key for each of the 2 clips"):
        FlowJitter(mode)(colours(2), ["a"])

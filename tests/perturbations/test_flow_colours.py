# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2.functional import rotate
from torchvision.utils import flow_to_image

from staticdropout.errors import BatchError, OptionError, UnknownNameError
from staticdropout.perturbations import NO_MOTION, Encoding, colour_to_flow, flow_to_colour, turn_flow_colours

ENCODINGS: tuple[Encoding, ...] = ("middlebury", "hsv")


def disc(radius: float, size: int = 101) -> Tensor:
    """Flow (2, size, size) of every direction and of magnitudes from 0 to ``radius`` and beyond in the corners."""
    axis = torch.linspace(-radius, radius, size)
    return torch.stack(torch.meshgrid(axis, axis, indexing="xy"))


def random_flow(*leading: int, size: int = 24, seed: int = 0) -> Tensor:
    return torch.randn(*leading, 2, size, size, generator=torch.Generator().manual_seed(seed)) * 5


def degrees_between(a: Tensor, b: Tensor) -> Tensor:
    difference = torch.atan2(a[1], a[0]) - torch.atan2(b[1], b[0])
    return ((difference + math.pi) % math.tau - math.pi).abs().rad2deg()


def turned(flow: Tensor, degrees: float, flip: bool = False) -> Tensor:
    """Vectors (2, H, W) mirrored, then rotated counter-clockwise on the screen, as complex numbers with v upwards."""
    vectors = torch.complex(-flow[0] if flip else flow[0], -flow[1])
    vectors = vectors * complex(math.cos(math.radians(degrees)), math.sin(math.radians(degrees)))
    return torch.stack((vectors.real, -vectors.imag))


@pytest.mark.parametrize("seed", range(3))
def test_the_wheel_is_that_of_torchvision_up_to_rounding(seed: int) -> None:
    flow = random_flow(size=96, seed=seed)
    difference = flow_to_colour(flow) * 255 - flow_to_image(flow)  # which rounds down
    assert difference.min() > -0.01
    assert difference.max() < 1.01


def test_beyond_the_radius_the_full_colour_is_darkened_to_three_quarters() -> None:
    flow = random_flow()
    directions = flow / flow.norm(dim=0)
    rim = flow_to_colour(directions * 0.99999, max_flow=1)
    assert torch.allclose(flow_to_colour(directions * 1.7, max_flow=1), rim * 0.75, atol=1e-4)
    assert torch.allclose(flow_to_colour(directions * 100, max_flow=1), rim * 0.75, atol=1e-4)


def test_the_hsv_picture_is_that_of_opencv() -> None:
    flow = disc(8)
    magnitude, angle = cv2.cartToPolar(flow[0].numpy(), flow[1].numpy(), angleInDegrees=True)
    hsv = np.stack([angle, np.ones_like(angle), np.minimum(magnitude / 10, 1)], axis=-1).astype(np.float32)
    expected = torch.from_numpy(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)).permute(2, 0, 1)
    difference = (flow_to_colour(flow, "hsv", max_flow=10) - expected).abs()
    assert difference.max() < 0.01  # OpenCV's fast arctangent is off by up to 0.3 degrees


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_zero_flow_has_the_colour_of_no_motion(encoding: Encoding) -> None:
    expected = torch.tensor(NO_MOTION[encoding]).view(3, 1, 1).expand(3, 4, 5)
    assert torch.equal(flow_to_colour(torch.zeros(2, 4, 5), encoding), expected)
    assert torch.equal(flow_to_colour(torch.zeros(2, 4, 5), encoding, max_flow=3), expected)
    assert torch.equal(colour_to_flow(expected, encoding), torch.zeros(2, 4, 5))


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_flow_comes_back_from_its_colours(encoding: Encoding) -> None:
    flow = disc(14)
    found = colour_to_flow(flow_to_colour(flow, encoding, max_flow=20), encoding, max_flow=20)
    assert (found - flow).abs().max() < 1e-4


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("rounding", [torch.round, torch.floor])
def test_eight_bits_keep_directions_within_two_degrees(encoding: Encoding, rounding: Any) -> None:
    flow = disc(14)
    found = colour_to_flow(rounding(flow_to_colour(flow, encoding, max_flow=20) * 255) / 255, encoding, max_flow=20)
    assert (found - flow).norm(dim=0).max() < 0.2
    assert degrees_between(found, flow)[flow.norm(dim=0) > 4].max() < 2
    assert degrees_between(found, flow)[flow.norm(dim=0) > 8].max() < 1


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_magnitudes_beyond_the_largest_come_back_as_the_largest(encoding: Encoding) -> None:
    flow = disc(50)
    found = colour_to_flow(flow_to_colour(flow, encoding, max_flow=10), encoding, max_flow=10)
    beyond = flow.norm(dim=0) > 10
    assert torch.allclose(found.norm(dim=0)[beyond], torch.tensor(10.0), atol=1e-3)
    assert degrees_between(found, flow)[beyond].max() < 0.01


def test_each_picture_is_scaled_by_its_own_largest_magnitude_unless_one_is_given() -> None:
    flow = torch.stack([disc(4), disc(8)])
    own, fixed = flow_to_colour(flow), flow_to_colour(flow, max_flow=12)
    assert torch.allclose(own[0], own[1], atol=1e-5)
    assert (fixed[0] - fixed[1]).abs().max() > 0.2
    assert torch.equal(fixed[0], flow_to_colour(flow[0], max_flow=12))
    assert torch.equal(own.amin((1, 2, 3)) < 1e-5, torch.tensor([True, True]))


def test_a_largest_magnitude_for_each_sample_serves_any_leading_dimensions() -> None:
    flow = random_flow(2, 3)
    largest = torch.tensor([10.0, 30.0])
    colours = flow_to_colour(flow, max_flow=largest)
    assert colours.shape == (2, 3, 3, 24, 24)
    for sample in range(2):
        for frame in range(3):
            alone = flow_to_colour(flow[sample, frame], max_flow=float(largest[sample]))
            assert torch.equal(colours[sample, frame], alone)
    assert torch.allclose(
        colour_to_flow(colours, max_flow=largest)[1], colour_to_flow(colours[1], max_flow=30.0), atol=1e-5
    )


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf, 1e10, -1.6666e9])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_unknown_flow_is_no_motion_and_does_not_count_as_the_largest(bad: float, encoding: Encoding) -> None:
    flow = disc(5, size=20)
    flow[1, 3, 4] = bad
    cleared = flow.clone()
    cleared[:, 3, 4] = 0
    assert torch.equal(flow_to_colour(flow, encoding), flow_to_colour(cleared, encoding))


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(
    ("angle", "flip"), [(0, False), (90, False), (-33.5, False), (0, True), (100, True), (725, True)]
)
def test_turning_colours_is_colouring_turned_vectors(encoding: Encoding, angle: float, flip: bool) -> None:
    flow = random_flow(size=64)
    expected = flow_to_colour(turned(flow, angle, flip), encoding, max_flow=25)
    found = turn_flow_colours(flow_to_colour(flow, encoding, max_flow=25), encoding, angle, flip)
    assert (found - expected).abs().max() < 1e-4


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("scale", [0.0, 0.5, 1.5, 2.0])
def test_scaling_colours_is_colouring_scaled_vectors_up_to_the_full_colour(encoding: Encoding, scale: float) -> None:
    flow = disc(12)
    found = colour_to_flow(
        turn_flow_colours(flow_to_colour(flow, encoding, max_flow=20), encoding, scale=scale), encoding, max_flow=20
    )
    longer = flow * scale
    expected = longer * (20 / longer.norm(dim=0).clamp(min=20))
    assert (found - expected).abs().max() < 1e-3


def test_every_sample_can_turn_its_own_way() -> None:
    colours = flow_to_colour(random_flow(3, 2), max_flow=30)
    angle, flip, scale = torch.tensor([10.0, 200.0, 0.0]), torch.tensor([True, False, False]), torch.tensor([1, 0.5, 1])
    found = turn_flow_colours(colours, angle=angle, flip=flip, scale=scale)
    for i in range(3):
        alone = turn_flow_colours(colours[i], angle=float(angle[i]), flip=bool(flip[i]), scale=float(scale[i]))
        assert torch.equal(found[i], alone)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_turning_leaves_greys_bit_identical(encoding: Encoding) -> None:
    greys = torch.linspace(0, 1, 256).view(1, 1, 256).expand(3, 1, 256)
    assert torch.equal(turn_flow_colours(greys, encoding, angle=77.0, flip=True), greys)


def shifting_pair(flow: Tensor) -> tuple[Tensor, Tensor]:
    """Two grey pictures (H, W) in 0 to 255, the second the first moved by smooth flow."""
    size = flow.shape[-1]
    generator = torch.Generator().manual_seed(3)
    texture = sum(
        F.interpolate(torch.rand(1, 1, cells, cells, generator=generator), size, mode="bicubic") / cells**0.3
        for cells in (12, 30, 60)
    )
    assert isinstance(texture, Tensor)
    texture = (texture - texture.amin()) / (texture.amax() - texture.amin()) * 255
    rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    grid = torch.stack((columns - flow[0], rows - flow[1]), -1) * 2 / (size - 1) - 1
    moved = F.grid_sample(texture, grid[None], mode="bicubic", padding_mode="reflection", align_corners=True)
    return texture[0, 0], moved[0, 0].clamp(0, 255)


def estimated(first: Tensor, second: Tensor) -> Tensor:
    estimator = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    before, after = (picture.round().byte().contiguous().numpy() for picture in (first, second))
    return torch.from_numpy(estimator.calc(before, after, np.zeros((*before.shape, 2), np.float32))).permute(2, 0, 1)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(("angle", "flip"), [(0, True), (90, False), (35, False), (-60, True)])
def test_flow_pictures_turned_with_their_colours_are_the_flow_of_turned_pictures(
    encoding: Encoding, angle: float, flip: bool
) -> None:
    def turn(picture: Tensor, mode: InterpolationMode = InterpolationMode.BILINEAR) -> Tensor:
        mirrored = picture.flip(-1) if flip else picture
        turned_picture: Tensor = rotate(mirrored, angle, interpolation=mode)
        return turned_picture

    size = 160
    flow = torch.tensor([4.0, 1.5]).view(2, 1, 1) + torch.linspace(-1, 1, size).view(1, -1, 1).expand(2, -1, size)
    first, second = shifting_pair(flow)
    expected = estimated(turn(first[None])[0], turn(second[None])[0])
    colours = flow_to_colour(estimated(first, second), encoding, max_flow=8)
    moved = turn(colours, InterpolationMode.NEAREST)
    found = colour_to_flow(turn_flow_colours(moved, encoding, angle, flip), encoding, max_flow=8)
    inside = (slice(None), slice(45, -45), slice(45, -45))  # what no corner touches
    assert (found - expected).norm(dim=0)[inside[1:]].median() < 0.15
    assert degrees_between(found[inside], expected[inside]).median() < 2
    assert degrees_between(colour_to_flow(moved, encoding)[inside], expected[inside]).median() > 30


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_pictures_of_flow_are_float32_and_turned_pictures_keep_their_type(dtype: torch.dtype) -> None:
    colours = flow_to_colour(random_flow(2).to(dtype))
    assert colours.dtype == colour_to_flow(colours.to(dtype)).dtype == torch.float32
    assert turn_flow_colours(colours.to(dtype), angle=20.0).dtype == dtype


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_gpu_gives_the_same_colours(encoding: Encoding) -> None:
    flow, largest = random_flow(2), torch.tensor([10.0, 20.0])
    colours = flow_to_colour(flow, encoding, max_flow=largest)
    found = flow_to_colour(flow.cuda(), encoding, max_flow=largest)
    assert torch.allclose(found.cpu(), colours, atol=1e-5)
    assert torch.allclose(colour_to_flow(found, encoding).cpu(), colour_to_flow(colours, encoding), atol=1e-4)
    angle = torch.tensor([30.0, 40.0])
    assert torch.allclose(
        turn_flow_colours(found, encoding, angle).cpu(), turn_flow_colours(colours, encoding, angle), atol=1e-4
    )


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: flow_to_colour(torch.zeros(3, 4, 4)),
            BatchError,
            r"flow of shape \(\.\.\., 2, H, W\), found \(3, 4, 4\)",
        ),
        (lambda: flow_to_colour(torch.zeros(2, 4)), BatchError, r"found \(2, 4\)"),
        (lambda: flow_to_colour(torch.zeros(2, 4, 4).int()), BatchError, r"int32.*flow.float\(\)"),
        (lambda: colour_to_flow(torch.zeros(3, 4, 4).byte()), BatchError, r"uint8.*/ 255"),
        (lambda: turn_flow_colours(torch.zeros(1, 6, 4, 4)), BatchError, r"found \(1, 6, 4, 4\).*Split forward"),
        (
            lambda: turn_flow_colours(torch.zeros(2, 3, 4, 4), angle=torch.zeros(3)),
            BatchError,
            r"angle of shape \(3,\)",
        ),
        (lambda: flow_to_colour(torch.zeros(2, 4, 4), max_flow=torch.ones(1)), BatchError, r"max_flow of shape \(1,\)"),
        (lambda: flow_to_colour(torch.zeros(2, 4, 4), max_flow=0), OptionError, "max_flow must be a positive.*found 0"),
        (lambda: colour_to_flow(torch.zeros(3, 4, 4), max_flow=-1), OptionError, "found -1"),
        (lambda: flow_to_colour(torch.zeros(2, 4, 4), "midlebury"), UnknownNameError, "Close matches: middlebury"),  # type: ignore[arg-type]
    ],
)
def test_what_does_not_fit_is_named_with_the_way_out(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()

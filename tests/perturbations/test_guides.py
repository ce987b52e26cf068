# SPDX-License-Identifier: Apache-2.0
"""Guide dots lie in the mask, keep their distance and colour, and move as the flow says."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist
from torch import Tensor

from staticdropout.errors import BatchError, OptionError
from staticdropout.perturbations import draw_guides
from staticdropout.perturbations.guides import follow_points, scatter_points


def moves(length: int, size: tuple[int, int], dx: float, dy: float) -> Tensor:
    return torch.tensor([dx, dy]).view(1, 2, 1, 1).expand(length - 1, 2, *size).contiguous()


def one_dot(size: tuple[int, int], y: int, x: int) -> Tensor:
    """A mask so small that one point at most lies in it."""
    mask = torch.zeros(size, dtype=torch.bool)
    mask[y - 2 : y + 3, x - 2 : x + 3] = True
    return mask


def seed_with_one_dot(mask: Tensor, radius: float) -> int:
    return next(seed for seed in range(99) if len(scatter_points(mask.numpy(), radius, seed)) == 1)


@pytest.mark.parametrize(("size", "radius"), [((60, 90), 10), ((33, 21), 4), ((5, 5), 10), ((1, 1), 2), ((12, 80), 7)])
def test_points_keep_their_distance_and_leave_no_holes(size: tuple[int, int], radius: float) -> None:
    points = scatter_points(np.ones(size, bool), radius, seed=0)
    assert (points == np.floor(points)).all()
    assert (points >= 0).all()
    assert (points < [size[1], size[0]]).all()
    if len(points) > 1:  # cutting to whole pixels brings two points nearer by less than the diagonal of a pixel
        assert pdist(points).min() > radius - 2**0.5
    y, x = np.mgrid[: size[0], : size[1]]
    nearest = np.sqrt((x[..., None] - points[:, 0]) ** 2 + (y[..., None] - points[:, 1]) ** 2).min(-1)
    assert nearest.max() < 2 * radius


def test_points_lie_in_the_mask_and_depend_on_the_seed_alone() -> None:
    mask = np.zeros((60, 60), bool)
    mask[10:40, 30:55] = True
    points = scatter_points(mask, 5, seed=1)
    assert len(points) > 10
    assert mask[points[:, 1].astype(int), points[:, 0].astype(int)].all()
    random.seed(1)
    before = torch.get_rng_state(), random.getstate()
    assert np.array_equal(points, scatter_points(mask, 5, seed=1))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert not np.array_equal(points, scatter_points(mask, 5, seed=2)[: len(points)])
    assert len(scatter_points(np.zeros((60, 60), bool), 5, seed=1)) == 0


@pytest.mark.parametrize("sigma", [3.0, 10.0])
def test_a_dot_is_a_gaussian_of_sigma_within_three_sigma(sigma: float) -> None:
    size = (90, 100)
    mask = one_dot(size, 40, 50)
    seed = seed_with_one_dot(mask, 10)
    ((px, py),) = scatter_points(mask.numpy(), 10, seed)
    none = torch.zeros(0, 2, *size)
    guide = draw_guides(size, 1, {0: mask}, none, none, radius=10, sigma=sigma, seed=seed)[0].double().numpy()
    y, x = np.mgrid[: size[0], : size[1]]
    weight = np.exp(-((x - px) ** 2 + (y - py) ** 2) / sigma**2)
    weight[(np.abs(x - px) > 3 * sigma) | (np.abs(y - py) > 3 * sigma)] = 0
    colour = guide[:, int(py), int(px)]
    assert colour.max() > 0.1
    assert np.allclose(guide, colour[:, None, None] * weight, atol=1e-6)


def test_later_dots_are_mixed_over_earlier_ones_and_the_first_keyframe_lies_on_top() -> None:
    size = (40, 40)
    mask = one_dot(size, 20, 20)
    seed = seed_with_one_dot(mask, 10)
    while len(scatter_points(mask.numpy(), 10, seed, key=1)) != 1 or len(scatter_points(mask.numpy(), 10, seed)) != 1:
        seed += 1
    still = moves(2, size, 0, 0)
    alone = [draw_guides(size, 2, {key: mask}, still, still, sigma=4, seed=seed)[0] for key in (0, 1)]
    both = draw_guides(size, 2, {0: mask, 1: mask}, still, still, sigma=4, seed=seed)[0]
    weight = (alone[0] / alone[0].amax(dim=(1, 2), keepdim=True).clamp(min=1e-9)).amax(dim=0)  # 1 at the point
    assert torch.allclose(both, alone[1] * (1 - weight) + alone[0], atol=1e-5)


def test_dots_follow_a_known_translation_and_keep_their_colours() -> None:
    size, length = (64, 80), 5
    mask = one_dot(size, 30, 30)
    seed = seed_with_one_dot(mask, 10)
    right, left = moves(length, size, 3, -2), moves(length, size, -3, 2)
    guides = draw_guides(size, length, {1: mask}, right, left, sigma=3, seed=seed)
    for t in range(length):
        expected = guides[1].roll((-2 * (t - 1), 3 * (t - 1)), dims=(1, 2))
        assert torch.allclose(guides[t], expected, atol=1e-5)


def test_points_follow_flow_that_differs_from_place_to_place() -> None:
    size, length = (50, 60), 6
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
    turn = 0.1  # a rotation about (30, 25), as a field
    cos, sin = np.cos(turn) - 1, np.sin(turn)
    field = np.stack([cos * (x - 30) - sin * (y - 25), sin * (x - 30) + cos * (y - 25)])
    flow = torch.from_numpy(field)[None].repeat(length - 1, 1, 1, 1)
    start = np.array([[38.0, 25.0], [30.0, 15.5]], np.float32)
    places = follow_points(start, 0, flow, -flow)
    for t in range(length):
        rotation = np.array([[np.cos(t * turn), -np.sin(t * turn)], [np.sin(t * turn), np.cos(t * turn)]])
        assert np.allclose(places[t], (start - [30, 25]) @ rotation.T + [30, 25], atol=1e-3)


def test_dots_that_leave_the_picture_are_gone() -> None:
    size, length = (40, 40), 3
    mask = one_dot(size, 20, 20)
    away = moves(length, size, 100, 0)
    guides = draw_guides(size, length, {0: mask}, away, -away, sigma=4, seed=seed_with_one_dot(mask, 10))
    assert guides[0].max() > 0
    assert guides[1:].max() == 0


def test_a_whole_frame_is_covered_in_range_and_the_same_every_time() -> None:
    size = (48, 64)
    still = moves(3, size, 0, 0)
    whole = {0: torch.ones(size)}
    guides = draw_guides(size, 3, whole, still, still)
    assert guides.shape == (3, 3, *size)
    assert guides.dtype == torch.float32
    assert 0 <= float(guides.min()) < float(guides.max()) <= 1
    assert float(guides.amax(dim=1).min()) > 0.02  # no black hole
    assert torch.equal(guides, draw_guides(size, 3, whole, still, still))
    assert not torch.equal(guides, draw_guides(size, 3, whole, still, still, seed=1))
    # Far more kinds of patches than the scene alone would have: no two blocks of 16 pixels look alike.
    blocks = guides[0].unfold(1, 16, 16).unfold(2, 16, 16).permute(1, 2, 0, 3, 4).reshape(12, -1)
    assert torch.pdist(blocks).min() > 1


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.float32])
def test_masks_of_all_types_mean_the_same(dtype: torch.dtype) -> None:
    size = (40, 40)
    still = moves(2, size, 0, 0)
    mask = torch.zeros(size)
    mask[:, 20:] = 1
    scaled = mask * 255 if dtype == torch.uint8 else mask
    found = draw_guides(size, 2, {0: scaled.to(dtype)}, still, still, radius=5, sigma=2)
    assert torch.equal(found, draw_guides(size, 2, {0: mask.bool()}, still, still, radius=5, sigma=2))
    assert found[..., :14].max() == 0


def test_bad_input_is_named() -> None:
    size = (8, 9)
    still, mask = moves(3, size, 0, 0), {0: torch.ones(size)}
    with pytest.raises(BatchError, match=r"keyframe 3 is not among the 3 frames"):
        draw_guides(size, 3, {3: mask[0]}, still, still)
    with pytest.raises(BatchError, match=r"keyframe 0 has shape \(9, 8\), expected \(8, 9\)"):
        draw_guides(size, 3, {0: torch.ones(9, 8)}, still, still)
    with pytest.raises(BatchError, match=r"backward flow of shape \(2, 2, 8, 9\).*found \(1, 2, 8, 9\)"):
        draw_guides(size, 3, mask, still, still[:1])
    with pytest.raises(OptionError, match="need a keyframe"):
        draw_guides(size, 3, {}, still, still)
    for options in ({"radius": 0.5}, {"sigma": 0}):
        with pytest.raises(OptionError, match=next(iter(options))):
            draw_guides(size, 3, mask, still, still, **options)

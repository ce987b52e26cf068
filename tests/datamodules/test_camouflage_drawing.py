# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import functools

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage, stats

from staticdropout.datamodules.camouflage_drawing import KINDS, DrawnSequence, Kind, draw_sequence
from staticdropout.errors import OptionError, UnknownNameError

SEEDS = range(24)

Array = NDArray[np.float64]


@functools.cache
def draw(
    kind: Kind, seed: int, num_frames: int = 2, height: int = 96, width: int = 160, distractor: bool = False
) -> DrawnSequence:
    rng = np.random.default_rng(seed)
    return draw_sequence(kind, num_frames=num_frames, height=height, width=width, distractor=distractor, rng=rng)


def centres(masks: NDArray[np.uint8]) -> Array:
    """Centres of mass (T, 2), (x, y)."""
    return np.array([ndimage.center_of_mass(mask)[::-1] for mask in masks])


def estimated_flow(drawn: DrawnSequence, frame: int = 0) -> Array:
    estimator = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    first, second = (cv2.cvtColor(drawn.frames[frame + i], cv2.COLOR_RGB2GRAY) for i in (0, 1))
    found = estimator.calc(first, second, np.zeros((*first.shape, 2), np.float32))
    return np.moveaxis(np.asarray(found, np.float64), -1, 0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("distractor", [False, True])
def test_shapes_and_types_are_those_described(kind: Kind, distractor: bool) -> None:
    drawn = draw(kind, 0, 3, 48, 80, distractor)
    assert [part.shape for part in drawn] == [(3, 48, 80, 3), (3, 48, 80), (2, 2, 48, 80)]
    assert [part.dtype.name for part in drawn] == ["uint8", "uint8", "float32"]
    assert set(np.unique(drawn.masks)) == {0, 1}


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_generator_draws_the_same_and_another_seed_draws_others(kind: Kind) -> None:
    first, again = (
        draw_sequence(kind, num_frames=2, height=48, width=64, rng=np.random.default_rng(0)) for _ in range(2)
    )
    for ours, theirs in zip(first, again, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert not np.array_equal(first.frames, draw(kind, 1, 2, 48, 64).frames)


@pytest.mark.parametrize(("height", "width", "num_frames"), [(48, 48, 40), (96, 160, 40), (120, 64, 20)])
@pytest.mark.parametrize("seed", range(4))
def test_the_object_is_whole_and_in_the_picture_in_every_frame(
    height: int, width: int, num_frames: int, seed: int
) -> None:
    masks = draw("salient", seed, num_frames, height, width).masks
    rim = np.ones(masks.shape[1:], bool)
    rim[1:-1, 1:-1] = False
    assert not masks[:, rim].any()
    assert all(ndimage.label(mask)[1] == 1 for mask in masks)
    areas = masks.sum(axis=(1, 2))
    assert areas.max() - areas.min() <= 0.1 * areas.mean()  # it moves, but neither grows nor shrinks


def test_objects_are_of_several_sizes_and_all_over_the_picture() -> None:
    masks = np.stack([draw("camouflaged", seed).masks[0] for seed in SEEDS])
    shares = masks.mean(axis=(1, 2))
    assert shares.min() > 0.02
    assert shares.max() < 0.2
    assert shares.max() > 1.7 * shares.min()
    x, y = centres(masks).T
    assert x.min() < 160 / 3 < 160 * 2 / 3 < x.max()
    assert y.min() < 96 * 0.42 < 96 * 0.58 < y.max()


@pytest.mark.parametrize("seed", range(6))
def test_flow_inside_the_mask_is_how_the_mask_moves(seed: int) -> None:
    drawn = draw("camouflaged", seed, 12)
    steps = np.diff(centres(drawn.masks), axis=0)
    for step, flow, mask in zip(steps, drawn.flow, drawn.masks[:-1], strict=True):
        inside = flow[:, mask > 0]
        assert np.ptp(inside, axis=1).max() == 0  # it moves rigidly
        np.testing.assert_allclose(step, inside[:, 0], atol=0.15)  # pixels make the centre of mass inexact


@pytest.mark.parametrize("seed", range(6))
def test_object_and_background_move_at_their_speeds_and_differently(seed: int) -> None:
    drawn = draw("camouflaged", seed, 25)
    for flow, mask in zip(drawn.flow, drawn.masks[:-1], strict=True):
        inside, outside = (flow[:, mask == value].astype(np.float64) for value in (1, 0))
        assert np.ptp(outside, axis=1).max() == 0
        assert 1 <= np.hypot(*inside[:, 0]) <= 3
        assert 0.3 <= np.hypot(*outside[:, 0]) <= 1.01
        assert np.hypot(*(inside[:, 0] - outside[:, 0])) > 1


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_move_as_the_flow_says(kind: Kind) -> None:
    drawn = draw(kind, 3, 4)
    y, x = np.mgrid[0:96, 0:160].astype(np.float32)
    for number, flow in enumerate(drawn.flow):
        following = cv2.remap(drawn.frames[number + 1], x + flow[0], y + flow[1], cv2.INTER_CUBIC)
        unmoved = drawn.frames[number + 1]
        # away from the rims, where pixels come and go
        inside = ndimage.binary_erosion(drawn.masks[number], iterations=6)
        outside = ~ndimage.binary_dilation(drawn.masks[number], iterations=10)
        outside[:4], outside[-4:], outside[:, :4], outside[:, -4:] = False, False, False, False
        for region in (inside, outside):
            frame = drawn.frames[number].astype(np.float64)[region]
            assert np.abs(following[region] - frame).mean() < 0.3 * np.abs(unmoved[region] - frame).mean()


def test_optical_flow_finds_both_motions() -> None:
    errors, inside, differences = [], [], []
    for seed in SEEDS:
        drawn = draw("camouflaged", seed)
        flow, mask = estimated_flow(drawn), drawn.masks[0] > 0
        error = np.hypot(*(flow - drawn.flow[0]))
        errors.append(np.median(error))
        inside.append(np.median(error[mask]))
        difference = np.median(flow[:, mask], axis=1) - np.median(flow[:, ~mask], axis=1)
        differences.append(np.hypot(*difference))
    assert max(errors) < 0.5
    assert np.median(inside) < 0.75
    assert np.median(differences) > 1


# --- the distractor


def coloured(frames: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Where (T, H, W) the hue and saturation of frames are far from those of the background."""
    blurred = np.stack([cv2.blur(frame.astype(np.float64), (7, 7)) for frame in frames])
    chroma = blurred - blurred.mean(axis=-1, keepdims=True)  # without the brightness, which varies in the texture
    return np.asarray(np.linalg.norm(chroma - np.median(chroma, axis=(0, 1, 2)), axis=-1) > 25)


@pytest.mark.parametrize("seed", range(6))
def test_a_distractor_is_seen_moves_with_the_background_and_is_not_the_object(seed: int) -> None:
    drawn = draw("camouflaged", seed, 6, distractor=True)
    seen = coloured(drawn.frames)
    assert (seen.sum(axis=(1, 2)) > 150).all()
    assert not (seen & (drawn.masks > 0)).any()
    pan = drawn.flow[:, :, 0, 0]  # a corner is background
    np.testing.assert_allclose(np.diff(centres(seen.astype(np.uint8)), axis=0), pan, atol=0.3)


def test_distractors_look_like_salient_objects_in_size_and_colour() -> None:
    objects = [coloured(draw("salient", seed).frames[:1]).sum() for seed in SEEDS]
    distractors = [coloured(draw("camouflaged", seed, distractor=True).frames[:1]).sum() for seed in SEEDS]
    assert stats.ks_2samp(objects, distractors).pvalue > 0.01


@pytest.mark.parametrize("seed", range(6))
def test_a_salient_object_is_seen_where_the_mask_is_and_a_camouflaged_one_is_not(seed: int) -> None:
    salient, camouflaged = draw("salient", seed, 6), draw("camouflaged", seed, 6)
    seen, masks = coloured(salient.frames), salient.masks > 0
    assert (seen & masks).sum() / (seen | masks).sum() > 0.75
    assert not coloured(camouflaged.frames).any()


# --- what cannot be drawn


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"num_frames": 1}, "num_frames must be at least 2"),
        ({"height": 40}, "at least 48 pixels; got 40 and 64"),
        ({"width": 0}, "at least 48 pixels"),
    ],
)
def test_what_cannot_be_drawn_is_refused(wrong: dict[str, int], message: str) -> None:
    size = {"num_frames": 2, "height": 48, "width": 64, **wrong}
    with pytest.raises(OptionError, match=message):
        draw_sequence("salient", **size, rng=np.random.default_rng(0))  # type: ignore[arg-type]


def test_an_unknown_kind_is_named() -> None:
    with pytest.raises(UnknownNameError, match=r"'camouflage'.*camouflaged"):
        draw_sequence("camouflage", num_frames=2, height=48, width=64, rng=np.random.default_rng(0))  # type: ignore[arg-type]

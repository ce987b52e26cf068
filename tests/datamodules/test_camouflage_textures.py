# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import functools

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage, stats

from staticdropout.datamodules.camouflage_drawing import DrawnSequence, Kind, draw_sequence
from staticdropout.datamodules.camouflage_textures import Texture, draw_look, draw_salient_look, join, paint

SEEDS = range(24)

Array = NDArray[np.float64]


def bands(seed: int, x: float = 0, y: float = 0, scale: float = 1.0) -> Array:
    return Texture((96, 160), scale, np.random.default_rng(seed)).at(x, y)


@pytest.mark.parametrize("scale", [1.0, 1.7])
def test_bands_have_mean_0_variance_1_and_nothing_in_common(scale: float) -> None:
    samples = np.stack([bands(seed, scale=scale).reshape(9, -1) for seed in SEEDS], axis=1).reshape(9, -1)
    np.testing.assert_allclose(samples.mean(axis=1), 0, atol=0.02)
    np.testing.assert_allclose(np.cov(samples), np.eye(9), atol=0.05)


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_bands_have_their_wavelengths(scale: float) -> None:
    window = np.outer(np.hanning(96), np.hanning(160))
    power = np.mean([np.abs(np.fft.fft2(bands(seed, scale=scale) * window)) ** 2 for seed in SEEDS], axis=(0, 2))
    frequency = np.hypot(np.fft.fftfreq(96)[:, None], np.fft.fftfreq(160))
    rings = np.geomspace(1 / 60, 0.4, 30)
    for band, wavelength in zip(power, (5, 9, 16), strict=True):
        density = [band[(frequency > 0.9 * ring) & (frequency < 1.1 * ring)].mean() for ring in rings]
        assert 1 / rings[np.argmax(density)] == pytest.approx(wavelength * scale, rel=0.15)


def test_moving_by_whole_pixels_shifts_the_picture() -> None:
    np.testing.assert_allclose(bands(0, 3, -2)[..., :-2, 3:], bands(0)[..., 2:, :-3], atol=1e-9)


def test_two_moves_by_half_a_pixel_are_one_by_a_pixel_and_lose_nothing() -> None:
    half = bands(0, 0.5, 0)
    assert np.abs(half - bands(0)).mean() > 0.1
    np.testing.assert_allclose(half.var(axis=(2, 3)), bands(0).var(axis=(2, 3)), rtol=0.03)
    np.testing.assert_allclose(bands(0, 1.0, 0)[..., 1:], bands(0)[..., :-1], atol=1e-9)


def test_painted_noise_has_the_colour_and_the_covariance_of_its_look() -> None:
    look = draw_look(np.random.default_rng(0))
    noise = np.random.default_rng(1).standard_normal((3, 3, 300, 300))
    picture = paint(look, noise).reshape(-1, 3)
    np.testing.assert_allclose(picture.mean(axis=0), look.colour, atol=0.5)
    expected = look.mixing @ look.mixing.T * sum(weight**2 for weight in look.weights)
    np.testing.assert_allclose(np.cov(picture.T), expected, rtol=0.02)


def test_hardly_a_pixel_of_the_background_leaves_the_range_and_salient_colours_are_far_away() -> None:
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        look = draw_look(rng)
        picture = paint(look, bands(seed))
        assert ((picture < 0) | (picture > 255)).mean() < 0.005
        salient = draw_salient_look(look, rng)
        assert np.ptp(salient.colour) > 50 > 40 > np.ptp(look.colour)  # saturated and greyish
        assert abs(salient.colour.mean() - look.colour.mean()) > 25
        assert ((salient.colour >= 20) & (salient.colour <= 235)).all()


def test_joined_noise_is_as_strong_on_the_seam_as_beside_it_and_unmixed_away_from_it() -> None:
    behind, inside = np.random.default_rng(0).standard_normal((2, 3, 3, 4000, 61))
    depth = np.broadcast_to(np.arange(-30.0, 31.0), (4000, 61))
    joined = join(behind, inside, depth, scale=1.0, radius=100.0)
    np.testing.assert_allclose(joined.var(axis=(1, 2)), 1, atol=0.06)
    for band, wavelength in enumerate((5, 9, 16)):
        reach = int(np.ceil(0.75 * wavelength))
        np.testing.assert_array_equal(joined[band, ..., : 31 - reach], behind[band, ..., : 31 - reach])
        np.testing.assert_allclose(joined[band, ..., 30 + reach :], inside[band, ..., 30 + reach :], atol=1e-12)
        assert not np.array_equal(joined[band, ..., 32 - reach], behind[band, ..., 32 - reach])


def test_the_seam_of_a_small_object_leaves_its_middle_alone() -> None:
    behind, inside = np.random.default_rng(0).standard_normal((2, 3, 3, 1, 2))
    joined = join(behind, inside, np.array([[-6.0, 6.0]]), scale=1.0, radius=10.0)
    np.testing.assert_allclose(joined, np.stack([behind[..., 0], inside[..., 1]], axis=-1), atol=1e-12)


# --- what a single frame tells


def auc(values: Array, region: NDArray[np.bool_]) -> float:
    """Probability that a pixel of the region has a larger value than one elsewhere: 0.5 where they are alike."""
    inside, outside = region.sum(), (~region).sum()
    return float(
        (stats.rankdata(values.ravel())[region.ravel()].sum() - inside * (inside + 1) / 2) / (inside * outside)
    )


def clues(frame: NDArray[np.uint8]) -> dict[str, Array]:
    """What eyes and first layers of networks look for: colour, contrast, edges, fine detail."""
    grey = frame.astype(np.float64).mean(axis=-1)
    mean = cv2.blur(grey, (5, 5))
    return {
        "brightness": mean,
        "redness": cv2.blur(frame[..., 0].astype(np.float64) - frame[..., 2], (5, 5)),
        "contrast": np.sqrt(np.maximum(cv2.blur(grey**2, (5, 5)) - mean**2, 0)),
        "edges": np.hypot(*np.gradient(grey)),
        "detail": np.abs(cv2.Laplacian(grey, cv2.CV_64F)),
    }


def found(frames_and_masks: list[tuple[NDArray[np.uint8], NDArray[np.bool_]]]) -> dict[str, tuple[float, float]]:
    """How far from chance each clue tells the object, or the band of 2 pixels along its rim, from the rest.

    For each clue the mean over frames of AUC - 0.5 (a bias that a model could learn) and of its amount (which also
    counts what differs from frame to frame in sign, such as brightness).
    """
    scores: dict[str, list[float]] = {}
    for frame, mask in frames_and_masks:
        band = ndimage.binary_dilation(mask) & ~ndimage.binary_erosion(mask)
        for name, values in clues(frame).items():
            scores.setdefault(f"{name} inside", []).append(auc(values, mask) - 0.5)
            scores.setdefault(f"{name} at the rim", []).append(auc(values, band) - 0.5)
    return {name: (float(np.mean(score)), float(np.mean(np.abs(score)))) for name, score in scores.items()}


@functools.cache
def draw(kind: Kind, seed: int, num_frames: int = 2) -> DrawnSequence:
    rng = np.random.default_rng(seed)
    return draw_sequence(kind, num_frames=num_frames, height=96, width=160, rng=rng)


def first_frames(kind: Kind) -> list[tuple[NDArray[np.uint8], NDArray[np.bool_]]]:
    return [(drawn.frames[0], drawn.masks[0] > 0) for drawn in (draw(kind, seed) for seed in SEEDS)]


def test_no_clue_of_a_single_frame_finds_a_camouflaged_object() -> None:
    for name, (bias, amount) in found(first_frames("camouflaged")).items():
        assert abs(bias) < 0.05, name
        assert amount < 0.08, name


def test_the_same_clues_find_every_salient_object() -> None:
    scores = found(first_frames("salient"))
    for name in ("brightness inside", "redness inside"):
        assert scores[name][1] > 0.35, name
    for name in ("contrast inside", "edges inside", "detail inside", "contrast at the rim", "detail at the rim"):
        assert abs(scores[name][0]) > 0.08, name


def test_the_same_clues_find_the_rim_of_texture_that_was_cut_out_and_pasted() -> None:
    pasted = [
        (np.where(mask[..., None], np.roll(frame, (48, 80), (0, 1)), frame), mask)
        for frame, mask in first_frames("camouflaged")
    ]
    scores = found(pasted)
    assert scores["detail at the rim"][0] > 0.12
    assert scores["edges at the rim"][0] > 0.05


def test_sharpness_does_not_depend_on_the_fraction_of_a_pixel_moved() -> None:
    drawn = draw("camouflaged", 0, 12)
    detail = [clues(frame)["detail"][mask > 0].mean() for frame, mask in zip(drawn.frames, drawn.masks, strict=True)]
    assert np.ptp(detail) < 0.06 * np.mean(detail)  # interpolation would blur it by a quarter at half a pixel

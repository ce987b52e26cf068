# SPDX-License-Identifier: Apache-2.0
"""Contour accuracy against the distances between outlines."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from davis_reference import DATA, Mask, blob, davis_masks, reference_f, special_masks

from staticdropout.errors import BatchError, OptionError
from staticdropout.metrics import contour_accuracy

needs_davis = pytest.mark.skipif(not (DATA / "davis16_mini").is_dir(), reason=f"no DAVIS masks at {DATA}")


def assert_agrees(prediction: Mask, mask: Mask, tolerance: float = 0.008) -> None:
    measured = [float(value) for value in contour_accuracy(prediction, mask, tolerance)]
    assert measured == pytest.approx(reference_f(prediction, mask, tolerance), abs=1e-9)


@pytest.mark.parametrize("tolerance", [0, 0.008, 0.03, 1, 2.5, 7])
def test_it_is_what_the_distances_between_outlines_say(tolerance: float) -> None:
    for seed in range(6):
        assert_agrees(blob(seed, level=seed / 4 - 0.7), blob(seed + 100), tolerance)


def test_it_is_defined_for_empty_full_and_one_pixel_masks() -> None:
    masks = special_masks()
    for first, second in product(masks.values(), repeat=2):
        assert_agrees(first, second)
    empty, full, pixel = masks["empty"], masks["full"], masks["middle"]
    assert [float(value) for value in contour_accuracy(empty, full)] == [1, 1, 1]  # neither has an outline
    assert [float(value) for value in contour_accuracy(empty, pixel)] == [0, 1, 0]
    assert [float(value) for value in contour_accuracy(pixel, empty)] == [0, 0, 1]


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 2), (3, 40)])
def test_it_is_defined_for_tiny_pictures(size: tuple[int, int]) -> None:
    generator = np.random.default_rng(0)
    for _ in range(8):
        assert_agrees(generator.random(size) > 0.5, generator.random(size) > 0.5)


def test_a_shift_within_the_tolerance_costs_nothing_and_one_pixel_more_does() -> None:
    mask = np.zeros((120, 160), bool)  # a diagonal of 200 pixels: a tolerance of 2
    mask[40:80, 50:110] = True
    assert float(contour_accuracy(np.roll(mask, 2, axis=1), mask).f) == 1
    assert float(contour_accuracy(np.roll(mask, 3, axis=1), mask).f) < 1


def test_swapping_the_masks_swaps_precision_and_recall() -> None:
    first, second = blob(3), blob(4, level=0.8)
    forth, back = contour_accuracy(first, second), contour_accuracy(second, first)
    assert float(forth.precision) != float(forth.recall)
    assert (forth.f, forth.precision, forth.recall) == (back.f, back.recall, back.precision)


def test_every_picture_of_a_batch_has_its_own_values() -> None:
    predictions, masks = (torch.from_numpy(np.stack([blob(start + i) for i in range(4)])) for start in (0, 50))
    together = contour_accuracy(predictions.view(2, 2, 60, 83), masks.view(2, 2, 60, 83))
    assert together.f.shape == (2, 2)
    alone = contour_accuracy(predictions[3], masks[3])
    for values, value in zip(together, alone, strict=True):
        assert float(values[1, 1]) == float(value)


@needs_davis
def test_real_masks_equal_themselves_and_differ_from_shifted_and_other_ones() -> None:
    masks, others = davis_masks("drift-chicane", 3), davis_masks("blackswan", 3)
    for mask, other in zip(masks, others, strict=True):
        shifted = np.roll(mask, 12, axis=1)
        assert float(contour_accuracy(mask, mask).f) == 1
        assert 0 < float(contour_accuracy(shifted, mask).f) < 1
        assert float(contour_accuracy(other, mask).f) < 0.5
        for prediction in (shifted, other):
            assert_agrees(prediction, mask)


@pytest.mark.parametrize("tolerance", [-1, float("nan"), float("inf")])
def test_a_tolerance_that_is_no_distance_is_refused(tolerance: float) -> None:
    with pytest.raises(OptionError, match="share of the diagonal"):
        contour_accuracy(np.ones((4, 4)), np.ones((4, 4)), tolerance)


def test_masks_of_different_sizes_are_refused() -> None:
    with pytest.raises(BatchError, match="differ in shape"):
        contour_accuracy(np.ones((4, 4)), np.ones((2, 4, 4)))

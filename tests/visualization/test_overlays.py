# SPDX-License-Identifier: Apache-2.0
"""Overlays tint the prediction and outline the truth; sheets keep every picture."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from staticdropout.visualization.overlays import TRUTH_COLOUR, overlay, overlay_sheet


def square(size: int, low: int, high: int) -> np.ndarray:
    mask = np.zeros((size, size), np.uint8)
    mask[low:high, low:high] = 1
    return mask


def test_the_true_contour_is_green_and_the_rest_of_the_picture_stays() -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    truth = square(40, 10, 30)
    drawn = overlay(image, np.zeros((40, 40), np.float32), truth)
    edge = truth.astype(bool) & ~ndimage.binary_erosion(truth)
    assert (drawn[edge] == TRUTH_COLOUR).all()
    np.testing.assert_array_equal(drawn[~edge], image[~edge])


def test_a_small_prediction_is_enlarged_to_the_picture() -> None:
    image = np.zeros((40, 60, 3), np.uint8)
    drawn = overlay(image, np.array([[0.0, 1.0]], np.float32))
    assert (drawn[:, :20] == 0).all()
    assert (drawn[:, 40:, 0] > 100).all()


@pytest.mark.parametrize("order", ["C", "F"])
def test_pictures_in_any_memory_order_are_drawn_alike_and_left_alone(order: str) -> None:
    image = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    before, truth = image.copy(), square(20, 5, 15)
    prediction = truth.astype(np.float32)
    other = np.asarray(image, order=order)  # type: ignore[call-overload]
    np.testing.assert_array_equal(overlay(other, prediction, truth), overlay(before, prediction, truth))
    np.testing.assert_array_equal(other, before)


def test_a_sheet_holds_every_picture_in_its_place() -> None:
    pictures = [[np.full((3, 5, 3), 10 * y + x, np.uint8) for x in range(2 - y)] for y in range(2)]
    sheet = overlay_sheet(pictures, gap=2)
    assert sheet.shape == (2 + 2 * 5, 2 + 2 * 7, 3)
    assert sheet[2, 2, 0] == 0
    assert sheet[2, 9, 0] == 1
    assert sheet[7, 2, 0] == 10
    assert sheet[7, 9, 0] == 255

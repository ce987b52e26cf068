# SPDX-License-Identifier: Apache-2.0
"""Region similarity against the Jaccard index of sets of pixels."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from davis_reference import DATA, blob, davis_masks, reference_j, special_masks

from staticdropout.errors import BatchError
from staticdropout.metrics import region_similarity

needs_davis = pytest.mark.skipif(not (DATA / "davis16_mini").is_dir(), reason=f"no DAVIS masks at {DATA}")


def test_it_is_the_jaccard_index_of_random_masks() -> None:
    for seed in range(12):
        prediction, mask = blob(seed, level=seed / 6 - 1), blob(seed + 100)
        assert float(region_similarity(prediction, mask)) == pytest.approx(reference_j(prediction, mask), abs=1e-9)


def test_it_is_defined_for_empty_full_and_one_pixel_masks() -> None:
    masks = special_masks()
    for first, second in product(masks, repeat=2):
        measured = float(region_similarity(masks[first], masks[second]))
        assert measured == pytest.approx(reference_j(masks[first], masks[second]), abs=1e-9), (first, second)
    assert float(region_similarity(masks["empty"], masks["empty"])) == 1
    assert float(region_similarity(masks["empty"], masks["full"])) == 0


def test_every_picture_of_a_batch_has_its_own_value() -> None:
    predictions = np.stack([blob(seed) for seed in range(6)]).reshape(2, 3, 60, 83)
    masks = np.stack([blob(seed + 50) for seed in range(6)]).reshape(2, 3, 60, 83)
    measured = region_similarity(predictions, masks)
    assert measured.shape == (2, 3)
    assert measured.dtype == torch.float64
    assert float(measured[1, 2]) == pytest.approx(reference_j(predictions[1, 2], masks[1, 2]), abs=1e-9)


@pytest.mark.parametrize("scale", [1, 255])
def test_arrays_and_tensors_of_any_type_of_mask_agree(scale: int) -> None:
    prediction, mask = blob(1), blob(2)
    expected = reference_j(prediction, mask)
    array = prediction.astype(np.uint8) * scale
    forms: list[Any] = [
        array,
        torch.from_numpy(array),
        torch.from_numpy(prediction),
        torch.from_numpy(prediction).bfloat16(),
    ]
    for form in forms:
        assert float(region_similarity(form, mask)) == pytest.approx(expected, abs=1e-9)


@needs_davis
def test_real_masks_equal_themselves_and_differ_from_shifted_and_other_ones() -> None:
    masks, others = davis_masks("car-shadow", 3), davis_masks("dog", 3)
    for mask, other in zip(masks, others, strict=True):
        shifted = np.roll(mask, 12, axis=1)
        assert float(region_similarity(mask, mask)) == 1
        assert 0.5 < float(region_similarity(shifted, mask)) < 1
        assert float(region_similarity(other, mask)) < 0.5
        for prediction in (shifted, other):
            assert float(region_similarity(prediction, mask)) == pytest.approx(reference_j(prediction, mask), abs=1e-9)


def test_masks_of_different_sizes_are_refused_with_both() -> None:
    with pytest.raises(BatchError, match=r"\(5, 6\) and the mask \(6, 5\)"):
        region_similarity(np.ones((5, 6)), np.ones((6, 5)))

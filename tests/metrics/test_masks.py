# SPDX-License-Identifier: Apache-2.0
"""Masks and predictions are recognised, and what is neither is refused by name."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from staticdropout.errors import BatchError
from staticdropout.metrics.masks import as_masks, soft_mask


def test_every_value_but_zero_is_foreground() -> None:
    np.testing.assert_array_equal(as_masks(np.array([[0, 1, 7, 255]], np.uint8)), [[False, True, True, True]])
    np.testing.assert_array_equal(as_masks(torch.tensor([[0.0, 1.0]], dtype=torch.float16)), [[False, True]])


def test_the_mask_that_was_given_is_left_alone() -> None:
    mask = torch.tensor([[0, 3]], dtype=torch.uint8)
    as_masks(mask)[0, 0] = True
    assert mask.tolist() == [[0, 3]]


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.rand(4, 4), "Compare probabilities with a threshold"),
        (torch.full((4, 4), float("nan")), "no mask of 0 and 1"),
        (torch.ones(4), "found shape"),
        (torch.ones(3, 0, 4), "found shape"),
        (np.array([["a"]]), "expected bool, integers or floats"),
    ],
)
def test_what_is_no_mask_is_refused(mask: torch.Tensor, message: str) -> None:
    with pytest.raises(BatchError, match=f"target: .*{message}"):
        as_masks(mask, "target")


def test_masks_become_bool_and_probabilities_stay_as_they_are() -> None:
    for mask in (torch.tensor([[0, 255]]), torch.tensor([[False, True]]), torch.tensor([[0, 1]], dtype=torch.uint8)):
        assert soft_mask(mask).tolist() == [[False, True]]
    probabilities = torch.rand(3, 4, dtype=torch.float16, requires_grad=True)
    assert torch.equal(soft_mask(probabilities), probabilities)
    assert not soft_mask(probabilities).requires_grad


@pytest.mark.parametrize(
    ("prediction", "message"),
    [
        (torch.tensor([[-3.0, 4.0]]), "from -3 to 4. Apply a sigmoid"),
        (torch.tensor([[0.5, float("nan")]]), "NaN comes from the network"),
        (torch.tensor([[0, 40, 255]], dtype=torch.uint8), "8-bit ones divided by 255"),
        (torch.rand(1, 4, 4), r"\(H, W\), found shape \(1, 4, 4\)"),
    ],
)
def test_what_is_neither_mask_nor_probability_is_refused(prediction: torch.Tensor, message: str) -> None:
    with pytest.raises(BatchError, match=f"clip 7: .*{message}"):
        soft_mask(prediction, "clip 7")

# SPDX-License-Identifier: Apache-2.0
"""The loss terms agree with NumPy statements of what the recipes say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from staticdropout.errors import BatchError, OptionError
from staticdropout.lightning_modules.segmentation_loss import SegmentationLoss, boundary_of, soft_iou


def random_mask(*shape: int) -> Tensor:
    smooth = F.avg_pool2d(torch.rand(shape, generator=torch.Generator().manual_seed(1)), 5, 1, 2)
    return (smooth > smooth.mean()).float()


def bce(logits: np.ndarray, target: np.ndarray, weight: np.ndarray | float = 1.0) -> float:
    probability = 1 / (1 + np.exp(-logits))
    return float((-weight * (target * np.log(probability) + (1 - target) * np.log(1 - probability))).mean())


@pytest.mark.parametrize("radius", [1, 2, 3])
def test_the_boundary_is_every_pixel_with_another_label_within_the_radius(radius: int) -> None:
    mask = random_mask(1, 1, 17, 23)
    labels = mask[0, 0].numpy()
    expected = np.zeros_like(labels)
    for y in range(17):
        for x in range(23):
            for other_y in range(17):
                for other_x in range(23):
                    near = (y - other_y) ** 2 + (x - other_x) ** 2 <= radius**2
                    expected[y, x] = max(expected[y, x], near and labels[y, x] != labels[other_y, other_x])
    np.testing.assert_array_equal(boundary_of(mask, radius)[0, 0].numpy(), expected)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_mask_of_one_label_has_no_boundary_not_even_at_the_edge_of_the_picture(value: float) -> None:
    assert boundary_of(torch.full((2, 1, 9, 9), value)).sum() == 0


def test_matnets_loss_is_the_masks_entropy_and_a_fifth_of_the_boundaries() -> None:
    torch.manual_seed(0)
    mask = random_mask(2, 1, 16, 16)
    outputs = {name: torch.randn(2, 1, 16, 16) for name in ("mask", "boundary", "boundary2")}
    contour = boundary_of(mask, 2).numpy()
    expected = bce(outputs["mask"].numpy(), mask.numpy()) + 0.2 * sum(
        bce(outputs[name].numpy(), contour) for name in ("boundary", "boundary2")
    )
    assert float(SegmentationLoss(0.2)(outputs, mask)) == pytest.approx(expected, abs=1e-5)


def test_hard_negatives_weigh_one_plus_their_value_in_masks_and_boundaries() -> None:
    torch.manual_seed(0)
    mask, negatives = random_mask(1, 1, 12, 12), torch.rand(1, 1, 12, 12) * (torch.rand(1, 1, 12, 12) > 0.5)
    outputs = {"mask": torch.randn(1, 1, 12, 12), "boundary": torch.randn(1, 1, 12, 12)}
    weight = 1 + negatives.numpy()
    expected = bce(outputs["mask"].numpy(), mask.numpy(), weight)
    expected += 0.2 * bce(outputs["boundary"].numpy(), boundary_of(mask).numpy(), weight)
    assert float(SegmentationLoss(0.2)(outputs, mask, negatives)) == pytest.approx(expected, abs=1e-5)


def test_rtnets_loss_adds_ssim_and_iou_for_every_mask_of_both_frames_and_streams() -> None:
    mask = random_mask(4, 1, 32, 32).view(2, 2, 1, 32, 32)
    right = dict.fromkeys(("mask", "mask2", "motion_mask1"), 40 * (2 * mask - 1))
    wrong = {name: -logits for name, logits in right.items()}
    loss = SegmentationLoss(ssim_weight=1, iou_weight=1)
    assert float(loss(right, mask)) == pytest.approx(0, abs=1e-4)
    # wrong everywhere: no overlap, so each term's IoU part is 1, and its SSIM part is above 1
    assert float(loss(wrong, mask)) > 3 * (40 + 1 + 1)
    assert float(SegmentationLoss(iou_weight=1)(wrong, mask)) == pytest.approx(3 * (40 + 1), abs=1e-3)


def test_soft_iou_of_sure_probabilities_is_the_plain_one_and_one_for_two_empty_pictures() -> None:
    prediction, mask = random_mask(1, 1, 10, 10), random_mask(1, 1, 10, 10).flip(-1)
    plain = torch.logical_and(prediction, mask).sum() / torch.logical_or(prediction, mask).sum()
    assert soft_iou(prediction, mask).item() == pytest.approx(float(plain))
    empty = torch.zeros(1, 1, 4, 4)
    assert soft_iou(empty, empty).item() == 1


def test_two_class_cross_entropy_is_the_entropy_of_the_logits_difference() -> None:
    torch.manual_seed(0)
    classes, mask = torch.randn(2, 2, 8, 8), random_mask(2, 1, 8, 8)
    outputs = {"mask": classes[:, 1:] - classes[:, :1], "classes": classes}
    expected = F.cross_entropy(classes, mask[:, 0].long())
    torch.testing.assert_close(SegmentationLoss()(outputs, mask), expected)


def test_outputs_of_another_size_are_resized_to_the_mask() -> None:
    assert SegmentationLoss()({"mask": torch.full((1, 1, 4, 4), -40.0)}, torch.zeros(1, 1, 9, 9)) < 1e-6


def test_outputs_without_a_mask_and_negative_weights_are_refused() -> None:
    with pytest.raises(BatchError, match=r"found the outputs \['logits'\], expected at least 'mask'"):
        SegmentationLoss()({"logits": torch.zeros(1, 1, 2, 2)}, torch.zeros(1, 1, 2, 2))
    with pytest.raises(OptionError, match="iou_weight=-1 must not be negative"):
        SegmentationLoss(iou_weight=-1)


def test_under_mixed_precision_the_loss_is_the_same_as_without() -> None:
    torch.manual_seed(0)
    mask = random_mask(2, 1, 48, 48)
    logits = (6 * (2 * mask - 1) + torch.randn(mask.shape)).requires_grad_()
    loss = SegmentationLoss(ssim_weight=1.0, iou_weight=1.0)
    exact = loss({"mask": logits}, mask)
    (gradient,) = torch.autograd.grad(exact, logits)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = loss({"mask": logits}, mask)
    (mixed_gradient,) = torch.autograd.grad(mixed, logits)
    torch.testing.assert_close(mixed, exact)
    torch.testing.assert_close(mixed_gradient, gradient)

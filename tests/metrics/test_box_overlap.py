# SPDX-License-Identifier: Apache-2.0
"""Boxes of masks against labelled regions, and the overlap of boxes against counted pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from davis_reference import Mask, blob, special_masks
from scipy import ndimage
from torch import Tensor

from staticdropout.errors import BatchError, OptionError, UnknownNameError
from staticdropout.metrics import BoxRule, box_iou, invert_background, predicted_box, scale_box
from staticdropout.metrics.box_overlap import mask_box

RULES: tuple[BoxRule, ...] = ("largest", "mass")


def reference_boxes(mask: Mask, rule: str) -> list[list[float]]:
    """The boxes of all regions that the rule puts first: one, or several of the same size."""
    regions = ndimage.find_objects(ndimage.label(mask, np.ones((3, 3)))[0])
    if not regions:
        return []
    sizes = [mask[region].size if rule == "largest" else mask[region].sum() for region in regions]
    return [
        [x.start, y.start, x.stop - x.start, y.stop - y.start]
        for (y, x), size in zip(regions, sizes, strict=True)
        if size == max(sizes)
    ]


def border_share(mask: Mask) -> float:
    """Share of foreground among border pixels."""
    border = np.ones_like(mask)
    border[1:-1, 1:-1] = False
    return float(mask[border].mean())


def box_of(prediction: Tensor, rule: BoxRule, threshold: float = 0.2) -> list[float] | None:
    box = predicted_box(prediction, threshold, rule)
    return None if box is None else box.tolist()


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("level", [-0.3, 0.4, 1.2])
def test_the_box_is_that_of_the_region_which_the_rule_puts_first(rule: BoxRule, level: float) -> None:
    for seed in range(10):
        mask = blob(seed, level=level)
        seen = ~mask if border_share(mask) > 0.5 else mask
        assert box_of(torch.from_numpy(mask), rule) in reference_boxes(seen, rule)


def test_the_rules_differ_for_a_thin_large_and_a_solid_small_region() -> None:
    mask = torch.zeros(60, 80)
    mask[10:12, 5:70] = 1
    mask[10:50, 5:7] = 1  # an L: its box is large, its pixels few
    mask[30:50, 40:60] = 1  # inside the box of the L, and counted with it
    assert box_of(mask, "largest") == box_of(mask, "mass") == [5, 10, 65, 40]
    mask[30:50, 40:60] = 0
    mask[15:30, 71:79] = 1  # beside it
    mask[31:58, 71:79] = 1
    mask[30, 75] = 1
    assert box_of(mask, "largest") == [5, 10, 65, 40]
    assert box_of(mask, "mass") == [71, 15, 8, 43]


@pytest.mark.parametrize("rule", RULES)
def test_a_region_in_the_hole_of_another_is_never_the_box(rule: BoxRule) -> None:
    mask = torch.zeros(30, 30, dtype=torch.bool)
    mask[5:25, 5:25] = True
    mask[6:24, 6:24] = False
    mask[8:22, 8:22] = True  # more pixels than the ring around it
    assert box_of(mask, rule) == [5, 5, 20, 20]


@pytest.mark.parametrize("rule", RULES)
def test_masks_at_the_limits_have_a_box_where_they_have_a_region(rule: BoxRule) -> None:
    for name, mask in special_masks().items():
        expected = None if name in ("empty", "full") else reference_boxes(mask, rule)[0]
        assert box_of(torch.from_numpy(mask), rule) == expected, name


def test_a_picture_is_inverted_when_more_than_half_of_its_border_is_foreground() -> None:
    mask = torch.zeros(6, 7, dtype=torch.bool)  # 22 border pixels
    mask[0], mask[-1, :4] = True, True
    assert torch.equal(invert_background(mask), mask)  # 11
    mask[-1, 4] = True
    assert torch.equal(invert_background(mask), ~mask)
    soft = mask * 0.3 + 0.3
    assert torch.equal(invert_background(soft), 1 - soft)
    assert torch.equal(invert_background(soft / 2), soft / 2)  # nothing above 0.5


def test_the_threshold_is_that_of_the_8_bit_files() -> None:
    values = np.arange(256)
    for threshold in (0.1, 0.2):
        for dtype in (torch.float32, torch.float64):
            for value in values:
                picture = np.zeros((5, 5))
                picture[2, 2] = value
                found = predicted_box(torch.from_numpy(picture).to(dtype) / 255, threshold) is not None
                assert found == (value > threshold * 255), (value, threshold, dtype)


def test_boxes_scale_with_their_picture() -> None:
    mask = torch.from_numpy(blob(3))
    large = mask.repeat_interleave(3, dim=0).repeat_interleave(2, dim=1)
    small, big = predicted_box(mask), predicted_box(large)
    assert small is not None
    assert big is not None
    torch.testing.assert_close(scale_box(small, (60, 83), (180, 166)), big)


def test_the_overlap_is_that_of_the_pixels_in_both_boxes() -> None:
    generator = torch.Generator().manual_seed(0)
    boxes = torch.randint(0, 20, (40, 2, 4), generator=generator).double()
    boxes[..., 2:] += 1
    measured = box_iou(boxes[:, 0], boxes[:, 1])
    for pair, iou in zip(boxes.int().tolist(), measured.tolist(), strict=True):
        pixels = [{(i, j) for i in range(x, x + w) for j in range(y, y + h)} for x, y, w, h in pair]
        assert iou == pytest.approx(len(pixels[0] & pixels[1]) / len(pixels[0] | pixels[1]), abs=1e-12)


def test_a_corner_outside_the_picture_is_moved_to_its_edge() -> None:
    outside, inside = torch.tensor([-5.0, -2.0, 10.0, 10.0]), torch.tensor([0.0, 0.0, 10.0, 10.0])
    assert float(box_iou(outside, inside)) == 1


def test_touching_and_empty_boxes_do_not_overlap() -> None:
    box = torch.tensor([0.0, 0.0, 4.0, 4.0])
    for other in ([4.0, 0.0, 4.0, 4.0], [10.0, 10.0, 2.0, 2.0], [1.0, 1.0, 0.0, 0.0]):
        assert float(box_iou(box, torch.tensor(other))) == 0
    nothing = torch.zeros(4)
    assert float(box_iou(nothing, nothing)) == 0


def test_bad_input_is_refused() -> None:
    with pytest.raises(UnknownNameError, match=r"box rule called 'larges'\. Close matches: largest"):
        predicted_box(torch.ones(4, 4), rule="larges")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="threshold=51"):
        predicted_box(torch.ones(4, 4), threshold=51)
    with pytest.raises(BatchError, match="8-bit ones divided by 255"):
        predicted_box(torch.tensor([[0, 3, 200]], dtype=torch.uint8))
    with pytest.raises(BatchError, match="x, y, width and height"):
        box_iou(torch.ones(3), torch.ones(4))


def test_the_box_of_a_true_mask_holds_all_of_it_and_is_unknown_without_one() -> None:
    mask = torch.zeros(20, 30, dtype=torch.uint8)
    mask[3, 4] = mask[15, 25] = 1
    assert mask_box(mask).tolist() == [4, 3, 22, 13]
    assert mask_box(None).isnan().all()
    assert mask_box(torch.zeros(4, 4)).isnan().all()

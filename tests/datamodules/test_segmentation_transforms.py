# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from staticdropout.datamodules import SegmentationEvalTransform, SegmentationTrainTransform
from staticdropout.errors import OptionError
from staticdropout.perturbations.flow_colours import Encoding, colour_to_flow, flow_to_colour

SIZE = (80, 96)
STILL: dict[Encoding, int] = {"middlebury": 255, "hsv": 0}


def picture_of(flow: Tensor, encoding: Encoding = "middlebury", max_flow: float | None = None) -> Tensor:
    return (flow_to_colour(flow, encoding, max_flow) * 255).round().to(torch.uint8)


def frame(height: int = 60, width: int = 90, encoding: Encoding = "middlebury") -> dict[str, Tensor]:
    """An ellipse that is bright, moves, is the mask, and is what negatives show."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    mask = (((y - 0.4 * height) / 14) ** 2 + ((x - 0.55 * width) / 25) ** 2 < 1)[None]
    flow = mask * torch.tensor([2.0, 1.0]).view(2, 1, 1)
    return {
        "image": mask.expand(3, -1, -1).to(torch.uint8) * 255,
        "flow": picture_of(flow, encoding),
        "mask": mask.to(torch.uint8),
        "negatives": mask.to(torch.uint8) * 255,
    }


def overlap(a: Tensor, b: Tensor) -> float:
    """Intersection over union."""
    return float((a & b).sum() / (a | b).sum())


@pytest.mark.parametrize("encoding", ["middlebury", "hsv"])
def test_frame_flow_mask_and_negatives_go_through_one_warp(encoding: Encoding) -> None:
    transform = SegmentationTrainTransform(SIZE, rotation=30, scale=(0.6, 1.4), flow_encoding=encoding)
    torch.manual_seed(0)
    for _ in range(10):
        (out,) = transform([frame(encoding=encoding)])
        assert {name: tuple(x.shape) for name, x in out.items()} == {
            "image": (3, *SIZE),
            "flow": (3, *SIZE),
            "mask": (1, *SIZE),
            "negatives": (1, *SIZE),
        }
        assert {x.dtype for x in out.values()} == {torch.uint8}
        mask = out["mask"] == 1
        assert set(out["mask"].flatten().tolist()) == {0, 1}
        moving = ((out["flow"].int() - STILL[encoding]).abs().amax(0, keepdim=True)) > 127
        assert overlap(mask, out["image"][:1] > 127) > 0.94
        assert overlap(mask, out["negatives"] > 127) > 0.94
        assert overlap(mask, moving) > 0.9


def blob(centre: tuple[float, float], size: tuple[int, int] = SIZE) -> Tensor:
    """A smooth spot at (x, y)."""
    y, x = torch.meshgrid(torch.arange(size[0]), torch.arange(size[1]), indexing="ij")
    spot = torch.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / 32)
    return (spot * 255).round().to(torch.uint8).expand(3, -1, -1)


def centroid(image: Tensor) -> NDArray[np.float64]:
    weights = image[0].double()
    y, x = torch.meshgrid(torch.arange(image.shape[1]), torch.arange(image.shape[2]), indexing="ij")
    return np.array([float((weights * x).sum()), float((weights * y).sum())]) / float(weights.sum())


@pytest.mark.parametrize("encoding", ["middlebury", "hsv"])
@pytest.mark.parametrize("vector", [(6.0, 0.0), (0.0, 5.0), (-4.0, 3.0), (-3.0, -5.0)])
@pytest.mark.parametrize(
    ("flip", "angle", "zoom"), [(True, 0.0, 1.0), (False, 10.0, 1.0), (False, -25.0, 0.8), (True, 17.0, 1.2)]
)
def test_warped_flow_still_leads_from_the_warped_frame_to_the_warped_next_one(
    encoding: Encoding, vector: tuple[float, float], flip: bool, angle: float, zoom: float
) -> None:
    transform = SegmentationTrainTransform(SIZE, flow_encoding=encoding, fixed_scale=True)
    start = (44.0, 38.0)
    flow = torch.tensor(vector).view(2, 1, 1).expand(2, *SIZE)
    now = {"image": blob(start), "flow": picture_of(flow, encoding, max_flow=10)}
    then = {"image": blob((start[0] + vector[0], start[1] + vector[1])), "flow": now["flow"]}
    warped, after = (transform.warp(one, flip, angle, zoom) for one in (now, then))
    where = centroid(warped["image"])
    moved = centroid(after["image"]) - where
    decoded = colour_to_flow(warped["flow"].float() / 255, encoding, 10)
    told = decoded[:, round(where[1]), round(where[0])].double().numpy()
    assert np.linalg.norm(moved) == pytest.approx(zoom * math.hypot(*vector), rel=0.02)
    assert np.linalg.norm(told - moved) < 0.05 * np.linalg.norm(moved)


def test_flow_drawn_at_its_own_largest_magnitude_keeps_its_magnitudes_when_zoomed() -> None:
    flow = torch.tensor([3.0, -4.0]).view(2, 1, 1).expand(2, *SIZE)
    transform = SegmentationTrainTransform(SIZE)
    warped = transform.warp({"flow": picture_of(flow)}, False, 0.0, 1.25)["flow"]
    assert torch.equal(warped, picture_of(flow))


def test_the_released_code_that_leaves_the_colours_can_be_had() -> None:
    flow = picture_of(torch.tensor([3.0, -4.0]).view(2, 1, 1).expand(2, *SIZE))
    transform = SegmentationTrainTransform(SIZE, turn_flow=False)
    for flip, angle in ((True, 0.0), (False, 20.0)):
        warped = transform.warp({"flow": flow}, flip, angle, 1.3)["flow"]
        assert torch.equal(warped[:, 40, 48], flow[:, 40, 48])
    turned = SegmentationTrainTransform(SIZE).warp({"flow": flow}, True, 0.0, 1.0)["flow"]
    assert not torch.equal(turned[:, 40, 48], flow[:, 40, 48])


@pytest.mark.parametrize("encoding", ["middlebury", "hsv"])
def test_the_border_is_black_without_motion_and_background(encoding: Encoding) -> None:
    full = torch.full((3, *SIZE), 255, dtype=torch.uint8)
    flow = picture_of(torch.ones(2, *SIZE), encoding)
    transform = SegmentationTrainTransform(SIZE, flow_encoding=encoding)
    out = transform.warp({"image": full, "flow": flow, "mask": full[:1] // 255}, True, 5.0, 0.5)
    for corner in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
        assert out["image"][:, *corner].tolist() == [0, 0, 0]
        assert out["flow"][:, *corner].tolist() == [STILL[encoding]] * 3
        assert out["mask"][:, *corner].tolist() == [0]
    assert out["image"][:, 40, 48].tolist() == [255] * 3


def test_frames_of_one_clip_share_the_warp_and_other_clips_have_others() -> None:
    transform = SegmentationTrainTransform(SIZE)
    torch.manual_seed(1)
    first, second = transform([frame(), frame()])
    assert all(torch.equal(first[name], second[name]) for name in first)
    (third,) = transform([frame()])
    assert not torch.equal(first["image"], third["image"])


def test_backward_flow_is_warped_like_forward_flow() -> None:
    one, other = frame(), frame(61, 93)
    backward = picture_of(-torch.ones(2, 60, 90))
    both = {"flow": torch.cat([one["flow"], backward])}
    assert other["flow"].shape != one["flow"].shape
    transform = SegmentationTrainTransform(SIZE)
    torch.manual_seed(2)
    (together,) = transform([both])
    torch.manual_seed(2)
    alone = transform([{"flow": one["flow"]}, {"flow": backward}])
    assert torch.equal(together["flow"], torch.cat([alone[0]["flow"], alone[1]["flow"]]))


def test_draws_follow_torchs_seed() -> None:
    transform = SegmentationTrainTransform(SIZE)
    runs = []
    for _ in range(2):
        torch.manual_seed(5)
        runs.append([transform([frame()])[0]["image"] for _ in range(3)])
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))
    assert not torch.equal(runs[0][0], runs[0][1])


def test_draws_stay_in_their_ranges() -> None:
    seen: list[tuple[bool, float, float]] = []

    class Recorder(SegmentationTrainTransform):
        def warp(self, frame: object, flip: bool, angle: float, zoom: float) -> dict[str, Tensor]:
            seen.append((flip, angle, zoom))
            return {}

    transform = Recorder((8, 8))
    for _ in range(400):
        transform([{"mask": torch.zeros(1, 8, 8, dtype=torch.uint8)}])
    flips, angles, zooms = zip(*seen, strict=True)
    assert 140 < sum(flips) < 260
    assert -10 <= min(angles) < -8
    assert 8 < max(angles) <= 10
    assert 0.75 <= min(zooms) < 0.8
    assert 1.2 < max(zooms) <= 1.25


def test_without_augmentation_training_is_the_plain_resize_of_evaluation() -> None:
    plain = SegmentationTrainTransform(SIZE, flip=0, rotation=0, scale=(1, 1))([frame()])[0]
    evaluated = SegmentationEvalTransform(SIZE)([frame()])[0]
    assert all(torch.equal(plain[name], evaluated[name]) for name in evaluated)
    unresized = SegmentationEvalTransform((60, 90))([frame()])[0]
    assert all(torch.equal(unresized[name], picture) for name, picture in frame().items())


def test_flow_of_another_size_is_brought_to_the_same_size() -> None:
    smaller = frame() | {"flow": frame(30, 45)["flow"]}
    assert SegmentationEvalTransform(SIZE)([smaller])[0]["flow"].shape == (3, *SIZE)


@pytest.mark.parametrize(
    "options", [{"flip": 1.5}, {"rotation": -1}, {"rotation": 400}, {"scale": (0, 1)}, {"scale": (1.2, 0.8)}]
)
def test_impossible_options_are_refused_by_name(options: dict[str, object]) -> None:
    (name,) = options
    with pytest.raises(OptionError, match=name):
        SegmentationTrainTransform(SIZE, **options)  # type: ignore[arg-type]

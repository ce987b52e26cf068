# SPDX-License-Identifier: Apache-2.0
"""The protocol of MoCA against its statement in NumPy, on drawn and on real camouflaged animals."""

from __future__ import annotations

import ast
import csv
import math
from typing import NamedTuple

import numpy as np
import pytest
import torch
from davis_reference import DATA, blob
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from staticdropout.errors import BatchError, UnknownNameError
from staticdropout.metrics import BoxRule, CamouflageResult, CamouflageScores

MOCA = DATA / "moca_mini" / "hedgehog_3" / "GT"
needs_moca = pytest.mark.skipif(not MOCA.is_dir(), reason=f"no MoCA masks at {DATA}")

PROTOCOLS: dict[BoxRule, float] = {"largest": 0.1, "mass": 0.2}
TAUS = (0.5, 0.6, 0.7, 0.8, 0.9)


class Frame(NamedTuple):
    picture: NDArray[np.uint8]  # the predicted probability in 8 bits, as in the files of a method
    box: tuple[float, ...]
    size: tuple[int, int]
    sequence: str
    motion: int
    position: int


def drawn_frames() -> list[Frame]:
    """Three sequences of different lengths and sizes, with faint and bold regions; boxes around the boldest."""
    frames = []
    for number, (name, length) in enumerate({"crab": 8, "octopus": 3, "seal": 5}.items()):
        height, width = 48 + 4 * number, 70
        for position in range(length):
            seed = 20 * number + position
            bold, faint = blob(seed, height, width, 1.3), blob(seed + 500, height, width, 1.5)
            picture = np.maximum(230 * bold, (15 + 8 * position) * faint).astype(np.uint8)
            if position == 2:
                picture[-30:-1, -2] = picture[-2, -40:-1] = 255  # thin, but its box is large
            if position == 4:
                picture = 255 - picture
            labels, count = ndimage.label(bold)
            assert count
            y, x = ndimage.find_objects(labels)[np.argmax(np.bincount(labels.ravel())[1:])]
            box = (x.start - 1.0, y.start + 1.0, x.stop - x.start, y.stop - y.start)
            frames.append(
                Frame(picture, tuple(2.0 * v for v in box), (2 * height, 2 * width), name, position % 3, position)
            )
    return frames


def reference_iou(frame: Frame, rule: str, threshold: float) -> float:
    """One frame of MoCA's protocol, on 8-bit values and corners."""
    picture = frame.picture.astype(float)
    height, width = picture.shape
    border = [picture[0], picture[-1], picture[1:-1, 0], picture[1:-1, -1]]
    if np.mean(np.concatenate(border) > 127.5) > 0.5:
        picture = 255 - picture
    mask = picture > threshold * 255
    best, corners = 0, None
    for y, x in ndimage.find_objects(ndimage.label(mask, np.ones((3, 3)))[0])[::-1]:
        size = mask[y, x].size if rule == "largest" else mask[y, x].sum()
        if size > best:
            scale = np.array([frame.size[1] / width, frame.size[0] / height] * 2)
            best, corners = size, np.array([x.start, y.start, x.stop, y.stop]) * scale
    if corners is None:
        return 0.0
    left, top = max(frame.box[0], 0), max(frame.box[1], 0)
    true = np.array([left, top, left + frame.box[2], top + frame.box[3]])
    sides = np.minimum(corners, true)[2:] - np.maximum(corners, true)[:2]
    if (sides <= 0).any():
        return 0.0
    areas = [(c[2] - c[0]) * (c[3] - c[1]) for c in (corners, true)]
    return float(sides.prod() / (sum(areas) - sides.prod()))


def reference(frames: list[Frame], rule: str, threshold: float) -> tuple[float, list[float]]:
    """Mean over sequences of the mean overlap, and the share of all frames above each overlap."""
    overlaps = np.array([reference_iou(frame, rule, threshold) for frame in frames])
    names = np.array([frame.sequence for frame in frames])
    macro = np.mean([overlaps[names == name].mean() for name in np.unique(names)])
    return float(macro), [float((overlaps > tau).mean()) for tau in TAUS]


def scores(frames: list[Frame], rule: BoxRule = "mass", threshold: float = 0.2, size: int = 3) -> CamouflageResult:
    metric = CamouflageScores(box_rule=rule, threshold=threshold)
    lengths = {frame.sequence: max(f.position for f in frames if f.sequence == frame.sequence) + 2 for frame in frames}
    for start in range(0, len(frames), size):
        pictures, boxes, sizes, names, motions, positions = zip(*frames[start : start + size], strict=True)
        metric.update(
            [torch.from_numpy(picture) / 255 for picture in pictures],
            torch.tensor(boxes),
            torch.tensor(sizes),
            names,
            torch.tensor(motions),
            torch.tensor(positions),
            torch.tensor([lengths[name] for name in names]),
        )
    result = metric.compute()
    assert result is not None
    return result


@pytest.mark.parametrize(("rule", "threshold"), PROTOCOLS.items())
def test_both_protocols_have_the_numbers_of_their_definition(rule: BoxRule, threshold: float) -> None:
    frames = drawn_frames()
    result = scores(frames, rule, threshold)
    mean_iou, rates = reference(frames, rule, threshold)
    assert result.mean_iou == pytest.approx(mean_iou, abs=1e-6)
    assert result.success_rates == pytest.approx(rates, abs=1e-12)
    assert result.mean_success_rate == pytest.approx(np.mean(rates), abs=1e-12)
    assert 0.1 < mean_iou < 0.95
    assert result.num_frames == 16
    assert result.missing == {}


def test_the_protocols_differ() -> None:
    frames = drawn_frames()
    assert scores(frames, "largest", 0.1).mean_iou != scores(frames, "mass", 0.1).mean_iou
    assert scores(frames, "mass", 0.1).mean_iou != scores(frames, "mass", 0.2).mean_iou


def test_sequences_and_motion_types_have_the_numbers_of_their_frames() -> None:
    frames = drawn_frames()
    result = scores(frames)
    for index, name in enumerate(("locomotion", "deformation", "static")):
        mean_iou, rates = reference([frame for frame in frames if frame.motion == index], "mass", 0.2)
        assert result.motions[name].mean_iou == pytest.approx(mean_iou, abs=1e-6)
        assert result.motions[name].success_rates == pytest.approx(rates, abs=1e-12)
    for name, of_sequence in result.sequences.items():
        mean_iou, rates = reference([frame for frame in frames if frame.sequence == name], "mass", 0.2)
        assert of_sequence.mean_iou == pytest.approx(mean_iou, abs=1e-6)
        assert of_sequence.success_rates == pytest.approx(rates, abs=1e-12)
    assert [(frame.sequence, frame.motion) for frame in result.frames] == [(f.sequence, f.motion) for f in frames]


def test_motion_types_without_a_frame_are_absent_and_unknown_ones_count_overall() -> None:
    result = scores([frame._replace(motion=-1 if frame.position else 1) for frame in drawn_frames()])
    assert list(result.motions) == ["deformation"]
    assert result.num_frames == 16


@pytest.mark.parametrize("size", [1, 7])
def test_neither_order_nor_batches_nor_repetition_matter(size: int) -> None:
    frames = drawn_frames()
    order = torch.randperm(len(frames), generator=torch.Generator().manual_seed(size)).tolist()
    assert scores([frames[index] for index in order + order[:4]], size=size) == scores(frames)


def test_frames_without_a_box_do_not_count_and_frames_not_given_are_named() -> None:
    frames = drawn_frames()
    unlabelled = [frame._replace(box=(math.nan,) * 4) if frame.position == 1 else frame for frame in frames]
    result = scores([frame for frame in unlabelled if frame[3::2] != ("crab", 3)])
    assert result.num_frames == 16 - 3 - 1
    assert result.missing == {"crab": (3,)}


def test_logged_numbers_are_percentages_by_name() -> None:
    result = scores(drawn_frames())
    numbers = result.scalars()
    assert numbers["mIoU"] == 100 * result.mean_iou
    assert numbers["success"] == 100 * result.mean_success_rate
    assert numbers["success_0.7"] == 100 * result.success_rates[2]
    assert len(numbers) == 7


def hedgehog() -> list[Frame]:
    """Real masks, 360 x 640, and the boxes around them in pictures of 720 x 1280."""
    frames = []
    for position, path in enumerate(sorted(MOCA.glob("*.png"))):
        picture = np.array(Image.open(path))
        x, y = ((np.flatnonzero((picture > 0).any(axis))[[0, -1]] + [0, 1]) * 2.0 for axis in (0, 1))
        frames.append(Frame(picture, (x[0], y[0], x[1] - x[0], y[1] - y[0]), (720, 1280), "hedgehog_3", 0, position))
    return frames


@needs_moca
@pytest.mark.parametrize(("rule", "threshold"), PROTOCOLS.items())
def test_real_masks_have_the_numbers_of_the_definition(rule: BoxRule, threshold: float) -> None:
    frames = hedgehog()
    assert len(frames) == 23
    moved = [frame._replace(picture=np.roll(frame.picture, 40, axis=1)) for frame in frames]
    found = []
    for predicted in (frames, moved):
        result = scores(predicted, rule, threshold)
        mean_iou, rates = reference(predicted, rule, threshold)
        assert result.mean_iou == pytest.approx(mean_iou, abs=1e-6)
        assert result.success_rates == pytest.approx(rates, abs=1e-12)
        found.append(result.mean_iou)
    assert found[0] > 0.9  # less than 1: some masks have several regions
    assert found[1] < 0.6


@needs_moca
def test_the_rules_differ_on_real_masks_with_a_thin_line_along_two_edges() -> None:
    frames = hedgehog()
    lined = []
    for frame in frames:
        picture = frame.picture.copy()
        picture[:3, -200:] = 255  # a box larger than the animal's, of fewer pixels
        picture[:200, -3:] = 255
        lined.append(frame._replace(picture=picture))
    assert scores(lined, "mass").mean_iou == scores(frames, "mass").mean_iou
    largest = scores(lined, "largest").mean_iou
    assert largest == pytest.approx(reference(lined, "largest", 0.2)[0], abs=1e-6)
    assert largest < 0.5


@needs_moca
def test_the_first_real_mask_overlaps_the_annotated_box() -> None:
    path = DATA / "annotations" / "moca" / "annotations.csv"
    if not path.is_file():
        pytest.skip(f"no annotations at {path}")
    with path.open() as file:
        (row,) = (row for row in csv.DictReader(file) if row["file_list"] == "/hedgehog_3/00000.jpg")
    box = tuple(float(value) for value in ast.literal_eval(row["spatial_coordinates"])[1:])
    frame = hedgehog()[0]
    assert scores([frame._replace(box=box)]).mean_iou > 0.25
    turned = (box[1], box[0], box[3], box[2])
    assert scores([frame._replace(box=turned)]).mean_iou == 0


def test_without_a_measured_frame_there_is_a_warning_and_no_result() -> None:
    metric = CamouflageScores()
    entries = torch.full((1, 4), math.nan), torch.tensor([[8, 8]]), ["crab"], torch.tensor([0]), torch.tensor([0])
    metric.update([torch.ones(4, 4)], *entries)
    with pytest.warns(UserWarning, match="no frame: 1 were given, none with a box"):
        assert metric.compute() is None


def test_nothing_is_missing_where_the_lengths_are_unknown() -> None:
    metric = CamouflageScores()
    place = torch.tensor([[1.0, 1.0, 2.0, 2.0]]), torch.tensor([[4, 4]]), ["crab"], torch.tensor([0]), torch.tensor([7])
    metric.update([torch.eye(4)], *place)
    result = metric.compute()
    assert result is not None
    assert (result.num_frames, result.missing) == (1, {})


def test_bad_input_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="no box rule called 'big'"):
        CamouflageScores(box_rule="big")  # type: ignore[arg-type]
    metric, one = CamouflageScores(), torch.tensor([0])
    with pytest.raises(BatchError, match=r"expected box \(1, 4\), .* found \(1, 3\)"):
        metric.update([torch.ones(4, 4)], torch.ones(1, 3), torch.ones(1, 2), ["crab"], one, one)
    with pytest.raises(BatchError, match="prediction 1, sequence 2, position 1"):
        metric.update([torch.ones(4, 4)], torch.ones(1, 4), torch.ones(1, 2), ["crab", "seal"], one, one)

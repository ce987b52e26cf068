# SPDX-License-Identifier: Apache-2.0
"""J and F over sequences: the official averages, what is left out, what is missing, what is refused."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pytest
import torch
from davis_reference import DATA, Mask, blob, davis_masks, reference_f, reference_j, reference_statistics
from torch import Tensor

from staticdropout.errors import BatchError, OptionError
from staticdropout.metrics import SegmentationResult, SegmentationScores

needs_davis = pytest.mark.skipif(not (DATA / "davis16_mini").is_dir(), reason=f"no DAVIS masks at {DATA}")

LENGTHS = {"bear": 9, "cow": 4, "dog": 6}


class Frame(NamedTuple):
    prediction: Tensor
    mask: Tensor | None
    sequence: str
    position: int


def frames_of(lengths: dict[str, int]) -> list[Frame]:
    """Predictions that resemble their masks less and less; every sequence has a size of its own."""
    frames = []
    for number, (name, length) in enumerate(lengths.items()):
        size = (40 + 3 * number, 50 + number)
        for position in range(length):
            mask = blob(100 * number + position, *size)
            prediction = mask ^ blob(100 * number + position + 50, *size, level=1.6 - 0.15 * position)
            frames.append(Frame(torch.from_numpy(prediction), torch.from_numpy(mask), name, position))
    return frames


def add(metric: SegmentationScores, frames: list[Frame], lengths: dict[str, int]) -> None:
    predictions, masks, names, positions = ([frame[entry] for frame in frames] for entry in range(4))
    num_frames = torch.tensor([lengths[frame.sequence] for frame in frames])
    metric.update(predictions, masks, names, torch.tensor(positions), num_frames)  # type: ignore[arg-type]


def scores(
    frames: list[Frame], lengths: dict[str, int] = LENGTHS, size: int = 4, **options: bool
) -> SegmentationResult:
    metric = SegmentationScores(**options)
    for start in range(0, len(frames), size):
        add(metric, frames[start : start + size], lengths)
    result = metric.compute()
    assert result is not None
    return result


def reference(pairs: dict[str, list[tuple[Mask, Mask]]]) -> list[float]:
    """J mean, recall, decay, then F's, then J&F, by the definitions; of sequences of (prediction, mask)."""
    rows = []
    for frames in pairs.values():
        inner = frames[1:-1]
        j = np.array([reference_j(*pair) for pair in inner])
        f = np.array([reference_f(*pair)[0] for pair in inner])
        rows.append([*reference_statistics(j), *reference_statistics(f)])
    mean = np.mean(rows, axis=0)
    return [*mean, (mean[0] + mean[3]) / 2]


def as_pairs(frames: list[Frame]) -> dict[str, list[tuple[Mask, Mask]]]:
    pairs: dict[str, list[tuple[Mask, Mask]]] = {}
    for frame in frames:
        assert frame.mask is not None
        pairs.setdefault(frame.sequence, []).append((frame.prediction.numpy(), frame.mask.numpy()))
    return pairs


def test_overall_numbers_are_means_over_sequences_without_their_ends() -> None:
    frames = frames_of(LENGTHS)
    result = scores(frames)
    assert result[:7] == pytest.approx(reference(as_pairs(frames)), abs=1e-9)
    assert result.num_frames == 7 + 2 + 4
    assert result.missing == {}
    assert result.scalars()["F_decay"] == 100 * result.f_decay


def test_each_sequence_has_the_numbers_it_has_alone() -> None:
    frames = frames_of(LENGTHS)
    result = scores(frames)
    assert list(result.sequences) == ["bear", "cow", "dog"]
    for name, of_sequence in result.sequences.items():
        alone = scores([frame for frame in frames if frame.sequence == name])
        assert of_sequence == alone[:8]


def test_frames_have_their_own_numbers_in_order() -> None:
    frames = frames_of(LENGTHS)
    result = scores(frames)
    assert [(frame.sequence, frame.position) for frame in result.frames] == [
        (name, position) for name, length in LENGTHS.items() for position in range(1, length - 1)
    ]
    prediction, mask = as_pairs(frames)["dog"][3]
    frame = next(frame for frame in result.frames if frame[:2] == ("dog", 3))
    assert frame.j == pytest.approx(reference_j(prediction, mask), abs=1e-9)
    assert frame.f == pytest.approx(reference_f(prediction, mask)[0], abs=1e-9)


@pytest.mark.parametrize("size", [1, 5, 19])
def test_neither_order_nor_batches_nor_repetition_matter(size: int) -> None:
    frames = frames_of(LENGTHS)
    order = torch.randperm(len(frames), generator=torch.Generator().manual_seed(size)).tolist()
    assert scores([frames[index] for index in order + order[:5]], size=size) == scores(frames)


def test_the_ends_are_measured_on_request() -> None:
    result = scores(frames_of(LENGTHS), skip_ends=False)
    assert result.num_frames == sum(LENGTHS.values())
    assert result.frames[0].position == 0


def test_frames_that_were_not_given_are_named() -> None:
    left_out = {("bear", 0), ("bear", 4), ("bear", 5), ("dog", 5)}
    frames = [frame for frame in frames_of(LENGTHS) if (frame.sequence, frame.position) not in left_out]
    result = scores(frames)
    assert result.missing == {"bear": (4, 5)}
    assert result.sequences["bear"].num_frames == 5


def test_frames_without_annotation_are_not_missing_and_do_not_count() -> None:
    frames = frames_of(LENGTHS)
    sparse = [frame if frame.position % 2 else frame._replace(mask=None) for frame in frames]
    result, odd = scores(sparse), scores([frame for frame in frames if frame.position % 2])
    assert result.missing == {}
    assert result[:7] == odd[:7]
    assert result.num_frames == odd.num_frames


def test_probabilities_are_compared_with_the_threshold() -> None:
    mask = torch.from_numpy(blob(1))
    probability = 0.2 + 0.4 * mask
    for threshold, expected in ((0.5, 1.0), (0.1, float(mask.float().mean())), (0.7, 0.0)):
        metric = SegmentationScores(threshold=threshold)
        metric.update([probability], [mask], ["dog"], torch.tensor([1]), torch.tensor([3]))
        result = metric.compute()
        assert result is not None
        assert result.j_mean == pytest.approx(expected, abs=1e-6)


def test_batches_may_be_stacked_and_of_any_precision() -> None:
    masks = torch.stack([torch.from_numpy(blob(seed)) for seed in range(3)])
    metric = SegmentationScores()
    metric.update(
        (masks * 0.75).bfloat16(), masks.byte()[:, None][:, 0], ["dog"] * 3, torch.arange(3), torch.full((3,), 5)
    )
    result = metric.compute()
    assert result is not None
    assert result.jf_mean == 1
    assert result.missing == {"dog": (3,)}


def test_without_a_measured_frame_there_is_a_warning_and_no_result() -> None:
    metric = SegmentationScores()
    mask = torch.ones(4, 4)
    metric.update([mask, mask], [mask, None], ["dog", "dog"], torch.tensor([0, 1]), torch.tensor([5, 5]))
    with pytest.warns(UserWarning, match="no frame: 2 were given, all without annotation or at the ends"):
        assert metric.compute() is None


@pytest.mark.filterwarnings("ignore:The ``compute`` method:UserWarning")  # torchmetrics' own
def test_a_metric_that_was_never_given_a_frame_says_so() -> None:
    with pytest.warns(UserWarning, match=r"measured no frame: 0 were given\."):
        assert SegmentationScores().compute() is None


def test_reset_forgets_and_forward_measures_the_batch() -> None:
    metric, mask = SegmentationScores(), torch.from_numpy(blob(0))
    place = (["dog"], torch.tensor([1]), torch.tensor([4]))
    assert metric([~mask], [mask], *place).j_mean == 0
    assert metric([mask], [mask], ["dog"], torch.tensor([2]), torch.tensor([4])).j_mean == 1
    both = metric.compute()
    assert both is not None
    assert both.j_mean == 0.5
    metric.reset()
    metric.update([mask], [mask], *place)
    alone = metric.compute()
    assert alone is not None
    assert (alone.j_mean, alone.num_frames, alone.missing) == (1, 1, {"dog": (2,)})


@needs_davis
def test_real_sequences_have_the_official_numbers() -> None:
    lengths = {"car-shadow": 7, "libby": 6}
    pairs: dict[str, list[tuple[Mask, Mask]]] = {}
    frames = []
    for name, length in lengths.items():
        masks = davis_masks(name, length)
        pairs[name] = [(np.roll(mask, 3 * place, axis=1), mask) for place, mask in enumerate(masks)]
        frames += [
            Frame(torch.from_numpy(prediction), torch.from_numpy(mask), name, place)
            for place, (prediction, mask) in enumerate(pairs[name])
        ]
    result = scores(frames, lengths)
    assert result[:7] == pytest.approx(reference(pairs), abs=1e-6)
    assert 0 < result.f_mean < 1
    assert result.j_decay > 0
    perfect = scores([frame._replace(prediction=frame.mask) for frame in frames if frame.mask is not None], lengths)
    assert perfect[:7] == (1, 1, 0, 1, 1, 0, 1)


def test_a_prediction_of_another_size_is_named() -> None:
    with pytest.raises(BatchError, match=r"frame 1 of 'dog' is \(4, 4\), its mask \(8, 8\). Resize"):
        add(SegmentationScores(), [Frame(torch.rand(4, 4), torch.ones(8, 8), "dog", 1)], LENGTHS)


def test_logits_and_entries_that_do_not_fit_are_refused() -> None:
    metric, mask = SegmentationScores(), torch.ones(4, 4)
    with pytest.raises(BatchError, match="frame 1 of 'dog': expected probabilities"):
        add(metric, [Frame(torch.full((4, 4), -2.0), mask, "dog", 1)], LENGTHS)
    with pytest.raises(BatchError, match="prediction 1, mask 2, sequence 1"):
        metric.update([mask], [mask, mask], ["dog"], torch.tensor([1]), torch.tensor([4]))
    with pytest.raises(BatchError, match="Frame 6 of 'dog' lies outside its 6 frames"):
        add(metric, [Frame(mask, mask, "dog", 6)], LENGTHS)


@pytest.mark.parametrize("options", [{"threshold": 1.0}, {"threshold": math.nan}, {"tolerance": -0.1}])
def test_options_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(OptionError, match=next(iter(options))):
        SegmentationScores(**options)  # type: ignore[arg-type]

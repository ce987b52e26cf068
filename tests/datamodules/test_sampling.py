# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch

from staticdropout.datamodules import dense_indices, sample_clips, segment_indices, window_indices
from staticdropout.datamodules.sampling import Sampling

LENGTHS = [1, 2, 3, 5, 8, 9, 13, 29, 49, 74, 117, 300]


def official_bounds(length: int, num_frames: int) -> list[tuple[int, int]]:
    """The segments as SlowFast's Something-Something V2 loader states them, one after the other."""
    segment = float(length - 1) / num_frames
    return [(int(np.round(segment * i)), int(np.round(segment * (i + 1)))) for i in range(num_frames)]


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("num_frames", [1, 4, 8, 16])
def test_segment_sampling_in_evaluation_takes_the_official_midpoints(length: int, num_frames: int) -> None:
    expected = [(start + end) // 2 for start, end in official_bounds(length, num_frames)]
    assert segment_indices(length, num_frames).tolist() == [expected]


@pytest.mark.parametrize("length", LENGTHS)
def test_segment_sampling_in_training_stays_within_the_official_segments_and_reaches_both_ends(length: int) -> None:
    generator = torch.Generator().manual_seed(0)
    draws = segment_indices(length, 8, training=True, num_clips=2000, generator=generator)
    bounds = official_bounds(length, 8)
    assert draws.min(axis=0).tolist() == [start for start, _ in bounds]
    assert draws.max(axis=0).tolist() == [end for _, end in bounds]


def test_segment_sampling_in_training_is_uniform_within_a_segment() -> None:
    draws = segment_indices(81, 8, training=True, num_clips=22000, generator=torch.Generator().manual_seed(1))
    counts = np.bincount(draws[:, 3] - 30, minlength=11)  # segment 3 reaches from 30 to 40
    assert np.abs(counts / 22000 - 1 / 11).max() < 0.01


@pytest.mark.parametrize("num_clips", [2, 3, 5])
def test_several_segment_clips_are_distinct_and_symmetric_around_the_middle(num_clips: int) -> None:
    clips = segment_indices(161, 8, num_clips=num_clips)
    assert clips.shape == (num_clips, 8)
    assert (np.diff(clips, axis=0) > 0).all()
    middle = segment_indices(161, 8)[0]
    assert np.abs(clips.mean(axis=0) - middle).max() <= 1


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("num_frames", [1, 4, 16])
@pytest.mark.parametrize("stride", [1, 2, 8])
def test_dense_sampling_in_evaluation_is_a_centred_window_whose_end_repeats_the_last_frame(
    length: int, num_frames: int, stride: int
) -> None:
    span = (num_frames - 1) * stride + 1
    start = max(length - span, 0) // 2
    expected = [min(start + stride * i, length - 1) for i in range(num_frames)]
    assert dense_indices(length, num_frames, stride).tolist() == [expected]


def test_dense_sampling_in_training_starts_anywhere_with_equal_probability() -> None:
    draws = dense_indices(20, 4, 3, training=True, num_clips=11000, generator=torch.Generator().manual_seed(2))
    counts = np.bincount(draws[:, 0])
    assert len(counts) == 11  # windows of 10 frames start at 0 to 10
    assert np.abs(counts / 11000 - 1 / 11).max() < 0.015
    assert (np.diff(draws, axis=1) == 3).all()


def test_several_dense_clips_reach_from_the_first_to_the_last_frame() -> None:
    clips = dense_indices(100, 8, 4, num_clips=10)
    assert clips[0, 0] == 0
    assert clips[-1, -1] == 99
    assert np.ptp(np.diff(clips[:, 0])) <= 1  # evenly, up to whole frames


def official_window(length: int, num_frames: int, stride: Fraction, clip: int, num_clips: int) -> list[int]:
    """A test clip of Kinetics as SlowFast states it, in exact arithmetic: the window, then evenly spaced frames."""
    size = max(Fraction(1), num_frames * stride)
    start = max(length - size, Fraction(0)) * clip / num_clips
    step = (size - 1) / (num_frames - 1)
    return [min(int(start + step * i), length - 1) for i in range(num_frames)]


@pytest.mark.parametrize("length", [*LENGTHS, 250, 280, 310])
@pytest.mark.parametrize(("num_frames", "stride"), [(8, 8), (4, 16), (32, 2), (16, 5), (13, 6), (16, 4)])
@pytest.mark.parametrize("fps", [15, 24, 25, 30, 60])
def test_ten_windows_are_the_official_ten_clips_of_kinetics_at_any_frame_rate(
    length: int, num_frames: int, stride: int, fps: int
) -> None:
    scaled = Fraction(stride * fps, 30)
    expected = [official_window(length, num_frames, scaled, clip, 10) for clip in range(10)]
    assert window_indices(length, num_frames, float(scaled), num_clips=10).tolist() == expected


def test_a_window_reaches_over_all_its_frames() -> None:
    assert window_indices(64, 8, 8).tolist() == [[0, 9, 18, 27, 36, 45, 54, 63]]
    assert window_indices(100, 8, 8).tolist() == [[18 + 9 * i for i in range(8)]]  # in the middle
    assert window_indices(5, 1, 1).tolist() == [[2]]


def test_windows_in_training_start_anywhere_and_stay_inside() -> None:
    clips = window_indices(100, 8, 8, training=True, num_clips=4000, generator=torch.Generator().manual_seed(0))
    assert (clips[:, 0].min(), clips[:, 0].max(), clips[:, -1].max()) == (0, 35, 98)
    assert np.abs(np.bincount(clips[:, 0]) / 4000 - 1 / 36).max() < 0.012
    assert (np.diff(clips, axis=1) >= 9).all()


def test_a_dense_stride_between_whole_numbers_rounds_positions_down() -> None:
    assert dense_indices(11, 5, 2.5).tolist() == [[0, 2, 5, 7, 10]]
    assert dense_indices(10, 4, 0.5, num_clips=2).tolist() == [[0, 0, 1, 1], [8, 8, 9, 9]]


@pytest.mark.parametrize("sampling", ["segment", "dense", "window"])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("length", LENGTHS)
def test_indices_are_in_range_and_never_decrease(sampling: Sampling, training: bool, length: int) -> None:
    clips = sample_clips(length, 8, sampling=sampling, stride=3, training=training, num_clips=7)
    assert clips.shape == (7, 8)
    assert clips.dtype == np.int64
    assert clips.min() >= 0
    assert clips.max() < length
    assert (np.diff(clips, axis=1) >= 0).all()


@pytest.mark.parametrize("sampling", ["segment", "dense", "window"])
def test_the_same_seed_draws_the_same_frames_from_either_source(sampling: Sampling) -> None:
    def draw(generator: torch.Generator | None) -> list[list[int]]:
        clips = sample_clips(90, 8, sampling=sampling, stride=2, training=True, num_clips=4, generator=generator)
        return [[int(i) for i in clip] for clip in clips]

    state = torch.get_rng_state()
    explicit = draw(torch.Generator().manual_seed(5))
    assert torch.equal(torch.get_rng_state(), state)  # the global generator is left alone
    torch.manual_seed(5)
    assert draw(None) == explicit
    assert draw(None) != explicit


@pytest.mark.parametrize("sampling", ["dense", "window"])
@pytest.mark.parametrize(("length", "num_frames", "stride"), [(0, 8, 1), (10, 0, 1), (10, 8, 0), (10, 8, -0.5)])
def test_impossible_requests_are_refused(sampling: Sampling, length: int, num_frames: int, stride: float) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        sample_clips(length, num_frames, sampling=sampling, stride=stride)


def test_an_unknown_sampling_is_refused() -> None:
    with pytest.raises(ValueError, match="'segment', 'dense' or 'window'"):
        sample_clips(10, 4, sampling="sparse")  # type: ignore[arg-type]

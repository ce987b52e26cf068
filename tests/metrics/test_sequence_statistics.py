# SPDX-License-Identifier: Apache-2.0
"""Mean, recall and decay of a sequence against the official bins."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from davis_reference import reference_statistics

from staticdropout.errors import BatchError
from staticdropout.metrics import sequence_statistics


def test_sequences_of_every_length_have_the_official_bins() -> None:
    generator = np.random.default_rng(0)
    for frames in range(1, 300):
        values = generator.random(frames)
        assert sequence_statistics(values) == pytest.approx(reference_statistics(values), abs=1e-12), frames


def test_short_sequences_compare_their_first_with_their_last_frames() -> None:
    assert sequence_statistics([0.7]).decay == 0
    assert sequence_statistics([0.75, 0.25]).decay == 0.5
    assert sequence_statistics([1.0, 0.5, 0.25]).decay == 0.5  # the first two frames less the last


def test_frames_without_a_value_are_left_out() -> None:
    values = np.random.default_rng(1).random(23)
    padded = np.concatenate([[np.nan], values[:9], [np.nan, np.nan], values[9:], [np.nan]])
    assert sequence_statistics(padded) == sequence_statistics(values)


def test_nothing_has_no_statistics_and_no_warning(recwarn: pytest.WarningsRecorder) -> None:
    for values in ([], [math.nan, math.nan]):
        assert all(math.isnan(value) for value in sequence_statistics(values))
    assert not recwarn.list


def test_a_value_of_exactly_one_half_is_not_recalled() -> None:
    assert sequence_statistics([0.5, 0.50001]).recall == 0.5


def test_lists_arrays_and_tensors_agree() -> None:
    values = [0.9, 0.4, 0.6, 0.1, 0.2]
    assert sequence_statistics(values) == sequence_statistics(np.array(values))
    assert sequence_statistics(values) == sequence_statistics(torch.tensor(values, dtype=torch.float64))


def test_values_of_several_sequences_are_refused() -> None:
    with pytest.raises(BatchError, match="one sequence"):
        sequence_statistics(np.ones((2, 5)))

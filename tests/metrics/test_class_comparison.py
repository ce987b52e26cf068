# SPDX-License-Identifier: Apache-2.0
"""Two evaluations side by side: matched by name, refused where they cannot be compared."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from staticdropout.errors import AnnotationError, OptionError
from staticdropout.metrics import ClassTable, compare_classes, difference_by_frequency


def table(
    accuracy: Sequence[float],
    train_clips: Sequence[float] | None = None,
    names: str | Sequence[str] = "",
    clips: Sequence[float] | None = None,
    **about: str,
) -> ClassTable:
    count = len(accuracy)
    unknown = [math.nan] * count
    return ClassTable(
        tuple(names or [f"class {index}" for index in range(count)]),
        np.array(train_clips or unknown, dtype=float),
        np.array(clips or unknown, dtype=float),
        np.array(accuracy, dtype=float),
        about,
    )


def test_classes_are_matched_by_name_whatever_their_numbers() -> None:
    comparison = compare_classes(table([10, 20, 30], [3, 2, 1], "cab"), table([5, 6, 7], [2, 1, 3], "abc"))
    assert comparison.names == ("a", "b", "c")
    np.testing.assert_array_equal(comparison.difference, [20 - 5, 30 - 6, 10 - 7])
    np.testing.assert_array_equal(comparison.train_clips, [2, 1, 3])
    assert comparison.notes == ()


def test_exchanging_the_runs_or_renumbering_the_classes_changes_signs_alone() -> None:
    generator = np.random.default_rng(0)
    count = 40
    accuracy, train_clips = generator.uniform(5, 95, (2, count)), generator.integers(3, 12, count).astype(float)
    names = np.array([f"{index:02d}" for index in range(count)])

    def results(first: int, second: int, order: np.ndarray) -> np.ndarray:
        a, b = (
            table(list(accuracy[at][order]), list(train_clips[order]), list(names[order])) for at in (first, second)
        )
        found = compare_classes(a, b.select(sorted(names, reverse=True)))
        return np.array([one[:7] for one in difference_by_frequency(found.difference, found.train_clips)])

    there = results(0, 1, np.arange(count))
    signs = [1, -1, 1, -1, 1, -1, 1]  # many classes are equally frequent, so ties are met
    np.testing.assert_array_equal(results(1, 0, np.arange(count)) * signs, there)
    np.testing.assert_array_equal(results(0, 1, generator.permutation(count)), there)


def test_classes_without_clips_are_left_out_and_counted() -> None:
    comparison = compare_classes(
        table([math.nan, 50, 60], [1, 2, 3], "zyx"), table([10, math.nan, 70], [1, 2, 3], "zyx")
    )
    assert comparison.names == ("x",)
    assert comparison.left_out == ("z", "y")
    assert comparison.notes[0] == "2 of 3 classes have no evaluated clips and are left out."


def test_nothing_in_common_is_refused() -> None:
    with pytest.raises(AnnotationError, match="no class with evaluated clips in both"):
        compare_classes(table([math.nan, 50]), table([50, math.nan]))


@pytest.mark.parametrize(("names", "message"), [("abd", "2 are in one alone, as 'c' in the first"), ("ab", "'c' in")])
def test_other_classes_are_refused(names: str, message: str) -> None:
    with pytest.raises(AnnotationError, match=message):
        compare_classes(table([1, 2, 3], names="abc"), table([1, 2, 3][: len(names)], names=names))


def test_other_training_data_are_refused_until_somebody_says_whose_frequencies_count() -> None:
    a, b = table([10, 20], [100, 5]), table([10, 20], [100, 6])
    with pytest.raises(OptionError, match=r"1 classes differ .* as 'class 1' with 5 and 6. .*--frequencies RUN"):
        compare_classes(a, b)
    for given in (a, b, table([0, 0, 0], [7, 8, 9])):
        expected = given.train_clips[:2]
        np.testing.assert_array_equal(compare_classes(a, b, given).train_clips, expected)
    with pytest.raises(AnnotationError, match="lacks 1 of the 2 classes, as 'class 1'"):
        compare_classes(a, b, table([0], [7]))


def test_a_run_that_does_not_know_the_frequencies_takes_those_of_the_other() -> None:
    known, unknown = table([10, 20], [100, 5]), table([30, 40])
    for pair, owner in (((known, unknown), "first"), ((unknown, known), "second")):
        comparison = compare_classes(*pair)
        np.testing.assert_array_equal(comparison.train_clips, [100, 5])
        assert comparison.notes == (f"Training clips as the {owner} run counts them.",)


def test_without_frequencies_nothing_is_ranked_and_the_way_to_them_is_told() -> None:
    comparison = compare_classes(table([10, 20]), table([30, 40]))
    assert len(comparison.ranked) == 0
    assert "--frequencies RUN" in comparison.notes[0]


def test_classes_that_are_all_equally_frequent_are_not_ranked() -> None:
    comparison = compare_classes(table([10, 20], [7, 7]), table([30, 40], [7, 7]))
    assert len(comparison.ranked) == 0
    assert comparison.notes == ("All classes have the same number of training clips: none is rare.",)


def test_a_class_of_unknown_frequency_is_compared_and_not_ranked() -> None:
    a = table([10, 20, 30], [7, math.nan, 9])
    comparison = compare_classes(a, a._replace(accuracy=a.accuracy + 1))
    assert len(comparison.names) == 3
    assert comparison.ranked.tolist() == [0, 2]
    assert comparison.notes == ("1 classes without a known number of training clips are not ranked.",)


def test_other_numbers_of_evaluated_clips_are_told() -> None:
    a, b = table([10, 20], [1, 2], clips=[10, 5]), table([10, 20], [1, 2], clips=[10, 4])
    (note,) = compare_classes(a, b).notes
    assert note.startswith("The numbers of evaluated clips differ in 1 classes (15 and 14 in all)")


def test_validation_and_test_are_not_compared() -> None:
    with pytest.raises(OptionError, match="evaluated val clips and the other test clips"):
        compare_classes(table([10], stage="val"), table([10], stage="test"))

# SPDX-License-Identifier: Apache-2.0
"""Two evaluations side by side, class by class; what cannot be compared is refused or told."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import AnnotationError, OptionError
from .class_table import ClassTable

__all__ = ("ClassComparison", "compare_classes")

Numbers = NDArray[np.float64]


class ClassComparison(NamedTuple):
    """The classes that both evaluations have clips of, sorted by name.

    Attributes:
        names: of the classes, N of them.
        train_clips: ``(N,)`` training clips; NaN where not known.
        clips: ``(2, N)`` evaluated clips in each of the two; NaN where not known.
        accuracy: ``(2, N)`` in percent.
        left_out: names of the classes without evaluated clips, in the order of the first table.
        notes: sentences about what to bear in mind.
    """

    names: tuple[str, ...]
    train_clips: Numbers
    clips: Numbers
    accuracy: Numbers
    left_out: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def difference(self) -> Numbers:
        """``(N,)`` accuracy of the first minus that of the second, in percentage points."""
        difference: Numbers = self.accuracy[0] - self.accuracy[1]
        return difference

    @property
    def common_clips(self) -> Numbers:
        """``(N,)`` evaluated clips that the two can have in common; NaN where neither tells."""
        clips: Numbers = np.fmin(self.clips[0], self.clips[1])
        return clips

    @property
    def ranked(self) -> NDArray[np.int64]:
        """Indices of the classes of known frequency; none if all are equally frequent, which orders nothing."""
        known = np.flatnonzero(np.isfinite(self.train_clips))
        return known if len(np.unique(self.train_clips[known])) > 1 else known[:0]


def compare_classes(first: ClassTable, second: ClassTable, frequencies: ClassTable | None = None) -> ClassComparison:
    """Put two evaluations side by side; classes are matched by name, so that their numbering may differ.

    Sorting by name makes the order of equally frequent classes a matter of their names alone: exchanging the two
    evaluations changes signs and nothing else.

    Args:
        first: an evaluation.
        second: another one, of the same classes.
        frequencies: where the numbers of training clips come from; by default from the two, which then have to agree,
            or from the one that knows them.

    Raises:
        AnnotationError: if the classes differ, or none has clips in both.
        OptionError: if the two were trained with different numbers of clips and ``frequencies`` is not given, or one
            evaluated validation clips and the other test clips.

    Example:
        >>> nan = np.full(2, np.nan)
        >>> a = ClassTable(("x", "y"), np.array([9.0, 2.0]), nan, np.array([50.0, 40.0]), {})
        >>> b = ClassTable(("y", "x"), np.array([2.0, 9.0]), nan, np.array([30.0, 55.0]), {})
        >>> compare_classes(a, b).difference
        array([-5., 10.])
    """
    if differing := sorted(set(first.names) ^ set(second.names)):
        owner = "first" if differing[0] in first.names else "second"
        raise AnnotationError(
            f"The two runs have different classes: {len(differing)} are in one alone, as {differing[0]!r} in the "
            f"{owner}. Compare runs on the same data set; where one has numbers for names, name its classes."
        )
    stages = [table.about.get("stage", "") for table in (first, second)]
    if all(stages) and stages[0] != stages[1]:
        raise OptionError(
            f"One run evaluated {stages[0]} clips and the other {stages[1]} clips. Compare the same split."
        )
    names = sorted(first.names)
    a, b = first.select(names), second.select(names)
    train_clips, notes = _frequencies(a, b, frequencies)
    clips, accuracy = np.stack([a.clips, b.clips]), np.stack([a.accuracy, b.accuracy])
    keep = np.isfinite(accuracy).all(0)
    if not keep.any():
        raise AnnotationError("There is no class with evaluated clips in both runs, so there is nothing to compare.")
    if left := set(np.array(names)[~keep]):
        notes.append(f"{len(left)} of {len(names)} classes have no evaluated clips and are left out.")
    if uneven := int((clips[0] != clips[1])[np.isfinite(clips).all(0)].sum()):
        in_all = " and ".join(f"{np.nansum(row):.0f}" for row in clips)
        notes.append(
            f"The numbers of evaluated clips differ in {uneven} classes ({in_all} in all): these are not quite the "
            "same clips. Samplers of several devices repeat a few, and unreadable videos are missing."
        )
    unknown = int(np.isnan(train_clips[keep]).sum())
    if 0 < unknown < keep.sum():
        notes.append(f"{unknown} classes without a known number of training clips are not ranked.")
    kept = np.flatnonzero(keep)
    comparison = ClassComparison(
        tuple(names[index] for index in kept),
        train_clips[keep],
        clips[:, keep],
        accuracy[:, keep],
        tuple(name for name in first.names if name in left),
        (),
    )
    if unknown < keep.sum() and not len(comparison.ranked):
        notes.append("All classes have the same number of training clips: none is rare.")
    return comparison._replace(notes=tuple(notes))


def _frequencies(a: ClassTable, b: ClassTable, given: ClassTable | None) -> tuple[Numbers, list[str]]:
    """Training clips of the classes that both tables have, in their order."""
    if given is not None:
        if missing := sorted(set(a.names) - set(given.names)):
            raise AnnotationError(
                f"The table of frequencies lacks {len(missing)} of the {len(a.names)} classes, as {missing[0]!r}. Take "
                "it from a training on the same data set."
            )
        return given.select(a.names).train_clips, []
    known = [np.isfinite(table.train_clips) for table in (a, b)]
    different = np.flatnonzero(known[0] & known[1] & (a.train_clips != b.train_clips))
    if len(different):
        at = different[0]
        raise OptionError(
            f"The two runs were trained on different data: {len(different)} classes differ in their number of training "
            f"clips, as {a.names[at]!r} with {a.train_clips[at]:.0f} and {b.train_clips[at]:.0f}. Say whose numbers "
            "order the classes: --frequencies RUN."
        )
    train_clips = np.where(known[0], a.train_clips, b.train_clips)
    if not np.isfinite(train_clips).any():
        return train_clips, [
            "Neither run knows how many training clips the classes have, so nothing is said about rare ones. Name a "
            "training run on the same data, or a CSV with the columns class and train_clips: --frequencies RUN."
        ]
    alone = [name for name, row in zip(("first", "second"), known, strict=True) if row.any()]
    return train_clips, [f"Training clips as the {alone[0]} run counts them."] if len(alone) == 1 else []

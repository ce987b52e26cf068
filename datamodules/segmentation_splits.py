# SPDX-License-Identifier: Apache-2.0
"""Which splits of a segmentation data set the stages of a Trainer run on."""

from __future__ import annotations

from typing import Literal, TypeAlias

from .layouts import list_sequences, list_splits, refuse_missing_frames
from .segmentation_sources import SegmentationSource

__all__ = ("Role", "evaluation_split", "roles_of")

Role: TypeAlias = Literal["train", "val", "test", "predict"]
"""What a split is used for."""

_ROLES: dict[str | None, tuple[Role, ...]] = {
    "fit": ("train", "val"),
    "validate": ("val",),
    "test": ("test",),
    "predict": ("predict",),
    None: ("train", "val", "test", "predict"),
}


def roles_of(stage: str | None) -> tuple[Role, ...]:
    """Return what a stage (``fit``, ``validate``, ``test``, ``predict``; None: all of them) needs splits for.

    Example:
        >>> roles_of("fit")
        ('train', 'val')
    """
    return _ROLES[stage]


def evaluation_split(role: str, source: SegmentationSource, val_split: str, test_split: str | None = None) -> str:
    """Return the split to validate, test or predict on.

    Without a ``test_split`` it is the data set's own; where there is none, or (for testing) none with masks or boxes,
    the validation split. A split with masks of the first frames only, as those of challenges are, counts as without.

    Args:
        role: ``val``, ``test`` or ``predict``.
        source: the data set; the split in it does not matter.
        val_split: the split for validation.
        test_split: the split for testing and predicting; None: see above.

    Raises:
        DatasetNotFoundError: the data set or its lists are not there.
        AnnotationError: a list is in another format, or a frame is missing.
        UnknownNameError: there is no such layout.

    Example:
        >>> evaluation_split("val", SegmentationSource("/data/DAVIS"), "val", "test-dev")
        'val'
    """
    if role == "val":
        return val_split
    if test_split is not None:
        return test_split
    split = next((name for name in list_splits(source.root, source.layout) if name.startswith("test")), None)
    if split is None or (role == "test" and not _has_truth(source, split)):
        return val_split
    return split


def _has_truth(source: SegmentationSource, split: str) -> bool:
    """Whether the sequences of a split have boxes, or masks that are not of their first frame only."""
    sequences = list_sequences(source.root, source.layout, split, refuse_missing_frames)
    return all(video.boxes is not None or any(mask is not None for mask in video.masks[1:]) for video in sequences)

# SPDX-License-Identifier: Apache-2.0
"""Class labels of a batch: where they are, and as numbers in whatever way they are written."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .batch_entries import Entry, outer_parts, pick, search

__all__ = ("ID_NAMES", "class_numbers", "guess_labels")

ID_NAMES = ("id", "ids", "video_id", "key", "name", "video_name", "clip_id")
"""Usual names of what names the clips."""

LABEL_NAMES = ("label", "labels", "target", "targets", "y", "class", "classes", "class_id", "label_id", "category")
NO_LABEL_NAMES = (*ID_NAMES, "index", "idx", "video_index", "clip_index", "aug_index", "length", "lengths")


def class_numbers(value: Any, size: int | None = None, named: bool = True) -> Tensor | None:
    """Read labels as class numbers ``(B,)`` int64; None where these are no labels.

    Whole numbers, ``(B,)``, ``(B, 1)`` or a list; one-hot rows; and, of what is known to be labels by its name, also
    booleans, whole floats, and rows of probabilities, of which the highest counts.

    Args:
        value: what may be labels.
        size: the number of clips, if known.
        named: whether its name says that it is labels.

    Example:
        >>> class_numbers(torch.tensor([[0.0, 1.0], [1.0, 0.0]])), class_numbers(torch.rand(2, 3, 8, 4, 4))
        (tensor([1, 0]), None)
    """
    if isinstance(value, list) and value and all(type(item) is int for item in value):
        value = torch.tensor(value)
    if not isinstance(value, Tensor) or value.ndim not in (1, 2) or 0 in value.shape[1:]:
        return None
    if size is not None and len(value) != size:
        return None
    labels: Tensor = value.detach()
    if labels.ndim == 2 and labels.shape[1] > 1:
        rows = labels.double()
        is_distribution = bool((rows >= 0).all() and ((rows.sum(1) - 1).abs() < 0.01).all())
        is_one_hot = is_distribution and bool((rows.amax(1) == 1).all())
        return rows.argmax(1) if is_one_hot or (is_distribution and named) else None
    labels = labels.flatten()
    if labels.is_floating_point() or labels.dtype == torch.bool:
        return labels.long() if named and bool((labels == labels.long()).all()) else None
    return labels.long()


def guess_labels(batch: Any, path: tuple[str, ...], size: int | None) -> Tensor | None:
    """The labels that are meant, beside the video before elsewhere; None where there are none, or several.

    Args:
        batch: the batch.
        path: names that lead to the video.
        size: the number of clips, if known.

    Example:
        >>> batch = {"a": {"clip": 0, "y": torch.tensor([3])}, "b": {"clip": 0, "y": torch.tensor([4])}}
        >>> guess_labels(batch, ("b", "clip"), 1)
        tensor([4])
    """
    for part in outer_parts(batch, path):
        found = [
            entry
            for entry in search(part, lambda value: class_numbers(value, size) is not None)
            if _may_be(entry, size)
        ]
        if found:
            meant = pick(found, LABEL_NAMES)
            return class_numbers(meant.value, size) if meant else None
    return None


def _may_be(entry: Entry, size: int | None) -> bool:
    if entry.name in LABEL_NAMES:
        return True
    return entry.name not in NO_LABEL_NAMES and class_numbers(entry.value, size, named=False) is not None

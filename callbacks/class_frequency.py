# SPDX-License-Identifier: Apache-2.0
"""How many training clips each class has, read from the data set without decoding anything."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.utilities.combined_loader import CombinedLoader
from torch import Tensor
from torch.utils.data import ConcatDataset, Subset

from ..errors import StaticDropoutError

__all__ = ("class_names", "labels_of", "training_frequency")


def training_frequency(trainer: Trainer, num_classes: int) -> list[int] | None:
    """Number of training clips of each class.

    Counted over the data sets of the Trainer's training loaders, whatever their samplers make of them. In a Trainer
    that only validates or tests, a data module can say it by a method ``training_labels()`` that gives the labels.

    Returns:
        ``num_classes`` numbers; None where the labels are not known.

    Example:
        >>> training_frequency(Trainer(logger=False, enable_checkpointing=False), 4) is None
        True
    """
    loaders = trainer.train_dataloader
    parts = [getattr(loader, "dataset", None) for loader in CombinedLoader(loaders, "sequential").flattened]
    labels = _together([labels_of(part) for part in parts]) if loaders is not None else None
    if labels is None and callable(told := getattr(_data(trainer), "training_labels", None)):
        with suppress(StaticDropoutError, OSError):  # a validation does not need the training data to be there
            labels = _as_labels(told())
    if labels is None or (len(labels) and int(labels.max()) >= num_classes):
        return None
    counts: list[int] = torch.bincount(labels[labels >= 0], minlength=num_classes).tolist()
    return counts


def labels_of(dataset: Any) -> Tensor | None:
    """The label of every item of a data set, ``(N,)`` int64, -1 where unknown; None if the data set does not tell.

    Looks at ``entries`` with a ``label`` each, as the data sets of this package have, and at the attributes ``labels``
    and ``targets`` of others; goes through :class:`~torch.utils.data.Subset` and
    :class:`~torch.utils.data.ConcatDataset`. Never reads an item.

    Example:
        >>> class Mine(list):
        ...     targets = [0, 2, 2]
        >>> labels_of(Subset(Mine("abc"), [1, 2])).tolist()
        [2, 2]
    """
    if isinstance(dataset, ConcatDataset):
        return _together([labels_of(part) for part in dataset.datasets])
    if isinstance(dataset, Subset):
        labels = labels_of(dataset.dataset)
        return None if labels is None else labels[torch.as_tensor(dataset.indices, dtype=torch.int64)]
    entries = getattr(dataset, "entries", None)
    if isinstance(entries, Sequence) and len(entries) and all(hasattr(entry, "label") for entry in entries):
        return _as_labels([entry.label for entry in entries])
    for name in ("labels", "targets"):
        labels = _as_labels(getattr(dataset, name, None))
        if labels is not None and hasattr(dataset, "__len__") and len(labels) == len(dataset):
            return labels
    return None


def class_names(trainer: Trainer, num_classes: int) -> list[str]:
    """Names of the classes from the data module's ``class_names``; their numbers where it does not name them all.

    Example:
        >>> class_names(Trainer(logger=False, enable_checkpointing=False), 2)
        ['0', '1']
    """
    names = None
    with suppress(StaticDropoutError, OSError):  # a list of paths and numbers has no names
        names = getattr(_data(trainer), "class_names", None)
    if isinstance(names, list | tuple) and len(set(names)) == len(names) == num_classes:
        return [str(name) for name in names]
    return [str(index) for index in range(num_classes)]


def _data(trainer: Trainer) -> Any:
    return getattr(trainer, "datamodule", None)


def _together(parts: list[Tensor | None]) -> Tensor | None:
    known = [part for part in parts if part is not None]
    return torch.cat(known) if known and len(known) == len(parts) else None


def _as_labels(values: Any) -> Tensor | None:
    """Whole numbers in one dimension; None of anything else, as names or one-hot rows."""
    if values is None or callable(values):
        return None
    try:
        labels = torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError):
        return None
    whole = not labels.is_floating_point() and not labels.is_complex() and labels.dtype != torch.bool
    return labels.to("cpu", torch.int64) if labels.ndim == 1 and (whole or not len(labels)) else None

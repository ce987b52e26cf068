# SPDX-License-Identifier: Apache-2.0
"""The loader that all data modules here make."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch.utils.data import DataLoader, Dataset

__all__ = ("default_num_workers", "make_loader")


def default_num_workers() -> int:
    """Worker processes when the user does not say: one for each CPU core this process may use, at most 8."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS and Windows
    return min(8, len(affinity(0)) if affinity is not None else os.cpu_count() or 1)


def make_loader(
    dataset: Dataset[dict[str, Any]],
    length: int,
    batch_size: int,
    training: bool,
    num_workers: int,
    collate: Callable[[list[Any]], dict[str, Any]],
    trainer: Trainer | None,
) -> DataLoader[dict[str, Any]]:
    """Make a loader: shuffled and in batches of one size for training, in order and complete for evaluation.

    Args:
        dataset: what to load.
        length: number of its items.
        batch_size: items in a batch, for each device.
        training: whether to shuffle.
        num_workers: worker processes.
        collate: makes a batch of items.
        trainer: for the number of devices; None: one.
    """
    world_size = trainer.world_size if trainer is not None else 1
    return DataLoader(
        dataset,
        batch_size=batch_size,
        shuffle=training,
        # batches of one size keep ranks in step; a split smaller than a batch would leave nothing to train on
        drop_last=training and length >= batch_size * world_size,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        pin_memory=torch.cuda.is_available(),
        collate_fn=collate,
    )

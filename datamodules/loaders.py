# SPDX-License-Identifier: Apache-2.0
"""The loaders that all data modules here make."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch.utils.data import DataLoader, Dataset

from .draws import ShuffledDraws
from .resumable_loader import ResumableLoader

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
    seed: int = 0,
) -> DataLoader[dict[str, Any]]:
    """Make a loader: shuffled and in batches of one size for training, in order and complete for evaluation.

    A training loader can be resumed in the middle of an epoch, see :class:`.ResumableLoader`; its order, and what the
    data set draws for an item, depend on seed and epoch alone. Neither takes a number from the global generators.

    Args:
        dataset: what to load; for training, one that takes a :class:`.Draw`.
        length: number of its items.
        batch_size: items in a batch, for each device.
        training: whether to shuffle.
        num_workers: worker processes.
        collate: makes a batch of items.
        trainer: for the number of devices; None: one.
        seed: of the order and of what is drawn in training.
    """
    options: dict[str, Any] = {
        "batch_size": batch_size,
        "num_workers": num_workers,
        "persistent_workers": num_workers > 0,
        "pin_memory": torch.cuda.is_available(),
        "collate_fn": collate,
        "generator": torch.Generator().manual_seed(seed),  # of the workers' seeds, else from the global generator
    }
    if not training:
        return DataLoader(dataset, **options)
    sampler = ShuffledDraws(dataset, **_shard(trainer), seed=seed)  # type: ignore[arg-type] # data sets have a length
    return ResumableLoader(
        dataset,
        trainer=trainer,
        sampler=sampler,
        # batches of one size keep ranks in step; a split smaller than a batch would leave nothing to train on
        drop_last=length >= batch_size * sampler.num_replicas,
        **options,
    )


def _shard(trainer: Trainer | None) -> dict[str, int]:
    """The number of ranks that share the items, and the own one, as Lightning's own samplers have them."""
    if trainer is None or not trainer._accelerator_connector.use_distributed_sampler:
        return {}
    return trainer.distributed_sampler_kwargs or {}

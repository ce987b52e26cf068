# SPDX-License-Identifier: Apache-2.0
"""Read the validation data of a Trainer beside its own loop."""

from __future__ import annotations

from collections.abc import Iterator, Sized
from contextlib import ExitStack, contextmanager
from typing import Any

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities.combined_loader import CombinedLoader
from torch.utils.data import IterableDataset

from .measuring import still

__all__ = ("dataset_length", "unstarted", "validation_batches", "validation_loader")


def _validation_loaders(trainer: Trainer) -> list[Any]:
    given = trainer.val_dataloaders  # asking a loader for its truth asks an endless one for its length
    return CombinedLoader(given, "sequential").flattened if given is not None else []


def validation_loader(trainer: Trainer, dataloader_idx: int) -> Any:
    """One of the validation loaders, in whatever collection the user gave them.

    Raises:
        MisconfigurationException: if there is no loader of this number.
    """
    loaders = _validation_loaders(trainer)
    if dataloader_idx >= len(loaders):
        raise MisconfigurationException(
            f"dataloader_idx={dataloader_idx}, but the number of validation loaders, counted from 0, is {len(loaders)}."
        )
    return loaders[dataloader_idx]


def dataset_length(trainer: Trainer, dataloader_idx: int) -> int | None:
    """Number of clips behind a validation loader, or None where it cannot be known.

    Under DDP a distributed sampler repeats clips so that all ranks get as many; those beyond the length are repeats.
    """
    loader = validation_loader(trainer, dataloader_idx)
    if getattr(loader, "batch_size", 1) is None and getattr(loader, "batch_sampler", None) is None:
        return None  # the data set gives whole batches, or takes lists of numbers
    dataset = getattr(loader, "dataset", None)
    return len(dataset) if isinstance(dataset, Sized) and not isinstance(dataset, IterableDataset) else None


@contextmanager
def unstarted(loader: Any) -> Iterator[None]:
    """Leave a loader as if it had not been iterated over: its generator and, with persistent workers, its iterator."""
    generator = getattr(loader, "generator", None)
    state = generator.get_state() if generator is not None else None
    persistent = getattr(loader, "persistent_workers", False)
    kept = loader._iterator if persistent else None
    if persistent:
        loader._iterator = None
    try:
        yield
    finally:
        if generator is not None:
            generator.set_state(state)
        if persistent:
            ours, loader._iterator = loader._iterator, kept
            if ours is not None:
                ours._shutdown_workers()


@contextmanager
def validation_batches(trainer: Trainer, module: LightningModule, dataloader_idx: int) -> Iterator[Iterator[Any]]:
    """In the midst of a fit, hand out the batches of a validation loader as the validation loop would give them.

    Inside, the loaders are set up, the Trainer is validating, and the model is in eval mode. Afterwards nothing
    remembers that the loader was read: see :func:`.still` and :func:`unstarted`.

    Raises:
        MisconfigurationException: if there is no loader of this number.
    """
    loop = trainer.fit_loop.epoch_loop.val_loop
    # User code may look at the stage, to augment training batches only for instance.
    trainer.validating = True
    try:
        if trainer.val_dataloaders is None:
            loop.setup_data()
        # Starting a loader draws from the global generator; still() puts it back.
        with still(module), ExitStack() as stack:
            for loader in _validation_loaders(trainer):
                stack.enter_context(unstarted(loader))
            yield _transferred(trainer, module, dataloader_idx)
    finally:
        trainer.training = True


def _transferred(trainer: Trainer, module: LightningModule, dataloader_idx: int) -> Iterator[Any]:
    for batch in _as_loaded(trainer, dataloader_idx):
        batch = trainer.precision_plugin.convert_input(batch)
        batch = module._on_before_batch_transfer(batch, dataloader_idx=dataloader_idx)
        yield trainer.strategy.batch_to_device(batch, dataloader_idx=dataloader_idx)


def _as_loaded(trainer: Trainer, dataloader_idx: int) -> Iterator[Any]:
    loop = trainer.fit_loop.epoch_loop.val_loop
    combined = loop._combined_loader
    if combined is not None and combined._mode != "sequential":  # one batch of several loaders at a time
        combined.limits = loop.max_batches
        for batch, _, _ in combined:
            yield batch
        return
    limit = loop.max_batches[dataloader_idx]
    for batch_idx, batch in enumerate(validation_loader(trainer, dataloader_idx)):
        if batch_idx >= limit:
            break
        yield batch

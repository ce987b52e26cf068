# SPDX-License-Identifier: Apache-2.0
"""Read the validation data of a Trainer beside its own loop."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sized
from contextlib import ExitStack, closing, contextmanager
from typing import Any

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.utilities.combined_loader import CombinedLoader
from torch.utils.data import IterableDataset

from .measuring import still

__all__ = (
    "averaged_weights",
    "dataset_length",
    "unstarted",
    "validation_batches",
    "validation_follows",
    "validation_loader",
)


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
    """Leave a loader as if it had not been iterated over: its generators and, with persistent workers, its iterator.

    What a data set keeps of its own, a random state or a position, is out of reach.
    """
    batch_sampler = getattr(loader, "batch_sampler", None)
    holders = (loader, getattr(loader, "sampler", None), batch_sampler, getattr(batch_sampler, "sampler", None))
    generators = {id(found): found for holder in holders if (found := getattr(holder, "generator", None)) is not None}
    states = [(generator, generator.get_state()) for generator in generators.values()]
    persistent = getattr(loader, "persistent_workers", False)
    kept = getattr(loader, "_iterator", None) if persistent else None
    if persistent:
        loader._iterator = None
    try:
        yield
    finally:
        for generator, state in states:
            generator.set_state(state)
        if persistent:
            ours, loader._iterator = loader._iterator, kept
            if ours is not None:
                ours._shutdown_workers()


def validation_follows(trainer: Trainer) -> bool:
    """At the end of a training batch: whether Lightning is going to validate before the next one."""
    fetcher = trainer.fit_loop._data_fetcher
    return fetcher is not None and trainer.fit_loop.epoch_loop._should_check_val_fx(fetcher)


@contextmanager
def averaged_weights(trainer: Trainer, module: LightningModule) -> Iterator[None]:
    """Inside, the module has the averaged weights of Lightning's WeightAveraging, as in its validation."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    averaging = [callback for callback in callbacks if isinstance(callback, WeightAveraging)]
    for callback in averaging:
        callback.on_validation_epoch_start(trainer, module)
    try:
        yield
    finally:
        for callback in reversed(averaging):
            callback.on_validation_epoch_end(trainer, module)


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
            # Closed before anything is put back.
            yield stack.enter_context(closing(_transferred(trainer, module, dataloader_idx)))
    finally:
        trainer.training = True


def _transferred(trainer: Trainer, module: LightningModule, dataloader_idx: int) -> Generator[Any, None, None]:
    with closing(_as_loaded(trainer, dataloader_idx)) as loaded:
        for batch in loaded:
            batch = trainer.precision_plugin.convert_input(batch)
            batch = module._on_before_batch_transfer(batch, dataloader_idx=dataloader_idx)
            yield trainer.strategy.batch_to_device(batch, dataloader_idx=dataloader_idx)


def _as_loaded(trainer: Trainer, dataloader_idx: int) -> Generator[Any, None, None]:
    loop = trainer.fit_loop.epoch_loop.val_loop
    combined = loop._combined_loader
    if combined is not None and combined._mode != "sequential":  # one batch of several loaders at a time
        combined.limits = loop.max_batches
        try:
            for batch, _, _ in combined:
                yield batch
        finally:
            combined.reset()  # ends its workers
        return
    limit = loop.max_batches[dataloader_idx]
    for batch_idx, batch in enumerate(validation_loader(trainer, dataloader_idx)):
        if batch_idx >= limit:
            break
        yield batch

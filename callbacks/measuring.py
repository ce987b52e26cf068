# SPDX-License-Identifier: Apache-2.0
"""Run a model beside its training without leaving a trace: no gradient, no statistics, no random number used up."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sized
from contextlib import contextmanager
from typing import Any

import rich
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy
from lightning.pytorch.utilities.combined_loader import CombinedLoader
from lightning.pytorch.utilities.seed import isolate_rng
from rich.console import Console
from torch.nn.modules.batchnorm import _NormBase
from torch.utils.data import IterableDataset

__all__ = (
    "dataset_length",
    "float64_device",
    "refuse_sharded",
    "terminal",
    "traceless",
    "unstarted",
    "validation_batches",
    "validation_loader",
)


@contextmanager
def traceless(trainer: Trainer, module: LightningModule, batch_statistics: bool = False) -> Iterator[None]:
    """Forward passes inside leave weights, statistics, modes and random states as they were.

    The model runs in eval mode, without gradients and in the Trainer's precision.

    Args:
        trainer: the Trainer, for its precision.
        module: the LightningModule.
        batch_statistics: normalise by the statistics of the batch, as in training, instead of the running ones,
            which are not touched.
    """
    modes = [(part, part.training) for part in module.modules()]
    norms = [part for part in module.modules() if isinstance(part, _NormBase)] if batch_statistics else []
    tracking = [(norm, norm.track_running_stats) for norm in norms]
    with isolate_rng(include_cuda=module.device.type == "cuda"), torch.no_grad():
        try:
            module.eval()
            for norm in norms:
                norm.train()
                # Not updated and put back later: a checkpoint that another thread or a signal writes now is right too.
                norm.track_running_stats = False
            with trainer.precision_plugin.forward_context():
                yield
        finally:
            for part, mode in modes:
                part.training = mode
            for norm, tracked in tracking:
                norm.track_running_stats = tracked


def refuse_sharded(trainer: Trainer, callback: str) -> None:
    """Refuse strategies that shard the model, whose layers cannot be called or read on their own.

    Raises:
        MisconfigurationException: naming the strategy and what to use instead.
    """
    if isinstance(trainer.strategy, FSDPStrategy | ModelParallelStrategy | DeepSpeedStrategy):
        raise MisconfigurationException(
            f"{callback} does not support {type(trainer.strategy).__name__}, which splits the layers that it reads. "
            "Use strategy='ddp', or one device."
        )


def terminal() -> Console:
    """The console for results: the progress bar's own, so that neither spoils the other; wide enough in a log."""
    console = rich.get_console()
    return console if console.is_terminal else Console(width=120)


def float64_device(device: torch.device) -> torch.device:
    """Where float64 moments of a model on ``device`` can live: on the host for MPS, which has no float64.

    Example:
        >>> float64_device(torch.device("mps")), float64_device(torch.device("cpu"))
        (device(type='cpu'), device(type='cpu'))
    """
    return torch.device("cpu") if device.type == "mps" else device


def validation_loader(trainer: Trainer, dataloader_idx: int) -> Any:
    """One of the validation loaders, in whatever collection the user gave them.

    Raises:
        MisconfigurationException: if there is no loader of this number.
    """
    given = trainer.val_dataloaders  # asking a loader for its truth asks an endless one for its length
    loaders = CombinedLoader(given, "sequential").flattened if given is not None else []
    if dataloader_idx >= len(loaders):
        raise MisconfigurationException(
            f"dataloader_idx={dataloader_idx}, but the number of validation loaders, counted from 0, is {len(loaders)}."
        )
    return loaders[dataloader_idx]


def dataset_length(trainer: Trainer, dataloader_idx: int) -> int | None:
    """Number of clips behind a validation loader, or None where it cannot be known.

    Under DDP a distributed sampler repeats clips so that all ranks get as many; those beyond the length are repeats.
    """
    dataset = getattr(validation_loader(trainer, dataloader_idx), "dataset", None)
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


def validation_batches(trainer: Trainer, module: LightningModule, dataloader_idx: int) -> Generator[Any, None, None]:
    """Batches of a validation loader in the midst of a fit, as the validation loop would give them.

    The model is in eval mode, and nothing remembers afterwards that the loader was read: see :func:`traceless` and
    :func:`unstarted`. Close the generator when enough has been read.

    Raises:
        MisconfigurationException: if there is no loader of this number.
    """
    loop = trainer.fit_loop.epoch_loop.val_loop
    # User code may look at the stage, to augment training batches only for instance.
    trainer.validating = True
    try:
        if trainer.val_dataloaders is None:
            loop.setup_data()
        loader, limit = validation_loader(trainer, dataloader_idx), loop.max_batches[dataloader_idx]
        # Starting a loader draws from the global generator; traceless puts it back.
        with traceless(trainer, module), unstarted(loader):
            for batch_idx, batch in enumerate(loader):
                if batch_idx >= limit:
                    break
                batch = trainer.precision_plugin.convert_input(batch)
                batch = module._on_before_batch_transfer(batch, dataloader_idx=dataloader_idx)
                yield trainer.strategy.batch_to_device(batch, dataloader_idx=dataloader_idx)
    finally:
        trainer.training = True

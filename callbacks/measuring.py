# SPDX-License-Identifier: Apache-2.0
"""Run a model beside its training without leaving a trace: no gradient, no statistics, no random number used up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import rich
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy
from lightning.pytorch.utilities.seed import isolate_rng
from rich.console import Console
from torch.nn.modules.batchnorm import _NormBase

from ..models.still_statistics import still_statistics

__all__ = (
    "float64_device",
    "refuse_sharded",
    "still",
    "terminal",
    "traceless",
)


@contextmanager
def still(module: LightningModule) -> Iterator[None]:
    """Inside, the model is in eval mode and no gradient is tracked; modes and random states are put back afterwards."""
    modes = [(part, part.training) for part in module.modules()]
    with isolate_rng(include_cuda=module.device.type == "cuda"), torch.no_grad():
        try:
            module.eval()
            yield
        finally:
            for part, mode in modes:
                part.training = mode


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
    with still(module), trainer.precision_plugin.forward_context():
        if not batch_statistics:
            yield
            return
        for part in module.modules():
            if isinstance(part, _NormBase):
                part.train()
        with still_statistics(module):
            yield


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

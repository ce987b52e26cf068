# SPDX-License-Identifier: Apache-2.0
"""Scalars and pictures for whatever logger the Trainer has."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from numpy import ndarray

__all__ = ("bias_scalars", "bias_shares", "log_image", "outliving_failure", "run_folder", "tag_of")


def tag_of(layer: str) -> str:
    """A layer name that every logger accepts in a tag.

    Example:
        >>> tag_of("head.fc[input]")
        'head.fc.input'
    """
    return re.sub(r"\[(.+)\]$", r".\1", layer)


def run_folder(trainer: Trainer) -> Path:
    """The folder of a run, for the files beside its logs; to be called on all ranks.

    The logger's ``log_dir`` for TensorBoard and CSV. For loggers where that is the folder of all runs (W&B, MLflow),
    the folder where ModelCheckpoint puts its own: ``save_dir/name/version``. Without a logger ``default_root_dir``.

    Example:
        >>> run_folder(Trainer(logger=False, default_root_dir="runs", enable_checkpointing=False)).name
        'runs'
    """
    logger = trainer.loggers[0] if trainer.loggers else None
    folder = Path(trainer.default_root_dir)
    if isinstance(logger, TensorBoardLogger | CSVLogger):
        folder = Path(logger.log_dir)
    elif logger is not None:
        version = f"version_{logger.version}" if isinstance(logger.version, int) else logger.version
        folder = Path(logger.save_dir or folder, *(str(part) for part in (logger.name, version) if part))
    # Loggers may differ by rank: one broadcast, on all of them.
    return Path(trainer.strategy.broadcast(str(folder)))


def bias_scalars(measurement: Mapping[str, Mapping[str, float]], name: str = "bias") -> dict[str, float]:
    """The scalars of a measurement: shares, their interval limits, units by encoding, undefined units.

    Args:
        measurement: ``{layer: numbers}``.
        name: of the monitor, the first part of the shares' tags, the second of all others.

    Example:
        >>> numbers = {"static": 40.0, "static_interval": 2.0, "dynamic": 30.0, "dynamic_interval": 1.0}
        >>> numbers["undefined"] = 0.0
        >>> scalars = bias_scalars({"res5": numbers})
        >>> scalars["bias/res5/static"], scalars["intervals/bias/res5/static_upper"]
        (40.0, 42.0)
    """
    scalars: dict[str, float] = {}
    for layer, numbers in measurement.items():
        tag = tag_of(layer)
        for factor in ("static", "dynamic"):
            scalars[f"{name}/{tag}/{factor}"] = numbers[factor]
            if not math.isnan(interval := numbers[f"{factor}_interval"]):
                scalars[f"intervals/{name}/{tag}/{factor}_lower"] = numbers[factor] - interval
                scalars[f"intervals/{name}/{tag}/{factor}_upper"] = numbers[factor] + interval
        for key, value in numbers.items():
            if key.startswith("units_") and not key.endswith("_interval"):
                scalars[f"units/{name}/{tag}/{key.removeprefix('units_')}"] = value
        scalars[f"units/{name}/{tag}/undefined"] = numbers["undefined"]
    return scalars


def bias_shares(measurement: Mapping[str, Mapping[str, float]], name: str = "bias") -> dict[str, float]:
    """Those scalars of a measurement that other callbacks watch: the static and the dynamic share of each layer.

    Args:
        measurement: ``{layer: numbers}``.
        name: of the monitor, the first part of every tag.

    Example:
        >>> bias_shares({"head.fc[input]": {"static": 40.0, "dynamic": 30.0}})
        {'bias/head.fc.input/static': 40.0, 'bias/head.fc.input/dynamic': 30.0}
    """
    return {
        f"{name}/{tag_of(layer)}/{factor}": numbers[factor]
        for layer, numbers in measurement.items()
        for factor in ("static", "dynamic")
    }


@contextmanager
def outliving_failure(logger: TensorBoardLogger) -> Iterator[None]:
    """Let a failed write raise here, and not in whatever the user logs next.

    TensorBoard writes in a thread that ends with its first failure; every later call raises that again, and half a
    record hides all that comes after it in the same file. The next use of the logger begins a new file.
    """
    try:
        yield
        logger.experiment.flush()
    except OSError:
        logger._experiment = None
        raise


def log_image(loggers: Iterable[Logger], tag: str, image: ndarray, step: int) -> None:
    """Hand a picture ``(H, W, 3)`` uint8 to every logger that takes pictures: TensorBoard, W&B, MLflow."""
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            with outliving_failure(logger):
                logger.experiment.add_image(tag, image, global_step=step, dataformats="HWC")
        elif isinstance(logger, WandbLogger):
            logger.log_image(tag, [image], step=step)
        elif isinstance(logger, MLFlowLogger):
            logger.experiment.log_image(logger.run_id, image, f"{tag}/step_{step:08d}.png")

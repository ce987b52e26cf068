# SPDX-License-Identifier: Apache-2.0
"""CenterBias: where the objects of a data set are."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only, rank_zero_warn
from lightning.pytorch.utilities.combined_loader import CombinedLoader
from torch.utils.data import ConcatDataset
from tqdm.auto import tqdm

from ..errors import OptionError
from ..files import write_whole
from ..metrics.center_bias import average_mask, central_share
from ..visualization import png_bytes, rendered
from ..visualization.center_bias import center_bias_figure
from .loggers import log_image, run_folder

__all__ = ("CenterBias",)


class CenterBias(Callback):
    """Draws how often each pixel of a segmentation data set belongs to the object (Kowal et al., Fig. 8 right).

    Once, before training or validation starts, all masks of the data set are read and averaged. The figure goes to
    every logger that takes pictures and, as ``center_bias.png``, beside the logs; the scalar
    ``center_bias/<split>`` is the share of object pixels in the central ninth of the picture, 11 % without any bias.
    In the paper, networks trained on the data set with the least center bias have the most dynamic units.

    Works with any map-style data set that has a method ``annotations()`` which yields masks ``(H, W)``, foreground
    above 0; the data modules of this package do.

    Args:
        size: (H, W) that masks are resized to; 480 x 854 in the released code.
        dirpath: folder for the figure; by default the first logger's folder, or ``default_root_dir``.

    Raises:
        OptionError: if the size is not positive.
        MisconfigurationException: when the loop starts, if the data set has no ``annotations()``.

    Example:
        >>> CenterBias(size=(120, 214)).size
        (120, 214)
    """

    def __init__(self, size: Sequence[int] = (480, 854), dirpath: str | Path | None = None) -> None:
        if len(size) != 2 or min(size) < 1:
            raise OptionError(f"size={tuple(size)} must be two positive numbers, height and width.")
        self.size = (int(size[0]), int(size[1]))
        self.dirpath = dirpath
        self._folder = Path()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Settle the folder, on all ranks: they have to agree on it."""
        self._folder = Path(self.dirpath or run_folder(trainer))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw training and validation masks."""
        self._draw(trainer, {"train": trainer.train_dataloader, "val": trainer.val_dataloaders})

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw validation masks in ``trainer.validate``."""
        if trainer.state.fn == "validate":
            self._draw(trainer, {"val": trainer.val_dataloaders})

    @rank_zero_only
    def _draw(self, trainer: Trainer, loaders: dict[str, Any]) -> None:
        averages, captions = {}, {}
        for split, loader in loaders.items():
            parts = _datasets(loader)
            if not parts:
                continue
            for part in parts:
                if not hasattr(part, "annotations"):
                    raise MisconfigurationException(
                        f"CenterBias reads masks from a data set's method annotations(), which {type(part).__name__} "
                        "does not have. Add one that yields (H, W) masks, or leave the callback out."
                    )
            every = chain.from_iterable(part.annotations() for part in parts)
            masks = tqdm(every, desc=f"Center bias of {split}", unit=" masks", leave=False)
            averages[split], count = average_mask(masks, self.size)
            captions[split] = f"{count} masks, {100 * central_share(averages[split]):.0f} % in the central ninth"
        if not averages:
            return
        scalars = {f"center_bias/{split}": 100 * central_share(average) for split, average in averages.items()}
        pixels = rendered(center_bias_figure(averages, captions))
        for logger in trainer.loggers:
            logger.log_metrics(scalars, step=trainer.global_step)
        log_image(trainer.loggers, "center_bias", pixels, trainer.global_step)
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        try:
            write_whole(self._folder / "center_bias.png", png_bytes(pixels))
        except OSError as error:
            rank_zero_warn(f"center_bias.png could not be written to {self._folder}: {error}. Training goes on.")


def _datasets(loader: Any) -> list[Any]:
    """The data sets behind the first of the loaders, none where there is no such thing."""
    loaders = CombinedLoader(loader, "sequential").flattened if loader is not None else []
    dataset = getattr(loaders[0], "dataset", None) if loaders else None
    if isinstance(dataset, ConcatDataset):
        return list(dataset.datasets)
    return [dataset] if dataset is not None else []

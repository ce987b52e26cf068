# SPDX-License-Identifier: Apache-2.0
"""StylePreviews: what a style looks like while it is trained."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from PIL import Image
from torch import Tensor

from ..errors import BatchError, OptionError
from ..files import write_whole
from ..visualization.picture_table import picture_table
from .loggers import log_image, run_folder

__all__ = ("StylePreviews",)

ROWS = {"input": "frame", "styled": "network", "target": "painting"}
"""What the steps return, and what it is called on the sheet."""


class StylePreviews(Callback):
    """Shows at every validation a sheet with a column a frame: as it is, as the network paints it, as it was painted.

    The sheet goes to every logger that takes pictures (tag ``style/previews``), and as
    ``previews/step_<step>.png`` into the run's folder. The third picture is there for keyframes only.

    Works with any LightningModule whose validation step returns ``{"input": frames (B, 3 or more, H, W), "styled":
    (B, 3, H, W)}`` and, where frames have a painted twin, ``"target"`` ``(B, 3, H, W)``, all in [-1, 1]. The first
    three channels of ``input`` are shown, and ``"id"``, where there is one, names the columns.

    Args:
        dirpath: folder for the files; by default ``previews`` in the first logger's folder, or in
            ``default_root_dir``.
        num_shown: frames on the sheet at most.

    Raises:
        OptionError: ``num_shown`` is below 1.

    Example:
        >>> StylePreviews(num_shown=4).num_shown
        4
    """

    def __init__(self, dirpath: str | Path | None = None, num_shown: int = 8) -> None:
        if num_shown < 1:
            raise OptionError(f"num_shown={num_shown} must be at least 1; without previews leave StylePreviews out.")
        self.dirpath, self.num_shown = dirpath, num_shown
        self._folder = Path()
        self._columns: list[tuple[str, dict[str, np.ndarray]]] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Settle the folder on all ranks."""
        self._folder = Path(self.dirpath or run_folder(trainer) / "previews")

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin a new sheet."""
        self._columns = []

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the pictures of a batch, as many as are shown."""
        if trainer.sanity_checking:
            return
        if not isinstance(outputs, Mapping) or not {"input", "styled"} <= outputs.keys():
            found = sorted(outputs) if isinstance(outputs, Mapping) else type(outputs).__name__
            raise BatchError(
                f"StylePreviews needs validation steps that return {{'input': …, 'styled': …}}, found {found}."
            )
        count = len(outputs["input"])
        names = [str(name) for name in outputs.get("id", [""] * count)]
        for number in range(min(count, self.num_shown - len(self._columns))):
            pictures = {row: _pixels(outputs[name][number]) for name, row in ROWS.items() if name in outputs}
            keyframe = " (keyframe)" if "target" in outputs else ""
            self._columns.append((f"{names[number]}{keyframe}", pictures))

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the sheet."""
        if not self._columns or trainer.sanity_checking or not trainer.is_global_zero:
            return
        step = trainer.global_step
        sheet = picture_table(self._columns, list(ROWS.values()), f"step {step}")
        self._columns = []
        log_image(trainer.loggers, "style/previews", sheet, step)
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        file = io.BytesIO()
        Image.fromarray(sheet).save(file, format="png")
        try:
            write_whole(self._folder / f"step_{step:07d}.png", file.getvalue())
        except OSError as error:
            rank_zero_warn(f"The previews could not be written to {self._folder}: {error}. Training goes on.")


def _pixels(picture: Tensor) -> np.ndarray:
    """A picture ``(3 or more, H, W)`` in [-1, 1] as ``(H, W, 3)`` uint8."""
    unit = (picture[:3].float() + 1) / 2
    pixels: np.ndarray = (unit.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    return pixels

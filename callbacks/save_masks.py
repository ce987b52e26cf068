# SPDX-License-Identifier: Apache-2.0
"""SaveMasks: predicted masks as PNG in the official result layout, and pictures to look at."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from PIL import Image
from torch import Tensor

from ..errors import BatchError, OptionError, UnknownNameError
from ..files import write_whole
from ..visualization.overlays import overlay, overlay_sheet
from .loggers import log_image, run_folder
from .measuring import terminal

__all__ = ("SaveMasks",)

VALUES = ("binary", "index", "probability")


class SaveMasks(Callback):
    """Writes the masks of ``validate``, ``test`` and ``predict``, and shows some of them while a network trains.

    ``trainer.validate``, ``test`` and ``predict`` write ``<dirpath>/masks/<sequence>/<frame>.png``, the layout of DAVIS
    results, and ``<dirpath>/overlays/<sequence>/<frame>.jpg``: the picture with the predicted object tinted red and the
    contour of the true one in green. During ``fit`` nothing is written a frame; instead every validation shows a sheet
    with a row for each of the first frames of some sequences (picture, flow, prediction) in every logger that takes
    pictures, and as ``masks.png`` in the folder.

    Works with any LightningModule whose validation, test or predict step returns ``{"id": names, "probability": masks
    (H, W)}``, where a name is ``<sequence>/<frame>``, and whose batches hold ``image`` and ``flow`` in [0, 1].

    Args:
        dirpath: folder for the files; by default ``segmentation`` in the first logger's folder, or in
            ``default_root_dir``.
        values: what the PNGs hold: ``"binary"`` 0 and 255 as DAVIS 2016, ``"index"`` 0 and 1 with a palette as DAVIS
            2017, ``"probability"`` 0 to 255, as the MoCA evaluation reads them.
        threshold: a pixel above it belongs to the object; None: the ``threshold`` of the LightningModule, or 0.5.
        overlays: write overlays beside the masks.
        num_shown: rows of the sheet during training, one a sequence; 0 for none.

    Raises:
        OptionError: for an option out of range.

    Example:
        >>> SaveMasks(values="index").values
        'index'
    """

    def __init__(
        self,
        dirpath: str | Path | None = None,
        values: Literal["binary", "index", "probability"] = "binary",
        threshold: float | None = None,
        overlays: bool = True,
        num_shown: int = 6,
    ) -> None:
        if values not in VALUES:
            raise UnknownNameError("kind of values", values, VALUES)
        if num_shown < 0:
            raise OptionError(f"num_shown={num_shown} must not be negative.")
        if threshold is not None and not 0 < threshold < 1:
            raise OptionError(f"threshold={threshold} must lie between 0 and 1.")
        self.dirpath, self.values, self.threshold = dirpath, values, threshold
        self.overlays, self.num_shown = overlays, num_shown
        self._folder = Path()
        self._rows: dict[str, list[np.ndarray]] = {}
        self._written = 0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Settle the folder on all ranks."""
        self._folder = Path(self.dirpath or run_folder(trainer) / "segmentation")

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin a new sheet."""
        self._rows, self._written = {}, 0

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write the masks of a batch, or keep some for the sheet."""
        if trainer.sanity_checking:
            return
        if trainer.state.fn == "fit":
            self._keep(pl_module, outputs, batch)
        else:
            self._write(trainer, pl_module, outputs, batch)

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count anew."""
        self._written = 0

    on_predict_epoch_start = on_test_epoch_start

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write the masks of a batch."""
        self._write(trainer, pl_module, outputs, batch)

    on_predict_batch_end = on_test_batch_end

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the sheet, or say where the masks are."""
        if trainer.state.fn != "fit":
            self._say(trainer)
        elif self._rows and trainer.is_global_zero:
            sheet = overlay_sheet(list(self._rows.values()))
            log_image(trainer.loggers, "segmentation/masks", sheet, trainer.global_step)
            if not trainer.fast_dev_run:  # type: ignore[attr-defined]
                try:
                    write_whole(self._folder / "masks.png", _png(Image.fromarray(sheet)))
                except OSError as error:
                    rank_zero_warn(f"masks.png could not be written to {self._folder}: {error}. Training goes on.")

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say where the masks are."""
        self._say(trainer)

    on_predict_epoch_end = on_test_epoch_end

    def _say(self, trainer: Trainer) -> None:
        if self._written and trainer.is_global_zero:
            beside = f", overlays: {self._folder / 'overlays'}" if self.overlays else ""
            terminal().print(f"Masks: {self._folder / 'masks'}{beside}", soft_wrap=True, highlight=False, markup=False)

    def _threshold(self, module: LightningModule) -> float:
        return float(self.threshold if self.threshold is not None else getattr(module, "threshold", 0.5))

    def _write(self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any) -> None:
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        names, probabilities = _predictions(outputs)
        for number, (name, probability) in enumerate(zip(names, probabilities, strict=True)):
            soft = probability.cpu().numpy()
            write_whole(self._folder / "masks" / f"{name}.png", self._mask_file(soft, self._threshold(module)))
            self._written += 1
            if self.overlays:
                drawn = self._overlay(batch, number, soft, self._threshold(module), like_mask=True)
                file = io.BytesIO()
                Image.fromarray(drawn).save(file, format="jpeg", quality=90)
                write_whole(self._folder / "overlays" / f"{name}.jpg", file.getvalue())

    def _mask_file(self, soft: np.ndarray, threshold: float) -> bytes:
        if self.values == "probability":
            return _png(Image.fromarray((255 * soft).round().astype(np.uint8)))
        hard = (soft > threshold).astype(np.uint8)
        if self.values == "binary":
            return _png(Image.fromarray(255 * hard))
        picture = Image.fromarray(hard, mode="P")
        picture.putpalette([0, 0, 0, 128, 0, 0])  # DAVIS' colours of background and first object
        return _png(picture)

    def _keep(self, module: LightningModule, outputs: Any, batch: Any) -> None:
        """Take the first frame that is seen of each sequence into the sheet."""
        names, probabilities = _predictions(outputs)
        for number, (name, probability) in enumerate(zip(names, probabilities, strict=True)):
            sequence = name.rpartition("/")[0]
            if sequence in self._rows or len(self._rows) >= self.num_shown:
                continue
            soft = probability.float().cpu().numpy()
            image, flow = _pixels(batch["image"][number]), _pixels(batch["flow"][number])
            self._rows[sequence] = [image, flow, self._overlay(batch, number, soft, self._threshold(module))]

    def _overlay(
        self, batch: Any, number: int, soft: np.ndarray, threshold: float, like_mask: bool = False
    ) -> np.ndarray:
        image = _pixels(batch["image"][number])
        if like_mask and image.shape[:2] != soft.shape:
            image = np.asarray(Image.fromarray(image).resize(soft.shape[::-1], Image.Resampling.BILINEAR))
        annotation = batch.get("annotation", [None] * (number + 1))[number]
        truth = annotation.cpu().numpy() if annotation is not None else None
        return overlay(image, soft, truth, threshold)


def _predictions(outputs: Any) -> tuple[list[str], list[Tensor]]:
    if isinstance(outputs, Mapping) and "id" in outputs and "probability" in outputs:
        return list(outputs["id"]), list(outputs["probability"])
    raise BatchError(
        "SaveMasks needs steps that return {'id': names, 'probability': masks}, found "
        f"{sorted(outputs) if isinstance(outputs, Mapping) else type(outputs).__name__}."
    )


def _pixels(picture: Tensor) -> np.ndarray:
    """The first frame of ``(3, H, W)``, ``(T, 3, H, W)`` or ``(T, 6, H, W)`` in [0, 1], as ``(H, W, 3)`` uint8."""
    first = picture[0] if picture.ndim == 4 else picture
    pixels: np.ndarray = (first[:3].float().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    return pixels


def _png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, format="png")
    return file.getvalue()

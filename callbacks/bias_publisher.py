# SPDX-License-Identifier: Apache-2.0
"""Bring measurements to the loggers, the disk and the terminal; a full disk never costs the training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_warn
from numpy.typing import NDArray
from torch import Tensor

from ..files import remove_leftovers
from ..metrics import LayerBias
from ..visualization import png_bytes, rendered
from .bias_files import PendingFiles, history_csv, measurement_json
from .bias_report import about, caption_of, draw_report, intervals_of, print_report
from .dashboard import lay_out_dashboard, log_factors, log_text
from .loggers import log_image

__all__ = ("BiasPublisher",)

FILES = "The bias could not be written"
LOGGERS = "Curves and figures could not be handed to the loggers"


class BiasPublisher:
    """What is made of the measurements of one monitor, on rank 0.

    Args:
        name: of the monitor.
        folder: for the files.
        settings: what a number has to be quoted with.
        figures: whether to draw.
        dry: write no files, as in a ``fast_dev_run``.

    Example:
        >>> BiasPublisher("bias", Path("logs/bias"), {"threshold": 0.5}, figures=True).folder.name
        'bias'
    """

    def __init__(
        self, name: str, folder: Path, settings: Mapping[str, Any], figures: bool = True, dry: bool = False
    ) -> None:
        self.name, self.folder, self.settings, self.figures, self.dry = name, folder, settings, figures, dry
        self._files = PendingFiles(folder)
        if not dry:
            remove_leftovers(folder)
        self._laid_out = False
        self._explained = False
        self._troubles: set[str] = set()
        self._unprinted: Mapping[str, Any] | None = None
        self._several = False

    def publish(
        self,
        loggers: Sequence[Logger],
        pages: Mapping[str, Sequence[str]],
        history: Sequence[Mapping[str, Any]],
        biases: Mapping[str, LayerBias],
        picture: Mapping[str, Tensor],
        static_dropout: bool = False,
    ) -> None:
        """Log, draw and write the last measurement.

        Args:
            loggers: of the Trainer.
            pages: the layers of every monitor by its name: TensorBoard shows the last layout that it finds.
            history: all measurements so far.
            biases: the full results of the last one by layer, on the CPU.
            picture: a triplet as ``{name: (T, H, W, 3)}`` pixels, or nothing.
            static_dropout: whether the Trainer has a StaticDropout, whose curves then get charts as well.
        """
        record = history[-1]
        self._unprinted, self._several = record, len(history) > 1
        drawn: dict[str, NDArray[np.uint8]] = {}
        if self.figures:
            figures = draw_report(history, record, biases, picture, self.settings)
            for name, figure in figures.items():
                drawn[name] = rendered(figure)
                figure.clear()  # its cycles of references would keep megabytes until the next garbage collection
        try:
            if not self._laid_out:
                lay_out_dashboard(loggers, pages, static_dropout, intervals_of(self.settings))
                self._laid_out = True
            if not self._explained:
                for title, text in about(record, self.settings, self.name).items():
                    log_text(loggers, f"{self.name}/{title}", text, record["step"])
                self._explained = True
            log_factors(loggers, record["layers"], record["step"], self.name)
            for name, pixels in drawn.items():
                log_image(loggers, f"{self.name}_figures/{name}", pixels, record["step"])
            self._troubles.discard(LOGGERS)
        except OSError as error:
            self._warn(LOGGERS, error)
        if not self.dry:
            self._put(record, history, biases, drawn)
            self.write()

    def _put(
        self,
        record: Mapping[str, Any],
        history: Sequence[Mapping[str, Any]],
        biases: Mapping[str, LayerBias],
        drawn: Mapping[str, NDArray[np.uint8]],
    ) -> None:
        name = f"measurements/{record['stage']}_step_{record['step']:08d}.json"
        self._files.put(name, measurement_json(record, self.settings, biases))
        self._files.put("bias.csv", history_csv(history))
        for name, pixels in drawn.items():
            self._files.put(f"{name}.png", png_bytes(pixels))

    def write(self) -> None:
        """Write the files that are waiting; what cannot be written goes on waiting for the next time."""
        if not self._files:
            return
        try:
            self._files.write()
            self._troubles.discard(FILES)
        except OSError as error:
            self._warn(FILES, error)

    def _warn(self, trouble: str, error: OSError) -> None:
        """Warn once for as long as there is trouble of either kind: a full disk is one trouble."""
        if not self._troubles:
            where = f" to {self.folder}" if trouble == FILES else ""
            rank_zero_warn(
                f"{trouble}{where}: {error}. Training goes on; the next measurement tries again, also with the files "
                "that are missing."
            )
        self._troubles.add(trouble)

    def print(self, loggers: Sequence[Logger]) -> None:
        """Print the last measurement as a table, if that has not been done."""
        if self._unprinted is not None:
            caption = caption_of(self._unprinted, self.settings)
            folder = None if self.dry else self.folder
            print_report(self._unprinted, caption, loggers, folder, self.figures, self._several)
            self._unprinted = None

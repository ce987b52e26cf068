# SPDX-License-Identifier: Apache-2.0
"""A measurement for people: its caption, its figures, and what is printed at the end."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, TensorBoardLogger
from matplotlib.figure import Figure
from torch import Tensor

from ..metrics import LayerBias
from ..visualization import bias_curves, bias_table, encoding_bars, triplet_figure, unit_scatter
from .measuring import terminal

__all__ = ("caption_of", "draw_report", "print_report")

Record = Mapping[str, Any]


def caption_of(record: Record, settings: Mapping[str, Any]) -> str:
    """What the numbers of a measurement have to be read with, in one line.

    Args:
        record: ``{"step", "epoch", "stage", "layers": {layer: numbers}}``.
        settings: of the monitor.

    Example:
        >>> record = {"step": 9, "layers": {"res5": {"num_clips": 100.0}}}
        >>> caption_of(record, {"style_names": ["paint", "neon"], "estimator": "paper", "threshold": 0.5})
        'step 9, 100 clips, paint+neon, estimator paper, λ=0.5, ± 95 % intervals'
    """
    clips = int(next(iter(record["layers"].values()))["num_clips"])
    styles = "+".join(settings.get("style_names", [])) or settings["triplets"]
    if "jitter" in settings:
        styles += f", {settings['jitter']['mode']} flow jitter"
    how = f"estimator {settings['estimator']}, λ={settings['threshold']}, ± 95 % intervals"
    return f"step {record['step']}, {clips} clips, {styles}, {how}"


def draw_report(
    history: Sequence[Record],
    record: Record,
    biases: Mapping[str, LayerBias],
    picture: Mapping[str, Tensor],
    settings: Mapping[str, Any],
) -> dict[str, Figure]:
    """The figures of a measurement by name: curves so far, encodings, units, and a triplet where there is one.

    Args:
        history: all measurements so far.
        record: the last one.
        biases: its full results by layer, on the CPU.
        picture: a triplet as ``{name: (T, H, W, 3)}`` pixels, or nothing.
        settings: of the monitor.
    """
    numbers, caption = record["layers"], caption_of(record, settings)
    alike = [entry for entry in history if set(entry["layers"]) & set(numbers)]
    scores = {layer: bias.unit_scores.numpy() for layer, bias in biases.items()}
    figures = {
        "curves": bias_curves([entry["step"] for entry in alike], [entry["layers"] for entry in alike], caption),
        "encodings": encoding_bars(numbers, caption),
        "units": unit_scatter(scores, settings["threshold"], caption),
    }
    if picture:
        figures["triplets"] = triplet_figure({name: clip.numpy() for name, clip in picture.items()}, title=caption)
    return figures


def print_report(
    record: Record, caption: str, loggers: Iterable[Logger], folder: Path | None, figures: bool = True
) -> None:
    """Print a measurement as a table, where its files are, and how to open TensorBoard.

    Args:
        record: the measurement.
        caption: the line below the table.
        loggers: of the Trainer.
        folder: where the files are, if there are any.
        figures: whether figures are among them.
    """
    console = terminal()
    console.print(bias_table(record["layers"], title="Static and dynamic bias", caption=caption))
    lines = []
    if folder is not None:
        lines += [f"Bias curves: {folder / 'curves.png'}"] if figures else []
        lines.append(f"All numbers: {folder / 'bias.csv'}")
    folders = [logger.log_dir for logger in loggers if isinstance(logger, TensorBoardLogger)]
    lines += [f"Open TensorBoard: {_command('tensorboard')} --logdir {path}" for path in folders[:1]]
    console.print("\n".join(lines), soft_wrap=True, highlight=False, markup=False)


def _command(name: str) -> str:
    """A command as it can be typed: with its folder where the environment is not activated."""
    beside = Path(sys.executable).with_name(name)
    return str(beside) if shutil.which(name) is None and beside.exists() else name

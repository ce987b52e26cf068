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
from ..visualization import (
    bias_curves,
    bias_table,
    encoding_bars,
    encoding_curves,
    layer_shares_figure,
    triplet_figure,
    unit_scatter,
)
from .measure_identity import alike
from .measuring import terminal

__all__ = ("about", "caption_of", "draw_report", "intervals_of", "print_report")

Record = Mapping[str, Any]

SHARED_BY_VIDEO = {
    "anchor": ": the clip in one style",
    "same static": ": the same frames, shuffled",
    "same dynamic": ": the clip in another style",
}
SHARED_BY_FLOW = {
    "anchor": ": image in one style, and flow",
    "same static": ": the same image, another flow",
    "same dynamic": ": the image in another style, the same flow",
}

BY_TRIPLETS = """
Each validation clip becomes a triplet: the *anchor* (the clip in one style), an input that shares only its **static**
information, and one that shares only its **dynamic** information
""".strip()
BY_PAIRS = """
The data module made pairs by the protocol of the authors' code: the two sides of a *static* pair share only **static**
information, those of a *dynamic* pair only **dynamic** information; numbers are means over the seeds that drew them
""".strip()

ABOUT = """
### What the numbers mean

{compared} (picture: *Images*, `{name}_figures/triplets`). The static (dynamic) score of a unit is the correlation of
its answers to the two sides of that pair over all clips.

- **Share of a layer (%)**: a softmax over the layer's static score, dynamic score and 1. About 33 % each: every unit
  answers to both factors; 21 % each: to neither; 42 % against 16 %: to one alone. Shares lie between 6 and 47 %.
- **Units (%)**: *static* and *dynamic* units have that score alone above λ; *joint* units both, *residual* units none.
- **Intervals** are 95 % intervals over groups of clips, or over seeds where the settings say so.
- Contours survive every style, so shape counts as dynamic too. Numbers from other clips, styles or estimators cannot be
  compared with these.

### Where to look

| page | shows |
|---|---|
| *Custom Scalars* | static and dynamic of each layer in one chart, with intervals |
| *Time Series* | `{name}/<layer>`: the same; `{name}/<layer>/static`, `…/dynamic`: one factor, to compare trainings |
| *Images* | `{name}_figures/…`: curves, layers, units, triplets; the slider goes through the training |

The runs `static` and `dynamic` inside a training hold nothing else: TensorBoard colours curves by their run.
"""


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
    styles = "+".join(settings.get("style_names", [])) or settings.get("triplets", "custom")
    if "jitter" in settings:
        styles += f", {settings['jitter']['mode']} flow jitter"
    how = f"estimator {settings['estimator']}, λ={settings['threshold']}, ± {intervals_of(settings)}"
    what = f"pairs by {settings['protocol']}" if "protocol" in settings else "clips"
    return f"step {record['step']}, {clips} {what}, {styles}, {how}"


def intervals_of(settings: Mapping[str, Any]) -> str:
    """What the intervals of a measurement are, in two words or three.

    Args:
        settings: of the monitor.

    Example:
        >>> intervals_of({"seeds": [1, 2, 3, 4], "protocol": "kowal-action"}), intervals_of({"seed": 0})
        ('intervals over 4 seeds', '95 % intervals')
    """
    seeds = settings.get("seeds", ()) if "protocol" in settings else ()
    return f"intervals over {len(seeds)} seeds" if len(seeds) > 1 else "95 % intervals"


def about(record: Record, settings: Mapping[str, Any], name: str = "bias") -> dict[str, str]:
    """Texts in Markdown: what the numbers mean and where they are shown, and how they were measured.

    Args:
        record: a measurement.
        settings: of the monitor.
        name: of the monitor, the first part of its tags.

    Example:
        >>> record = {"step": 9, "layers": {"res5": {"num_clips": 100.0, "num_units": 512.0}}}
        >>> print(about(record, {"estimator": "paper"})["settings"].splitlines()[-1])
        | layers | res5 (512 units) |
    """
    layers = ", ".join(f"{layer} ({numbers['num_units']:.0f} units)" for layer, numbers in record["layers"].items())
    clips = int(next(iter(record["layers"].values()))["num_clips"])
    how = {**settings, "num_clips": clips, "layers": layers}
    rows = [
        f"| {key.replace('_', ' ')} | {', '.join(map(str, value)) if isinstance(value, list | tuple) else value} |"
        for key, value in how.items()
    ]
    return {
        "about": ABOUT.format(name=name, compared=BY_PAIRS if "protocol" in settings else BY_TRIPLETS).strip(),
        "settings": "\n".join(["| measured with | |", "|---|---|", *rows]),
    }


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
    same = [entry for entry in alike(history, record) if set(entry["layers"]) & set(numbers)]
    steps, measurements = [entry["step"] for entry in same], [entry["layers"] for entry in same]
    before = measurements[0] if len(same) > 1 else None
    scores = {layer: bias.unit_scores.numpy() for layer, bias in biases.items()}
    figures = {
        "curves": bias_curves(steps, measurements, caption, intervals_of(settings)),
        "layers": layer_shares_figure(numbers, before, caption, f"at step {steps[0]}", intervals_of(settings)),
        "encodings": encoding_bars(numbers, caption),
        "encoding_curves": encoding_curves(steps, measurements, caption),
        "units": unit_scatter(scores, settings["threshold"], caption),
    }
    if picture:
        told = {} if "protocol" in settings else SHARED_BY_FLOW if "jitter" in settings else SHARED_BY_VIDEO
        told = told if "style_names" in settings else {}
        rows = {f"{name}{told.get(name, '')}": clip.numpy() for name, clip in picture.items()}
        title = "Pairs: what was compared" if "protocol" in settings else "A triplet: what was compared"
        figures["triplets"] = triplet_figure(rows, caption=caption, title=title)
    return figures


def print_report(
    record: Record,
    caption: str,
    loggers: Iterable[Logger],
    folder: Path | None,
    figures: bool = True,
    several: bool = True,
) -> None:
    """Print a measurement as a table, where its files are, and how to open TensorBoard.

    Args:
        record: the measurement.
        caption: the line below the table.
        loggers: of the Trainer.
        folder: where the files are, if there are any.
        figures: whether figures are among them.
        several: whether there are several measurements, so that the curves are the picture to look at.
    """
    console = terminal()
    console.print(bias_table(record["layers"], title="Static and dynamic bias", caption=caption))
    lines = []
    if folder is not None:
        picture = ("Bias curves", "curves.png") if several else ("Bias by layer", "layers.png")
        lines += [f"{picture[0]}: {folder / picture[1]}"] if figures else []
        lines.append(f"All numbers: {folder / 'bias.csv'}")
    folders = [logger.log_dir for logger in loggers if isinstance(logger, TensorBoardLogger)]
    lines += [f"Open TensorBoard: {_command('tensorboard')} --logdir {path}" for path in folders[:1]]
    console.print("\n".join(lines), soft_wrap=True, highlight=False, markup=False)


def _command(name: str) -> str:
    """A command as it can be typed: with its folder where the environment is not activated."""
    beside = Path(sys.executable).with_name(name)
    return str(beside) if shutil.which(name) is None and beside.exists() else name

# SPDX-License-Identifier: Apache-2.0
"""What ``staticdropout styles check`` prints and writes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.text import Text
from torch import Tensor
from torch.nn import functional as F

from ..errors import OptionError
from ..files import write_whole
from ..metrics.style_fitness import DESCRIPTOR_LIMIT, Fault, StyleLimits, StyleMeasures, pair_correlations
from ..visualization import png_bytes, rendered
from ..visualization.results_table import results_csv
from ..visualization.style_figures import Measure, style_figure
from ..visualization.style_table import correlation_table, style_table
from .style_clips import ClipDraw
from .style_measuring import SOURCE, StyleMeasuring
from .style_network import StillNetwork

__all__ = ("StyleReport",)

LISTED = 5  # videos that could not be read
STABLE = 0.9  # correlation with noise of 1/255, which no answer about a still should depend on
DIGITS = {
    "colour distance": 2,
    "flow error px": 3,
    "times source's": 2,
    "flicker": 2,
    "still flicker": 2,
    "r source": 2,
    "frames/s": 0,
}
COLUMNS = {
    "hellinger": "colour distance",
    "flicker": "flicker",
    "flow_ratio": "times source's",
    "still_flicker": "still flicker",
    "correlation": "r source",
}
"""The column in which a limit is crossed, by the name of the limit."""


@dataclass(frozen=True)
class StyleReport:
    """Measures of a style set with what they were measured on.

    Attributes:
        measures: the source with noise first, then the styles.
        faults: the limits that are crossed.
        limits: the limits.
        measuring: the set and its device.
        draw: the clips.
        network: what was asked about stills; None: the descriptor.
        data: where the clips came from.
    """

    measures: Sequence[StyleMeasures]
    faults: Sequence[Fault]
    limits: StyleLimits
    measuring: StyleMeasuring
    draw: ClipDraw
    network: StillNetwork | None
    data: str

    def print(self, console: Console) -> None:
        """Print both tables, what is wrong and what to do."""
        limits = self.limits
        least, times = f"colour distance ≥ {limits.hellinger:g}, flicker ≥ {limits.flicker:g}", " times the source's"
        parts = (
            ("flow error", limits.flow_ratio, times),
            ("still flicker", limits.still_flicker, ""),
            ("r", limits.correlation, ""),
        )
        most = (f"{name} ≤ {limit:g}{unit}" for name, limit, unit in parts if math.isfinite(limit))
        limit_line = f"Fit: {', '.join((least, *most))}; ! is beyond."
        console.print(Text(self.title, style="bold"), style_table(self._rows(), DIGITS, self._crossed()), limit_line)
        if len(self.measures) > 2:
            names = [style.name for style in self.measures[1:]]
            table = correlation_table(names, self.pairs, limits.correlation)
            console.print(Text(f"\nCorrelation r between styles: {self._asked}", style="bold"), table, self._pair_line)
        for note in self.notes:
            console.print(f"Note: {note}", markup=False, highlight=False, soft_wrap=True)
        for fault in self.faults:
            subject = f"{fault.style} " if fault.style else ""
            console.print(f"Unfit: {subject}{fault.text}", markup=False, highlight=False, soft_wrap=True)
        if not self.faults:
            console.print(self._verdict, markup=False, soft_wrap=True)

    @property
    def unjudged(self) -> list[str]:
        """Which of the two measures that count most could not be judged: what is kept of motion, and of stills."""
        source, limits = self.measures[0], self.limits
        checks = {
            "the error of flow": math.isinf(limits.flow_ratio) or math.isnan(source.flow_ratio),
            "r": math.isinf(limits.correlation) or math.isnan(source.correlations[SOURCE]),
        }
        return [name for name, is_unknown in checks.items() if is_unknown]

    @property
    def is_fit(self) -> bool:
        """Whether no limit is crossed, and enough could be judged to say so."""
        return not self.faults and len(self.unjudged) < 2

    @property
    def _verdict(self) -> str:
        name, unjudged = self.measuring.styles.name, " and ".join(self.unjudged)
        if not self.is_fit:
            return (
                f"No limit is crossed, but {unjudged} could not be judged on these clips: whether the style set "
                f"{name} is fit is not known. Give more and larger clips, with texture."
            )
        aside = f", as far as could be judged (not by {unjudged})" if unjudged else ""
        return f"The style set {name} is fit for these clips{aside}."

    def _rows(self) -> dict[str, dict[str, float]]:
        return {
            style.name: {
                "colour distance": style.hellinger,
                "flow error px": style.flow_error,
                "times source's": style.flow_ratio,
                "flicker": style.flicker,
                "still flicker": style.still_flicker,
                "r source": style.correlations.get(SOURCE, math.nan),
                "frames/s": style.frames_per_second,
            }
            for style in self.measures
        }

    def _crossed(self) -> dict[str, set[str]]:
        faults = [fault for fault in self.faults if fault.style]
        return {
            style: {COLUMNS[fault.measure] for fault in faults if fault.style == style}
            for style in {fault.style for fault in faults}
        }

    @property
    def pairs(self) -> dict[tuple[str, str], float]:
        """Correlations of pairs of styles, without the source."""
        return pair_correlations(self.measures[1:])

    @property
    def title(self) -> str:
        """The set, the clips and where they come from, as a line."""
        styles, draw = self.measuring.styles, self.draw
        shape = f"{draw.num_frames} frames at {draw.size}x{draw.size}"
        return (
            f"Style set {styles.name} ({styles.hash}): {_count(self.measuring.clips, 'clip')} of {shape}, of "
            f"{_count(draw.used, 'video')} of {self.data}"
        )

    @property
    def _asked(self) -> str:
        if self.network is None:
            return "a descriptor of colours and edges (no model given)"
        return f"{self.network.name}, {self.network.layer or 'what its classifier sees'}"

    @property
    def _pair_line(self) -> str:
        values = list(self.pairs.values())
        mean = math.fsum(values) / len(values) if values else math.nan
        correlation = self.measuring.correlation
        silent = f", {correlation.silent_units} of them silent" if correlation.silent_units else ""
        if math.isnan(mean):
            return f"No unit of {correlation.units} varies over the stills in both styles of a pair: there is no r."
        return f"Mean r = {mean:.2f} over pairs, each the mean over {correlation.units} units{silent}, of stills."

    @property
    def notes(self) -> list[str]:
        """What the reader of the numbers has to know."""
        notes = []
        if self.draw.skipped:
            total = len(self.draw.skipped)
            listed = "; ".join(f"{error.path} ({error.reason})" for error in self.draw.skipped[:LISTED])
            more = f"; and {total - LISTED} more" if total > LISTED else ""
            notes.append(f"{_count(total, 'video')} could not be read, and no clip taken from there: {listed}{more}.")
        if math.isinf(self.limits.flow_ratio):
            notes.append(
                f"Flow in the source itself is off by {self.measures[0].flow_error:.2f} px, of 3 px of motion, so that "
                "the error in styles is not judged: the clips have too little texture, or are too small (--size)."
            )
        if math.isinf(self.limits.correlation):
            found = "1 clip is" if self.measuring.clips == 1 else f"{self.measuring.clips} clips are"
            notes.append(f"{found} too few for correlations to be judged: give more, best of many videos.")
        if (stable := self.measures[0].correlations[SOURCE]) < STABLE:
            notes.append(
                f"r is {stable:.2f} already between the source and itself with a little noise, so that r of styles "
                "says little about them. Check the weights and the normalisation, or name another layer."
            )
        if self.network is not None and self.network.note:
            notes.append(self.network.note)
        if self.network is None:
            notes.append(
                f"Without a model, r is that of a hand-made descriptor, with a limit of its own, {DESCRIPTOR_LIMIT:g}. "
                "What counts is the network that is measured: name it with --model and --checkpoint."
            )
        return notes

    def write(self, output: str | None, figure: str | None) -> None:
        """Write the CSV and the PNG, those that are named.

        Raises:
            OptionError: a file cannot be written.
        """
        for path, content in ((output, self.csv), (figure, self.png)):
            if path is not None:
                try:
                    write_whole(Path(path), content())
                except OSError as error:
                    raise OptionError(f"{path!r} cannot be written: {error}. Name another file.") from error
                print(f"Wrote {path}.")

    def csv(self) -> str:
        """A row a style, the source with noise first, with all numbers and what they were measured on."""
        styles, draw = self.measuring.styles, self.draw
        about: dict[str, str | float] = {
            "style_set": styles.name, "style_hash": styles.hash, "seed": styles.seed, "data": self.data,
            "clips": self.measuring.clips, "videos": draw.used, "skipped": len(draw.skipped),
            "num_frames": draw.num_frames, "stride": draw.stride, "size": draw.size,
            "model": self.network.name if self.network else "", "layer": (self.network and self.network.layer) or "",
            "device": str(self.measuring.device),
        }  # fmt: skip
        rows: list[dict[str, str | float]] = []
        for style in self.measures:
            row: dict[str, str | float] = {
                "style": style.name, "hellinger": style.hellinger, "flow_error_px": style.flow_error,
                "flow_error_ratio": style.flow_ratio, "flicker_ratio": style.flicker,
                "still_flicker_ratio": style.still_flicker,
            }  # fmt: skip
            others = (SOURCE, *(other.name for other in self.measures[1:]))
            row |= {f"r_{other}": style.correlations.get(other, math.nan) for other in others}
            row |= {
                "fps": style.frames_per_second,
                "crossed": " ".join(fault.measure for fault in self.faults if fault.style == style.name),
            }
            rows.append({key: "" if value != value else value for key, value in row.items()} | about)
        return results_csv(rows)

    def png(self) -> bytes:
        """The picture."""
        styles, limits = self.measures[1:], self.limits
        bars = [
            Measure("colour distance", {s.name: s.hellinger for s in styles}, limits.hellinger, above=False),
            Measure("flow error, times\nthe source's", {s.name: s.flow_ratio for s in styles}, limits.flow_ratio),
            Measure(
                "still flicker, times\nthe source's", {s.name: s.still_flicker for s in styles}, limits.still_flicker
            ),
        ]
        pairs = {(style.name, other): r for style in styles for other, r in style.correlations.items()}
        pictures = {name: _thumbnail(frame) for name, frame in self.measuring.examples.items()}
        caption = f"{self.title}. r of {self._asked}. Dashed lines and bold numbers: the limits, crossed with !"
        drawn = style_figure(pictures, bars, pairs, limits.correlation, "What the styles change and keep", caption)
        return png_bytes(rendered(drawn))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _thumbnail(frame: Tensor) -> NDArray[np.uint8]:
    small = F.interpolate(frame[None], (96, 96), mode="area")[0]
    pixels: NDArray[np.uint8] = (small.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
    return pixels

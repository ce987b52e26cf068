# SPDX-License-Identifier: Apache-2.0
"""A measurement as a table for the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement as Width
from rich.table import Table
from rich.text import Text

from .style import COLORS, ENCODINGS, shorten

__all__ = ("BiasTable", "bias_table")

Measurement = Mapping[str, Mapping[str, float]]

NAME = 16  # characters that a layer's name is given at least, before intervals are left out
LEVELS = 5


class _Name:
    """A layer's name, as long as there is room for."""

    def __init__(self, name: str, names: Sequence[str]) -> None:
        self.name, self.names = name, names

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(shorten(self.names, max(3, options.max_width))[self.name], no_wrap=True)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Width:
        return Width(min(len(self.name), NAME), len(self.name)).with_maximum(options.max_width)


def _with_interval(numbers: Mapping[str, float], name: str, digits: int, interval: bool = True) -> str:
    if numbers["undefined"] == numbers["num_units"]:
        return "-"  # no unit has a score, so there is nothing to share out
    value, half = numbers[name], numbers[f"{name}_interval"]
    return f"{value:.{digits}f}" if math.isnan(half) or not interval else f"{value:.{digits}f} ± {half:.{digits}f}"


@dataclass(frozen=True)
class BiasTable:
    """A table of rich as wide as the terminal allows; see :func:`bias_table`."""

    measurement: Measurement
    title: str = ""
    caption: str = ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        longest = max(map(len, self.measurement), default=0)
        room = options.max_width + longest - min(longest, NAME)
        for level in range(LEVELS):
            table = self._table(level)
            if Width.get(console, options.update(max_width=10_000), table).maximum <= room:
                break
        undefined = sum(numbers["undefined"] for numbers in self.measurement.values())
        untold = f"\n{undefined:.0f} units have no score." if undefined and level >= 3 else ""
        if self.title:
            yield Text(self.title, style="bold")
        yield table
        if caption := f"{self.caption}{untold}".strip():
            yield Text(caption, style="dim")

    def _table(self, level: int) -> Table:
        """Everything at level 0; then closer, without the units' intervals, without counts, with the shares alone."""
        undefined = any(numbers["undefined"] for numbers in self.measurement.values())
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0) if level == 0 else 0)
        encodings = ENCODINGS if level < 4 else ()
        table.add_column("\nlayer")
        for factor in ("static", "dynamic"):
            table.add_column(f"{factor}\n%", justify="right", style=f"bold {COLORS[factor]}", no_wrap=True)
        for encoding in encodings:
            style = COLORS[encoding] if encoding in ("static", "dynamic") else ""
            table.add_column(f"{encoding}\nunits %", justify="right", style=style, no_wrap=True)
        if level < 3:
            table.add_column("\nunits", justify="right", no_wrap=True)
        if undefined and level < 3:
            table.add_column("undefined\nunits", justify="right", no_wrap=True)
        for layer, numbers in self.measurement.items():
            table.add_row(
                _Name(layer, list(self.measurement)),
                *(_with_interval(numbers, factor, 1) for factor in ("static", "dynamic")),
                *(_with_interval(numbers, f"units_{encoding}", 0, level < 2) for encoding in encodings),
                *([f"{numbers['num_units']:.0f}"] if level < 3 else []),
                *([f"{numbers['undefined']:.0f}"] if undefined and level < 3 else []),
            )
        return table


def bias_table(measurement: Measurement, title: str = "", caption: str = "") -> BiasTable:
    """Layer shares and units by encoding, in percent with 95 % intervals.

    Static and dynamic have the colours of the figures. In a narrow terminal long names are cut in their middle; then
    the intervals of the units, their number, and at last the units are left out, but never half a number is shown.

    Args:
        measurement: ``{layer: numbers}`` with the numbers of :func:`staticdropout.metrics.summarize`.
        title: the table's title.
        caption: a line below it: how it was measured.

    Returns:
        Something that rich prints, one row a layer. A column tells the units without a score, if there are any.
    """
    return BiasTable(measurement, title, caption)

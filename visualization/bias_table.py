# SPDX-License-Identifier: Apache-2.0
"""A measurement as a table for the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping

from rich import box
from rich.markup import escape
from rich.table import Table

__all__ = ("bias_table",)


def _with_interval(numbers: Mapping[str, float], name: str, digits: int) -> str:
    if numbers["undefined"] == numbers["num_units"]:
        return "-"  # no unit has a score, so there is nothing to share out
    value, interval = numbers[name], numbers[f"{name}_interval"]
    return f"{value:.{digits}f}" if math.isnan(interval) else f"{value:.{digits}f} ± {interval:.{digits}f}"


def bias_table(measurement: Mapping[str, Mapping[str, float]], title: str = "", caption: str = "") -> Table:
    """Layer shares and units by encoding, in percent with 95 % intervals.

    Args:
        measurement: ``{layer: numbers}`` with the numbers of :func:`staticdropout.metrics.summarize`.
        title: the table's title.
        caption: a line below it: how it was measured.

    Returns:
        A table of rich, one row a layer. A column tells the units without a score, if there are any.
    """
    table = Table(
        title=title or None,
        caption=caption or None,
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("layer", overflow="fold", min_width=12)  # the column that breaks first: numbers stay whole
    table.add_column("static\n%", justify="right", style="red", no_wrap=True)
    table.add_column("dynamic\n%", justify="right", style="blue", no_wrap=True)
    encodings = ("dynamic", "static", "joint", "residual")
    for encoding in encodings:
        table.add_column(f"{encoding}\nunits %", justify="right", no_wrap=True)
    table.add_column("units", justify="right", no_wrap=True)
    undefined = any(numbers["undefined"] for numbers in measurement.values())
    if undefined:
        table.add_column("undefined\nunits", justify="right", no_wrap=True)
    for layer, numbers in measurement.items():
        table.add_row(
            escape(layer),
            _with_interval(numbers, "static", 1),
            _with_interval(numbers, "dynamic", 1),
            *(_with_interval(numbers, f"units_{encoding}", 0) for encoding in encodings),
            f"{numbers['num_units']:.0f}",
            *([f"{numbers['undefined']:.0f}"] if undefined else []),
        )
    return table

# SPDX-License-Identifier: Apache-2.0
"""What styles change and keep, as tables for the terminal."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from .style import COLORS, shorten

__all__ = ("correlation_table", "style_table")

NAME = 20  # characters of a style's name
FAULT = f"bold {COLORS['static']}"


def style_table(
    rows: Mapping[str, Mapping[str, float]],
    digits: Mapping[str, int],
    crossed: Mapping[str, Collection[str]] | None = None,
) -> Table:
    """Lay out numbers with a row a style.

    Args:
        rows: numbers by style and column; the first row is the source, to compare with, and stands apart. NaN and
            what a row has not is a dash.
        digits: the columns in their order, and how many digits behind the point each has.
        crossed: by style, the columns in which a limit is crossed; they are marked with ``!`` and in colour.

    Example:
        >>> style_table({"source": {"flow error": 0.2}, "paint": {"flow error": 0.24}}, {"flow error": 2}).row_count
        2
    """
    table = _empty()
    for name in digits:
        table.add_column(Text(name.replace(" ", "\n", 1)), justify="right", no_wrap=True)
    short = shorten(list(rows), NAME)
    for position, (style, row) in enumerate(rows.items()):
        marked = (crossed or {}).get(style, ())
        cells = (_cell(row.get(name, math.nan), places, name in marked) for name, places in digits.items())
        table.add_row(Text(short[style], style=FAULT if marked else ""), *cells, style="dim" if position == 0 else "")
        if position == 0:
            table.add_section()
    return table


def correlation_table(
    names: Sequence[str],
    correlations: Mapping[tuple[str, str], float],
    limit: float = math.inf,
) -> Table:
    """Lay out correlations of pairs as a triangle.

    Args:
        names: of the styles in their order.
        correlations: of each pair, in either order; a pair that is not known is a dash.
        limit: what lies above it is marked with ``!`` and in colour.

    Example:
        >>> correlation_table(["paint", "neon"], {("paint", "neon"): 0.3}).row_count
        1
    """
    table = _empty()
    short = shorten(list(names), NAME)
    for name in names[:-1]:
        table.add_column(Text(short[name]), justify="right", no_wrap=True)
    for position, name in enumerate(names[1:], start=1):
        values = (correlations.get((other, name), correlations.get((name, other), math.nan)) for other in names)
        cells = (_cell(value, 2, value > limit) for value in list(values)[:position])
        table.add_row(Text(short[name]), *cells)
    return table


def _empty() -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("", vertical="top", no_wrap=True)
    return table


def _cell(value: float, digits: int, crossed: bool) -> Text:
    if math.isnan(value):
        return Text("! -", style=FAULT) if crossed else Text("-")
    shown = f"{value:.{digits}f}"
    return Text(f"! {shown}", style=FAULT) if crossed else Text(shown)

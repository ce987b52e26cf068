# SPDX-License-Identifier: Apache-2.0
"""Two runs compared, as tables for the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich import box
from rich.table import Table
from rich.text import Text

__all__ = ("comparison_table", "signed")


def signed(value: float, half: float = math.nan) -> str:
    """A difference with its sign and, where it is known, the half-width of its interval.

    Example:
        >>> signed(-1.25, 0.5), signed(2.0), signed(math.nan)
        ('-1.2 ± 0.5', '+2.0', '-')
    """
    if math.isnan(value):
        return "-"
    shown = f"{value:+.1f}".replace("-0.0", "+0.0")
    return shown if math.isnan(half) else f"{shown} ± {half:.1f}"


def comparison_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str | float]], caption: str = ""
) -> Table:
    """Rows of names, counts and percentages; the first column is text, the others stand at the right.

    Args:
        title: above the table.
        columns: their heads.
        rows: cells; floats are shown with one digit, and as a dash where they are NaN.
        caption: below the table.

    Example:
        >>> comparison_table("Overall", ["", "A", "B"], [["top-1", 54.2, 55.1]]).row_count
        1
    """
    table = Table(
        title=Text(title, style="bold"), title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0),
        caption=Text(caption, style="dim") if caption else None, caption_justify="left",
    )  # fmt: skip
    for number, name in enumerate(columns):  # in a narrow terminal names are broken, and numbers stay whole
        table.add_column(
            Text(name), justify="right" if number else "left", vertical="bottom" if number else "top",
            no_wrap=number > 0, max_width=None if number else 56,
        )  # fmt: skip
    for row in rows:
        table.add_row(*(Text(_shown(cell)) for cell in row))
    return table


def _shown(value: str | float) -> str:
    if isinstance(value, str):
        return value
    return "-" if math.isnan(value) else f"{value:.1f}"

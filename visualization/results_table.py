# SPDX-License-Identifier: Apache-2.0
"""Segmentation results by sequence, as a table for the terminal and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence

from rich import box
from rich.markup import escape
from rich.table import Table

__all__ = ("results_csv", "results_table")

Row = Mapping[str, str | float]


def results_table(rows: Sequence[Row], total: Row, title: str = "", caption: str = "") -> Table:
    """Lay results out with one row a sequence and the overall numbers at the end.

    Args:
        rows: numbers by column name; the first column names the row. Fractions are shown in percent, integers as they
            are.
        total: the overall numbers, in the same columns.
        title: above the table.
        caption: below it.

    Example:
        >>> table = results_table([{"sequence": "dog", "J mean": 0.9}], {"sequence": "mean", "J mean": 0.9})
        >>> table.row_count
        2
    """
    table = Table(
        title=title or None, caption=caption or None, title_justify="left", caption_justify="left", box=box.SIMPLE_HEAD
    )
    for number, name in enumerate(total):
        table.add_column(escape(name.replace(" ", "\n")), justify="left" if number == 0 else "right", no_wrap=True)
    for row in rows:
        table.add_row(*map(_shown, row.values()))
    table.add_section()
    table.add_row(*map(_shown, total.values()), style="bold")
    return table


def _shown(value: str | float) -> str:
    if isinstance(value, float):
        return f"{100 * value:.1f}"
    return escape(str(value))


def results_csv(rows: Sequence[Row]) -> str:
    r"""Write rows as CSV, numbers in full.

    Example:
        >>> results_csv([{"sequence": "dog", "J": 0.9}])
        'sequence,J\ndog,0.9\n'
    """
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fieldnames=list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()

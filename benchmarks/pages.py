# SPDX-License-Identifier: Apache-2.0
"""Put the results of benchmarks into the tables of the pages in ``docs/``, so that page and CSV cannot differ.

A table stands between ``<!-- table: NAME.csv | column, column as heading … -->`` and ``<!-- end -->``; its rows are
those of ``benchmarks/results/NAME.csv``, and below it stands what was measured on. Tables that take more than rows of a
CSV are named ``<!-- table: NAME -->`` and written by the benchmark itself.

    python benchmarks/pages.py                 # the tables of all pages
    python benchmarks/pages.py docs/cost.md    # of one
"""

from __future__ import annotations

import argparse
import csv
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from parts.common import RESULTS, HelpFormatter

DOCS = Path(__file__).parent.parent / "docs"
ABOUT = ("input", "device", "machine", "threads", "clock", "repeats", "rounds", "steps", "torch", "date")
PLACE = re.compile(r"(<!-- table: (\S+?)(?: \| (.*?))? -->\n).*?(<!-- end -->)", re.DOTALL)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; columns that begin with a digit or a sign in every row stand at the right."""
    columns = list(zip(*rows, strict=True)) or [()] * len(header)
    rule = ["---:" if cells and all(re.match(r"[+-]?\d", c) for c in cells if c) else "---" for cells in columns]
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, rule, *rows))


def csv_table(path: Path, columns: str) -> str:
    """Rows of a CSV and what they were measured on.

    Args:
        path: the CSV.
        columns: ``name`` or ``name as heading``, separated by commas.

    Raises:
        SystemExit: the CSV lacks a column.
    """
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    pairs = [column.strip().partition(" as ")[::2] for column in columns.split(",")]
    if missing := [name for name, _ in pairs if name not in rows[0]]:
        raise SystemExit(f"{path} has no column {', '.join(missing)}; it has {', '.join(rows[0])}.")
    values = {name: list(dict.fromkeys(row[name] for row in rows if row.get(name))) for name in ABOUT}
    about = ", ".join(f"{name} {' and '.join(found)}" for name, found in values.items() if found)
    if len({row.get("ran_on") for row in rows}) > 1:
        pairs.insert(0, ("ran_on", "device"))
    lines = [[row[name] for name, _ in pairs] for row in rows]
    return f"{table([heading or name for name, heading in pairs], lines)}\n\n*{about}*\n"


def filled(text: str, tables: Mapping[str, str] | None = None, results: Path = RESULTS) -> str:
    """The text of a page with its tables made anew; places of named tables that are not given stay as they are."""

    def fill(found: re.Match[str]) -> str:
        place, name, columns, end = found.groups()
        if columns:
            return f"{place}\n{csv_table(results / name, columns)}\n{end}"
        return f"{place}\n{tables[name]}\n\n{end}" if tables and name in tables else found[0]

    return PLACE.sub(fill, text)


def fill_page(page: Path, tables: Mapping[str, str] | None = None, results: Path = RESULTS) -> None:
    """Write the tables of a page anew.

    Raises:
        SystemExit: a table that is given has no place in the page.
    """
    places = {name for _, name, *_ in PLACE.findall(page.read_text(encoding="utf-8"))}
    if missing := set(tables or {}) - places:
        raise SystemExit(f"{page} has no place for {', '.join(sorted(missing))}; it has {', '.join(sorted(places))}.")
    page.write_text(filled(page.read_text(encoding="utf-8"), tables, results), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HelpFormatter)
    parser.add_argument("pages", type=Path, nargs="*", help="Markdown files (default: all in docs/)")
    for page in parser.parse_args().pages or sorted(DOCS.glob("*.md")):
        fill_page(page)
        print(f"written: {page}")


if __name__ == "__main__":
    main()

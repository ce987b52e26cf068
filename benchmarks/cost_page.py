# SPDX-License-Identifier: Apache-2.0
"""Put the results of the cost benchmarks into the tables of docs/cost.md.

A table stands between ``<!-- table: NAME.csv | column, column as heading … -->`` and ``<!-- end -->``; its rows are
those of ``benchmarks/results/NAME.csv``. Below it stands what was measured on, from the columns of the first row.

Run: ``python benchmarks/cost_page.py``
"""

from __future__ import annotations

import argparse
import csv
import re
from pathlib import Path

from common import RESULTS

PAGE = Path(__file__).parents[1] / "docs" / "cost.md"
ABOUT = ("input", "device", "machine", "threads", "clock", "torch", "date")
TABLE = re.compile(r"(<!-- table: (\S+) \| (.*?) -->\n).*?(<!-- end -->)", re.DOTALL)


def table(path: Path, columns: str) -> str:
    """Rows of a CSV as a Markdown table; ``columns`` are ``name`` or ``name as heading``, separated by commas."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    pairs = [column.strip().partition(" as ")[::2] for column in columns.split(",")]
    if missing := [name for name, _ in pairs if name not in rows[0]]:
        raise SystemExit(f"{path} has no column {', '.join(missing)}; it has {', '.join(rows[0])}.")
    lines = [[heading or name for name, heading in pairs], ["---"] * len(pairs)]
    lines += [[row[name] for name, _ in pairs] for row in rows]
    about = ", ".join(f"{name} {rows[0][name]}" for name in ABOUT if rows[0].get(name))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + f"\n\n*{about}*\n"


def filled(page: str, results: Path) -> str:
    """The page with all its tables made anew."""
    return TABLE.sub(lambda found: f"{found[1]}\n{table(results / found[2], found[3])}\n{found[4]}", page)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    options.page.write_text(filled(options.page.read_text(), options.results))
    print(f"written: {options.page}")


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""Tables in the pages of ``docs/``, written from the results so that page and CSV cannot differ."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

DOCS = Path(__file__).parent.parent / "docs"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first column is text, the others are numbers."""
    rule = ["---"] + ["---:"] * (len(header) - 1)
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, rule, *rows))


def fill_tables(page: Path, tables: Mapping[str, str]) -> None:
    """Write tables into the page's places, ``<!-- table: NAME -->`` to ``<!-- end -->``.

    Raises:
        KeyError: the page has a place for a table that is not there.
    """

    def filled(found: re.Match[str]) -> str:
        return f"{found[1]}\n{tables[found[2]]}\n<!-- end -->"

    text = page.read_text(encoding="utf-8")
    text = re.sub(r"(<!-- table: (\w+) -->)\n.*?<!-- end -->", filled, text, flags=re.DOTALL)
    page.write_text(text, encoding="utf-8")

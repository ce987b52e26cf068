# SPDX-License-Identifier: Apache-2.0
"""The tables of the cost page are the CSVs of the cost benchmarks."""

from __future__ import annotations

from pathlib import Path

import cost_page
import pytest
from common import RESULTS

PAGE = "Before.\n<!-- table: a.csv | model, ratio as times -->\nold\n<!-- end -->\nAfter.\n"


def test_a_table_has_the_rows_of_its_csv_and_what_it_was_measured_on(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("model,ratio,device,date\nr18,1.02,cpu,2026-01-01\nr50,1.03,cpu,2026-01-01\n")
    page = cost_page.filled(PAGE, tmp_path)
    assert "| model | times |\n| --- | --- |\n| r18 | 1.02 |\n| r50 | 1.03 |\n" in page
    assert "*device cpu, date 2026-01-01*" in page
    assert "old" not in page
    assert page.startswith("Before.\n<!-- table: a.csv | model, ratio as times -->")
    assert page.endswith("<!-- end -->\nAfter.\n")
    assert cost_page.filled(page, tmp_path) == page  # again and again


def test_a_column_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("model,speed\nr18,2\n")
    with pytest.raises(SystemExit, match="no column ratio; it has model, speed"):
        cost_page.filled(PAGE, tmp_path)


def test_the_page_shows_the_committed_results() -> None:
    page = cost_page.PAGE.read_text()
    assert len(cost_page.TABLE.findall(page)) >= 6
    assert cost_page.filled(page, RESULTS) == page, "run python benchmarks/cost_page.py"

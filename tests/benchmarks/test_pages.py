# SPDX-License-Identifier: Apache-2.0
"""The tables of the pages are the results of the benchmarks."""

from __future__ import annotations

from pathlib import Path

import pytest
from pages import DOCS, PLACE, fill_page, filled, table

PAGE = (
    "Before.\n<!-- table: a.csv | model, ratio as times -->\nold\n<!-- end -->\n"
    "<!-- table: b -->\nold b\n<!-- end -->\nAfter.\n"
)


def test_a_table_has_the_rows_of_its_csv_and_what_it_was_measured_on(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("model,ratio,device,date\nr18,1.02,cpu,2026-01-01\nr50,1.03,cpu,2026-01-01\n")
    page = filled(PAGE, {"b": "| new |"}, tmp_path)
    assert "| model | times |\n| --- | ---: |\n| r18 | 1.02 |\n| r50 | 1.03 |\n" in page
    assert "*device cpu, date 2026-01-01*" in page
    assert "| new |" in page
    assert "old" not in page
    assert page.startswith("Before.\n<!-- table: a.csv | model, ratio as times -->")
    assert page.endswith("<!-- end -->\nAfter.\n")
    assert filled(page, {"b": "| new |"}, tmp_path) == page  # again and again


def test_below_a_table_stand_its_clock_and_number_of_steps_and_every_device(tmp_path: Path) -> None:
    rows = ("model,ratio,steps,clock,device", "r18,1.02,8,wall,GPU", "r50,1.03,8,wall,cpu", "r101,1.1,8,wall,GPU")
    (tmp_path / "a.csv").write_text("\n".join(rows))
    assert "\n*device GPU and cpu, clock wall, steps 8*\n" in filled(PAGE, {"b": "| new |"}, tmp_path)


def test_rows_of_several_devices_name_theirs(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("model,ratio,ran_on\nr18,1.02,cpu\nr18,1.01,H200\n")
    assert "| device | model | times |\n| --- | --- | ---: |\n| cpu | r18 | 1.02 |" in filled(PAGE, {"b": ""}, tmp_path)


def test_a_named_table_stays_where_nobody_gives_it(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("model,ratio\nr18,1.02\n")
    assert "<!-- table: b -->\nold b\n<!-- end -->" in filled(PAGE, {"c": "other"}, tmp_path)


def test_a_column_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("model,speed\nr18,2\n")
    with pytest.raises(SystemExit, match="no column ratio; it has model, speed"):
        filled(PAGE, {}, tmp_path)


def test_a_table_without_a_place_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- table: b -->\nold\n<!-- end -->\n")
    fill_page(page, {"b": "| new |"})
    assert "| new |" in page.read_text()
    with pytest.raises(SystemExit, match="no place for c; it has b"):
        fill_page(page, {"b": "x", "c": "y"})


def test_a_table_is_markdown_with_numbers_at_the_right() -> None:
    assert table(["a", "b", "c"], [["x", "+1", "3d"], ["y", "", "z"]]).splitlines()[1] == "| --- | ---: | --- |"
    assert table(["a", "b"], [["x", "1"]]) == "| a | b |\n| --- | ---: |\n| x | 1 |"


def test_the_pages_show_the_committed_results() -> None:
    places = 0
    for page in DOCS.glob("*.md"):
        text = page.read_text(encoding="utf-8")
        places += len(PLACE.findall(text))
        assert filled(text) == text, f"run python benchmarks/pages.py {page}"
    assert places >= 15

# SPDX-License-Identifier: Apache-2.0
"""The table for the terminal: as much as there is room for, never half a number."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from toy_numbers import LONG_NAMES, measurement, numbers

from staticdropout.visualization import COLORS, bias_table


def printed(layers: list[str], width: int, color: str | None = None, **options: float) -> str:
    console = Console(width=width, file=io.StringIO(), color_system=color, force_terminal=color is not None)  # type: ignore[arg-type]
    console.print(bias_table(measurement(layers, **options), "title", "caption"))
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


@pytest.mark.parametrize("undefined", [0.0, 3.0])
def test_the_table_names_layers_with_brackets_and_undefined_units_only_where_there_are_any(undefined: float) -> None:
    text = printed(["head.fc[input]"], 120, undefined=undefined)
    for part in ("title", "caption", "head.fc[input]", "40.0 ± 2.0", "25.0 ± 2.0", "50 ± 2", "512"):
        assert part in text
    assert ("undefined" in text) == bool(undefined)


@pytest.mark.parametrize("undefined", [0.0, 3.0])
@pytest.mark.parametrize("width", [50, 80, 100, 160])
def test_every_layer_keeps_its_line_its_own_name_and_whole_numbers_at_any_width(width: int, undefined: float) -> None:
    lines = printed(LONG_NAMES, width, undefined=undefined).splitlines()
    assert max(map(len, lines)) <= width
    rows = [line.split() for line in lines if "40.0 ± 2.0" in line]
    assert len(rows) == len({row[0] for row in rows}) == len(LONG_NAMES)
    assert all("25.0 ± 2.0" in " ".join(row) for row in rows)
    assert not [cell for row in rows for cell in row[1:] if "…" in cell]
    assert bool(undefined) == ("undefined" in " ".join(lines) or "have no score" in " ".join(lines))


def test_wider_terminals_show_more() -> None:
    assert "50 ± 2" in printed(LONG_NAMES, 80)
    assert "50 ± 2" not in printed(LONG_NAMES, 78)
    assert "units" in printed(LONG_NAMES, 78)
    assert all(name in printed(LONG_NAMES, 160) for name in LONG_NAMES)


def test_static_and_dynamic_have_the_colours_of_the_figures_and_none_where_there_is_no_colour() -> None:
    for factor, value in (("static", "40.0 ± 2.0"), ("dynamic", "25.0 ± 2.0")):
        red, green, blue = (int(COLORS[factor][start : start + 2], 16) for start in (1, 3, 5))
        assert f"38;2;{red};{green};{blue}m{value}" in printed(["res5"], 120, "truecolor").replace(" \x1b", "\x1b")
    assert "\x1b" not in printed(["res5"], 120)


def test_a_layer_whose_units_have_no_score_shows_no_shares() -> None:
    console = Console(width=120, file=io.StringIO())
    console.print(bias_table({"res5": numbers(undefined=512.0)}))
    (line,) = [line for line in console.file.getvalue().splitlines() if "res5" in line]  # type: ignore[attr-defined]
    assert line.split() == ["res5", *["-"] * 6, "512", "512"]

# SPDX-License-Identifier: Apache-2.0
"""A long training leaks neither memory nor file descriptors and never hangs; ``pytest -m soak`` runs the long one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import soak

ROWS: list[dict[str, Any]] = [
    {
        "minute": float(minute),
        "main_mb": 400.0 + 40 * (minute % 3),  # figures come and go
        "workers_mb": 200.0 + (60 * minute if minute < 5 else 300),
        "files": 302,
        "workers_replaced": 0,
    }
    for minute in range(41)
]


def test_a_flat_run_has_no_problems_however_it_grew_before() -> None:
    assert soak.problems(ROWS) == []


@pytest.mark.parametrize(("name", "growth"), [("main_mb", 2.0), ("workers_mb", 1.0), ("files", 0.1)])
def test_slow_growth_is_found(name: str, growth: float) -> None:
    leaking = [row | {name: row[name] + int(10 * growth * row["minute"]) / 10} for row in ROWS]
    (problem,) = soak.problems(leaking)
    assert problem.startswith(f"{name} grew from")


def test_workers_that_end_are_found() -> None:
    rows = [row | {"workers_replaced": int(row["minute"] == 20)} for row in ROWS]
    assert soak.problems(rows) == ["1 worker processes ended"]


def test_a_run_that_is_too_short_is_no_proof() -> None:
    assert "at least 10 are needed" in soak.problems(ROWS[:10])[0]


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_forty_minutes_of_training_are_flat(tmp_path: Path) -> None:
    output = tmp_path / "soak.csv"
    script = Path(soak.__file__)
    ran = subprocess.run([sys.executable, script, "--output", str(output)], text=True, capture_output=True, check=False)
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]
    assert len(output.read_text().splitlines()) > 30

# SPDX-License-Identifier: Apache-2.0
"""What the checks of data sets share: findings, their list and their CSV file, a progress bar."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

__all__ = ("Finding", "as_they_are", "print_findings", "progress_bar", "write_findings")


class Finding(NamedTuple):
    """One file with a problem."""

    split: str
    id: str
    problem: str
    reason: str
    path: str


def as_they_are(items: list[Any]) -> list[Any]:
    """Return the items: a collate function for loaders whose workers only share work."""
    return items


def progress_bar(console: Console) -> Progress:
    """Return a bar that shows how many files are done; it vanishes, and is silent where there is no terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def print_findings(findings: Sequence[Finding], max_listed: int, console: Console) -> None:
    """Print the first ``max_listed`` findings, and how many more there are."""
    for finding in findings[:max_listed]:
        line = f"{finding.split} {finding.id}: {finding.problem} ({finding.reason}) {finding.path}"
        console.print(line, soft_wrap=True, markup=False, highlight=False)
    if len(findings) > max_listed:
        console.print(f"… and {len(findings) - max_listed} more (see them all with --output findings.csv).")


def write_findings(findings: Sequence[Finding], output: Path, console: Console) -> None:
    """Write all findings to a CSV file with a line of headings, and say so."""
    output.parent.mkdir(parents=True, exist_ok=True)
    with output.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(Finding._fields)
        writer.writerows(findings)
    console.print(f"All findings are in {output}.", soft_wrap=True)

# SPDX-License-Identifier: Apache-2.0
"""What a checkpoint file is, as tables for the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from .comparing import Comparison
from .fitting import Fit
from .inspecting import FileReport

__all__ = ("print_inspection",)

NEAREST = 3  # models that are shown of a file that fits none
NAMES = 4  # of weights, in a cell


def print_inspection(report: FileReport) -> None:
    """Print what a file is, the models that it fits, and of each what is loaded and what is not."""
    console = Console()
    console.print(_facts(report))
    if report.obstacle:
        console.print(f"Not loaded by any model: {report.obstacle}", markup=False)
    fitting = [fit for fit in report.fits if fit.fits]
    if fitting:
        console.print(_fits(fitting))
        if any(fit.comparison.left_out for fit in fitting):
            console.print("left fresh: weights of the model that the file lacks, as initialised.")
    elif report.fits:
        console.print("Fits no model as it is. What stands in the way, for the nearest:")
        for fit in report.fits[:NEAREST]:
            console.print(f"  {fit.name}: {fit.comparison}", markup=False, highlight=False)
            for note in fit.notes:
                console.print(f"    {note}", markup=False, highlight=False)
    elif not report.obstacle:
        console.print("It is of no family of networks that is known here, so that no model was tried.")


def _facts(report: FileReport) -> Table:
    table = Table(Column(no_wrap=True), "", title=escape(report.path), show_header=False)
    rows = {
        "packaging": report.file_format,
        "naming": report.layout,
        "network": report.architecture,
        "weights": f"{report.tensors} tensors, {report.parameters:,} parameters",
        "classes": str(report.classes) if report.classes is not None else "no last layer",
        **{f"beside them: {name}": words for name, words in report.extras.items()},
    }
    for name, words in rows.items():
        table.add_row(escape(name), escape(words))
    return table


def _fits(fits: list[Fit]) -> Table:
    table = Table(Column("fits", no_wrap=True), "loaded", "left fresh", "ignored", "without effect", "adapted")
    for fit in fits:
        comparison: Comparison = fit.comparison
        table.add_row(
            fit.name,
            f"{len(comparison.fitting)} tensors",
            *(_names(names) for names in (comparison.left_out, comparison.ignored, comparison.dead)),
            escape(" ".join(fit.notes)) or "no",
        )
    return table


def _names(names: tuple[str, ...]) -> str:
    if not names:
        return "none"
    more = f" and {len(names) - NAMES} more" if len(names) > NAMES else ""
    return escape(", ".join(names[:NAMES]) + more)

# SPDX-License-Identifier: Apache-2.0
"""``staticdropout compare RUN_A RUN_B``: two runs class by class, against how common the classes are."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from ..callbacks.measuring import terminal
from ..errors import OptionError
from ..metrics import ClassTable, compare_classes, read_class_table
from .comparison_report import report_of
from .run_tables import find_table, run_names

__all__ = ("compare",)


def compare(
    run_a: str,
    run_b: str,
    output: str = "comparison",
    stage: Literal["val", "test"] = "val",
    k: list[int] | None = None,
    frequencies: str | None = None,
    labels: list[str] | None = None,
    most: int = 8,
) -> None:
    """Compare two runs class by class, on rare and on common classes (Fig. 14 bottom of the paper).

    Prints tables, and writes them as CSV with two figures. Differences are RUN_A minus RUN_B in percentage points, with
    95 % intervals over classes; docs/compare.md tells what they mean and what not.

    Args:
        run_a: folder of a run, where ClassReport has left val_classes.csv; or any CSV with a row a class and the
            columns class, train_clips, accuracy (in percent) and, if known, clips.
        run_b: the run that it is compared with.
        output: folder for by_class.csv, by_frequency.csv, difference.png and frequency.png.
        stage: which evaluation of the runs, val or test.
        k: numbers of the most and the least common classes to average over, as '[5,10,20]'; by default 5, 10 … 50 as
            far as half of the classes go.
        frequencies: run or CSV that says how many training clips the classes have, where the two runs do not know it
            or do not agree.
        labels: two names for the runs, as '[ours,baseline]'; by default those of their folders.
        most: how many classes to print of those that gain most, and of those that lose most.
    """
    if labels is not None and not len(set(labels)) == len(labels) == 2:
        raise OptionError(f"labels={labels} must be two different names, one for each run.")
    path_a, path_b = find_table(run_a, stage), find_table(run_b, stage)
    if path_a.resolve() == path_b.resolve():
        raise OptionError(f"Both runs are {str(path_a)!r}. Name two different ones.")
    table_a, table_b = read_class_table(path_a), read_class_table(path_b)
    given = None if frequencies is None else read_class_table(find_table(frequencies, "val", "test"), scored=False)
    comparison = compare_classes(table_a, table_b, given)
    names = (labels[0], labels[1]) if labels else run_names((path_a, path_b), (run_a, run_b))
    report = report_of(comparison, names, (_about(table_a), _about(table_b)), sorted(set(k)) if k else None)
    try:
        written = report.write(Path(output))
    except OSError as error:
        raise OptionError(f"The comparison cannot be written to output={output!r}: {error}. Name a folder.") from error
    report.print(terminal(), max(0, most))
    print(f"Wrote {', '.join(written)} to {output}.")


def _about(table: ClassTable) -> str:
    """What was evaluated, in a line: model, stage, epoch, step, checkpoint, as far as the table says."""
    about = [f"{name} {value}" for name, value in table.about.items() if name not in ("model", "stage")]
    return ", ".join([*(table.about[name] for name in ("model", "stage") if name in table.about), *about])

# SPDX-License-Identifier: Apache-2.0
"""What StaticDropout, its relatives and ShuffleConfusion do to a small network that could live on a shortcut.

Moving shapes whose looks give the class away in most training clips and never in validation (``shapes_task.py``), a
small 3-D ResNet (``shapes_network.py``), the arms of ``shapes_arms.py``, all trained alike from the same seeds. Two
sets of seeds: on the first one the candidates are tried and finalists chosen by a fixed rule (highest mean accuracy
on validation); on the second, fresh one, the baselines and the finalists are compared. What is claimed rests on the
second set alone.

Every run is one file below ``--folder``; the command goes on where it was stopped. It takes under two hours on two
cores.

    python benchmarks/shapes_study.py                 # everything
    python benchmarks/shapes_study.py --only report   # tables and figures of the runs that are there
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import torch
from common import RESULTS
from pages import DOCS
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from shapes_arms import ARMS, BASELINES, CANDIDATES, FAMILIES, REFERENCES
from shapes_report import write_report
from shapes_task import Task
from shapes_training import Schedule, train_one

SELECTION_SEEDS = range(100, 104)
CONFIRMATION_SEEDS = range(10)


def run_file(folder: Path, arm: str, seed: int) -> Path:
    return folder / "runs" / f"{arm}-seed{seed}.json"


def read_runs(folder: Path, arms: Iterable[str], seeds: Iterable[int]) -> list[dict[str, Any]]:
    """The runs that are there."""
    files = [run_file(folder, arm, seed) for arm in arms for seed in seeds]
    return [json.loads(file.read_text()) for file in files if file.exists()]


def one_run(arm: str, seed: int, folder: Path, device: str) -> None:
    """Train one arm on one seed, in a process of its own thread, and write its file whole."""
    torch.set_num_threads(1)
    task = Task() if ARMS[arm].shortcut else Task(correlation=0.0)
    result = train_one(task, Schedule(), ARMS[arm], seed, folder / "clips", device)
    file = run_file(folder, arm, seed)
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_suffix(f".{os.getpid()}")
    unfinished.write_text(json.dumps({"arm": arm, "seed": seed, **result}))
    unfinished.replace(file)


def run_all(arms: Sequence[str], seeds: Sequence[int], options: argparse.Namespace, title: str) -> None:
    """Train every arm on every seed, several at a time; arms of one seed next to each other."""
    jobs = [(arm, seed) for seed in seeds for arm in arms if not run_file(options.folder, arm, seed).exists()]
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    context = multiprocessing.get_context("spawn")
    with Progress(*columns) as bar, ProcessPoolExecutor(options.workers, context) as pool:
        task = bar.add_task(title, total=len(jobs))
        futures = [pool.submit(one_run, arm, seed, options.folder, options.device) for arm, seed in jobs]
        for future in as_completed(futures):
            future.result()
            bar.advance(task)


def finalists(runs: Sequence[Mapping[str, Any]], families: Mapping[str, Sequence[str]], each: int = 2) -> list[str]:
    """The arms of every family with the highest mean accuracy over the seeds of the selection."""
    chosen = []
    for members in families.values():
        means = {
            arm: statistics.mean(run["accuracy"] for run in runs if run["arm"] == arm)
            for arm in members
            if any(run["arm"] == arm for run in runs)
        }
        chosen += sorted(means, key=lambda arm: -means[arm])[:each]
    return chosen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/shapes_study"), help="clips and runs")
    parser.add_argument("--only", choices=("selection", "confirmation", "report"), help="one part (default: all)")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="trainings at a time")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the CSVs")
    parser.add_argument("--figures", type=Path, default=DOCS / "images", help="folder of the figures")
    parser.add_argument("--page", type=Path, default=DOCS / "study.md", help="page with the tables")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # every training has one thread
    tried = (*REFERENCES, *CANDIDATES)
    if options.only in (None, "selection"):
        run_all(tried, SELECTION_SEEDS, options, "Selection")
    selection = read_runs(options.folder, tried, SELECTION_SEEDS)
    arms = [*BASELINES, *finalists(selection, FAMILIES)]
    if options.only in (None, "confirmation"):
        run_all(arms, CONFIRMATION_SEEDS, options, "Confirmation")
    if options.only in (None, "report"):
        confirmation = read_runs(options.folder, arms, CONFIRMATION_SEEDS)
        write_report(selection, confirmation, options)


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""What StaticDropout, its relatives and ShuffleConfusion do to a small network that could live on a shortcut.

Moving shapes whose looks give the class away in most training clips and never in validation
(``parts/shapes_task.py``), a small 3-D ResNet (``parts/shapes_network.py``), the arms of ``parts/shapes_arms.py``,
all trained alike from the same seeds. Two sets of seeds: on the first one the candidates are tried, and finalists
chosen by a fixed rule (highest mean accuracy on validation, two of each family); on the second, fresh one, baselines,
finalists and their controls are compared. What is claimed rests on the second set alone.

Every run is one file below ``--folder``; the command goes on where it was stopped. It takes about two hours on two
cores.

    python benchmarks/shapes_study.py                 # everything
    python benchmarks/shapes_study.py --only report   # tables and figures of the runs that are there
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import statistics
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from pages import DOCS
from parts.common import RESULTS, HelpFormatter, environment
from parts.options import add_device
from parts.shapes_arms import ARMS, BASELINES, CANDIDATES, FAMILIES, REFERENCES, TWINS
from parts.shapes_report import write_report
from parts.shapes_task import Task
from parts.shapes_training import Schedule, train_one
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from staticdropout.files import write_whole

SELECTION_SEEDS = range(100, 103)
CONFIRMATION_SEEDS = range(200, 210)  # none of them was ever used to choose anything


def run_file(folder: Path, arm: str, seed: int) -> Path:
    return folder / "runs" / f"{arm}-seed{seed}.json"


def read_runs(folder: Path, arms: Iterable[str], seeds: Iterable[int]) -> list[dict[str, Any]]:
    """The runs that are there, all made with the settings of the code."""
    files = [run_file(folder, arm, seed) for arm in arms for seed in seeds]
    runs = [json.loads(file.read_text()) for file in files if file.exists()]
    for run in runs:
        if run["spec"] != json.loads(json.dumps(spec_of(run["arm"]))):
            raise SystemExit(
                f"{run_file(folder, run['arm'], run['seed'])} was made with another task, schedule or arm than the "
                "code has. Delete it, or name another --folder."
            )
    if len(devices := {run["about"].get("device", "cpu") for run in runs}) > 1:
        raise SystemExit(f"Runs of {' and '.join(sorted(devices))} are no pairs. Name a --folder for each.")
    return runs


def spec_of(arm: str) -> dict[str, Any]:
    """All that the figures of a run depend on, apart from the seed."""
    task = Task() if ARMS[arm].shortcut else Task(correlation=0.0)
    return {"task": asdict(task), "schedule": asdict(Schedule()), "arm": asdict(ARMS[arm])}


def one_run(arm: str, seed: int, folder: Path, device: str) -> None:
    """Train one arm on one seed, in a process of one thread, and write its file whole."""
    torch.set_num_threads(1)
    spec = spec_of(arm)
    result = train_one(Task(**spec["task"]), Schedule(), ARMS[arm], seed, folder / "clips", device)
    about = environment(device, precision="float32", layout="BCTHW", python=platform.python_version())
    content = {"arm": arm, "seed": seed, **result, "spec": spec, "about": about}
    write_whole(run_file(folder, arm, seed), json.dumps(content))


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


def finalists(runs: Sequence[Mapping[str, Any]], each: int = 2) -> list[str]:
    """The arms of every family with the highest mean accuracy, and the control of each; all seeds must be there."""
    accuracies: dict[str, list[float]] = {}
    for run in runs:
        accuracies.setdefault(run["arm"], []).append(run["accuracy"])
    chosen: list[str] = []
    for members in FAMILIES.values():
        missing = [arm for arm in members if len(accuracies.get(arm, [])) < len(SELECTION_SEEDS)]
        if missing:
            raise SystemExit(f"The selection is not complete: {', '.join(missing)}. Run it with --only selection.")
        chosen += sorted(members, key=lambda arm: -statistics.mean(accuracies[arm]))[:each]
    return list(dict.fromkeys([*chosen, *(TWINS[arm] for arm in chosen if arm in TWINS)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/shapes_study"), help="clips and runs")
    parser.add_argument("--only", choices=("selection", "confirmation", "report"), help="one part (default: all)")
    parser.add_argument("--workers", type=int, help="trainings at a time (default: one a core, one on a GPU)")
    add_device(parser)
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the CSVs")
    parser.add_argument("--figures", type=Path, default=DOCS / "images", help="folder of the figures")
    parser.add_argument("--page", type=Path, default=DOCS / "study.md", help="page with the tables")
    options = parser.parse_args()
    options.workers = options.workers or (1 if options.device.startswith("cuda") else os.cpu_count() or 1)
    os.environ["OMP_NUM_THREADS"] = "1"  # every training has one thread
    tried = (*REFERENCES, *CANDIDATES)
    if options.only in (None, "selection"):
        run_all(tried, SELECTION_SEEDS, options, "Selection")
    if options.only == "selection":
        return
    selection = read_runs(options.folder, tried, SELECTION_SEEDS)
    chosen = finalists(selection)
    arms = list(dict.fromkeys([*BASELINES, *chosen]))
    if options.only in (None, "confirmation"):
        run_all(arms, CONFIRMATION_SEEDS, options, "Confirmation")
    if options.only in (None, "report"):
        write_report(selection, read_runs(options.folder, arms, CONFIRMATION_SEEDS), chosen, options)


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""What every benchmark shares: help with defaults, times of ways that take turns, rows with their environment."""

from __future__ import annotations

import argparse
import csv
import gc
import importlib.metadata
import io
import os
import platform
import re
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from staticdropout.files import write_whole

RESULTS = Path(__file__).parents[1] / "results"


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """The docstring as it is written, and behind each option its default, as one would type it."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        default = action.default
        if default in (None, "", argparse.SUPPRESS) or default is False or not action.help:
            return action.help
        words = default if isinstance(default, list | tuple) else [default]
        typed = " ".join(map(self._typed, words)).replace("%", "%%")
        return f"{action.help} (default: {typed})"

    @staticmethod
    def _typed(word: Any) -> str:
        here = isinstance(word, Path) and word.is_relative_to(Path.cwd())
        return str(word.relative_to(Path.cwd()) if here else word)


def machine() -> str:
    """Processor and number of cores."""
    path = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.*)", path.read_text()) if path.exists() else None
    return f"{found[1] if found else platform.machine()}, {os.cpu_count()} cores"


def device_name(device: str) -> str:
    """What a device is called in the results: ``cpu``, or the name of the GPU."""
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device


def versions(packages: Iterable[str]) -> str:
    """Python's version and those of installed packages."""
    found = [f"python {platform.python_version()}"]
    for name in packages:
        with suppress(importlib.metadata.PackageNotFoundError):
            found.append(f"{name} {importlib.metadata.version(name)}")
    return ", ".join(found)


def environment(device: str, packages: Iterable[str] = (), **more: Any) -> dict[str, Any]:
    """What a number has to be quoted with.

    Args:
        device: that the benchmark was called with.
        packages: whose versions matter, beside torch and Lightning.
        **more: settings.
    """
    return {
        **more,
        "device": device_name(device),
        "ran_on": device_name(device),
        "machine": machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "staticdropout": importlib.metadata.version("staticdropout"),
        "versions": versions(("lightning", *packages)),
        "date": time.strftime("%Y-%m-%d"),
    }


def wait(device: str) -> None:
    """Wait for the work that a GPU has been given."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def seconds(work: Callable[[], Any], device: str = "cpu") -> float:
    """Time of one call."""
    wait(device)
    start = time.perf_counter()
    work()
    wait(device)
    return time.perf_counter() - start


def in_turns(
    ways: Mapping[str, Callable[[], Any]], repeats: int, device: str = "cpu", warmup: int = 1
) -> dict[str, list[float]]:
    """Time several ways of doing the same thing in turns, so that a slow minute of the machine is slow for all.

    Args:
        ways: ``{name: call}``.
        repeats: timed rounds.
        device: for synchronisation.
        warmup: rounds before that.

    Returns:
        ``{name: seconds of every round}``; rounds of equal index were measured next to each other.
    """
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(warmup + repeats):
        for name, work in ways.items():
            gc.collect()
            taken = seconds(work, device)
            if turn >= warmup:
                times[name].append(taken)
    return times


def spread(values: Sequence[float], others: Sequence[float]) -> dict[str, float]:
    """Median of the ratios of neighbouring measurements, with the lowest and the highest."""
    ratios = [value / other for value, other in zip(values, others, strict=True)]
    return {
        "ratio": round(statistics.median(ratios), 4),
        "lowest": round(min(ratios), 4),
        "highest": round(max(ratios), 4),
    }


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]], first: Iterable[str] = ()) -> None:
    """Write a CSV, whole or not at all: the columns of all rows, those of ``first`` before the others."""
    names = dict.fromkeys([*first, *(key for row in rows for key in row)])
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fieldnames=list(names), lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows(rows)
    write_whole(path, text.getvalue())


def rows_of_other_devices(path: Path, about: Mapping[str, Any]) -> list[dict[str, str]]:
    """The rows of a CSV that another device than that of ``about`` has made."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [row for row in rows if (row.get("ran_on") or row.get("device")) != about.get("ran_on")]


def report(rows: Sequence[Mapping[str, Any]], about: Mapping[str, Any], output: Path) -> None:
    """Write rows to a CSV, each with its environment, and print them as a table.

    Rows that a run on another device has left there stay before them.

    Args:
        rows: what was measured. What a row itself says of its environment (say, its ``device``) holds for that row.
        about: the environment of the other rows.
        output: the CSV.
    """
    columns = list(dict.fromkeys(key for row in rows for key in row))
    shared = {key: value for key, value in about.items() if key not in columns}
    written = [*rows_of_other_devices(output, about), *({**about, **row} for row in rows)]
    write_rows(output, written, [*columns, *shared])
    table = Table(*columns, title=", ".join(f"{key} {value}" for key, value in shared.items() if key != "date"))
    for row in rows:
        table.add_row(*(str({**about, **row}.get(key, "")) for key in columns))
    Console(width=160).print(table, f"written: {output}")

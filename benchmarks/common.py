# SPDX-License-Identifier: Apache-2.0
"""What every benchmark writes: its rows, with the machine and the versions in each."""

from __future__ import annotations

import csv
import importlib.metadata
import os
import platform
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"


def machine() -> str:
    """Processor and number of cores."""
    path = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.*)", path.read_text()) if path.exists() else None
    return f"{found[1] if found else platform.machine()}, {os.cpu_count()} cores"


def environment(device: str, **more: Any) -> dict[str, Any]:
    """What a number has to be quoted with."""
    return {
        **more,
        "device": torch.cuda.get_device_name() if device.startswith("cuda") else device,
        "machine": machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "staticdropout": importlib.metadata.version("staticdropout"),
        "date": time.strftime("%Y-%m-%d"),
    }


def report(rows: Sequence[Mapping[str, Any]], about: Mapping[str, Any], output: Path) -> None:
    """Write rows to a CSV, each with its environment, and print them as a table."""
    output.parent.mkdir(parents=True, exist_ok=True)
    with output.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=[*rows[0], *about], lineterminator="\n")
        writer.writeheader()
        writer.writerows({**row, **about} for row in rows)
    table = Table(*rows[0], title=", ".join(f"{key} {value}" for key, value in about.items() if key != "date"))
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    Console(width=160).print(table, f"written: {output}")

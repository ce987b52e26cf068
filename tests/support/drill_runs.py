# SPDX-License-Identifier: Apache-2.0
"""Starts drills from tests, and compares how they end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

TERMINATED = 143
"""Exit status of a training that Lightning ended after SIGTERM."""

BIAS = Path("logs/version_0/bias")


class DrillServer:
    """A process with torch loaded, in a session of its own, that forks one process for each training."""

    def __init__(self) -> None:
        here = Path(__file__).parent
        self._process = subprocess.Popen(
            [sys.executable, here / "drill_server.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=os.environ | {"PYTHONPATH": f"{here}:{os.environ.get('PYTHONPATH', '')}", "OMP_NUM_THREADS": "1"},
        )

    def run(self, folder: Path, script: str = "drill_training", **job: Any) -> int:
        """Run a job to its end and return its exit status, negative for a signal."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"folder": str(folder), "script": script, **job}) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, f"The drill server ended with status {self._process.wait()}."
        return int(answer)

    def chain(self, folder: Path, blows: Sequence[dict[str, Any]], **job: Any) -> list[int]:
        """Start the same training once for each blow and once more without; return all exit statuses."""
        return [self.run(folder, blows=[blow], **job) for blow in blows] + [self.run(folder, **job)]

    def close(self) -> None:
        """End the server."""
        self._process.communicate(timeout=60)


@dataclass
class Outcome:
    """What a training leaves behind."""

    folder: Path
    result: dict[str, Any]
    """What the script saved at its end: weights, optimizer, callbacks, history."""
    masks: dict[int, set[str]]
    """What was dropped at each step, as often as it was trained on."""
    files: dict[str, bytes]
    """The files of BiasMonitor that a reader would take for good ones."""
    hidden: list[str]
    """Others."""


def outcome(folder: Path) -> Outcome:
    """Read what a training left behind."""
    masks: dict[int, set[str]] = {}
    for line in (folder / "masks.txt").read_text().splitlines():
        step, what = line.split(" ", 1)
        masks.setdefault(int(step), set()).add(what)
    paths = {str(path.relative_to(folder / BIAS)): path for path in (folder / BIAS).rglob("*") if path.is_file()}
    return Outcome(
        folder,
        torch.load(folder / "result.pt", weights_only=True),
        masks,
        {name: path.read_bytes() for name, path in sorted(paths.items()) if not path.name.startswith(".")},
        [name for name, path in sorted(paths.items()) if path.name.startswith(".")],
    )


def differences(one: Any, other: Any, name: str = "") -> list[str]:
    """Names of the values in which two nested results differ by as much as a bit."""
    if isinstance(one, dict) and isinstance(other, dict):
        if one.keys() != other.keys():
            return [f"{name}: keys {sorted(map(str, one))} and {sorted(map(str, other))}"]
        return [part for key in one for part in differences(one[key], other[key], f"{name}/{key}")]
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        if len(one) != len(other):
            return [f"{name}: {len(one)} and {len(other)} entries"]
        return [part for i in range(len(one)) for part in differences(one[i], other[i], f"{name}/{i}")]
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        same = one.dtype == other.dtype and one.shape == other.shape
        return [] if same and one.numpy().tobytes() == other.numpy().tobytes() else [name]
    # repr: NaN equals itself, and -0.0 does not equal 0.0
    return [] if repr(one) == repr(other) else [f"{name}: {one!r} and {other!r}"]


def check_same(ended: Outcome, expected: Outcome) -> None:
    """Assert that two trainings ended in the same bits: weights, scores, masks, curves and files."""
    steps = [[record["step"] for record in each.result["history"]] for each in (ended, expected)]
    assert steps[0] == steps[1], f"measured at {steps[0]}, expected {steps[1]}"
    # Lightning itself does not repeat a validation that was cut off, and "counts" are of the last process.
    ours = expected.result.keys() - {"validated", "counts"}
    one, other = ({name: each.result[name] for name in ours} for each in (ended, expected))
    assert not (found := differences(one, other)), found
    others = [step for step in expected.masks if ended.masks.get(step) != expected.masks[step]]
    assert not others, f"other masks at {others}"
    assert ended.files.keys() == expected.files.keys(), sorted(ended.files.keys() ^ expected.files.keys())
    assert not (found := [name for name in ended.files if ended.files[name] != expected.files[name]]), found

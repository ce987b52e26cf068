# SPDX-License-Identifier: Apache-2.0
"""Runs trainings that may end in any way, each in a forked process of its own.

Started by ``drill_runs.DrillServer``. It imports torch and lightning once, then reads one JSON job a line, forks a
process that runs the job, waits for its end and answers with one line: its exit status, negative for a signal. A
training that is killed takes neither the server nor the tests with it.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

from drill_runs import TERMINATED
from lightning.pytorch.utilities.exceptions import SIGTERMException

SCRIPTS = ("drill_training", "drill_disk", "drill_ranks")


def attempt(job: dict[str, Any]) -> int:
    """Run ``job["script"].run(job)`` in a session of its own; what it prints goes to a file in its folder."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = 1
    try:
        os.setsid()
        Path(job["folder"]).mkdir(parents=True, exist_ok=True)
        log = os.open(f"{job['folder']}/log.txt", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        os.dup2(log, 1)
        os.dup2(log, 2)
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
        importlib.import_module(job["script"]).run(job)
        status = 0
    except SIGTERMException:
        status = TERMINATED
    except BaseException:  # whatever it is, this process must not go on as a second server
        traceback.print_exc()
    finally:
        os._exit(status)


def main() -> None:
    """Answer jobs until the input ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what imports print is no answer
    for script in SCRIPTS:
        importlib.import_module(script)
    for line in sys.stdin:
        print(attempt(json.loads(line)), file=answers)


if __name__ == "__main__":
    main()

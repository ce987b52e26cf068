# SPDX-License-Identifier: Apache-2.0
"""One server for all drills, and the uninterrupted trainings that they are compared with."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from drill_runs import DrillServer, Outcome, outcome


@pytest.fixture(scope="session")
def server() -> Iterator[DrillServer]:
    server = DrillServer()
    yield server
    server.close()


@pytest.fixture(scope="session")
def uninterrupted(server: DrillServer, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Outcome]:
    """The outcome of a training to which nothing happens, run once for each set of options."""
    known: dict[str, Outcome] = {}

    def run(**options: Any) -> Outcome:
        key = json.dumps(options, sort_keys=True)
        if key not in known:
            folder = tmp_path_factory.mktemp("uninterrupted")
            assert server.run(folder, **options) == 0, (folder / "log.txt").read_text()
            known[key] = outcome(folder)
        return known[key]

    return run

# SPDX-License-Identifier: Apache-2.0
"""SIGTERM anywhere: Lightning ends the training, ModelCheckpoint saves it, and it is resumed bit by bit."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from drill_runs import TERMINATED, DrillServer, Outcome, check_same, outcome

POINTS = {
    "forward": 2,
    "backward": 2,
    "optimizer": 2,
    "probe": 2,
    "batch_end": 2,
    "validation": 3,
    "measurement": 15,
    "validation_end": 1,
    "json": 1,
}
"""Where the signal arrives: the latest count at which it is certain to come before the next three steps are over."""


@pytest.mark.parametrize("seed", range(4))
def test_a_training_terminated_again_and_again_ends_in_the_bits_of_one_that_never_was(
    server: DrillServer, uninterrupted: Callable[..., Outcome], tmp_path: Path, seed: int
) -> None:
    generator = random.Random(seed)  # noqa: S311 - not for secrets
    kinds = generator.sample(sorted(POINTS), 4)
    blows = [{"kind": kind, "at": generator.randint(1, POINTS[kind]), "signal": "SIGTERM"} for kind in kinds]
    statuses = server.chain(tmp_path, blows, every="exception")
    assert set(statuses[:-1]) <= {TERMINATED, 0}
    assert statuses[-1] == 0, (tmp_path / "log.txt").read_text()
    assert statuses.count(TERMINATED) >= 2
    check_same(outcome(tmp_path), uninterrupted())


@pytest.mark.parametrize("validation", [1, 4])
@pytest.mark.parametrize(("kind", "at"), [("validation", 2), ("measurement", 2), ("measurement", 9), ("json", 1)])
def test_a_measurement_that_is_terminated_is_made_up_for_once(
    server: DrillServer, uninterrupted: Callable[..., Outcome], tmp_path: Path, kind: str, at: int, validation: int
) -> None:
    each = {"validation": 3, "measurement": 9, "json": 1}[kind]  # in one validation; one measurement comes before
    before = each * (validation - 1) + (0 if kind == "validation" else each)
    sanity = 1 if kind == "validation" else 0
    blow = {"kind": kind, "at": sanity + before + at, "signal": "SIGTERM"}
    assert server.run(tmp_path, blows=[blow], every="exception") == TERMINATED
    assert server.run(tmp_path, every="exception") == 0
    check_same(outcome(tmp_path), uninterrupted())


def test_every_second_validation_stays_every_second(
    server: DrillServer, uninterrupted: Callable[..., Outcome], tmp_path: Path
) -> None:
    options: dict[str, Any] = {"monitor": {"every_n_validations": 2}}
    blow = {"kind": "validation", "at": 1 + 2, "signal": "SIGTERM"}
    assert server.run(tmp_path, blows=[blow], every="exception", **options) == TERMINATED
    assert server.run(tmp_path, every="exception", **options) == 0
    check_same(outcome(tmp_path), uninterrupted(**options))

# SPDX-License-Identifier: Apache-2.0
"""SIGKILL anywhere, again and again: what is resumed ends in the same bits as what was never interrupted."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from drill_runs import DrillServer, Outcome, check_same, outcome

POINTS = {
    "forward": 3,
    "backward": 3,
    "optimizer": 3,
    "probe": 3,
    "batch_end": 3,
    "checkpoint": 3,
    "checkpoint_written": 3,
    "checkpoint_moved": 3,
    "validation": 3,
    "measurement": 12,
    "validation_end": 1,
    "json": 1,
    "csv": 1,
}
"""Where a training is killed: the latest count at which it is certain to happen before the next six steps are over."""


def draw(seed: int, number: int, points: dict[str, int]) -> list[dict[str, Any]]:
    """Blows at random points, each of another kind."""
    generator = random.Random(seed)  # noqa: S311 - not for secrets
    kinds = generator.sample(sorted(points), number)
    return [{"kind": kind, "at": generator.randint(1, points[kind]), "signal": "SIGKILL"} for kind in kinds]


@pytest.mark.parametrize("every", [1, 2, None], ids=["every step", "every second step", "every validation"])
@pytest.mark.parametrize("seed", range(3))
def test_a_training_killed_again_and_again_ends_in_the_bits_of_one_that_never_was(
    server: DrillServer, uninterrupted: Callable[..., Outcome], tmp_path: Path, seed: int, every: int | None
) -> None:
    """Checkpoints are written every step, every second step, or as ModelCheckpoint does by default."""
    statuses = server.chain(tmp_path, draw(seed, 5, POINTS), every=every)
    # A training that is over when its turn comes is not killed.
    assert set(statuses[:-1]) <= {-signal.SIGKILL, 0}
    assert statuses[-1] == 0, (tmp_path / "log.txt").read_text()
    assert statuses.count(-signal.SIGKILL) >= 3
    check_same(outcome(tmp_path), uninterrupted(every=every))


def test_figures_that_were_being_written_are_whole_in_the_end(
    server: DrillServer, uninterrupted: Callable[..., Outcome], tmp_path: Path
) -> None:
    statuses = server.chain(tmp_path, [{"kind": "png", "at": at, "signal": "SIGKILL"} for at in (7, 6)], figures=True)
    assert statuses == [-signal.SIGKILL, -signal.SIGKILL, 0]
    ended = outcome(tmp_path)
    assert {"curves.png", "encodings.png", "units.png", "triplets.png"} <= ended.files.keys()
    check_same(ended, uninterrupted(figures=True))
    assert not ended.hidden  # what a kill cuts off is removed by the next start


def test_a_kill_in_the_last_validation_of_a_training_costs_no_measurement(
    server: DrillServer, uninterrupted: Callable[..., Outcome], tmp_path: Path
) -> None:
    statuses = server.chain(tmp_path, [{"kind": "validation", "at": 1 + 3 * 3 + 2, "signal": "SIGKILL"}])
    assert statuses == [-signal.SIGKILL, 0]
    check_same(outcome(tmp_path), uninterrupted())


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"monitor": {"every_n_validations": 2}}, id="every second validation"),
        pytest.param(
            {"trainer": {"max_epochs": 3, "val_check_interval": 1.0, "check_val_every_n_epoch": 2}},
            id="every second epoch",
        ),
        pytest.param({"trainer": {"val_check_interval": 4, "check_val_every_n_epoch": None}}, id="across epochs"),
        pytest.param({"trainer": {"accumulate_grad_batches": 2}}, id="accumulated gradients"),
    ],
)
def test_measurements_are_made_up_for_whatever_the_rhythm_of_validation(
    server: DrillServer, uninterrupted: Callable[..., Outcome], tmp_path: Path, options: dict[str, Any]
) -> None:
    ahead = uninterrupted(**options)
    counts = ahead.result["counts"]
    blows = [
        {"kind": "forward", "at": 6 + 1, "signal": "SIGKILL"},  # the first step after an epoch
        {"kind": "validation_end", "at": 1, "signal": "SIGKILL"},
        {"kind": "batch_end", "at": 2, "signal": "SIGKILL"},
    ]
    assert counts["forward"] > 6
    statuses = server.chain(tmp_path, blows, **options)
    assert statuses[-1] == 0, (tmp_path / "log.txt").read_text()
    assert statuses[0] == -signal.SIGKILL
    check_same(outcome(tmp_path), ahead)

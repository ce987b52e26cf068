# SPDX-License-Identifier: Apache-2.0
"""SIGUSR1 anywhere: SLURM takes the job away and starts it anew, and it ends as if it had never been moved."""

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
    "probe": 2,
    "batch_end": 3,
    "validation": 3,
    "measurement": 15,
    "validation_end": 1,
    "json": 1,
}
"""Where the signal arrives: the latest count at which it is certain to come before the next three steps are over."""


def requeue(server: DrillServer, folder: Path, blows: list[dict[str, Any]], **job: Any) -> list[int]:
    """Signal each attempt, kill it some steps after that, and check that it was saved and requeued exactly once."""
    statuses = []
    for blow in blows:
        before = len(list(folder.glob("hpc_ckpt_*.ckpt")))
        statuses.append(server.run(folder, blows=[blow | {"signal": "SIGUSR1"}], slurm=True, every=0, **job))
        if statuses[-1] == 0 and not (folder / "scontrol.txt").exists():
            continue  # over before its turn came
        saved = len(list(folder.glob("hpc_ckpt_*.ckpt")))
        asked = (folder / "scontrol.txt").read_text().splitlines()
        assert asked == ["requeue 4321"] * saved
        assert saved == before + 1 or statuses[-1] == 0
    statuses.append(server.run(folder, slurm=True, every=0, **job))
    return statuses


@pytest.mark.parametrize("seed", range(4))
def test_a_job_requeued_again_and_again_ends_in_the_bits_of_one_that_never_was(
    server: DrillServer, uninterrupted: Callable[..., Outcome], tmp_path: Path, seed: int
) -> None:
    generator = random.Random(seed)  # noqa: S311 - not for secrets
    kinds = generator.sample(sorted(POINTS), 4)
    blows = [
        {"kind": kind, "at": generator.randint(1, POINTS[kind]), "then": generator.randint(1, 3)} for kind in kinds
    ]
    statuses = requeue(server, tmp_path, blows)
    assert set(statuses[:-1]) <= {-signal.SIGKILL, 0}
    assert statuses[-1] == 0, (tmp_path / "log.txt").read_text()
    assert statuses.count(-signal.SIGKILL) >= 2
    check_same(outcome(tmp_path), uninterrupted())


@pytest.mark.parametrize("validation", [1, 2])
@pytest.mark.parametrize(
    ("kind", "at"), [("forward", 3), ("backward", 3), ("batch_end", 3), ("validation", 2), ("measurement", 5)]
)
def test_a_signal_just_before_or_during_a_validation_costs_no_measurement(
    server: DrillServer, uninterrupted: Callable[..., Outcome], tmp_path: Path, kind: str, at: int, validation: int
) -> None:
    before = {"validation": 1 + 3 * (validation - 1), "measurement": 9 * validation}.get(kind, 3 * (validation - 1))
    statuses = requeue(server, tmp_path, [{"kind": kind, "at": before + at, "then": 2}])
    assert statuses == [-signal.SIGKILL, 0], (tmp_path / "log.txt").read_text()
    check_same(outcome(tmp_path), uninterrupted())


@pytest.mark.parametrize(
    "kind",
    ["forward", "batch_end", "validation"],
)
def test_the_users_own_validations_all_take_place(
    server: DrillServer, uninterrupted: Callable[..., Outcome], tmp_path: Path, kind: str
) -> None:
    """What follows validation, as early stopping and schedules on a plateau, depends on each of them."""
    statuses = requeue(server, tmp_path, [{"kind": kind, "at": 3, "then": 1}])
    assert statuses == [-signal.SIGKILL, 0], (tmp_path / "log.txt").read_text()
    assert outcome(tmp_path).result["validated"] == uninterrupted().result["validated"] == [3, 6, 9, 12]


@pytest.mark.parametrize("every_epoch", [True, False], ids=["validated", "not validated"])
def test_a_job_requeued_at_the_end_of_an_epoch_and_again_in_the_next_repeats_nothing(
    server: DrillServer, uninterrupted: Callable[..., Outcome], tmp_path: Path, every_epoch: bool
) -> None:
    options = {"trainer": {"val_check_interval": 1.0, "check_val_every_n_epoch": 1 if every_epoch else 2}}
    blows = [{"kind": "forward", "at": at, "then": 1} for at in (6, 2)]
    statuses = requeue(server, tmp_path, blows, **options)
    assert statuses == [-signal.SIGKILL, -signal.SIGKILL, 0], (tmp_path / "log.txt").read_text()
    check_same(outcome(tmp_path), uninterrupted(**options))


def test_gradients_that_are_being_accumulated_are_not_lost(
    server: DrillServer, uninterrupted: Callable[..., Outcome], tmp_path: Path
) -> None:
    options = {"trainer": {"accumulate_grad_batches": 2}}
    statuses = requeue(server, tmp_path, [{"kind": "forward", "at": 5, "then": 2}], **options)
    assert statuses == [-signal.SIGKILL, 0], (tmp_path / "log.txt").read_text()
    check_same(outcome(tmp_path), uninterrupted(**options))

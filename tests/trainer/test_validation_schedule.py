# SPDX-License-Identifier: Apache-2.0
"""When a Trainer validates, bias is measured; when it only checks its sanity, nothing happens."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from toys import fit
from trainer_watch import both, seeded, watch

SCHEDULES: list[Any] = [
    ({"val_check_interval": 0.5}, [0, 3, 6, 9, 12]),
    ({"val_check_interval": 4}, [0, 4, 10]),
    ({"val_check_interval": 2, "accumulate_grad_batches": 2}, [0, 1, 2, 3, 4, 5, 6]),
    ({"val_check_interval": 4, "check_val_every_n_epoch": None}, [0, 4, 8, 12]),
    ({"check_val_every_n_epoch": None, "val_check_interval": 9}, [0, 9]),
    ({"val_check_interval": timedelta(microseconds=1), "check_val_every_n_epoch": None}, list(range(13))),
    ({"check_val_every_n_epoch": 2}, [0, 12]),
    ({"check_val_every_n_epoch": 2, "num_sanity_val_steps": 0}, [0, 12]),
    ({"num_sanity_val_steps": 0}, [0, 6, 12]),
    ({"num_sanity_val_steps": -1}, [0, 6, 12]),
]


@pytest.mark.cell("val_check_interval", "StaticDropout")
@pytest.mark.cell("val_check_interval", "BiasMonitor")
@pytest.mark.cell("check_val_every_n_epoch", "StaticDropout")
@pytest.mark.cell("check_val_every_n_epoch", "BiasMonitor")
@pytest.mark.cell("num_sanity_val_steps", "StaticDropout")
@pytest.mark.cell("num_sanity_val_steps", "BiasMonitor")
@pytest.mark.parametrize(("options", "points"), SCHEDULES, ids=str)
def test_every_validation_is_measured_and_none_is_probed_or_thinned(
    tmp_path: Path, options: dict[str, Any], points: list[int]
) -> None:
    watched = watch()
    fit(tmp_path, both(watched), seeded(), **options)
    assert watched.points == points
    assert set(watched.clips) == {24}
    accumulated = options.get("accumulate_grad_batches", 1)
    assert watched.probes == list(range(0, 12 // accumulated, 2))
    assert watched.masks == 12


@pytest.mark.cell("val_check_interval", "BiasMonitor")
def test_every_n_validations_counts_validations_within_an_epoch_too(tmp_path: Path) -> None:
    watched = watch(every_n_validations=3)
    fit(tmp_path, both(watched), seeded(), val_check_interval=2)
    assert watched.points == [0, 2, 8]

# SPDX-License-Identifier: Apache-2.0
"""ShuffleConfusion under DDP: two processes that share the clips of a step do what one does with all of them."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import confusion_ranks
import pytest
import torch
from confusion_ranks import flat, reports
from confusion_toys import by_hand, seeded_plain


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("confusion_ranks")
    done = subprocess.run(
        [sys.executable, confusion_ranks.__file__, folder], check=False, capture_output=True, text=True, timeout=250
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def logged(path: Path) -> list[tuple[int, float]]:
    rows = csv.DictReader((path / "metrics.csv").open())
    return [(int(row["step"]), float(row["shuffle_confusion/loss"])) for row in rows if row["shuffle_confusion/loss"]]


@pytest.mark.parametrize("case", confusion_ranks.CASES)
def test_both_ranks_hold_the_same_gradients_and_weights(two_ranks: Path, case: str) -> None:
    first, second = reports(two_ranks / case, 2)
    assert len(first["gradients"]) == 4
    for one, other in zip(first["gradients"], second["gradients"], strict=True):
        assert torch.equal(flat(one), flat(other))
    assert torch.equal(flat(first["weights"]), flat(second["weights"]))
    assert {step for report in (first, second) for step, _ in report["shuffled"]} == {0, 2}


@pytest.mark.parametrize("case", confusion_ranks.COMPARED)
def test_two_ranks_compute_what_one_process_does_with_their_clips(tmp_path: Path, two_ranks: Path, case: str) -> None:
    confusion_ranks.run(tmp_path, 1, case)
    (alone,), pair = reports(tmp_path, 1), reports(two_ranks / case, 2)
    for found, expected in zip(pair[0]["gradients"], alone["gradients"], strict=True):
        used = {name: value for name, value in found.items() if name in expected}
        torch.testing.assert_close(flat(used), flat(expected), rtol=1e-4, atol=1e-7)
    for step in {step for step, _ in alone["shuffled"]}:
        ours = [clip for report in pair for found, clips in report["shuffled"] for clip in clips if found == step]
        theirs = [clip for found, clips in alone["shuffled"] for clip in clips if found == step]
        assert sorted(ours) == sorted(theirs)
    rows = logged(two_ranks / case / "log2")
    assert [step for step, _ in rows] == [0, 2]
    for (_, loss), (_, expected_loss) in zip(rows, logged(tmp_path / "log1"), strict=True):
        assert loss == pytest.approx(expected_loss, rel=1e-5)


def test_the_first_gradient_of_two_ranks_is_the_one_computed_by_hand(two_ranks: Path) -> None:
    found = reports(two_ranks / "plain", 2)[0]["gradients"][0]
    expected = by_hand(seeded_plain(), range(8), 2.0, 7)
    torch.testing.assert_close(flat(found), flat(expected), rtol=1e-4, atol=1e-7)

# SPDX-License-Identifier: Apache-2.0
"""The composition of StaticDropout's cost from what is timed."""

from __future__ import annotations

import argparse
import time
from typing import Any

import cost_static_dropout
import pytest
from cost_static_dropout import PARTS, by_turns, by_windows, compose
from lightning.pytorch import LightningModule, Trainer
from parts.cost_parts import Watch

from staticdropout.callbacks import StaticDropout

SECONDS = {
    "plain": [1.0, 2.0, 1.0],
    "with": [1.1, 2.0, 1.0],
    "forward": [0.3, 0.3, 0.9],
    "estimate": [0.9, 1.8, 0.9],
    "hook": [0.001],
}
ENTRIES = [{"forwards": 0.6, "shuffling": 0.06, "moments": 0.03, "statistics": 0.03, "logging": 0.09}] * 3


def test_the_ratio_is_thirty_steps_with_the_hook_and_an_estimate_over_thirty_plain_steps() -> None:
    ratio, _ = compose(SECONDS, ENTRIES)
    expected = [(30 * (step + 0.001) + 0.9 * step) / (30 * step) for step in (1.0, 2.0)]
    assert ratio["highest"] == pytest.approx(expected[0], abs=1e-4)
    assert ratio["lowest"] == pytest.approx(expected[1], abs=1e-4)
    assert ratio["ratio"] == ratio["highest"]  # the median of three rounds
    assert ratio["floor"] == pytest.approx(1 + 0.3 / 30)
    assert ratio["step_ratio"] == 1.0


def test_the_parts_add_up_to_what_lies_above_the_plain_steps() -> None:
    ratio, parts = compose(SECONDS, ENTRIES)
    assert sum(parts.values()) == pytest.approx(100 * (ratio["ratio"] - 1), abs=0.01)
    assert parts["first_forward"] == pytest.approx(100 * (ratio["floor"] - 1))
    assert parts["second_forward"] == pytest.approx(1.0)  # 0.6 - 0.3 of 30 seconds
    assert parts["hook"] == pytest.approx(0.1)
    assert parts["rest"] == pytest.approx(0.3)  # 0.9 - 0.81


def test_a_watch_counts_time_only_while_it_runs_and_also_of_what_fails() -> None:
    class Owner:
        @staticmethod
        def work(fails: bool) -> None:
            time.sleep(0.01)
            if fails:
                raise KeyError

    watch, real = Watch(), Owner.work
    with watch.watching({"part": ((Owner, "work"),)}):
        Owner.work(False)
        assert not watch.seconds
        watch.running = True
        with pytest.raises(KeyError):
            Owner.work(True)
    assert watch.seconds["part"] >= 0.01
    assert Owner.work is real


def options(**more: object) -> argparse.Namespace:
    shape = {"batch_size": 4, "frames": 4, "size": 16, "rounds": 2, "windows": 2, "device": "cpu"}
    return argparse.Namespace(**shape, model_args={"width": 4}, **more)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_training_in_turns_times_every_part(precision: str) -> None:
    row, parts = by_turns("resnet3d_r18", precision, options())
    assert min(row["ratio"], row["floor"]) > 1
    assert min(row["step_s"], row["forward_s"], row["estimate_s"]) > 0
    assert set(parts) == {"model", "precision", "first_forward_%", "second_forward_%", "hook_%", "rest_%"} | {
        f"{part}_%" for part in PARTS if part != "forwards"
    }
    # Each named function still exists and is called by the estimate; none is timed as nothing.
    assert all(parts[f"{part}_%"] > 0 for part in PARTS if part != "forwards")


def test_every_window_with_static_dropout_has_one_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    estimates: list[int] = []
    real = StaticDropout._probe

    def probe(self: StaticDropout, trainer: Trainer, module: LightningModule, batch: Any) -> None:
        estimates.append(trainer.global_step)
        real(self, trainer, module, batch)

    every = 6
    monkeypatch.setattr(cost_static_dropout, "EVERY", every)
    monkeypatch.setattr(StaticDropout, "_probe", probe)
    row = by_windows("resnet3d_r18", "32-true", options())
    first = cost_static_dropout.WARMUP
    windows = [range(first + 2 * every * i, first + 2 * every * i + every) for i in range(2)]
    assert [sum(step in window for step in estimates) for window in windows] == [1, 1]
    assert row["ratio"] > 0

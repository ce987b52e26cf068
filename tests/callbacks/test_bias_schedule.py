# SPDX-License-Identifier: Apache-2.0
"""Which validations a schedule wants measured, over resumes too, and what point of the training they count for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from staticdropout.callbacks import bias_schedule
from staticdropout.callbacks.bias_schedule import BiasSchedule

STEPS, VALIDATED = range(1, 9), (2, 4, 6, 8)


@pytest.fixture(autouse=True)
def follows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bias_schedule, "validation_follows", lambda trainer: trainer.global_step in VALIDATED)


def trainer_at(step: int, verb: str = "fit", **options: Any) -> Any:
    """What a schedule looks at in a Trainer."""
    defaults = {"global_step": step, "current_epoch": step // 4, "sanity_checking": False, "enable_validation": True}
    return SimpleNamespace(state=SimpleNamespace(fn=verb), **(defaults | options))


def train(schedule: BiasSchedule, first: int = 1, every_n: int = 1) -> tuple[list[int], dict[int, dict[str, Any]]]:
    """Steps with a measurement, and the state after each step, before the validation that follows."""
    wanted, states = [], {}
    for step in STEPS[first - 1 :]:
        schedule.begin_step(trainer_at(step - 1))
        schedule.end_step(trainer_at(step))
        states[step] = schedule.state_dict()
        if step in VALIDATED:
            wanted += [step] if schedule.wants(trainer_at(step), every_n) else []
            schedule.end_validation(trainer_at(step))
    return wanted, states


@pytest.mark.parametrize(("every_n", "expected"), [(1, [2, 4, 6, 8]), (2, [2, 6]), (3, [2, 8])])
def test_every_nth_validation_is_wanted_wherever_the_training_is_resumed(every_n: int, expected: list[int]) -> None:
    schedule = BiasSchedule()
    assert schedule.begin(trainer_at(0))
    wanted, states = train(schedule, every_n=every_n)
    assert wanted == expected
    for step, state in states.items():
        resumed = BiasSchedule()
        resumed.set_up()
        resumed.load_state_dict(state, resumed=True)
        assert not resumed.begin(trainer_at(step))
        made_up = []
        if resumed.missed(trainer_at(step)):
            made_up = [step] if resumed.has_turn(every_n) else []
            resumed.make_up(trainer_at(step))
        assert made_up + train(resumed, step + 1, every_n)[0] == [one for one in expected if one >= step]


def test_a_validation_is_missed_once_and_only_where_there_is_one() -> None:
    for state, trainer, missed in (
        ({"due": True}, trainer_at(4), True),
        ({"due": False}, trainer_at(4), False),
        ({"due": True}, trainer_at(4, enable_validation=False), False),
    ):
        schedule = BiasSchedule()
        schedule.load_state_dict({"validations": 1, "epoch": 0} | state, resumed=True)
        schedule.begin(trainer)
        found = [schedule.may_have_missed, schedule.missed(trainer), schedule.may_have_missed]
        assert found == [True, missed, False]
        assert not schedule.missed(trainer_at(4))


def test_a_validation_that_was_made_up_for_is_neither_wanted_nor_counted_again() -> None:
    schedule = BiasSchedule()
    schedule.load_state_dict({"validations": 1, "due": True, "epoch": 0}, resumed=True)
    schedule.begin(trainer_at(4))
    schedule.make_up(trainer_at(4))
    assert not schedule.wants(trainer_at(4), 1)
    assert schedule.wants(trainer_at(4, "validate"), 1)
    schedule.end_validation(trainer_at(4))
    assert schedule.state_dict() == {"validations": 2, "due": False, "epoch": 0}


def test_the_sanity_check_is_neither_wanted_nor_counted() -> None:
    schedule, trainer = BiasSchedule(), trainer_at(0, sanity_checking=True)
    assert not schedule.wants(trainer, 1)
    schedule.end_validation(trainer)
    assert schedule.state_dict()["validations"] == 0


def test_a_new_training_counts_from_the_beginning_and_one_that_goes_on_does_not() -> None:
    schedule = BiasSchedule()
    train(schedule)
    assert not schedule.begin(trainer_at(8))
    assert schedule.state_dict()["validations"] == 4
    assert schedule.begin(trainer_at(0))
    assert schedule.state_dict()["validations"] == 0
    assert not schedule.may_have_missed


def test_a_validated_checkpoint_counts_for_its_own_step_and_for_one_verb() -> None:
    schedule = BiasSchedule()
    schedule.read_checkpoint({"global_step": 7, "epoch": 3})
    assert schedule.point(trainer_at(5, "validate")) == {"step": 7, "epoch": 3, "stage": "validate"}
    assert schedule.point(trainer_at(5)) == {"step": 5, "epoch": 1, "stage": "fit"}
    assert schedule.point(trainer_at(5), epoch=0)["epoch"] == 0
    schedule.set_up()
    assert schedule.point(trainer_at(5, "validate")) == {"step": 5, "epoch": 1, "stage": "validate"}


def test_validating_is_always_wanted() -> None:
    schedule = BiasSchedule()
    schedule.load_state_dict({"validations": 1, "due": False, "epoch": 0}, resumed=False)
    assert not schedule.wants(trainer_at(4), 2)
    assert schedule.wants(trainer_at(4, "validate"), 2)

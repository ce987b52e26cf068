# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from staticdropout.datamodules.threads import map_in_threads
from staticdropout.errors import OptionError


def test_results_come_in_the_order_of_the_items_though_later_calls_end_first() -> None:
    released = threading.Event()

    def work(item: int) -> int:
        if item == 0:
            assert released.wait(20)
        elif item == 3:
            released.set()  # without several threads nobody would
        return item * item

    assert list(map_in_threads(work, range(20), num_threads=2)) == [item * item for item in range(20)]


def test_only_a_few_items_are_taken_before_results_are() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for item in range(1000):
            taken.append(item)
            yield item

    results = map_in_threads(abs, items(), num_threads=3)
    assert taken == []
    assert [next(results), next(results)] == [0, 1]
    assert len(taken) <= 2 + 2 * 3
    results.close()  # type: ignore[attr-defined]
    assert len(taken) <= 2 + 2 * 3


def test_an_error_is_raised_in_its_place_and_ends_the_work() -> None:
    def work(item: int) -> float:
        return 1 / (item - 2)

    results = map_in_threads(work, range(1000), num_threads=2)
    assert [next(results), next(results)] == [-0.5, -1]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert list(results) == []


def test_the_number_of_threads_is_positive() -> None:
    with pytest.raises(OptionError, match="num_threads must be at least 1; got 0"):
        list(map_in_threads(abs, [1], num_threads=0))

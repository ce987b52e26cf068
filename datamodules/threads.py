# SPDX-License-Identifier: Apache-2.0
"""Reading many small files with a few threads, in order and without holding them all."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from ..errors import OptionError

__all__ = ("map_in_threads",)

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_in_threads(function: Callable[[Item], Result], items: Iterable[Item], num_threads: int = 4) -> Iterator[Result]:
    """Yield ``function(item)`` for every item, in order; the next few are worked on in the meantime.

    At most ``2 * num_threads`` results wait for being taken, unlike with the pool's own ``map``. Worth it for functions
    that let go of the interpreter, as decoding does.

    Args:
        function: what to call.
        items: what to call it with.
        num_threads: threads to call it in.

    Raises:
        OptionError: ``num_threads`` is not positive.
        Exception: what ``function`` raises, in the place of its result.

    Example:
        >>> list(map_in_threads(abs, [-3, 2, -1]))
        [3, 2, 1]
    """
    if num_threads < 1:
        raise OptionError(f"num_threads must be at least 1; got {num_threads}.")
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(num_threads) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) == 2 * num_threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:  # also where the caller takes no more, or a call has failed
            pool.shutdown(wait=False, cancel_futures=True)

# SPDX-License-Identifier: Apache-2.0
"""Give up waiting for a call into a library that may hang.

Decoders are C code: nothing can stop them from outside, except the end of the process. So the call runs in a helper
thread, which is left alone when it takes too long. It is a daemon: it keeps neither a DataLoader worker nor the
interpreter from ending.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, TypeAlias, TypeVar

from ...errors import OptionError

__all__ = ("DEFAULT_SECONDS", "VARIABLE", "TimeLimitError", "run_within", "time_limit_in_seconds")

DEFAULT_SECONDS = 60.0
"""How long opening a video, or reading up to 64 frames of it, may take."""

VARIABLE = "STATICDROPOUT_VIDEO_TIMEOUT"
"""Environment variable with another limit, in seconds; 0: none."""

Result = TypeVar("Result")
Answers: TypeAlias = "SimpleQueue[tuple[Any, BaseException | None]]"
Calls: TypeAlias = "SimpleQueue[tuple[Callable[[], Any], Answers]]"

_idle: list[Calls] = []  # queues of helper threads that wait for a call
_stuck: dict[str, tuple[Calls, Answers]] = {}  # what a thread was left alone with


def _forget() -> None:
    """A forked process has the lists of its parent, but not the threads."""
    _idle.clear()
    _stuck.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


class TimeLimitError(Exception):
    """A call that took too long.

    Args:
        earlier: not this call but an earlier one with the same key, which has not come back to this day.
    """

    def __init__(self, earlier: bool) -> None:
        super().__init__("an earlier attempt is still stuck" if earlier else "no answer in time")
        self.earlier = earlier


def time_limit_in_seconds(value: float | None = None) -> float:
    """Return the limit that holds: ``value``, else the environment variable, else the default. 0 stands for none.

    Raises:
        OptionError: the value is not a number from 0 on.

    Example:
        >>> time_limit_in_seconds(2), time_limit_in_seconds(float("inf"))
        (2.0, 0.0)
    """
    given: Any = value if value is not None else os.environ.get(VARIABLE, "").strip() or DEFAULT_SECONDS
    try:
        seconds = float(given)
    except (TypeError, ValueError):
        seconds = math.nan
    if not seconds >= 0:
        name = "time_limit" if value is not None else f"The environment variable {VARIABLE}"
        raise OptionError(f"{name} must be a number of seconds, or 0 for no limit; got {given!r}.")
    return 0.0 if math.isinf(seconds) else seconds


def _serve(calls: Calls) -> None:
    while True:
        function, answers = calls.get()
        try:
            answers.put((function(), None))
        except BaseException as error:  # also SystemExit: the caller decides
            answers.put((None, error))
        del function, answers  # nothing is kept alive while waiting


def _helper() -> Calls:
    try:
        return _idle.pop()
    except IndexError:
        calls: Calls = SimpleQueue()
        threading.Thread(target=_serve, args=(calls,), name="staticdropout-reader", daemon=True).start()
        return calls


def run_within(seconds: float, key: str, function: Callable[[], Result]) -> Result:
    """Return ``function()``, called in a helper thread that is given up on after ``seconds``.

    Args:
        seconds: how long to wait; 0: for ever, and in this thread.
        key: what the call is about. While a call is stuck, no other one with its key is made: threads do not pile up.
        function: what to call.

    Raises:
        TimeLimitError: it did not come back, or an earlier call with this key has not.
        BaseException: what the function raises.

    Example:
        >>> run_within(5, "example", lambda: 2 + 2)
        4
    """
    if not seconds:
        return function()
    if key in _stuck:
        calls, answers = _stuck[key]
        if answers.empty():
            raise TimeLimitError(earlier=True)
        _stuck.pop(key, None)
        _idle.append(calls)  # it came back after all
    calls, answers = _helper(), SimpleQueue()
    calls.put((function, answers))
    try:
        result, error = answers.get(timeout=seconds)
    except Empty:
        _stuck[key] = calls, answers
        raise TimeLimitError(earlier=False) from None
    except BaseException:  # Ctrl-C while waiting
        _stuck[key] = calls, answers
        raise
    _idle.append(calls)
    if error is not None:
        try:
            raise error
        finally:
            del error  # with its traceback it would keep this frame, and the reader, alive
    return result  # type: ignore[no-any-return]

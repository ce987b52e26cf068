# SPDX-License-Identifier: Apache-2.0
"""Options that several benchmarks have: the device, and the clock."""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any
from unittest import mock


def device_of(name: str) -> str:
    """The device that an option names, a GPU always with its number.

    Raises:
        ArgumentTypeError: it is no device.
    """
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise argparse.ArgumentTypeError(f"{name!r} is no device; write cpu, cuda (the first GPU) or cuda:1")
    return "cuda:0" if name == "cuda" else name


def add_device(parser: argparse.ArgumentParser, more: str = "") -> None:
    """Add ``--device``, and to its help what does not run there."""
    about = "cpu, cuda (the first GPU), or a GPU by its number, as cuda:1"
    parser.add_argument("--device", type=device_of, default="cpu", help=f"{about}; {more}" if more else about)


def add_clock(parser: argparse.ArgumentParser) -> None:
    """Add ``--processor-time``; :func:`parse` checks it, :func:`clock` does what it says."""
    about = "take the processor's time, not that on the wall: for a busy machine; with one thread, on the CPU only"
    parser.add_argument("--processor-time", action="store_true", help=about)


def parse(parser: argparse.ArgumentParser, arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options given; ends the program where clock and device do not go together."""
    options = parser.parse_args(arguments)
    if options.processor_time and options.device.startswith("cuda"):
        parser.error(
            f"processor time does not see the GPU's work; leave out --processor-time, or --device {options.device}"
        )
    return options


def clock(options: argparse.Namespace) -> AbstractContextManager[Any]:
    """Inside, the clock is that of the options."""
    return mock.patch("time.perf_counter", time.process_time) if options.processor_time else nullcontext()


def clock_name(options: argparse.Namespace) -> str:
    """What the column ``clock`` says."""
    return "processor" if options.processor_time else "wall"

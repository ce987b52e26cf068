# SPDX-License-Identifier: Apache-2.0
"""What the cost benchmarks share: options, clips that cost nothing to load, a watch for parts."""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from parts.common import RESULTS, HelpFormatter, environment, wait
from parts.options import add_clock, add_device, clock_name
from torch.utils.data import DataLoader, Dataset

from staticdropout.metrics import LayerBias, StaticDynamicBias

CLASSES = 4


def cost_parser(description: str | None, output: str) -> argparse.ArgumentParser:
    """A parser with the options of all cost benchmarks."""
    parser = argparse.ArgumentParser(description=description, formatter_class=HelpFormatter)
    add_device(parser)
    add_clock(parser)
    parser.add_argument("--output", type=Path, default=RESULTS / output, help="the CSV")
    return parser


def about(options: argparse.Namespace, **more: Any) -> dict[str, Any]:
    """What the numbers have to be quoted with."""
    return environment(options.device, clock=clock_name(options), **more)


class Noise(Dataset[dict[str, Any]]):
    """The same random clip again and again, moved by a pixel: loading costs nothing."""

    def __init__(self, length: int, frames: int, size: int) -> None:
        self.length = length
        self.clip = torch.rand(3, frames, size, size, generator=torch.Generator().manual_seed(0))

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"video": self.clip.roll(index, -1), "label": index % CLASSES, "id": str(index)}


def batches(count: int, batch_size: int, frames: int, size: int, device: str = "cpu") -> list[dict[str, Any]]:
    """Batches of random clips on the device."""
    loader = DataLoader(Noise(count * batch_size, frames, size), batch_size)
    return [{**batch, "video": batch["video"].to(device)} for batch in loader]


def computed(metrics: Mapping[str, StaticDynamicBias]) -> dict[str, LayerBias]:
    """The estimate of every layer, made anew: a metric keeps its last one."""
    for metric in metrics.values():
        metric._computed = None
    return {layer: metric.compute() for layer, metric in metrics.items()}


class Watch:
    """Adds up the seconds spent in named functions while it is running.

    The clock stops for no nesting: name functions that do not call each other.
    """

    def __init__(self, device: str = "cpu") -> None:
        self.device = device
        self.running = False
        self.seconds: dict[str, float] = defaultdict(float)

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, whose time counts for ``part``."""

        def call(*args: Any, **kwargs: Any) -> Any:
            if not self.running:
                return function(*args, **kwargs)
            wait(self.device)
            start = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                wait(self.device)
                self.seconds[part] += time.perf_counter() - start

        return call

    @contextmanager
    def watching(self, parts: Mapping[str, tuple[tuple[Any, str], ...]]) -> Iterator[None]:
        """Inside, the functions ``(owner, name)`` of each part are timed while the watch is running."""
        with ExitStack() as stack:
            for part, places in parts.items():
                for owner, name in places:
                    stack.enter_context(mock.patch.object(owner, name, self.timed(part, getattr(owner, name))))
            yield

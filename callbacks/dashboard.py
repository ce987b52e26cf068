# SPDX-License-Identifier: Apache-2.0
"""TensorBoard's *Custom Scalars*, *Time Series* and *Text* pages of a training: curves in two colours, laid out.

TensorBoard colours a curve by its run and by nothing else. Static and dynamic values are therefore written, besides
the tags that every logger gets, into two small runs inside the training's own, ``dynamic`` and ``static``: in one chart
they then have two colours. TensorBoard's second and third colour are the blue and the red of all figures.
"""

from __future__ import annotations

import math
import posixpath
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any
from weakref import WeakKeyDictionary, finalize

from lightning.pytorch.loggers import Logger, TensorBoardLogger
from torch.utils.tensorboard import SummaryWriter

from .loggers import outliving_failure, tag_of

__all__ = ("lay_out_dashboard", "log_factors", "log_text")

Measurement = Mapping[str, Mapping[str, float]]

# One writer a folder, whoever writes: TensorBoard leaves a file for good once it has found a newer one beside it.
_WRITERS: WeakKeyDictionary[TensorBoardLogger, dict[str, SummaryWriter]] = WeakKeyDictionary()


def factor_scalars(measurement: Measurement, factor: str, name: str = "bias") -> dict[str, float]:
    """The scalars of one factor as its own run holds them: the same tags for both factors.

    Args:
        measurement: ``{layer: numbers}``.
        factor: ``"static"`` or ``"dynamic"``.
        name: of the monitor. Shares begin with it; the rest has ``units`` or ``intervals`` before it, because
            TensorBoard opens the first group of tags alone.

    Returns:
        Share of each layer and units that encode this factor alone, each with the limits of its 95 % interval, which
        are the value itself where the interval is unknown: a band needs all three.

    Example:
        >>> numbers = {"static": 40.0, "static_interval": 2.0, "units_static": 99.0, "units_static_interval": 3.0}
        >>> scalars = factor_scalars({"res5": numbers}, "static")
        >>> scalars["bias/res5"], scalars["intervals/bias/res5/upper"], scalars["intervals/units/bias/res5/upper"]
        (40.0, 42.0, 100.0)
    """
    scalars: dict[str, float] = {}
    for layer, numbers in measurement.items():
        tag = tag_of(layer)
        for group, key in ((name, factor), (f"units/{name}", f"units_{factor}")):
            value, interval = numbers[key], numbers[f"{key}_interval"]
            half = 0.0 if math.isnan(interval) else interval
            scalars[f"{group}/{tag}"] = value
            scalars[f"intervals/{group}/{tag}/lower"] = max(0.0, value - half)
            scalars[f"intervals/{group}/{tag}/upper"] = min(100.0, value + half)
    return scalars


def log_factors(loggers: Iterable[Logger], measurement: Measurement, step: int, name: str = "bias") -> None:
    """Write a measurement into the runs ``dynamic`` and ``static`` inside the run of each TensorBoard logger.

    Raises:
        OSError: if it cannot be written; the next call begins new files.
    """
    for logger in loggers:
        if not isinstance(logger, TensorBoardLogger):
            continue
        writers = _writers_of(logger)
        try:
            logger.experiment  # noqa: B018 - begins the training's own run, so that it is the first
            for factor in ("dynamic", "static"):  # TensorBoard gives its colours in the order in which runs begin
                if factor not in writers:
                    writers[factor] = SummaryWriter(posixpath.join(logger.log_dir, factor))
                for tag, value in factor_scalars(measurement, factor, name).items():
                    writers[factor].add_scalar(tag, value, step)
                writers[factor].flush()
        except OSError:
            _close(writers)
            writers.clear()
            raise


def _writers_of(logger: TensorBoardLogger) -> dict[str, SummaryWriter]:
    """The writers of a logger, which are closed when it is gone: each has a thread and an open file."""
    if logger not in _WRITERS:
        _WRITERS[logger] = {}
        finalize(logger, _close, _WRITERS[logger])
    return _WRITERS[logger]


def _close(writers: dict[str, SummaryWriter]) -> None:
    for writer in writers.values():
        with suppress(OSError):
            writer.close()


def lay_out_dashboard(
    loggers: Iterable[Logger],
    pages: Mapping[str, Sequence[str]],
    static_dropout: bool = False,
    intervals: str = "95 % intervals",
) -> None:
    """Give TensorBoard a *Custom Scalars* page: static and dynamic of a layer in one chart, with their intervals.

    All charts are of the kind that draws bands, since the other kind is smoothed unless the reader turns that off.

    Args:
        loggers: of the Trainer.
        pages: the layers of every monitor by its name.
        static_dropout: whether StaticDropout is at work, which has charts of its own.
        intervals: what the bands are.

    Raises:
        OSError: if it cannot be written.
    """
    layout: dict[str, dict[str, list[Any]]] = {}
    for name, layers in pages.items():
        tags = [tag_of(layer) for layer in layers]
        mark = "" if name == "bias" else f" ({name})"
        layout[f"Static and dynamic share of each layer (%), with {intervals}{mark}"] = _charts(
            {tag: _band(name, tag) for tag in tags}
        )
        layout[f"Units that encode static or dynamic alone (%), with {intervals}{mark}"] = _charts(
            {tag: _band(f"units/{name}", tag) for tag in tags}
        )
    if static_dropout:
        layout["StaticDropout: is the rule at work? (by optimizer step)"] = _charts(
            {
                "largest / smallest probability to be dropped (1: plain dropout)": _line("inclusion_ratio"),
                "most / least static tenth of the channels: how often dropped": _line("dropped_ratio"),
                "mean score of dropped channels minus that of all": _line("dropped_score_excess"),
                "scores of the channels: median, 10 % and 90 %": [
                    f"static_dropout/score_p{percent}" for percent in (50, 10, 90)
                ],
                "share of channels dropped": _line("dropped_share"),
            }
        )
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            with outliving_failure(logger):
                logger.experiment.add_custom_scalars(layout)


def _charts(charts: Mapping[str, list[str]]) -> dict[str, list[Any]]:
    """Charts with bands by title, last first: TensorBoard shows this kind in the reverse of the layout's order."""
    return {title: ["Margin", tags] for title, tags in reversed(list(charts.items()))}


def _band(group: str, tag: str) -> list[str]:
    return [f"{group}/{tag}", f"intervals/{group}/{tag}/lower", f"intervals/{group}/{tag}/upper"]


def _line(statistic: str) -> list[str]:
    """A band without width."""
    return [f"static_dropout/{statistic}"] * 3


def log_text(loggers: Iterable[Logger], tag: str, text: str, step: int) -> None:
    """Show Markdown on TensorBoard's *Text* page.

    Raises:
        OSError: if it cannot be written.
    """
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            with outliving_failure(logger):
                logger.experiment.add_text(tag, text, step)

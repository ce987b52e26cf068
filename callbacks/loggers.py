# SPDX-License-Identifier: Apache-2.0
"""Scalars, figures and a dashboard layout for whatever logger the Trainer has."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence

from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from matplotlib.figure import Figure

__all__ = ("bias_scalars", "lay_out_dashboard", "log_figure", "tag_of")


def tag_of(layer: str) -> str:
    """A layer name that every logger accepts in a tag.

    Example:
        >>> tag_of("head.fc[input]")
        'head.fc.input'
    """
    return re.sub(r"\[(.+)\]$", r".\1", layer)


def bias_scalars(measurement: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """The scalars of a measurement: shares, their interval limits, units by encoding, undefined units.

    Example:
        >>> numbers = {"static": 40.0, "static_interval": 2.0, "dynamic": 30.0, "dynamic_interval": 1.0}
        >>> numbers["undefined"] = 0.0
        >>> bias_scalars({"res5": numbers})["bias/res5/static_upper"]
        42.0
    """
    scalars: dict[str, float] = {}
    for layer, numbers in measurement.items():
        tag = tag_of(layer)
        for factor in ("static", "dynamic"):
            scalars[f"bias/{tag}/{factor}"] = numbers[factor]
            if not math.isnan(interval := numbers[f"{factor}_interval"]):
                scalars[f"bias/{tag}/{factor}_lower"] = numbers[factor] - interval
                scalars[f"bias/{tag}/{factor}_upper"] = numbers[factor] + interval
        for name, value in numbers.items():
            if name.startswith("units_") and not name.endswith("_interval"):
                scalars[f"units/{tag}/{name.removeprefix('units_')}"] = value
        scalars[f"units/{tag}/undefined"] = numbers["undefined"]
    return scalars


def lay_out_dashboard(loggers: Iterable[Logger], layers: Sequence[str]) -> None:
    """Give TensorBoard a Custom Scalars page: static and dynamic of a layer in one chart, units by encoding in another.

    Tags with a layout are used rather than ``add_scalars``, which would write every curve into a run of its own.
    """
    tags = [tag_of(layer) for layer in layers]

    def exactly(tag: str) -> str:
        return f"^{re.escape(tag)}$"

    layout = {
        "Static and dynamic share of a layer (%)": {
            tag: ["Multiline", [exactly(f"bias/{tag}/static"), exactly(f"bias/{tag}/dynamic")]] for tag in tags
        },
        "Units by encoding (%)": {
            tag: ["Multiline", [exactly(f"units/{tag}/{e}") for e in ("dynamic", "static", "joint", "residual")]]
            for tag in tags
        },
        "95 % intervals": {
            f"{tag}: {factor}": [
                "Margin",
                [f"bias/{tag}/{factor}", f"bias/{tag}/{factor}_lower", f"bias/{tag}/{factor}_upper"],
            ]
            for tag in tags
            for factor in ("static", "dynamic")
        },
    }
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_custom_scalars(layout)


def log_figure(loggers: Iterable[Logger], tag: str, figure: Figure, step: int) -> None:
    """Hand a figure to every logger that takes pictures: TensorBoard, W&B, MLflow."""
    for logger in loggers:
        if isinstance(logger, TensorBoardLogger):
            # close=False: the figure does not belong to pyplot.
            logger.experiment.add_figure(tag, figure, global_step=step, close=False)
        elif isinstance(logger, WandbLogger):
            import wandb

            logger.log_image(tag, [wandb.Image(figure)], step=step)
        elif isinstance(logger, MLFlowLogger):
            logger.experiment.log_figure(logger.run_id, figure, f"{tag}/step_{step:08d}.png")

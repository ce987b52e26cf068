# SPDX-License-Identifier: Apache-2.0
"""A layer's bias as plain numbers, for loggers, tables, figures and files."""

from __future__ import annotations

from .bias import ENCODINGS, LayerBias

__all__ = ("summarize",)


def summarize(bias: LayerBias) -> dict[str, float]:
    """Flatten a layer's bias to named numbers.

    Args:
        bias: the result of :class:`~staticdropout.metrics.StaticDynamicBias`.

    Returns:
        ``static``, ``dynamic``, ``identical`` (layer shares in percent), ``units_dynamic``, ``units_static``,
        ``units_joint``, ``units_residual`` (units in percent), each also with ``_interval`` (half-width of the 95 %
        interval, NaN if unknown); ``score_static``, ``score_dynamic``; ``num_units``, ``undefined`` and ``num_clips``.

    Example:
        >>> import torch
        >>> from staticdropout.metrics import StaticDynamicBias
        >>> metric = StaticDynamicBias(num_channels=4)
        >>> metric.update(*torch.randn(3, 40, 4))
        >>> summarize(metric.compute())["num_clips"]
        40.0
    """
    numbers: dict[str, float] = {}
    for name, share, interval in zip(
        ("static", "dynamic", "identical"), bias.shares, bias.shares_interval, strict=True
    ):
        numbers[name], numbers[f"{name}_interval"] = float(share), float(interval)
    for name, share, interval in zip(ENCODINGS, bias.units, bias.units_interval, strict=True):
        numbers[f"units_{name}"], numbers[f"units_{name}_interval"] = float(share), float(interval)
    numbers["score_static"], numbers["score_dynamic"] = bias.scores.tolist()
    numbers["num_units"] = float(bias.unit_scores.shape[-1])
    numbers["undefined"] = float(bias.undefined)
    numbers["num_clips"] = float(bias.num_clips)
    return numbers

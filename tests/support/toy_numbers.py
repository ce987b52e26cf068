# SPDX-License-Identifier: Apache-2.0
"""Measurements with chosen numbers, as figures and tables take them."""

from __future__ import annotations

from collections.abc import Sequence

LONG_NAMES = [
    f"{part}.layer{stage}.1.conv2[{path}]"
    for part, path in (("backbone", "slow"), ("backbone.fast_pathway", "fast"))
    for stage in range(1, 5)
]


def numbers(static: float = 40.0, undefined: float = 0.0, interval: float = 2.0) -> dict[str, float]:
    """What ``summarize`` gives for a layer: half of the units static, a tenth dynamic."""
    values = {"static": static, "dynamic": 25.0, "identical": 75.0 - static}
    units = {"units_dynamic": 10.0, "units_static": 50.0, "units_joint": 30.0, "units_residual": 10.0}
    intervals = {f"{name}_interval": interval for name in (*values, *units)}
    return values | units | intervals | {"num_units": 512.0, "undefined": undefined, "num_clips": 100.0}


def measurement(layers: Sequence[str], **options: float) -> dict[str, dict[str, float]]:
    """The same numbers for several layers."""
    return {layer: numbers(**options) for layer in layers}


MEASUREMENT = {"model.res4": numbers(), "model.res5": numbers(30.0)}

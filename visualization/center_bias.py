# SPDX-License-Identifier: Apache-2.0
"""The center bias of data sets as a figure (Kowal et al., Fig. 8 right)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

__all__ = ("center_bias_figure",)


def center_bias_figure(averages: Mapping[str, NDArray[np.float64]], captions: Mapping[str, str]) -> Figure:
    """Draw how often each pixel belongs to the object, one picture a data set or split, on one scale.

    Args:
        averages: ``(H, W)`` in [0, 1] by name.
        captions: a line below each name, e.g. the number of masks.

    Example:
        >>> figure = center_bias_figure({"train": np.eye(4)}, {"train": "4 masks"})
        >>> figure.axes[0].get_title()
        'train, 4 masks'
    """
    figure = Figure(figsize=(4.2 * len(averages) + 0.8, 3.2), dpi=130, layout="constrained")
    axes = figure.subplots(1, len(averages), squeeze=False)[0]
    highest = max(float(average.max()) for average in averages.values())
    for axis, (name, average) in zip(axes, averages.items(), strict=True):
        picture = axis.imshow(average, cmap="gray", vmin=0, vmax=highest or 1)
        axis.set_title(f"{name}, {captions[name]}", fontsize=10)
        axis.set_axis_off()
    figure.colorbar(picture, ax=list(axes), label="share of masks that cover the pixel", shrink=0.85)
    return figure

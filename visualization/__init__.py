# SPDX-License-Identifier: Apache-2.0
"""Figures and tables from plain numbers."""

from .bias_table import bias_table
from .layer_figures import encoding_bars, layer_shares_figure
from .rendering import png_bytes, rendered
from .style import COLORS
from .training_figures import bias_curves, encoding_curves
from .unit_figures import triplet_figure, unit_scatter

__all__ = (
    "COLORS",
    "bias_curves",
    "bias_table",
    "encoding_bars",
    "encoding_curves",
    "layer_shares_figure",
    "png_bytes",
    "rendered",
    "triplet_figure",
    "unit_scatter",
)

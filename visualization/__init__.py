# SPDX-License-Identifier: Apache-2.0
"""Figures and tables from plain numbers."""

from .bias_table import bias_table
from .class_figures import RUN_COLORS, class_frequency_figure, frequency_difference_figure
from .layer_figures import encoding_bars, layer_shares_figure
from .rendering import png_bytes, rendered
from .style import COLORS
from .style_figures import style_figure
from .style_table import correlation_table, style_table
from .training_figures import bias_curves, encoding_curves
from .unit_figures import triplet_figure, unit_scatter

__all__ = (
    "COLORS",
    "RUN_COLORS",
    "bias_curves",
    "bias_table",
    "class_frequency_figure",
    "correlation_table",
    "encoding_bars",
    "encoding_curves",
    "frequency_difference_figure",
    "layer_shares_figure",
    "png_bytes",
    "rendered",
    "style_figure",
    "style_table",
    "triplet_figure",
    "unit_scatter",
)

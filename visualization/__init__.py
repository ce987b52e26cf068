# SPDX-License-Identifier: Apache-2.0
"""Figures and tables from plain numbers."""

from .bias_figures import COLORS, bias_curves, encoding_bars, triplet_figure, unit_scatter
from .bias_table import bias_table

__all__ = ("COLORS", "bias_curves", "bias_table", "encoding_bars", "triplet_figure", "unit_scatter")

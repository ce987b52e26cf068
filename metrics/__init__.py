# SPDX-License-Identifier: Apache-2.0
"""Static/dynamic bias: pure functions on streaming moments, and a thin torchmetrics metric on top."""

from .bias import ENCODINGS, FACTORS, LayerBias, encode_units, layer_bias, layer_scores, layer_shares, unit_scores
from .correlation import correlation, decay_moments, empty_moments, merge_moments, pair_moments
from .static_dynamic_bias import StaticDynamicBias
from .summary import summarize

__all__ = (
    "ENCODINGS",
    "FACTORS",
    "LayerBias",
    "StaticDynamicBias",
    "correlation",
    "decay_moments",
    "empty_moments",
    "encode_units",
    "layer_bias",
    "layer_scores",
    "layer_shares",
    "merge_moments",
    "pair_moments",
    "summarize",
    "unit_scores",
)

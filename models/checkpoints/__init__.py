# SPDX-License-Identifier: Apache-2.0
"""Weights from elsewhere: read any packaging safely, translate the names, load strictly."""

from .describing import describe_weights
from .layouts import caffe2_to_slowfast, detect_layout, to_own_names
from .loading import LoadReport, load_checkpoint
from .reading import detect_format, read_checkpoint

__all__ = (
    "LoadReport",
    "caffe2_to_slowfast",
    "describe_weights",
    "detect_format",
    "detect_layout",
    "load_checkpoint",
    "read_checkpoint",
    "to_own_names",
)

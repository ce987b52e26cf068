# SPDX-License-Identifier: Apache-2.0
"""The official layouts of video segmentation data sets, read into sequences of frames and masks."""

from __future__ import annotations

from .common import LayoutProblem, OnProblem, refuse, refuse_missing_frames
from .moca import read_moca_boxes
from .registry import LAYOUTS, Layout, detect_layout, fits_layout, list_sequences, list_splits, resolve_split

__all__ = (
    "LAYOUTS",
    "Layout",
    "LayoutProblem",
    "OnProblem",
    "detect_layout",
    "fits_layout",
    "list_sequences",
    "list_splits",
    "read_moca_boxes",
    "refuse",
    "refuse_missing_frames",
    "resolve_split",
)

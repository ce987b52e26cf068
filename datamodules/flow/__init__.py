# SPDX-License-Identifier: Apache-2.0
"""Optical flow on disk: ``.flo`` files and colour pictures, estimators by name, the flow of a whole data set."""

from __future__ import annotations

from .base import FlowEstimator
from .compute_flow import FlowReport, compute_flow
from .estimators import ESTIMATORS, DisFlow, FolderFlow, get_estimator, list_estimators
from .flo import read_flo, write_flo
from .flow_files import read_flow, read_flow_picture, write_flow_picture
from .flow_store import (
    FileFormat,
    FramePair,
    find_flow,
    flow_folder,
    flow_path,
    frame_pairs,
    missing_flow,
)
from .provenance import read_provenance
from .raft import RaftFlow

__all__ = (
    "ESTIMATORS",
    "DisFlow",
    "FileFormat",
    "FlowEstimator",
    "FlowReport",
    "FolderFlow",
    "FramePair",
    "RaftFlow",
    "compute_flow",
    "find_flow",
    "flow_folder",
    "flow_path",
    "frame_pairs",
    "get_estimator",
    "list_estimators",
    "missing_flow",
    "read_flo",
    "read_flow",
    "read_flow_picture",
    "read_provenance",
    "write_flo",
    "write_flow_picture",
)

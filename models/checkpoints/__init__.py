# SPDX-License-Identifier: Apache-2.0
"""Weights from elsewhere: read any packaging safely, translate the names, load strictly; and back again."""

from .describing import describe_weights
from .exporting import ExportReport, export_file
from .inspecting import FileReport, inspect_file
from .inspection_tables import print_inspection
from .layouts import caffe2_to_slowfast, detect_layout, to_own_names
from .loading import LoadReport, load_checkpoint
from .official_names import to_official_names
from .reading import detect_format, read_checkpoint
from .whole_modules import read_whole_module

__all__ = (
    "ExportReport",
    "FileReport",
    "LoadReport",
    "caffe2_to_slowfast",
    "describe_weights",
    "detect_format",
    "detect_layout",
    "export_file",
    "inspect_file",
    "load_checkpoint",
    "print_inspection",
    "read_checkpoint",
    "read_whole_module",
    "to_official_names",
    "to_own_names",
)

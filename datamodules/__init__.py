# SPDX-License-Identifier: Apache-2.0
"""What a Trainer reads: video data sets in their official layouts, video readers, clip sampling, generated data."""

from __future__ import annotations

from .check import CheckResult, check, run_check
from .moving_shapes import MovingShapesDataModule
from .readers import READERS, VideoReader, open_video, resolve_reader
from .sampling import dense_indices, sample_clips, segment_indices
from .shape_writing import write_moving_shapes
from .ssv2 import SSv2DataModule
from .transforms import EvalTransform, TrainTransform
from .video_dataset import Entry, VideoCollate, VideoDataset

__all__ = (
    "READERS",
    "CheckResult",
    "Entry",
    "EvalTransform",
    "MovingShapesDataModule",
    "SSv2DataModule",
    "TrainTransform",
    "VideoCollate",
    "VideoDataset",
    "VideoReader",
    "check",
    "dense_indices",
    "open_video",
    "resolve_reader",
    "run_check",
    "sample_clips",
    "segment_indices",
    "write_moving_shapes",
)

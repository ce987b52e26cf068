# SPDX-License-Identifier: Apache-2.0
"""What a Trainer reads: data sets in their official layouts, readers, clip sampling, flow, generated data."""

from __future__ import annotations

from .camouflage import CamouflageDataModule
from .camouflage_writing import write_camouflage
from .check import CheckResult, check, run_check
from .draws import Draw, ShuffledDraws, drawn
from .flow import FlowReport, compute_flow
from .flow_preparation import run_flow
from .layouts import detect_layout, list_sequences, list_splits
from .moving_shapes import MovingShapesDataModule
from .readers import READERS, VideoReader, open_video, resolve_reader
from .resumable_loader import ResumableLoader
from .sampling import dense_indices, sample_clips, segment_indices
from .seeded_module import SeededDataModule
from .segmentation import VideoSegmentationDataModule
from .segmentation_check import SegmentationCheck, check_segmentation, run_segmentation_check
from .segmentation_dataset import SegmentationDataset, collate_frames
from .segmentation_sources import SegmentationSource
from .segmentation_transforms import SegmentationEvalTransform, SegmentationTrainTransform
from .sequences import Box, VideoSequence
from .shape_writing import write_moving_shapes
from .ssv2 import SSv2DataModule
from .transforms import EvalTransform, TrainTransform
from .video_dataset import Entry, VideoCollate, VideoDataset

__all__ = (
    "READERS",
    "Box",
    "CamouflageDataModule",
    "CheckResult",
    "Draw",
    "Entry",
    "EvalTransform",
    "FlowReport",
    "MovingShapesDataModule",
    "ResumableLoader",
    "SSv2DataModule",
    "SeededDataModule",
    "SegmentationCheck",
    "SegmentationDataset",
    "SegmentationEvalTransform",
    "SegmentationSource",
    "SegmentationTrainTransform",
    "ShuffledDraws",
    "TrainTransform",
    "VideoCollate",
    "VideoDataset",
    "VideoReader",
    "VideoSegmentationDataModule",
    "VideoSequence",
    "check",
    "check_segmentation",
    "collate_frames",
    "compute_flow",
    "dense_indices",
    "detect_layout",
    "drawn",
    "list_sequences",
    "list_splits",
    "open_video",
    "resolve_reader",
    "run_check",
    "run_flow",
    "run_segmentation_check",
    "sample_clips",
    "segment_indices",
    "write_camouflage",
    "write_moving_shapes",
)

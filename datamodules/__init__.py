# SPDX-License-Identifier: Apache-2.0
"""What a Trainer reads: data sets in their official layouts, readers, clip sampling, flow, generated data."""

from __future__ import annotations

from .activitynet import ActivityNetDataModule
from .camouflage import CamouflageDataModule
from .camouflage_writing import write_camouflage
from .check import CheckResult, check, check_entries, run_check
from .diving48 import Diving48DataModule
from .draws import Draw, ShuffledDraws, drawn
from .entries import Entry, Span
from .flow import FlowReport, compute_flow
from .flow_preparation import run_flow
from .frame_patterns import FRAME_PATTERNS, FramePattern
from .keyframes import KeyframeDataModule
from .kinetics import KineticsDataModule
from .layouts import detect_layout, list_sequences, list_splits
from .moving_shapes import MovingShapesDataModule
from .readers import READERS, VideoReader, open_video, resolve_reader
from .resumable_loader import ResumableLoader
from .sampling import dense_indices, sample_clips, segment_indices, window_indices
from .seeded_module import SeededDataModule
from .segmentation import VideoSegmentationDataModule
from .segmentation_check import SegmentationCheck, check_segmentation, run_segmentation_check
from .segmentation_dataset import SegmentationDataset, collate_frames
from .segmentation_sources import SegmentationSource
from .segmentation_transforms import SegmentationEvalTransform, SegmentationTrainTransform
from .sequences import Box, VideoSequence
from .shape_writing import write_moving_shapes
from .something_else import SomethingElseDataModule
from .ssv2 import SSv2DataModule
from .style_provenance import describe_styles, read_style_file
from .styled_davis import StyledDavisDataModule
from .styled_frames import StyledFramesDataModule
from .transforms import EvalTransform, TrainTransform
from .video_data_module import VideoDataModule
from .video_dataset import VideoCollate, VideoDataset
from .video_layouts import VIDEO_LAYOUTS, detect_video_layout, video_source
from .video_source import VideoSource
from .whole_videos import WholeVideoDataModule

__all__ = (
    "FRAME_PATTERNS",
    "READERS",
    "VIDEO_LAYOUTS",
    "ActivityNetDataModule",
    "Box",
    "CamouflageDataModule",
    "CheckResult",
    "Diving48DataModule",
    "Draw",
    "Entry",
    "EvalTransform",
    "FlowReport",
    "FramePattern",
    "KeyframeDataModule",
    "KineticsDataModule",
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
    "SomethingElseDataModule",
    "Span",
    "StyledDavisDataModule",
    "StyledFramesDataModule",
    "TrainTransform",
    "VideoCollate",
    "VideoDataModule",
    "VideoDataset",
    "VideoReader",
    "VideoSegmentationDataModule",
    "VideoSequence",
    "VideoSource",
    "WholeVideoDataModule",
    "check",
    "check_entries",
    "check_segmentation",
    "collate_frames",
    "compute_flow",
    "dense_indices",
    "describe_styles",
    "detect_layout",
    "detect_video_layout",
    "drawn",
    "list_sequences",
    "list_splits",
    "open_video",
    "read_style_file",
    "resolve_reader",
    "run_check",
    "run_flow",
    "run_segmentation_check",
    "sample_clips",
    "segment_indices",
    "video_source",
    "window_indices",
    "write_camouflage",
    "write_moving_shapes",
)

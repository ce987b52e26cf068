# SPDX-License-Identifier: Apache-2.0
"""Static/dynamic bias and segmentation scores: pure functions, and thin torchmetrics metrics on top."""

from .bias import ENCODINGS, FACTORS, LayerBias, encode_units, layer_bias, layer_scores, layer_shares, unit_scores
from .box_overlap import BoxRule, box_iou, invert_background, predicted_box, scale_box
from .camouflage_scores import (
    MOTIONS,
    SUCCESS_THRESHOLDS,
    CamouflageResult,
    CamouflageScores,
    FrameOverlap,
    OverlapScores,
)
from .contour_accuracy import ContourAccuracy, contour_accuracy
from .correlation import correlation, decay_moments, empty_moments, merge_moments, pair_moments
from .region_similarity import region_similarity
from .segmentation_result import FrameScores, SegmentationResult, SequenceScores
from .segmentation_scores import SegmentationScores
from .sequence_statistics import SequenceStatistics, sequence_statistics
from .static_dynamic_bias import StaticDynamicBias
from .summary import summarize

__all__ = (
    "ENCODINGS",
    "FACTORS",
    "MOTIONS",
    "SUCCESS_THRESHOLDS",
    "BoxRule",
    "CamouflageResult",
    "CamouflageScores",
    "ContourAccuracy",
    "FrameOverlap",
    "FrameScores",
    "LayerBias",
    "OverlapScores",
    "SegmentationResult",
    "SegmentationScores",
    "SequenceScores",
    "SequenceStatistics",
    "StaticDynamicBias",
    "box_iou",
    "contour_accuracy",
    "correlation",
    "decay_moments",
    "empty_moments",
    "encode_units",
    "invert_background",
    "layer_bias",
    "layer_scores",
    "layer_shares",
    "merge_moments",
    "pair_moments",
    "predicted_box",
    "region_similarity",
    "scale_box",
    "sequence_statistics",
    "summarize",
    "unit_scores",
)

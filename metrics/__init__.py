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
from .class_comparison import ClassComparison, compare_classes
from .class_differences import (
    FrequencyDifference,
    clip_mean,
    difference_by_frequency,
    frequency_bands,
    mean_with_interval,
    rank_by_frequency,
)
from .class_table import ClassTable, class_table_csv, read_class_table
from .contour_accuracy import ContourAccuracy, contour_accuracy
from .correlation import correlation, decay_moments, empty_moments, merge_moments, pair_moments
from .paired_bias import PairedBias
from .region_similarity import region_similarity
from .seeds import combine_seeds, seed_interval
from .segmentation_result import FrameScores, SegmentationResult, SequenceScores
from .segmentation_scores import SegmentationScores
from .sequence_statistics import SequenceStatistics, sequence_statistics
from .static_dynamic_bias import StaticDynamicBias
from .style_fitness import StyleLimits, StyleMeasures, find_faults
from .style_quality import flow_error, hellinger, warped_pair
from .summary import summarize

__all__ = (
    "ENCODINGS",
    "FACTORS",
    "MOTIONS",
    "SUCCESS_THRESHOLDS",
    "BoxRule",
    "CamouflageResult",
    "CamouflageScores",
    "ClassComparison",
    "ClassTable",
    "ContourAccuracy",
    "FrameOverlap",
    "FrameScores",
    "FrequencyDifference",
    "LayerBias",
    "OverlapScores",
    "PairedBias",
    "SegmentationResult",
    "SegmentationScores",
    "SequenceScores",
    "SequenceStatistics",
    "StaticDynamicBias",
    "StyleLimits",
    "StyleMeasures",
    "box_iou",
    "class_table_csv",
    "clip_mean",
    "combine_seeds",
    "compare_classes",
    "contour_accuracy",
    "correlation",
    "decay_moments",
    "difference_by_frequency",
    "empty_moments",
    "encode_units",
    "find_faults",
    "flow_error",
    "frequency_bands",
    "hellinger",
    "invert_background",
    "layer_bias",
    "layer_scores",
    "layer_shares",
    "mean_with_interval",
    "merge_moments",
    "pair_moments",
    "predicted_box",
    "rank_by_frequency",
    "read_class_table",
    "region_similarity",
    "scale_box",
    "seed_interval",
    "sequence_statistics",
    "summarize",
    "unit_scores",
    "warped_pair",
)

# SPDX-License-Identifier: Apache-2.0
"""Callbacks for any Lightning project: measure static and dynamic bias, and push a model toward dynamics."""

from .batches import VideoInputs
from .bias_monitor import BiasMonitor
from .center_bias import CenterBias
from .class_report import ClassReport
from .dropout_free_finetune import DropoutFreeFinetune
from .random_state import RandomState
from .requeue import RequeueBetweenSteps
from .save_masks import SaveMasks
from .segmentation_report import SegmentationReport
from .shuffle_confusion import ShuffleConfusion
from .shuffled_validation import ShuffledValidation
from .skipped_videos import SkippedVideos
from .static_dropout import StaticDropout
from .style_previews import StylePreviews
from .styled_frames_writer import StyledFramesWriter
from .train_only import TrainOnly

__all__ = (
    "BiasMonitor",
    "CenterBias",
    "ClassReport",
    "DropoutFreeFinetune",
    "RandomState",
    "RequeueBetweenSteps",
    "SaveMasks",
    "SegmentationReport",
    "ShuffleConfusion",
    "ShuffledValidation",
    "SkippedVideos",
    "StaticDropout",
    "StylePreviews",
    "StyledFramesWriter",
    "TrainOnly",
    "VideoInputs",
)

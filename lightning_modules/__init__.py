# SPDX-License-Identifier: Apache-2.0
"""LightningModules: what a Trainer trains."""

from .few_shot_stylizer import FewShotStylizer
from .schedules import RTNetSchedule
from .video_classifier import VideoClassifier
from .video_object_segmenter import VideoObjectSegmenter
from .video_stylizer import VideoStylizer

__all__ = ("FewShotStylizer", "RTNetSchedule", "VideoClassifier", "VideoObjectSegmenter", "VideoStylizer")

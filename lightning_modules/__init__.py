# SPDX-License-Identifier: Apache-2.0
"""LightningModules: what a Trainer trains."""

from .schedules import RTNetSchedule
from .video_classifier import VideoClassifier
from .video_object_segmenter import VideoObjectSegmenter

__all__ = ("RTNetSchedule", "VideoClassifier", "VideoObjectSegmenter")

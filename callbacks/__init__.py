# SPDX-License-Identifier: Apache-2.0
"""Callbacks for any Lightning project: measure static and dynamic bias, and push a model toward dynamics."""

from .batches import VideoInputs
from .bias_monitor import BiasMonitor
from .dropout_free_finetune import DropoutFreeFinetune
from .shuffled_validation import ShuffledValidation
from .skipped_videos import SkippedVideos
from .static_dropout import StaticDropout

__all__ = (
    "BiasMonitor",
    "DropoutFreeFinetune",
    "ShuffledValidation",
    "SkippedVideos",
    "StaticDropout",
    "VideoInputs",
)

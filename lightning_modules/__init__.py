# SPDX-License-Identifier: Apache-2.0
"""LightningModules: what a Trainer trains."""

from .video_classifier import VideoClassifier

__all__ = ("VideoClassifier",)

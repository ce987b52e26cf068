# SPDX-License-Identifier: Apache-2.0
"""What every estimator of optical flow offers; it is defined where styles that follow motion find it too."""

from __future__ import annotations

from ...perturbations.dis_flow import FlowEstimator, check_frames

__all__ = ("FlowEstimator", "check_frames")

# SPDX-License-Identifier: Apache-2.0
"""The names in FusionSeg's checkpoints (YorkUCVIL/Static-Dynamic-Interpretability, twostream_deeplabv3plus_resnet101).

The files hold ``{"model_state": …}``. The names follow the DeepLabv3+ of VainF; those of networks with
``fuse_early=False`` or ``fuse_bnorm=True`` are not known.
"""

from __future__ import annotations

__all__ = ("DEAD", "MARK", "RULES")

MARK = r"backbone\.app_stream\.conv1\.weight"
"""A name that only these files have."""

DEAD: tuple[str, ...] = (r"backbone\.sensor_fusion\.layer[23]\..*",)
"""Patterns of weights that had no effect: fusions that are never called."""

RULES = (
    (r"backbone\.app_stream\.(.+)", r"encoder.appearance.\1"),
    (r"backbone\.mot_stream\.(.+)", r"encoder.motion.\1"),
    (r"backbone\.sensor_fusion\.layer1\.(\w+)", r"encoder.fuse2.conv.\1"),
    (r"backbone\.sensor_fusion\.layer4\.(\w+)", r"encoder.fuse5.conv.\1"),
    (r"classifier\.aspp\.convs\.([0-3])\.(\d\.\w+)", r"aspp.branches.\1.\2"),
    (r"classifier\.aspp\.convs\.4\.1\.(\w+)", r"aspp.pooled.0.\1"),
    (r"classifier\.aspp\.convs\.4\.2\.(\w+)", r"aspp.pooled.1.\1"),
    (r"classifier\.aspp\.project\.(\d\.\w+)", r"aspp.project.\1"),
    (r"classifier\.project\.(\d\.\w+)", r"head.early.\1"),
    (r"classifier\.classifier\.([01])\.(\w+)", r"head.mix.\1.\2"),
    (r"classifier\.classifier\.3\.(\w+)", r"head.classify.\1"),
)
"""Patterns of the official names and our names for them, tried in order."""

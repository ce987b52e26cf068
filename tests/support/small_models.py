# SPDX-License-Identifier: Apache-2.0
"""Every architecture for clips, shrunken so that a step takes milliseconds."""

from __future__ import annotations

from typing import Any

from torch import nn

from staticdropout.models import create_model

SMALL: dict[str, dict[str, Any]] = {
    **{name: {"width": 8} for name in ("c2d_r50", "i3d_r50", "i3d_nln_r50", "slowonly_r18", "fastonly_r50")},
    **{name: {"width": 16} for name in ("slowfast_r18_4x16", "slowfast_r18_8x8")},
    **{name: {"width": 8, "head_width": 32, "blocks": [1, 2, 2, 1]} for name in ("x3d_s", "x3d_l")},
    "mvit_b_16x4": {"width": 24, "blocks": [1, 1, 2], "key_stride": 4, "frames": 4, "crop_size": 32},
    "timesformer_divst_8x32": {"width": 24, "heads": 2, "depth": 2, "frames": 4, "crop_size": 32},
}
"""Arguments that shrink a model, by its name."""


def small_model(name: str, num_classes: int = 3, **options: Any) -> nn.Module:
    return create_model(name, num_classes, **{**SMALL[name], **options})

# SPDX-License-Identifier: Apache-2.0
"""The families of networks, told by our names."""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ("family_of",)

# The first pattern that any name matches decides.
FAMILIES = (
    ("segmentation", r"encoder\.appearance\.conv1\.weight"),
    ("SlowFast", r"(slow|fast)\.(stem|res\d)\..*|fuse\d\..*"),
    ("X3D", r"stem\.conv_(xy|t)\..*|.*\.se\.fc[12]\..*|head\.(conv5|lin5)\..*"),
    ("3-D ResNet", r"stem\.conv\..*|res\d\.block\d+\..*"),
    ("MViT", r"positions\.class_token|blocks\.\d+\.attn\.pool_[qkv]\..*"),
    ("TimeSformer", r"positions\.spatial|blocks\.\d+\.time_(norm|attn|fc)\..*"),
)


def family_of(names: Iterable[str]) -> str:
    """Tell which family of networks names in our naming are of; the empty string where it is none.

    Example:
        >>> family_of(["positions.spatial", "blocks.0.time_fc.bias"])
        'TimeSformer'
        >>> family_of(["weight", "bias"])
        ''
    """
    names = list(names)
    for family, pattern in FAMILIES:
        compiled = re.compile(pattern)
        if any(compiled.fullmatch(name) for name in names):
            return family
    return ""

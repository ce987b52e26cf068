# SPDX-License-Identifier: Apache-2.0
"""Whether a stream of MPEG-4 part 2 (XviD, DivX, FFmpeg's ``mpeg4``) has B-frames, from its header."""

from __future__ import annotations

import re

__all__ = ("has_no_b_frames",)

_LAYER = re.compile(rb"\x00\x00\x01[\x20-\x2f]")  # start code of a video object layer
_BITS = 64  # enough for every field up to the one wanted


def has_no_b_frames(data: bytes) -> bool:
    """Return True where the first video object layer in ``data`` promises pictures in the order of display.

    Source: ISO/IEC 14496-2, 6.2.3, ``low_delay``. Encoders that use no B-frames set it; without it nothing is known.

    Example:
        >>> has_no_b_frames(b"no header in here")
        False
    """
    start = _LAYER.search(data)
    if start is None:
        return False
    field = data[start.end() : start.end() + _BITS // 8]
    if len(field) < _BITS // 8:
        return False
    bits = f"{int.from_bytes(field, 'big'):0{_BITS}b}"
    at = 9  # random_accessible_vol, video_object_type_indication
    at += 8 if bits[at] == "1" else 1  # is_object_layer_identifier: with version and priority
    at += 20 if bits[at : at + 4] == "1111" else 4  # aspect_ratio_info: with a pixel aspect ratio of its own
    has_control = bits[at] == "1"
    return has_control and bits[at + 3] == "1"  # after chroma_format: low_delay

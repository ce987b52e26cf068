# SPDX-License-Identifier: Apache-2.0
"""The size of the pictures of a VP9 stream, from the first bytes of its first frame."""

from __future__ import annotations

__all__ = ("vp9_size",)

_KEY_FRAME = 0x82  # frame marker 2, profile 0, a frame of its own, a key frame, shown
_SYNC = b"\x49\x83\x42"
_RGB = 7


def vp9_size(frame: bytes) -> tuple[int, int]:
    """Height and width in pixels of a shown key frame of profile 0 (8 bit, 4:2:0); (0, 0) for every other frame.

    Source: VP9 Bitstream & Decoding Process Specification, 6.2 (uncompressed header).

    Example:
        >>> vp9_size(bytes.fromhex("82498342001aa00ef0"))
        (240, 427)
        >>> vp9_size(b"")
        (0, 0)
    """
    if len(frame) < 9 or frame[0] & 0xFE != _KEY_FRAME or frame[1:4] != _SYNC:
        return 0, 0
    bits = int.from_bytes(frame[4:9], "big")  # colour space 3, range 1, width - 1 16, height - 1 16, others 4
    if bits >> 37 == _RGB:
        return 0, 0
    return (bits >> 4 & 0xFFFF) + 1, (bits >> 20 & 0xFFFF) + 1

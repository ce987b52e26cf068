# SPDX-License-Identifier: Apache-2.0
"""What the header of a video tells about the ways in which decoders go wrong on it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ("Description",)


@dataclass(frozen=True)
class Description:
    """What the parser of one container finds.

    Attributes:
        jumpable: every frame marked as a key frame starts afresh, so that a decoder which jumps to one counts frames
            right. False where it is not so or not known.
        hidden: the frame count may include frames that are never shown (an edit list or VP8 hides them).
        frames: the number of frames that the header promises, or of seconds where that is all it tells; 0: neither;
            infinite: the header contradicts itself.
        codec: the video codec as the container names it, e.g. ``hvc1``, ``V_VP9``, ``XVID``; empty: not known.
        end: the byte at which the header says that the pictures end; 0: it does not say.
        picture: height and width of the first picture as it is shown; (0, 0): only a decoder can tell.
    """

    jumpable: bool = False
    hidden: bool = False
    frames: float = 0
    codec: str = ""
    end: int = 0
    picture: tuple[int, int] = (0, 0)

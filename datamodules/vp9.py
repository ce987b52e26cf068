# SPDX-License-Identifier: Apache-2.0
"""Writing VP9 video, the format of Something-Something V2, with nothing but OpenCV's wheel."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2

from ..errors import StaticDropoutError
from .readers.base import Frames

__all__ = ("without_tag_warning", "write_vp9")


def write_vp9(path: Path, frames: Frames, fps: float = 12.0) -> None:
    """Write RGB frames ``(T, H, W, 3)``, H and W even, as a ``.webm`` file.

    Raises:
        StaticDropoutError: this OpenCV cannot encode VP9.
    """
    height, width = frames.shape[1:3]
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"VP90"), fps, (width, height))
    if not writer.isOpened():
        raise StaticDropoutError(
            "OpenCV cannot write VP9 video here. Use its wheel from PyPI: "
            "pip install --force-reinstall opencv-python-headless."
        )
    for frame in frames:
        writer.write(frame[..., ::-1].copy())
    writer.release()


@contextmanager
def without_tag_warning() -> Iterator[None]:
    """Hold back the line "tag … is not supported" that OpenCV prints for every VP9 file, and then solves by itself.

    C code writes it and has no switch for it, so the error stream is caught; all other lines are passed on.
    """
    with tempfile.TemporaryFile() as caught:
        original = os.dup(2)
        os.dup2(caught.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(original, 2)
            caught.seek(0)
            rest = b"".join(line for line in caught if b"is not supported with codec id" not in line)
            os.write(original, rest)
            os.close(original)

# SPDX-License-Identifier: Apache-2.0
"""Video readers: one small protocol, several libraries behind it, chosen by name."""

from __future__ import annotations

from .base import VideoReader, scaled_size
from .decord_reader import DecordReader
from .frames_reader import FramesReader
from .pyav_reader import PyAVReader
from .registry import READERS, ReaderClass, open_video, resolve_reader
from .torchcodec_reader import TorchCodecReader

__all__ = (
    "READERS",
    "DecordReader",
    "FramesReader",
    "PyAVReader",
    "ReaderClass",
    "TorchCodecReader",
    "VideoReader",
    "open_video",
    "resolve_reader",
    "scaled_size",
)

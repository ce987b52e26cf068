# SPDX-License-Identifier: Apache-2.0
"""Video readers: one small protocol, several libraries behind it, chosen by name."""

from __future__ import annotations

from .base import ReaderFaultError, VideoReader, scaled_size
from .decord_reader import DecordReader
from .fallback import FallbackReader
from .frames_reader import FramesReader
from .limited_reader import LimitedReader
from .opening import open_video
from .pyav_reader import PyAVReader
from .registry import READERS, ReaderClass, resolve_reader
from .torchcodec_reader import TorchCodecReader
from .traits import Traits, read_traits

__all__ = (
    "READERS",
    "DecordReader",
    "FallbackReader",
    "FramesReader",
    "LimitedReader",
    "PyAVReader",
    "ReaderClass",
    "ReaderFaultError",
    "TorchCodecReader",
    "Traits",
    "VideoReader",
    "open_video",
    "read_traits",
    "resolve_reader",
    "scaled_size",
)

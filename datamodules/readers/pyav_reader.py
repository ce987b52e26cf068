# SPDX-License-Identifier: Apache-2.0
"""Videos through PyAV (https://github.com/PyAV-Org/PyAV), which carries its own FFmpeg."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import ReaderNotAvailableError, VideoDecodeError
from .base import Frames, Indices, as_read_error, checked_frames, checked_indices, checked_size, scaled_size
from .traits import read_traits

__all__ = ("PyAVReader",)

_HINT = "The file is damaged or holds no video: fetch it again, or leave it out with --data.on_error skip."
_KNOWN = {
    "avcodec_send_packet": "its data are corrupt",
    "Invalid data found": "it is not a video, or its header is damaged",
    "End of file": "it ends before its first frame",
    "Input/output error": "it ends before its first frame",
    "Cannot allocate memory": "its header asks for more memory than there is",
}
_TAIL = 2  # frames that a header may promise too many (see get_batch)
_VP8_SHOWN = 0x10  # a bit of the first byte of a frame, RFC 6386, 9.1
_COVER = 0x400  # AV_DISPOSITION_ATTACHED_PIC


def _av() -> Any:
    try:
        return importlib.import_module("av")
    except (ImportError, OSError) as error:
        raise ReaderNotAvailableError(
            f"The video reader 'pyav' is not available: {error}. Install it with `pip install av`, "
            "or choose --data.reader decord or --data.reader torchcodec."
        ) from error


class PyAVReader:
    """A video opened with PyAV: decoded in order from the start, so that frame numbers are exact in every container.

    Args:
        path: the video file.
        short_side: scale to this shorter side in pixels where the video is larger; None: as it is.

    Raises:
        ReaderNotAvailableError: PyAV is not installed.
        VideoDecodeError: the file cannot be opened or has no video stream.
    """

    name = "pyav"

    def __init__(self, path: str | Path, short_side: int | None = None) -> None:
        _av()
        self._path, self._short_side = Path(path), short_side
        with as_read_error(self._path, self.name, _HINT, _KNOWN), self._open() as container:
            stream, traits = self._stream(container), read_traits(path)
            self.fps = float(stream.average_rate or stream.guessed_rate or 0.0)
            height, width = int(stream.codec_context.height), int(stream.codec_context.width)
            self._size = checked_size(height, width, self._path, self.name, _HINT)
            counted = traits.container == "mp4" and not traits.hidden and 0 < stream.frames <= traits.size
            # elsewhere there is no count, or it includes frames that are never shown
            self._length = int(stream.frames) if counted else self._count(container, stream)
        if self._length <= 0:
            raise VideoDecodeError(self._path, self.name, "it has no frames", _HINT)

    @staticmethod
    def require() -> None:
        """Raise ReaderNotAvailableError where PyAV is not installed."""
        _av()

    def _open(self) -> Any:
        # titles and comments in old AVI files are not UTF-8; they are of no interest here
        return _av().open(str(self._path), metadata_errors="replace")

    def _stream(self, container: Any) -> Any:
        if not container.streams.video:
            raise VideoDecodeError(self._path, self.name, "it has no video stream", _HINT)
        best = getattr(container.streams, "best", None)  # FFmpeg's own choice, as decord's; since PyAV 13
        stream = best("video") if best is not None else container.streams.video[0]
        if int(getattr(stream, "disposition", 0)) & _COVER:
            raise VideoDecodeError(self._path, self.name, "it has no video stream, only a cover picture", _HINT)
        stream.thread_type = "NONE"  # the workers of the DataLoader are the parallelism
        return stream

    @staticmethod
    def _packets(container: Any, stream: Any) -> Iterator[Any]:
        """The packets up to the first one that is cut off: a decoder would make up the rest of its picture."""
        for packet in container.demux(stream):
            if packet.is_corrupt:
                return
            yield packet

    def _count(self, container: Any, stream: Any) -> int:
        """The packets that hold a displayed frame."""
        vp8, shown = stream.codec_context.name == "vp8", 0
        for packet in self._packets(container, stream):
            if packet.size and not packet.is_discard:
                shown += not vp8 or bool(memoryview(packet)[0] & _VP8_SHOWN)
        return shown

    def _pictures(self, container: Any, stream: Any) -> Iterator[Any]:
        for packet in self._packets(container, stream):
            if packet.size:  # an empty one (a frame left out, in AVI) would end the decoding
                yield from packet.decode()
        yield from stream.decode(None)

    def _picture(self, frame: Any) -> Frames:
        quarter_turns = round(getattr(frame, "rotation", 0) / 90)  # read before reformat, which drops it
        height, width = scaled_size(*self._size, self._short_side)
        if (height, width) != (frame.height, frame.width):  # also where a stream changes its size on the way
            frame = frame.reformat(width=width, height=height, format="rgb24", interpolation="BILINEAR")  # as decord
        array: Frames = frame.to_ndarray(format="rgb24", interpolation="BICUBIC")  # of colours, as torchcodec
        return np.rot90(array, quarter_turns) if quarter_turns else array

    def __len__(self) -> int:
        return self._length

    def get_batch(self, indices: Indices) -> Frames:
        """Decode frames; see :class:`VideoReader`.

        Some files end with a packet or two that hold no picture (usual in AVI with B-frames); the last picture then
        stands for them. A file that ends earlier than that is reported as unreadable.
        """
        wanted = checked_indices(indices, self._length)
        needed, last = set(wanted), max(wanted)
        pictures: dict[int, Frames] = {}
        with as_read_error(self._path, self.name, _HINT, _KNOWN), self._open() as container:
            count, frame = 0, None
            for frame in self._pictures(container, self._stream(container)):
                if count in needed:
                    pictures[count] = self._picture(frame)
                count += 1
                if count > last:
                    break
            if count <= last:
                if frame is None or self._length - count > _TAIL:
                    raise VideoDecodeError(
                        self._path, self.name, f"it ends after {count} of {self._length} frames", _HINT
                    )
                final = self._picture(frame)
                pictures.update({i: final for i in needed if i >= count})
            frames = np.stack([pictures[i] for i in wanted])
        return checked_frames(frames, len(wanted), self._path, self.name, _HINT)

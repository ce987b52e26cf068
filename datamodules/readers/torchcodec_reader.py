# SPDX-License-Identifier: Apache-2.0
"""Videos through torchcodec (https://github.com/pytorch/torchcodec), which uses the FFmpeg of the machine."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import ReaderNotAvailableError, VideoDecodeError
from .base import Frames, Indices, as_read_error, checked_frames, checked_indices, checked_size, scaled_size
from .traits import read_traits

__all__ = ("TorchCodecReader",)

_HINT = (
    "Another reader may manage: --data.reader pyav (pip install av). `staticdropout data check` lists all such files."
)
_NO_FFMPEG = (
    "torchcodec is installed but cannot load FFmpeg's shared libraries (versions 4 to 9), or does not fit this torch. "
    "Install FFmpeg (`conda install ffmpeg`, `apt install ffmpeg`), upgrade torchcodec together with torch, "
    "or choose --data.reader decord or --data.reader pyav, which bring their own decoder."
)
_KNOWN = {
    "Could not push packet": "its data are corrupt",
    "Requested next frame": "its data end before the frames that its header promises",
    "FrameDims": "its pictures have no size",
    "Expected pre-allocated tensor": "its pictures change their size on the way",
    "const_data_ptr": "it has no frames",
    "Could not open input file": "it is not a video, or its header is damaged",
    "best video stream is unknown": "it has no video stream",
}
# their frames carry no times, or none that torchcodec understands: it numbers them wrongly, even in order
_UNNUMBERED = {"avi": "AVI files with B-frames", "mpegts": "MPEG transport streams", "mpegps": "MPEG program streams"}


def _torchcodec() -> Any:
    try:
        return importlib.import_module("torchcodec.decoders")
    except ModuleNotFoundError as error:
        raise ReaderNotAvailableError(
            "The video reader 'torchcodec' is not available: it is not installed. Install it with "
            "`pip install torchcodec` (it also needs FFmpeg on the machine), or choose --data.reader decord "
            "or --data.reader pyav."
        ) from error
    except (ImportError, OSError, RuntimeError) as error:
        raise ReaderNotAvailableError(_NO_FFMPEG) from error


class TorchCodecReader:
    """A video opened with torchcodec, on the CPU with one thread, with exact frame numbers.

    Files in which a jump to a key frame is not safe (see :attr:`Traits.jumpable`) are decoded in order from the start.

    Args:
        path: the video file.
        short_side: decode at this shorter side in pixels where the video is larger; None: as it is.

    Raises:
        ReaderNotAvailableError: torchcodec is not installed, or finds no FFmpeg.
        VideoDecodeError: the file cannot be opened, or torchcodec would number its frames wrongly.
    """

    name = "torchcodec"

    def __init__(self, path: str | Path, short_side: int | None = None) -> None:
        decoders = _torchcodec()
        self._path = Path(path)
        with as_read_error(self._path, self.name, _HINT, _KNOWN):
            traits = read_traits(path)
            self._in_order = not traits.jumpable and not traits.hevc  # of HEVC it knows which frames to leave out
            if self._in_order and traits.container in _UNNUMBERED:
                found = f"torchcodec numbers the frames of {_UNNUMBERED[traits.container]} wrongly"
                raise VideoDecodeError(path, self.name, found, _HINT)
            # Where the file's first bytes tell the size of its pictures, it is opened once.
            self._decoder = self._open(decoders, traits.picture, short_side)
            if not len(self._decoder):
                raise VideoDecodeError(path, self.name, "it has no frames", _HINT)
            header = self._decoder.metadata
            self._check_size(header.height or 0, header.width or 0)
            if short_side is not None and traits.picture is None:
                height, width = self._decoder[0].shape[:2]
                self._check_size(height, width)
                if scaled_size(height, width, short_side) != (height, width):
                    self._decoder = self._open(decoders, (height, width), short_side)
            self.fps = float(header.average_fps or 0.0)

    def _open(self, decoders: Any, picture: tuple[int, int] | None, short_side: int | None) -> Any:
        options: dict[str, Any] = {}
        if picture is not None and (size := scaled_size(*picture, short_side)) != picture:
            options["transforms"] = [importlib.import_module("torchcodec.transforms").Resize(size=size)]
        try:
            # "approximate" would trust the header's frame count, which is wrong or absent in WebM
            return decoders.VideoDecoder(
                str(self._path), dimension_order="NHWC", num_ffmpeg_threads=1, seek_mode="exact", **options
            )
        except RuntimeError as error:
            if "libtorchcodec" in str(error):  # loaded at the first use since torchcodec 0.17
                raise ReaderNotAvailableError(_NO_FFMPEG) from error
            raise

    def _check_size(self, height: int, width: int) -> None:
        checked_size(height, width, self._path, self.name, _HINT)

    @staticmethod
    def require() -> None:
        """Raise ReaderNotAvailableError where torchcodec is not installed."""
        _torchcodec()

    def __len__(self) -> int:
        return len(self._decoder)

    def get_batch(self, indices: Indices) -> Frames:
        """Decode frames; see :class:`VideoReader`."""
        wanted = checked_indices(indices, len(self))
        with as_read_error(self._path, self.name, _HINT, _KNOWN):
            if self._in_order:
                frames = self._from_the_start(wanted)
            else:
                frames = self._decoder.get_frames_at(indices=wanted).data.numpy()
            return checked_frames(frames, len(wanted), self._path, self.name, _HINT)

    def _from_the_start(self, wanted: list[int]) -> Frames:
        needed, pictures = set(wanted), {}
        for i in range(max(wanted) + 1):
            picture = self._decoder[i]
            self._check_size(*picture.shape[:2])
            if i in needed:
                pictures[i] = picture.numpy()
        return np.stack([pictures[i] for i in wanted])

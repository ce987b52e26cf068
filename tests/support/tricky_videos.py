# SPDX-License-Identifier: Apache-2.0
"""Small sound videos in codecs and containers that readers stumble over, their damage, and an independent reading."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from staticdropout.datamodules.vp9 import without_tag_warning

Frames = NDArray[np.uint8]
HEIGHT, WIDTH, FRAMES = 64, 80, 26


def moving(frames: int = FRAMES, height: int = HEIGHT, width: int = WIDTH) -> Frames:
    """Textures that move fast, so that neighbouring frames differ by far more than compression does."""
    rows, columns = np.mgrid[:height, :width]
    clip = np.empty((frames, height, width, 3), np.uint8)
    for t in range(frames):
        clip[t, ..., 0] = (columns * 3 + t * 23) % 256
        clip[t, ..., 1] = (rows * 4 + t * 31) % 256
        clip[t, ..., 2] = 255 * ((rows + columns + 5 * t) // 16 % 2)
    return clip


@dataclass(frozen=True)
class Recipe:
    """How PyAV writes a video; OpenCV those of VP8 and VP9, because PyAV's libvpx fails once decord's is loaded."""

    file: str
    codec: str
    pixels: str = "yuv420p"
    options: dict[str, str] = field(default_factory=dict)
    size: tuple[int, int] = (HEIGHT, WIDTH)

    def write(self, folder: Path, times: list[int] | None = None, container: dict[str, str] | None = None) -> Path:
        """Write the moving textures; ``times`` are the time stamps of the frames in units of 1/25 s."""
        path, (height, width) = folder / self.file, self.size
        if self.codec.startswith("VP"):
            return _write_with_opencv(path, self.codec, moving(height=height, width=width), 25.0)
        import av

        with av.open(str(path), "w", container_options=container or {}) as output:
            stream: Any = output.add_stream(self.codec, rate=25)
            stream.height, stream.width, stream.pix_fmt, stream.options = height, width, self.pixels, self.options
            stream.codec_context.thread_count = 1
            for i, picture in enumerate(moving(height=height, width=width)):
                frame: Any = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts, frame.time_base = (times[i] if times is not None else i), Fraction(1, 25)
                output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
        return path


_X264 = {"g": "8", "bf": "2", "sc_threshold": "0"}
_X265 = {"x265-params": "log-level=none:keyint=8:bframes=2:pools=none"}
_OPEN = {"x264-params": "keyint=8:min-keyint=8:scenecut=0:bframes=3:b-adapt=0:open-gop=1"}
_B = {"g": "8", "bf": "2"}
RECIPES = {
    recipe.file: recipe
    for recipe in (
        Recipe("vp9.webm", "VP90"),
        Recipe("small.webm", "VP90", size=(48, 60)),
        Recipe("vp8.webm", "VP80"),
        Recipe("h264.mp4", "libx264", options=_X264),
        Recipe("h264.mov", "libx264", options=_X264),
        Recipe("h264.mkv", "libx264", options=_X264),
        Recipe("h264.avi", "libx264", options=_X264),
        Recipe("h264.ts", "libx264", options=_X264),
        Recipe("h264.flv", "libx264", options=_X264 | {"bf": "0"}),
        Recipe("open_gop.mp4", "libx264", options=_OPEN),
        Recipe("open_gop.mkv", "libx264", options=_OPEN),
        Recipe("intra_refresh.mp4", "libx264", options={"x264-params": "intra-refresh=1:keyint=8"}),
        Recipe("hevc.mp4", "libx265", options=_X265),
        Recipe("hevc.mkv", "libx265", options=_X265),
        Recipe("mpeg4.avi", "mpeg4", options={"g": "8"}),
        Recipe("mpeg4_b.avi", "mpeg4", options=_B),
        Recipe("mpeg4_b.mp4", "mpeg4", options=_B),
        Recipe("mpeg4_b.mkv", "mpeg4", options=_B),
        Recipe("mjpeg.avi", "mjpeg", "yuvj420p"),
        Recipe("mpeg2.mpg", "mpeg2video", options=_B),
        Recipe("odd.mp4", "libx264", "yuv444p", _X264, (45, 67)),
        Recipe("odd.mkv", "ffv1", size=(45, 67)),
        Recipe("alpha.mkv", "ffv1", "bgra"),
        Recipe("ten_bit.mp4", "libx264", "yuv420p10le", _X264),
    )
}


def decoded(path: Path) -> Frames:
    """Every displayed frame of a file, in order: PyAV as its documentation shows it, without our reader."""
    import av

    with av.open(str(path), metadata_errors="replace") as container:
        stream: Any = container.streams.best("video")
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(stream)])


def jumps(length: int) -> dict[str, list[int]]:
    """Orders in which frames are asked for."""
    rng, last = np.random.default_rng(0), length - 1
    return {
        "in order": list(range(length)),
        "spread": np.linspace(0, last, min(8, length)).astype(int).tolist(),
        "backwards": list(range(last, -1, -max(1, length // 9))),
        "at random": rng.integers(0, length, 12).tolist(),
        "the last": [last],
        "back and forth": [i for at in rng.integers(1, length, 4).tolist() for i in (at, at - 1, at)],
    }


def _write_with_opencv(path: Path, code: str, frames: Frames, fps: float) -> Path:
    """A key frame every twelve frames."""
    height, width = frames.shape[1:3]
    with without_tag_warning():
        writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*code), fps, (width, height))
        for frame in frames:
            writer.write(frame[..., ::-1].copy())
        writer.release()
    return path


def write_with_opencv(folder: Path) -> list[Path]:
    """Four short sound clips in the formats that OpenCV's wheel writes."""
    codes = {"a.webm": "VP90", "b.mp4": "mp4v", "c.avi": "MJPG", "d.avi": "XVID"}
    return [_write_with_opencv(folder / file, code, moving(12), 12.0) for file, code in codes.items()]


def damaged(path: Path) -> Iterator[tuple[str, bytes, str]]:
    """Twenty-six kinds of damage to a file, the same ones every time: what it is, the bytes, the suffix."""
    data, suffix = path.read_bytes(), path.suffix
    rng = random.Random(f"{path.name} {len(data)}")  # noqa: S311 - reproducible, not secret

    def flipped(count: int, start: int, end: int) -> bytes:
        changed = bytearray(data)
        for _ in range(count):
            changed[rng.randrange(start, end)] ^= 1 << rng.randrange(8)
        return bytes(changed)

    for percent in (10, 30, 50, 70, 90, 99):
        yield f"truncated-{percent}", data[: len(data) * percent // 100], suffix
    for count in (1, 4, 16, 64):
        for seed in range(2):
            yield f"flipped-{count}-{seed}", flipped(count, 0, len(data)), suffix
    header = data.find(b"moov") if b"moov" in data else 0
    for count in (1, 2, 8, 32):
        yield f"flipped-header-{count}", flipped(count, header, min(len(data), header + 700)), suffix
    yield "flipped-tail", flipped(4, len(data) * 9 // 10, len(data)), suffix
    for count in (16, 64, 300):
        yield f"header-{count}", data[:count], suffix
    yield "zeros-from-half", data[: len(data) // 2] + bytes(len(data) - len(data) // 2), suffix
    for other in (".mp4", ".webm", ".avi"):
        if other != suffix:
            yield f"renamed{other}", data, other
    yield "renamed-without-suffix", data, ""


def with_edit_list_from(path: Path, frame: int, target: Path) -> Path:
    """Copy an MP4 so that its edit list starts the show at a later frame, as trimming without re-encoding does."""
    data = bytearray(path.read_bytes())
    entry = data.index(b"elst") + 12
    duration, start = struct.unpack_from(">Ii", data, entry)
    (scale,) = struct.unpack_from(">I", data, data.index(b"mdhd") + 16)
    struct.pack_into(">Ii", data, entry, duration, start + frame * scale // 25)
    target.write_bytes(data)
    return target


def turned(path: Path, matrix: tuple[int, ...], target: Path) -> Path:
    """Copy an MP4 with another display matrix (four numbers of the upper left corner)."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    a, b, c, d = (value << 16 for value in matrix)
    struct.pack_into(">9i", data, at, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    target.write_bytes(data)
    return target


def with_hidden_frame(path: Path, frame: int, target: Path) -> Path:
    """Copy a VP8 file so that a frame is decoded but not shown, as encoders do with alternative reference frames."""
    import av

    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    data[data.index(packets[frame])] &= 0xFF ^ 0x10  # the bit show_frame
    target.write_bytes(data)
    return target

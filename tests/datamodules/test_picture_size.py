# SPDX-License-Identifier: Apache-2.0
"""The size of a video's pictures by its first bytes: never a guess, and what a decoder shows."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from video_probe import decoders

from staticdropout.datamodules import READERS
from staticdropout.datamodules.readers.traits import Traits, read_traits
from staticdropout.datamodules.readers.vp9_header import vp9_size

SIMPLE_BLOCK, GROUP, BLOCK = 0xA3, 0xA0, 0xA1
VIDEO, SOUND = 1, 2


def element(kind: int, *content: bytes | int | str) -> bytes:
    """An EBML element; numbers are one byte."""
    parts = [bytes([c]) if isinstance(c, int) else c.encode() if isinstance(c, str) else c for c in content]
    body = b"".join(parts)
    return kind.to_bytes((kind.bit_length() + 7) // 8, "big") + (len(body) | 1 << 56).to_bytes(8, "big") + body


def key_frame(height: int, width: int, first: int = 0x82, space: int = 0) -> bytes:
    """The first bytes of a VP9 key frame, written bit by bit."""
    fields = [(space, 3), (0, 1), (width - 1, 16), (height - 1, 16), (0, 4)]
    bits = "".join(f"{value:0{length}b}" for value, length in fields)
    return bytes([first]) + bytes.fromhex("498342") + int(bits, 2).to_bytes(5, "big") + bytes(20)


def track(number: int = 1, kind: int = VIDEO, codec: str = "V_VP9", picture: bytes = b"", more: bytes = b"") -> bytes:
    return element(0xAE, element(0xD7, number), element(0x83, kind), element(0x86, codec), element(0xE0, picture), more)


def block(frame: bytes, number: int = 1, flags: int = 0x80) -> bytes:
    return element(SIMPLE_BLOCK, 0x80 | number, bytes(2), flags, frame)


def webm(folder: Path, tracks: bytes, cluster: bytes, before: bytes = b"", after: bytes = b"") -> Path:
    """A file with no more in it than what is asked for."""
    path = folder / "made.webm"
    segment = before + element(0x1654AE6B, tracks) + element(0x1F43B675, element(0xE7, 0), cluster) + after
    path.write_bytes(element(0x1A45DFA3, element(0x4282, "webm")) + element(0x18538067, segment))
    return path


def index_of(kind: int) -> bytes:
    return element(0x114D9B74, element(0x4DBB, element(0x53AB, kind.to_bytes(4, "big")), element(0x53AC, 99)))


PICTURE = key_frame(240, 427)
TAGS = 0x1254C367
ROTATE = element(TAGS, element(0x7373, element(0x67C8, element(0x45A3, "ROTATE"), element(0x4487, "90"))))
ENCODER = element(TAGS, element(0x7373, element(0x67C8, element(0x45A3, "ENCODER"), element(0x4487, "Lavf"))))


@pytest.mark.parametrize(("height", "width"), [(1, 1), (240, 427), (1920, 1080), (65536, 65536)])
def test_the_header_of_a_key_frame_holds_its_size(height: int, width: int) -> None:
    assert vp9_size(key_frame(height, width)) == (height, width)


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        PICTURE[:8],
        key_frame(240, 427, first=0x86),  # a frame that refers to others
        key_frame(240, 427, first=0x80),  # not shown
        key_frame(240, 427, first=0xA2),  # profile 1
        key_frame(240, 427, space=7),  # RGB
        b"\x82\x49\x83\x43" + PICTURE[4:],
    ],
)
def test_other_frames_tell_no_size(frame: bytes) -> None:
    assert vp9_size(frame) == (0, 0)


@pytest.mark.parametrize(
    ("tracks", "cluster", "before"),
    [
        (track(), block(PICTURE), b""),
        (track(), element(GROUP, element(BLOCK, 0x81, bytes(3), PICTURE)), b""),
        (track(2, SOUND, "A_OPUS") + track(1), block(b"sound", 2) + block(PICTURE), b""),
        (track(), block(PICTURE), index_of(TAGS) + ENCODER),
    ],
    ids=["block", "group", "sound first", "tags"],
)
def test_the_size_is_known_of_plain_vp9(tmp_path: Path, tracks: bytes, cluster: bytes, before: bytes) -> None:
    assert read_traits(webm(tmp_path, tracks, cluster, before)).picture == (240, 427)


@pytest.mark.parametrize(
    ("tracks", "cluster", "before"),
    [
        (track(codec="V_VP8"), block(PICTURE), b""),
        (track(1) + track(2), block(PICTURE), b""),
        (track(picture=element(0x7670, element(0x7675, bytes(4)))), block(PICTURE), b""),
        (track(picture=element(0x54BB, 8)), block(PICTURE), b""),
        (track(more=element(0x6D80, b"")), block(PICTURE), b""),
        (track(), block(PICTURE, flags=0x82), b""),
        (track(), block(PICTURE, number=2), b""),
        (track(), block(b""), b""),
        (track(), block(PICTURE), ROTATE),
        (track(), block(PICTURE), index_of(TAGS)),
        (track(), block(PICTURE), index_of(0x114D9B74)),
    ],
    ids=[
        "another codec",
        "two streams",
        "turned",
        "cropped",
        "packed",
        "laced",
        "no block of the stream",
        "empty block",
        "a tag that turns it",
        "tags behind the pictures",
        "an index behind the pictures",
    ],
)
def test_the_size_is_left_to_the_decoder_where_more_than_the_stream_decides_it(
    tmp_path: Path, tracks: bytes, cluster: bytes, before: bytes
) -> None:
    found = read_traits(webm(tmp_path, tracks, cluster, before))
    assert found.container == "matroska"
    assert found.picture is None


def first_video(root: Path) -> Path:
    return next((root / "20bn-something-something-v2").iterdir())


@pytest.mark.parametrize("reader", [name for name in decoders() if name != "pyav"])
@pytest.mark.parametrize("short_side", [None, 20, 32, 100])
def test_frames_are_the_same_bits_as_after_asking_the_decoder(
    shapes_root: Path, reader: str, short_side: int | None
) -> None:
    path, order = first_video(shapes_root), [7, 0, 3, 9]
    assert read_traits(path).picture == READERS[reader](path).get_batch([0]).shape[1:3] == (32, 40)
    with mock.patch.object(Traits, "picture", None):
        asked = READERS[reader](path, short_side=short_side).get_batch(order)
    np.testing.assert_array_equal(READERS[reader](path, short_side=short_side).get_batch(order), asked)


def test_a_video_is_opened_once_and_no_frame_is_decoded_for_its_size(shapes_root: Path) -> None:
    from staticdropout.datamodules.readers.decord_reader import DecordReader

    opened = mock.Mock(wraps=DecordReader._open)
    with (
        mock.patch.object(DecordReader, "_open", lambda self: opened(self)),
        mock.patch.object(DecordReader, "_array", side_effect=AssertionError("a frame was decoded")),
    ):
        DecordReader(first_video(shapes_root), short_side=20)
    assert opened.call_count == 1


def test_the_size_of_real_clips_is_that_of_their_first_frame(real_data: Path) -> None:
    files = sorted((real_data / "ssv2_mini" / "20bn-something-something-v2").iterdir())
    for file in files:
        assert read_traits(file).picture == READERS["pyav"](file).get_batch([0]).shape[1:3], file.name

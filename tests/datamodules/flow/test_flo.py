# SPDX-License-Identifier: Apache-2.0
"""`.flo` files, byte by byte."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from staticdropout.datamodules.flow import read_flo, write_flo
from staticdropout.errors import BatchError, VideoDecodeError

# two rows of three pixels, written as the format's description says
VALUES = (1.0, -2.0, 3.5, 0.25, -7.0, 8.0, 0.0, 0.0, 1e-3, 20.0, 5.0, -5.0)
CONTENT = b"PIEH" + struct.pack("<ii", 3, 2) + struct.pack("<12f", *VALUES)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "00000.flo"
    path.write_bytes(CONTENT)
    return path


def test_hand_made_bytes_are_read(file: Path) -> None:
    flow = read_flo(file)
    assert flow.dtype == np.float32
    assert flow.shape == (2, 2, 3)
    u, v = np.array(VALUES, np.float32).reshape(2, 3, 2).transpose(2, 0, 1)
    np.testing.assert_array_equal(flow[0], u)
    np.testing.assert_array_equal(flow[1], v)
    flow[:] = 0  # may be written to


def test_what_is_written_are_these_bytes(file: Path, tmp_path: Path) -> None:
    write_flo(tmp_path / "new" / "copy.flo", read_flo(file))
    assert (tmp_path / "new" / "copy.flo").read_bytes() == CONTENT


def test_tensors_are_written_too(tmp_path: Path) -> None:
    flow = torch.arange(12.0).reshape(2, 2, 3)
    write_flo(tmp_path / "a.flo", flow)
    np.testing.assert_array_equal(read_flo(tmp_path / "a.flo"), flow.numpy())


@pytest.mark.parametrize("mark", [1e10, -2e9, 1666666752.0, float("inf"), float("nan")])
def test_unknown_flow_is_nan_in_both_components(tmp_path: Path, mark: float) -> None:
    path = tmp_path / "a.flo"
    path.write_bytes(b"PIEH" + struct.pack("<ii4f", 2, 1, 1.0, mark, 3.0, 4.0))
    np.testing.assert_array_equal(read_flo(path), [[[np.nan, 3.0]], [[np.nan, 4.0]]])


def test_unknown_flow_is_written_as_the_mark_of_the_format(tmp_path: Path) -> None:
    write_flo(tmp_path / "a.flo", np.array([[[1.0, np.nan]], [[2.0, 3.0]]]))
    u, v = struct.unpack("<2f", (tmp_path / "a.flo").read_bytes()[20:])
    assert u > 1e9
    assert v > 1e9


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "0 bytes, the header alone has 12"),
        (CONTENT[:11], "11 bytes"),
        (CONTENT[:-1], r"breaks off: flow of 3x2 pixels takes 60 bytes, the file has 59"),
        (CONTENT[:12], "breaks off"),
        (CONTENT + b"\0", "goes on after its end"),
        (b"HEIP" + CONTENT[4:], r"begins with b'HEIP' where a .flo file has b'PIEH'"),
        (b"PIEH" + struct.pack("<ii", -3, 2) + CONTENT[12:], "its header says -3x2 pixels"),
        (b"PIEH" + struct.pack("<ii", 3, 0) + CONTENT[12:], "its header says 3x0 pixels"),
        (b"PIEH" + struct.pack(">ii", 3, 2) + CONTENT[12:], "sides of 1 to 99999 were expected"),
        (b"<html>404: not found</html>", "begins with b'<htm'"),
    ],
)
def test_damage_is_described_and_the_file_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "broken.flo"
    path.write_bytes(content)
    with pytest.raises(VideoDecodeError, match=message) as caught:
        read_flo(path)
    assert str(path) in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(VideoDecodeError, match=r"nothing\.flo.*No such file"):
        read_flo(tmp_path / "nothing.flo")


@pytest.mark.parametrize("shape", [(4, 5, 2), (2, 5), (1, 2, 4, 5), (3, 4, 5), (2, 0, 5)])
def test_flow_of_another_shape_is_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(BatchError, match=r"shape \(2, H, W\)"):
        write_flo(tmp_path / "a.flo", np.zeros(shape))
    assert not list(tmp_path.iterdir())

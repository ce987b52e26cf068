# SPDX-License-Identifier: Apache-2.0
"""Flow as colour pictures on disk."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision.utils import flow_to_image

from staticdropout.datamodules.flow import read_flow, read_flow_picture, write_flo, write_flow_picture
from staticdropout.errors import AnnotationError, BatchError, OptionError, UnknownNameError, VideoDecodeError
from staticdropout.perturbations.flow_colours import Encoding

ENCODINGS: list[Encoding] = ["middlebury", "hsv"]


@pytest.fixture
def flow() -> NDArray[np.float32]:
    """All directions, magnitudes up to 12 pixels."""
    y, x = np.mgrid[-20:21, -30:31].astype(np.float32) / 3
    return np.stack((x, y))


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("max_flow", [None, 15.0])
def test_pixels_come_back_from_a_picture_to_eight_bits(
    tmp_path: Path, flow: NDArray[np.float32], encoding: Encoding, max_flow: float | None
) -> None:
    path = tmp_path / "a.png"
    write_flow_picture(path, flow, encoding, max_flow)
    scale = max_flow or np.hypot(*flow).max()
    # half a level of 255 in magnitude; and half a level in the hue of a sixth of the wheel, worse where it is pale
    error = np.hypot(*(read_flow(path) - flow)) / scale
    assert error.max() < 0.02
    assert error.mean() < 0.006


def test_the_text_of_the_picture_says_how_to_read_it(tmp_path: Path, flow: NDArray[np.float32]) -> None:
    write_flow_picture(tmp_path / "own.png", flow, method="dis")
    write_flow_picture(tmp_path / "fixed.png", flow, "hsv", 20, method="raft_small")
    with Image.open(tmp_path / "own.png") as own, Image.open(tmp_path / "fixed.png") as fixed:
        assert float(own.info["flow_max"]) == pytest.approx(np.hypot(10, 20 / 3))
        assert (own.info["flow_encoding"], own.info["flow_method"]) == ("middlebury", "dis")
        assert (fixed.info["flow_max"], fixed.info["flow_encoding"]) == ("20.0", "hsv")


def test_the_colours_are_those_of_torchvision(tmp_path: Path, flow: NDArray[np.float32]) -> None:
    write_flow_picture(tmp_path / "a.png", flow)
    reference = flow_to_image(torch.from_numpy(flow)).permute(1, 2, 0).numpy()
    difference = np.abs(read_flow_picture(tmp_path / "a.png").astype(int) - reference)
    assert difference.max() <= 2  # it rounds down


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("max_flow", [None, 6.0, 20.0])
def test_flo_and_png_give_the_same_picture(
    tmp_path: Path, flow: NDArray[np.float32], encoding: Encoding, max_flow: float | None
) -> None:
    write_flo(tmp_path / "a.flo", flow)
    write_flow_picture(tmp_path / "a.png", flow, encoding, max_flow)
    drawn = read_flow_picture(tmp_path / "a.flo", encoding, max_flow)
    assert drawn.shape == (41, 61, 3)
    assert drawn.dtype == np.uint8
    np.testing.assert_array_equal(drawn, read_flow_picture(tmp_path / "a.png", encoding, max_flow))


def test_a_picture_in_the_other_encoding_is_drawn_again_at_its_own_scale(
    tmp_path: Path, flow: NDArray[np.float32]
) -> None:
    write_flow_picture(tmp_path / "wheel.png", flow, "middlebury", 20)
    write_flow_picture(tmp_path / "hsv.png", flow, "hsv", 20)
    drawn = read_flow_picture(tmp_path / "wheel.png", "hsv").astype(int)
    assert np.abs(drawn - read_flow_picture(tmp_path / "hsv.png", "hsv")).max() <= 4
    assert drawn[20, 30].tolist() == [0, 0, 0]  # no motion turned from white to black


def test_a_fixed_scale_is_reached_from_another(tmp_path: Path, flow: NDArray[np.float32]) -> None:
    write_flow_picture(tmp_path / "own.png", flow)
    write_flow_picture(tmp_path / "fixed.png", flow, max_flow=40)
    drawn = read_flow_picture(tmp_path / "own.png", max_flow=40).astype(int)
    assert np.abs(drawn - read_flow_picture(tmp_path / "fixed.png")).max() <= 4


def test_official_pictures_are_taken_as_they_are(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (9, 11, 3), dtype=np.uint8)
    Image.fromarray(picture).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_flow_picture(tmp_path / "a.png"), picture)
    np.testing.assert_array_equal(read_flow_picture(tmp_path / "a.png", "hsv"), picture)
    Image.new("RGB", (11, 9), (255, 255, 255)).save(tmp_path / "a.jpg")
    assert (read_flow_picture(tmp_path / "a.jpg") == 255).all()


def test_a_picture_that_does_not_say_its_scale_cannot_be_rescaled(tmp_path: Path) -> None:
    Image.new("RGB", (4, 3)).save(tmp_path / "a.png")
    with pytest.raises(AnnotationError, match=r"a\.png.*max_flow=20.*has flow_max None.*max_flow=None"):
        read_flow_picture(tmp_path / "a.png", max_flow=20)
    with pytest.raises(AnnotationError, match=r"a\.png.*flow in pixels"):
        read_flow(tmp_path / "a.png")


@pytest.mark.parametrize("text", [("much", "middlebury"), ("nan", "middlebury"), ("-1", "hsv"), ("3.0", "colour")])
def test_nonsense_in_the_text_is_shown(tmp_path: Path, flow: NDArray[np.float32], text: tuple[str, str]) -> None:
    write_flow_picture(tmp_path / "a.png", flow)
    with Image.open(tmp_path / "a.png") as picture:
        from PIL.PngImagePlugin import PngInfo

        info = PngInfo()
        info.add_text("flow_max", text[0])
        info.add_text("flow_encoding", text[1])
        picture.save(tmp_path / "b.png", pnginfo=info)
    with pytest.raises(AnnotationError, match=f"flow_max '{text[0]}', flow_encoding '{text[1]}'"):
        read_flow(tmp_path / "b.png")


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_picture_without_motion_survives_every_way(tmp_path: Path, encoding: Encoding) -> None:
    write_flow_picture(tmp_path / "a.png", np.zeros((2, 5, 7)), encoding)
    assert not read_flow(tmp_path / "a.png").any()
    blank = {"middlebury": 255, "hsv": 0}
    for wanted in ENCODINGS:
        assert (read_flow_picture(tmp_path / "a.png", wanted) == blank[wanted]).all()
        assert (read_flow_picture(tmp_path / "a.png", wanted, 20) == blank[wanted]).all()


def test_unknown_flow_is_drawn_as_no_motion_and_sets_no_scale(tmp_path: Path) -> None:
    flow = np.full((2, 3, 4), 2.0, np.float32)
    flow[0, 0, 0], flow[1, 1, 1], flow[0, 2, 2] = np.nan, 1e10, np.inf
    write_flow_picture(tmp_path / "a.png", flow)
    picture = read_flow_picture(tmp_path / "a.png")
    assert all((picture[i, i] == 255).all() for i in range(3))
    with Image.open(tmp_path / "a.png") as image:
        assert float(image.info["flow_max"]) == pytest.approx(8**0.5)
    write_flo(tmp_path / "a.flo", flow)
    np.testing.assert_array_equal(read_flow_picture(tmp_path / "a.flo"), picture)


@pytest.mark.parametrize("content", [b"", b"not a picture", None])
def test_a_broken_picture_is_named(tmp_path: Path, flow: NDArray[np.float32], content: bytes | None) -> None:
    path = tmp_path / "a.png"
    write_flow_picture(path, flow)
    path.write_bytes(path.read_bytes()[:-200] if content is None else content)
    with pytest.raises(VideoDecodeError, match=r"a\.png"):
        read_flow_picture(path)


def test_a_picture_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(VideoDecodeError, match=r"nothing\.png"):
        read_flow_picture(tmp_path / "nothing.png")


def test_wrong_options_are_named(tmp_path: Path, flow: NDArray[np.float32]) -> None:
    path = tmp_path / "a.png"
    with pytest.raises(UnknownNameError, match="middlebury"):
        write_flow_picture(path, flow, "middelbury")  # type: ignore[arg-type]
    for wrong in (0, -3.0, float("nan"), float("inf")):
        with pytest.raises(OptionError, match="max_flow"):
            write_flow_picture(path, flow, max_flow=wrong)
        with pytest.raises(OptionError, match="max_flow"):
            read_flow_picture(path, max_flow=wrong)
    with pytest.raises(OptionError, match=r"a\.jpg"):
        write_flow_picture(tmp_path / "a.jpg", flow)
    with pytest.raises(BatchError, match=r"\(2, H, W\)"):
        write_flow_picture(path, flow.transpose(1, 2, 0))
    assert not list(tmp_path.iterdir())


def test_a_write_that_fails_leaves_what_was_there(
    tmp_path: Path, flow: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.png"
    write_flow_picture(path, flow)
    before = path.read_bytes()

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_flow_picture(path, -flow)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]

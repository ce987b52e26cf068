# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from sequences import PALETTE

from staticdropout.datamodules.pictures import picture_size, read_layer, read_mask, read_mask_values, read_picture
from staticdropout.errors import VideoDecodeError

VALUES = np.array([[0, 1, 2], [255, 254, 0]], np.uint8)


def saved(path: Path, values: NDArray[np.uint8], mode: str) -> Path:
    picture = Image.fromarray(values)
    if mode == "P":
        picture.putpalette(PALETTE)
    else:
        picture = picture.convert(mode)
    picture.save(path)
    return path


def test_every_index_of_a_palette_but_0_and_void_is_foreground(tmp_path: Path) -> None:
    file = saved(tmp_path / "mask.png", VALUES, "P")
    assert read_mask(file, void=255).tolist() == [[0, 1, 1], [0, 1, 0]]
    assert read_mask(file).tolist() == [[0, 0, 0], [1, 1, 0]]


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA"])
def test_without_a_palette_255_is_foreground_and_grey_edges_are_cut_in_the_middle(mode: str, tmp_path: Path) -> None:
    file = saved(tmp_path / "mask.png", np.array([[0, 90, 160, 255]], np.uint8), mode)
    assert read_mask(file, void=255).tolist() == [[0, 0, 1, 1]]


def test_small_numbers_without_a_palette_are_objects(tmp_path: Path) -> None:
    assert read_mask(saved(tmp_path / "mask.png", np.array([[0, 1, 2]], np.uint8), "L")).tolist() == [[0, 1, 1]]


def test_a_mask_of_one_bit_is_read(tmp_path: Path) -> None:
    file = saved(tmp_path / "mask.png", np.array([[0, 255]], np.uint8), "1")
    assert read_mask(file).tolist() == [[0, 1]]


def test_the_size_is_height_and_width_and_pictures_are_rgb(tmp_path: Path) -> None:
    file = saved(tmp_path / "frame.png", np.zeros((4, 7), np.uint8), "L")
    assert picture_size(file) == (4, 7)
    assert read_picture(file).shape == (4, 7, 3)


WIDE = np.array([[0, 90 * 257, 160 * 257 + 128, 65535]], np.uint16)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_grey_of_16_bits_is_scaled_to_8(suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"frame{suffix}"
    Image.fromarray(WIDE).save(file)
    assert read_picture(file).tolist() == [[[0] * 3, [90] * 3, [160] * 3, [255] * 3]]
    assert read_mask(file, void=255).tolist() == [[0, 0, 1, 1]]
    Image.fromarray(WIDE.astype(np.int32)).save(tmp_path / "frame.tif")  # how Pillow 10 hands out 16 bits
    assert read_picture(tmp_path / "frame.tif").tolist() == read_picture(file).tolist()


def test_numbers_of_objects_in_16_bits_stay_as_they_are(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 1, 300]], np.uint16)).save(tmp_path / "objects.png")
    assert read_mask_values(tmp_path / "objects.png")[0].tolist() == [[0, 1, 300]]


@pytest.mark.parametrize(
    "values", [np.array([[0, 65536]], np.int32), np.array([[0, -1]], np.int32), np.eye(2, dtype="f")]
)
def test_pictures_without_a_known_white_are_refused(values: NDArray[np.generic], tmp_path: Path) -> None:
    Image.fromarray(values).save(tmp_path / "wide.tif")
    with pytest.raises(VideoDecodeError, match=r"wide\.tif.*go beyond 16 bits; save it with 8 bits"):
        read_picture(tmp_path / "wide.tif")


def test_a_picture_with_an_alpha_channel_is_read_as_on_black(tmp_path: Path) -> None:
    pixels = np.array([[[200, 100, 50, 255], [200, 100, 50, 51], [200, 100, 50, 0]]], np.uint8)
    Image.fromarray(pixels).save(tmp_path / "frame.png")
    assert read_picture(tmp_path / "frame.png").tolist() == [[[200, 100, 50], [40, 20, 10], [0, 0, 0]]]
    colours, alpha = read_layer(tmp_path / "frame.png")
    assert (colours == pixels[..., :3]).all()
    assert alpha.tolist() == [[255, 51, 0]]
    palette = saved(tmp_path / "palette.png", VALUES, "P")
    opaque = read_picture(palette)
    assert (read_layer(palette)[1] == 255).all()
    with Image.open(palette) as picture:
        picture.save(tmp_path / "clear.png", transparency=1)
    assert (read_picture(tmp_path / "clear.png") == opaque * (VALUES != 1)[..., None]).all()


def test_files_that_are_missing_or_damaged_are_named(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"\x89PNG damaged")
    cut = saved(tmp_path / "cut.png", np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8), "L")
    cut.write_bytes(cut.read_bytes()[:1000])
    for name in ("bad.png", "none.png", "cut.png"):
        with pytest.raises(VideoDecodeError, match=rf"{name}.*data check"):
            read_mask(tmp_path / name)
        with pytest.raises(VideoDecodeError, match=name):
            read_picture(tmp_path / name)

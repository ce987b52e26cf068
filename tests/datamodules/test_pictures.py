# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from sequences import PALETTE

from staticdropout.datamodules.pictures import picture_size, read_mask, read_picture
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


def test_files_that_are_missing_or_damaged_are_named(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"\x89PNG damaged")
    cut = saved(tmp_path / "cut.png", np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8), "L")
    cut.write_bytes(cut.read_bytes()[:1000])
    for name in ("bad.png", "none.png", "cut.png"):
        with pytest.raises(VideoDecodeError, match=rf"{name}.*data check"):
            read_mask(tmp_path / name)
        with pytest.raises(VideoDecodeError, match=name):
            read_picture(tmp_path / name)

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from staticdropout.errors import BatchError, UnknownNameError
from staticdropout.perturbations import StyleSet, contact_sheet, save_sheet


class Latest:
    """A temporal style: every frame becomes the last frame of the clip that it is given."""

    name, temporal = "latest", True

    def __call__(self, clip: Tensor, *, seed: int = 0) -> Tensor:
        return clip[:, :, -1:].expand_as(clip)


def test_the_sheet_has_a_row_for_the_source_and_for_each_style(textured_clips: Tensor) -> None:
    pixels = np.asarray(contact_sheet(textured_clips[0], ["chalk", "neon"], num_frames=4, frame_width=80))
    assert pixels.shape == (3 * (72 + 3) + 3, 96 + 4 * (80 + 3), 3)
    source = (textured_clips[0, :, 0].permute(1, 2, 0) * 255).round().byte().numpy()
    assert np.array_equal(pixels[3 : 3 + 72, 96 : 96 + 80], source)
    rows = [pixels[3 + 75 * i : 75 + 75 * i, 96:] for i in range(3)]
    assert not np.array_equal(rows[1], rows[2])
    assert all(pixels[3 + 75 * i : 75 + 75 * i, :96].min() < 100 for i in range(3)), "every row has a label"


def test_frames_are_spread_over_the_clip_and_a_short_clip_shows_all() -> None:
    clip = (torch.arange(9) / 8).view(1, 9, 1, 1).expand(3, 9, 8, 8)
    pixels = np.asarray(contact_sheet(clip, ["neon"], num_frames=3, frame_width=8))
    assert [int(pixels[4, 98 + 11 * i, 0]) for i in range(3)] == [0, 128, 255]
    assert contact_sheet(clip[:, :2], ["neon"], num_frames=6, frame_width=8).width == 96 + 2 * 11


def test_a_temporal_style_sees_the_whole_clip() -> None:
    clip = (torch.arange(9) / 8).view(1, 9, 1, 1).expand(3, 9, 8, 8)
    pixels = np.asarray(contact_sheet(clip, [Latest()], num_frames=1, frame_width=8))
    assert pixels[4, 98].tolist() == [0, 0, 0]
    assert pixels[4 + 11, 98].tolist() == [255, 255, 255]


def test_portrait_clips_and_half_precision_are_drawn() -> None:
    sheet = contact_sheet(torch.rand(3, 2, 64, 32).half(), StyleSet(), num_frames=2, frame_width=16)
    assert sheet.size == (96 + 2 * 19, 5 * 35 + 3)


def test_a_sheet_is_written_where_asked(tmp_path: Path, textured_clips: Tensor) -> None:
    path = save_sheet(textured_clips[0], str(tmp_path / "new" / "sheet.png"), ["relief"], num_frames=2)
    with Image.open(path) as image:
        assert image.size == contact_sheet(textured_clips[0], ["relief"], num_frames=2).size


@pytest.mark.parametrize(
    ("clip", "options", "error", "message"),
    [
        (torch.rand(1, 3, 4, 8, 8), {}, BatchError, "shape"),
        (torch.zeros(3, 4, 8, 8, dtype=torch.uint8), {}, BatchError, "uint8"),
        (torch.rand(3, 4, 8, 8), {"num_frames": 0}, ValueError, "num_frames=0"),
        (torch.rand(3, 4, 8, 8), {"styles": ["oil"]}, UnknownNameError, "'oil'"),
    ],
)
def test_bad_input_is_named(clip: Tensor, options: dict[str, object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        contact_sheet(clip, **options)  # type: ignore[arg-type]

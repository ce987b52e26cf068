# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch

from staticdropout.datamodules import EvalTransform, TrainTransform


def ramp(height: int, width: int, frames: int = 3) -> torch.Tensor:
    """A clip (T, 3, H, W) whose red grows to the right and whose green grows downward; all frames alike."""
    red = torch.linspace(0, 255, width).expand(height, width)
    green = torch.linspace(0, 255, height)[:, None].expand(height, width)
    return torch.stack([red, green, torch.zeros_like(red)]).to(torch.uint8).expand(frames, 3, height, width)


@pytest.mark.parametrize("size", [(240, 427), (427, 240), (60, 60), (30, 200)])
@pytest.mark.parametrize("options", [{}, {"scale": (0.3, 1.0)}, {"flip": True}])
def test_training_clips_have_one_size_and_every_frame_the_same_crop(size: tuple[int, int], options: dict) -> None:  # type: ignore[type-arg]
    transform = TrainTransform(48, short_side=(56, 72), **options)
    for _ in range(5):
        clip = transform(ramp(*size))
        assert clip.shape == (3, 3, 48, 48)
        assert clip.dtype == torch.uint8
        assert type(clip) is torch.Tensor
        assert clip.is_contiguous()
        assert torch.equal(clip[:, 0], clip[:, 1])


def test_training_crops_differ_and_follow_torchs_seed() -> None:
    transform = TrainTransform(48, short_side=(56, 72))
    torch.manual_seed(3)
    first = [transform(ramp(60, 80)) for _ in range(3)]
    torch.manual_seed(3)
    second = [transform(ramp(60, 80)) for _ in range(3)]
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(first[0], first[1])


def test_a_fixed_short_side_cuts_the_original_pixels() -> None:
    clip = ramp(48, 64)
    cut = TrainTransform(32, short_side=48)(clip)
    positions = [(top, left) for top in range(17) for left in range(33)]
    found = [torch.equal(cut[:, 0], clip[0, :, top : top + 32, left : left + 32]) for top, left in positions]
    assert sum(found) == 1


def test_left_and_right_are_never_exchanged_unless_asked_for() -> None:
    def mirrored(flip: bool) -> list[bool]:
        transform = TrainTransform(32, short_side=40, flip=flip)
        clips = [transform(ramp(40, 60))[0, 0].float() for _ in range(40)]
        return [bool(clip[:, 0].mean() > clip[:, -1].mean()) for clip in clips]

    assert not any(mirrored(flip=False))
    assert 5 < sum(mirrored(flip=True)) < 35


@pytest.mark.parametrize(("size", "axis"), [((60, 100), 2), ((100, 60), 1)])
def test_three_crops_go_along_the_longer_side_and_the_second_is_the_centre(size: tuple[int, int], axis: int) -> None:
    clip = ramp(*size)
    crops = EvalTransform(40, short_side=40, num_crops=3)(clip)
    centre = EvalTransform(40, short_side=40)(clip)
    assert crops.shape == (3, 3, 3, 40, 40)
    assert torch.equal(crops[1], centre)
    along = crops[:, axis - 2 if axis == 2 else 1, 0].float().mean(dim=(1, 2))
    assert along[0] < along[1] < along[2]


def test_the_centre_crop_is_the_centre() -> None:
    clip = ramp(40, 60)
    assert torch.equal(EvalTransform(20, short_side=40)(clip)[:, 0], clip[0, :, 10:30, 20:40])


@pytest.mark.parametrize("short_side", [100, (100, 200), (300, 260)])
def test_a_short_side_below_the_crop_is_refused(short_side: int | tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="short_side"):
        TrainTransform(224, short_side=short_side)


def test_impossible_options_are_refused() -> None:
    with pytest.raises(ValueError, match="short_side"):
        EvalTransform(224, short_side=200)
    with pytest.raises(ValueError, match="num_crops"):
        EvalTransform(224, num_crops=0)
    with pytest.raises(ValueError, match="scale"):
        TrainTransform(224, scale=(0.5, 2.0))

# SPDX-License-Identifier: Apache-2.0
"""Clip transforms: frames of any size in, uint8 clips of one size out, every frame of a clip treated alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from ..errors import OptionError

__all__ = ("ClipTransform", "EvalTransform", "TrainTransform")

ClipTransform: TypeAlias = "TrainTransform | EvalTransform"


class TrainTransform:
    """A random crop, resized to a square; optionally flipped.

    Without ``scale`` this is the training transform of SlowFast: the shorter side of the video is scaled to a random
    length in ``short_side`` and a square of ``crop_size`` is cut out at random. (The square is cut out of the original
    picture and then scaled, which is the same picture for less work.) With ``scale`` it is torchvision's
    ``RandomResizedCrop``.

    Args:
        crop_size: height and width of the clip in pixels.
        short_side: one length or the range (smallest, largest) of the shorter side in pixels, at least ``crop_size``.
        scale: range of the crop's share of the picture's area, e.g. ``(0.08, 1.0)``; None: crop by ``short_side``.
        ratio: range of the crop's width divided by its height; used with ``scale``.
        flip: mirror left and right with probability 0.5. Leave it off where a class means a direction.

    Raises:
        OptionError: ``short_side`` is smaller than ``crop_size``, or a range is not one.

    Example:
        >>> clip = torch.zeros(8, 3, 60, 80, dtype=torch.uint8)
        >>> TrainTransform(32, short_side=(40, 50))(clip).shape
        torch.Size([3, 8, 32, 32])
    """

    def __init__(
        self,
        crop_size: int,
        short_side: int | Sequence[int] = (256, 320),
        scale: Sequence[float] | None = None,
        ratio: Sequence[float] = (3 / 4, 4 / 3),
        flip: bool = False,
    ) -> None:
        low, high = (short_side, short_side) if isinstance(short_side, int) else tuple(short_side)
        if not crop_size <= low <= high:
            raise OptionError(
                "short_side must be one length or (smallest, largest), none below the crop's size "
                f"({crop_size}); got {short_side}."
            )
        if scale is not None and not 0 < scale[0] <= scale[1] <= 1:
            raise OptionError(f"scale must be (smallest, largest) share of the area within (0, 1]; got {tuple(scale)}.")
        self.crop_size, self.short_side, self.flip = crop_size, (low, high), flip
        self._random_resized = None
        if scale is not None:
            self._random_resized = v2.RandomResizedCrop(crop_size, tuple(scale), tuple(ratio), antialias=True)

    @property
    def num_views(self) -> int:
        """Clips that come out for one that goes in."""
        return 1

    def __call__(self, clip: Tensor) -> Tensor:
        """Transform a uint8 clip ``(T, C, H, W)`` into ``(C, T, crop_size, crop_size)``."""
        video = tv_tensors.Video(clip)
        video = self._jittered(video) if self._random_resized is None else self._random_resized(video)
        if self.flip and torch.rand(()) < 0.5:
            video = F.horizontal_flip(video)
        pixels: Tensor = video.as_subclass(Tensor)
        return pixels.permute(1, 0, 2, 3).contiguous()

    def _jittered(self, video: tv_tensors.Video) -> tv_tensors.Video:
        height, width = video.shape[-2:]
        low, high = self.short_side
        short_side = int(torch.randint(low, high + 1, ()))
        side = max(1, round(min(height, width) * self.crop_size / short_side))
        top = int(torch.randint(height - side + 1, ()))
        left = int(torch.randint(width - side + 1, ()))
        cropped: tv_tensors.Video = F.resized_crop(video, top, left, side, side, [self.crop_size] * 2, antialias=True)
        return cropped


class EvalTransform:
    """The shorter side resized, then the centre cropped, or three crops along the longer side.

    Args:
        crop_size: height and width of the clip in pixels.
        short_side: length of the shorter side after resizing, in pixels, at least ``crop_size``.
        num_crops: 1: the centre; more: evenly from one end of the longer side to the other (3 is usual).

    Raises:
        OptionError: ``short_side`` is smaller than ``crop_size``, or ``num_crops`` than 1.

    Example:
        >>> clip = torch.zeros(8, 3, 60, 80, dtype=torch.uint8)
        >>> EvalTransform(32, short_side=32, num_crops=3)(clip).shape
        torch.Size([3, 3, 8, 32, 32])
    """

    def __init__(self, crop_size: int, short_side: int = 256, num_crops: int = 1) -> None:
        if short_side < crop_size:
            raise OptionError(f"short_side must not be below crop_size={crop_size}; got {short_side}.")
        if num_crops < 1:
            raise OptionError(f"num_crops must be at least 1; got {num_crops}.")
        self.crop_size, self.short_side, self.num_crops = crop_size, short_side, num_crops

    @property
    def num_views(self) -> int:
        """Clips that come out for one that goes in."""
        return self.num_crops

    def __call__(self, clip: Tensor) -> Tensor:
        """Transform a uint8 clip ``(T, C, H, W)`` into ``(C, T, size, size)``, or ``(num_crops, C, T, size, size)``."""
        video: Tensor = F.resize(tv_tensors.Video(clip), [self.short_side], antialias=True).as_subclass(Tensor)
        video = video.permute(1, 0, 2, 3)
        size = self.crop_size
        room = (video.shape[-2] - size, video.shape[-1] - size)
        crops = []
        for number in range(self.num_crops):
            share = 0.5 if self.num_crops == 1 else number / (self.num_crops - 1)
            # only the longer side is walked along; the shorter one stays centred
            top = round(room[0] * (share if room[0] > room[1] else 0.5))
            left = round(room[1] * (share if room[1] >= room[0] else 0.5))
            crops.append(video[..., top : top + size, left : left + size])
        return crops[0].contiguous() if self.num_crops == 1 else torch.stack(crops)

# SPDX-License-Identifier: Apache-2.0
"""Frames, flow, masks and negatives of any size in, uint8 tensors of one size out, all of them warped alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from ..errors import OptionError
from ..perturbations.flow_colours import NO_MOTION, Encoding, turn_flow_colours

__all__ = ("Frame", "SegmentationEvalTransform", "SegmentationTrainTransform", "SegmentationTransform")

Frame: TypeAlias = Mapping[str, Tensor]
"""``image`` (3, H, W), ``flow`` (3, H, W) or (6, H, W), ``mask`` (1, H, W), perhaps ``negatives`` (1, H, W), uint8."""

SegmentationTransform: TypeAlias = "SegmentationTrainTransform | SegmentationEvalTransform"


def _resize(frame: Frame, size: tuple[int, int]) -> dict[str, Tensor]:
    """Resize each picture to ``size``, whatever sizes they have: masks by nearest neighbour, the others bilinearly."""
    resized = {}
    for name, picture in frame.items():
        mode = InterpolationMode.NEAREST_EXACT if name == "mask" else InterpolationMode.BILINEAR
        resized[name] = F.resize(picture, list(size), interpolation=mode, antialias=name != "mask")
    return resized


class SegmentationEvalTransform:
    """A plain resize to (H, W), without regard to the aspect.

    Args:
        size: height and width in pixels.

    Example:
        >>> frame = {"image": torch.zeros(3, 30, 40, dtype=torch.uint8), "mask": torch.zeros(1, 30, 40)}
        >>> SegmentationEvalTransform((24, 24))([frame])[0]["image"].shape
        torch.Size([3, 24, 24])
    """

    def __init__(self, size: tuple[int, int] = (473, 473)) -> None:
        self.size = size

    def __call__(self, frames: Sequence[Frame]) -> list[dict[str, Tensor]]:
        """Resize all pictures of some frames of one video."""
        return [_resize(frame, self.size) for frame in frames]


class SegmentationTrainTransform:
    """A plain resize to (H, W), then a random flip, rotation and zoom, one for all that belongs together.

    These are the augmentations of MATNet (tfzhou/MATNet). Frame, flow, mask and negatives, and where several frames are
    given all of them, go through the same warp: bilinear, for masks nearest neighbour. What comes in at the border is
    black in frames, without motion in flow, background in masks.

    A flow picture shows directions as colours, so a warp has to change the colours as well: with ``turn_flow`` they
    are mirrored and turned by the angle of the warp. (The released code of the reference models warps the picture and
    leaves the colours, ``turn_flow=False``.) The angle is that of the resized picture; where the resize changes the
    aspect, as the reference does, vectors are turned as if it had not. Zooming changes the magnitudes of flow drawn at
    a fixed scale only (``fixed_scale``): drawn at each picture's own largest magnitude, they stay.

    Draws come from torch's global generator, which the data module's loader seeds for every item.

    Args:
        size: height and width of what comes out, in pixels.
        flip: probability of mirroring left and right, in [0, 1].
        rotation: the angle is drawn from [-rotation, rotation], in degrees.
        scale: range of the zoom's factor.
        turn_flow: turn the colours of flow as the vectors turn.
        flow_encoding: how the flow pictures are coloured, ``middlebury`` or ``hsv``.
        fixed_scale: the flow pictures are drawn at one scale (``max_flow``), not each at its own.

    Raises:
        OptionError: a range is not one.

    Example:
        >>> frame = {"image": torch.zeros(3, 30, 40, dtype=torch.uint8), "mask": torch.ones(1, 30, 40)}
        >>> {name: tuple(x.shape) for name, x in SegmentationTrainTransform((24, 24))([frame])[0].items()}
        {'image': (3, 24, 24), 'mask': (1, 24, 24)}
    """

    def __init__(
        self,
        size: tuple[int, int] = (473, 473),
        flip: float = 0.5,
        rotation: float = 10.0,
        scale: tuple[float, float] = (0.75, 1.25),
        turn_flow: bool = True,
        flow_encoding: Encoding = "middlebury",
        fixed_scale: bool = False,
    ) -> None:
        if not 0 <= flip <= 1:
            raise OptionError(f"flip is a probability between 0 and 1; got {flip}.")
        if not 0 <= rotation <= 180:
            raise OptionError(f"rotation is the largest angle, between 0 and 180 degrees; got {rotation}.")
        if not 0 < scale[0] <= scale[1]:
            raise OptionError(f"scale must be (smallest, largest) factor, both above 0; got {tuple(scale)}.")
        self.size, self.flip, self.rotation, self.scale = size, flip, rotation, scale
        self.turn_flow, self.flow_encoding, self.fixed_scale = turn_flow, flow_encoding, fixed_scale

    def __call__(self, frames: Sequence[Frame]) -> list[dict[str, Tensor]]:
        """Transform all pictures of some frames of one video by one warp."""
        low, high = self.scale
        flip = bool(torch.rand(()) < self.flip)
        angle = float(torch.empty(()).uniform_(-self.rotation, self.rotation)) if self.rotation else 0.0
        zoom = float(torch.empty(()).uniform_(low, high)) if low < high else low
        return [self.warp(_resize(frame, self.size), flip, angle, zoom) for frame in frames]

    def warp(self, frame: Frame, flip: bool, angle: float, zoom: float) -> dict[str, Tensor]:
        """Warp the pictures of a frame, which are of one size.

        Args:
            frame: see :data:`Frame`.
            flip: mirror left and right, before the rest.
            angle: rotation in degrees, counter-clockwise on the screen.
            zoom: factor by which things become larger.
        """
        warped = {}
        for name, picture in frame.items():
            picture = F.horizontal_flip(picture) if flip else picture
            if angle or zoom != 1:
                fill = [255 * value for value in NO_MOTION[self.flow_encoding]] if name == "flow" else [0.0]
                mode = InterpolationMode.NEAREST if name == "mask" else InterpolationMode.BILINEAR
                # torchvision's affine turns clockwise, its rotate and this method the other way
                picture = F.affine(picture, -angle, [0, 0], zoom, [0, 0], mode, fill=fill * (len(picture) // len(fill)))
            warped[name] = self._turned(picture, flip, angle, zoom) if name == "flow" else picture.contiguous()
        return warped

    def _turned(self, flow: Tensor, flip: bool, angle: float, zoom: float) -> Tensor:
        zoom = zoom if self.fixed_scale else 1.0
        if not self.turn_flow or (not flip and not angle and zoom == 1):
            return flow.contiguous()
        colours = flow.reshape(-1, 3, *flow.shape[1:]).float() / 255  # forward and, where it is there, backward
        turned = turn_flow_colours(colours, self.flow_encoding, angle=angle, flip=flip, scale=zoom)
        return (turned * 255).round().to(torch.uint8).reshape(flow.shape)

# SPDX-License-Identifier: Apache-2.0
"""Patches of painted keyframes, in an order that a seed fixes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from ..errors import AnnotationError
from .draws import Draw, ShuffledDraws, hashed
from .keyframe_files import Keyframe
from .pictures import read_layer, read_picture

__all__ = (
    "KeyframePatches",
    "PatchDraws",
    "PatchPlace",
    "PatchSource",
    "read_painted",
    "read_pixels",
    "read_source",
    "valid_centres",
)

_EROSION = 7
_OPAQUE, _HALF = 255, 128


class PatchSource(NamedTuple):
    """A keyframe in memory.

    Attributes:
        source: ``(3 + 3 g, H, W)``, the frame and its ``g`` guide images, in [-1, 1].
        painted: ``(3, H, W)`` in [-1, 1].
        centres: ``(N, 2)`` rows and columns that may be the centre of a patch.
    """

    source: Tensor
    painted: Tensor
    centres: Tensor


class PatchPlace(NamedTuple):
    """Where a patch is.

    Attributes:
        keyframe: index of the keyframe.
        centre: index into its centres.
        reference: the same of the patch that shows the discriminator what painting looks like.
    """

    keyframe: int
    centre: int
    reference: int


def read_pixels(*paths: Any) -> Tensor:
    """Read pictures of one size as ``(3 n, H, W)`` in [-1, 1].

    Raises:
        VideoDecodeError: one cannot be read.
    """
    pixels = [torch.from_numpy(read_picture(path)).permute(2, 0, 1) for path in paths]
    return torch.cat(pixels).float() / 127.5 - 1


def read_painted(keyframe: Keyframe) -> tuple[Tensor, Tensor]:
    """Read a painting as ``(3, H, W)`` in [-1, 1], and where it is opaque, ``(H, W)``.

    What is transparent was not painted: the frame shows through there.

    Raises:
        VideoDecodeError: a file cannot be read.
    """
    colours, alpha = (torch.from_numpy(part) for part in read_layer(keyframe.painted))
    painted = colours.permute(2, 0, 1).float() / 127.5 - 1
    if alpha.min() < _OPAQUE:
        painted = torch.lerp(read_pixels(keyframe.source), painted, alpha.float() / _OPAQUE)
    return painted, alpha > _HALF


def valid_centres(mask: Tensor) -> Tensor:
    """The pixels that may be the centre of a patch: those whose 7x7 neighbours all lie in the picture and its mask.

    Args:
        mask: ``(H, W)``, true where the picture counts.

    Returns:
        ``(N, 2)`` rows and columns.

    Example:
        >>> valid_centres(torch.ones(8, 7, dtype=torch.bool)).tolist()
        [[3, 3], [4, 3]]
    """
    outside = F.pad((~mask).float()[None], [_EROSION // 2] * 4, value=1)
    return (F.max_pool2d(outside, _EROSION, 1)[0] == 0).nonzero()


def read_source(keyframe: Keyframe, patch_size: int) -> PatchSource:
    """Read a keyframe. Pixels that are outside of its mask, or transparent in the painting, are no centres.

    Raises:
        AnnotationError: it is smaller than a patch, or mask and painting leave no room for one.
        VideoDecodeError: a file cannot be read.
    """
    source = read_pixels(keyframe.source, *keyframe.guides)
    painted, opaque = read_painted(keyframe)
    height, width = painted.shape[1:]
    if min(height, width) < patch_size:
        raise AnnotationError(
            f"The keyframe {str(keyframe.source)!r} is {width}x{height} pixels, smaller than a patch "
            f"({patch_size}x{patch_size}). Use a larger one, or set a smaller patch_size."
        )
    mask = opaque
    if keyframe.mask is not None:
        mask = torch.from_numpy(read_picture(keyframe.mask).max(-1) > _HALF)
        if not mask.any():
            raise AnnotationError(
                f"The mask {str(keyframe.mask)!r} is empty: no pixel is above 128. Draw what is painted in white, or "
                "remove the mask folder: without masks all of a picture counts."
            )
    if not opaque.any():
        raise AnnotationError(
            f"The painting {str(keyframe.painted)!r} is transparent everywhere. Paint on it, or save it with the layer "
            "that was painted."
        )
    centres = valid_centres(mask & opaque)
    if not len(centres) and not opaque.all():
        raise AnnotationError(
            f"The painting {str(keyframe.painted)!r} is transparent, or outside of its mask, nearly everywhere: "
            f"nowhere are {_EROSION}x{_EROSION} painted pixels together. Paint a larger region, or save it without "
            "transparency."
        )
    if not len(centres):
        raise AnnotationError(
            f"The mask {str(keyframe.mask or keyframe.source)!r} leaves no place for a patch: nowhere are {_EROSION}x"
            f"{_EROSION} pixels together above 128. Draw the painted region larger."
        )
    return PatchSource(source, painted, centres)


class KeyframePatches(Dataset[dict[str, Tensor]]):
    """Patches of keyframes by the number of the draw.

    Draw ``i`` is of keyframe ``i % K``. The centres of a keyframe come in random order, each once before any comes
    again; the reference patch is at a random centre of the same keyframe, each time. Both follow from the seed and the
    number alone, so that there is nothing to keep for a resume.

    A patch is the ``patch_size`` pixels around its centre, moved inside where they would leave the picture.

    Args:
        sources: the keyframes.
        length: patches in an epoch.
        patch_size: height and width.

    Example:
        >>> picture = torch.rand(3, 40, 40)
        >>> source = PatchSource(picture, picture, valid_centres(torch.ones(40, 40, dtype=torch.bool)))
        >>> patch = KeyframePatches([source], length=10)[Draw(4, seed=0)]
        >>> {name: tuple(pixels.shape) for name, pixels in patch.items()}
        {'input': (3, 32, 32), 'target': (3, 32, 32), 'reference': (3, 32, 32)}
    """

    def __init__(self, sources: Sequence[PatchSource], length: int, patch_size: int = 32) -> None:
        self.sources, self.length, self.patch_size = list(sources), length, patch_size
        self._orders: dict[int, tuple[tuple[int, int], Tensor]] = {}

    def __len__(self) -> int:
        return self.length

    def place(self, asked: Draw) -> PatchPlace:
        """Where the patch of a draw is; ``asked.item`` counts from the beginning of the training on."""
        number, keyframe = divmod(asked.item, len(self.sources))
        count = len(self.sources[keyframe].centres)
        lap, position = divmod(number, count)
        known, order = self._orders.get(keyframe, (None, torch.empty(0)))
        if known != (asked.seed, lap):
            key = hashed(asked.seed, keyframe, lap)
            order = torch.randperm(count, generator=torch.Generator().manual_seed(key))
            self._orders[keyframe] = (asked.seed, lap), order
        return PatchPlace(keyframe, int(order[position]), hashed(asked.seed, keyframe, lap, position) % count)

    def _cut(self, picture: Tensor, centre: Tensor) -> Tensor:
        half, size = self.patch_size // 2, self.patch_size
        limits = (picture.shape[1] - size, picture.shape[2] - size)
        top, left = (min(max(0, at - half), limit) for at, limit in zip(centre.tolist(), limits, strict=True))
        return picture[:, top : top + size, left : left + size]

    def __getitem__(self, asked: Draw | int) -> dict[str, Tensor]:
        """Return ``input`` ``(3 + 3 g, h, w)``, ``target`` and ``reference`` ``(3, h, w)`` of a draw, in [-1, 1]."""
        place = self.place(asked if isinstance(asked, Draw) else Draw(asked, 0))
        source, painted, centres = self.sources[place.keyframe]
        centre = centres[place.centre]
        return {
            "input": self._cut(source, centre),
            "target": self._cut(painted, centre),
            "reference": self._cut(painted, centres[place.reference]),
        }


class PatchDraws(ShuffledDraws):
    """Numbers of draws, counted on from epoch to epoch; rank r has the r-th part of each epoch.

    Args:
        dataset: the patches.
        num_replicas: number of ranks.
        rank: the own one, from 0.
        seed: of all draws; the same on all ranks.

    Example:
        >>> sampler = PatchDraws(range(4))
        >>> sampler.set_epoch(2)
        >>> [draw.item for draw in sampler]
        [8, 9, 10, 11]
    """

    def __iter__(self) -> Iterator[Draw]:
        number, skip = self.epoch + self.round, self.skip
        self.round, self.skip = self.round + 1, 0
        first = number * self.total_size + self.rank * self.num_samples
        return (Draw(item, self.seed) for item in range(first + skip, first + self.num_samples))

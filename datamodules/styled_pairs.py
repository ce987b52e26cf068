# SPDX-License-Identifier: Apache-2.0
"""Pairs of styled clips as a map-style data set, read from frames on disk, and their collate function."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms.v2 import functional as F

from ..errors import OptionError, VideoDecodeError
from ..perturbations.protocols import ActionPair, Pathway
from .pictures import read_picture
from .styled_videos import StyledFolder
from .video_dataset import VideoCollate

__all__ = ("PairCollate", "StyledPair", "StyledPairs", "square")

_READER = "frames"


class StyledPair(NamedTuple):
    """A pair to read.

    Attributes:
        pair: what was drawn.
        seed: that it was drawn with.
        label: class of its video, -1 where it is not known.
    """

    pair: ActionPair
    seed: int
    label: int


def square(picture: Tensor, short_side: int, crop_size: int) -> Tensor:
    """Resize a uint8 picture (3, H, W) to a shorter side, and cut out the centre.

    As the released code does: bilinear interpolation without anti-aliasing, the longer side rounded down.

    Example:
        >>> square(torch.zeros(3, 30, 40, dtype=torch.uint8), 24, 20).shape
        torch.Size([3, 20, 20])
    """
    if min(picture.shape[-2:]) != short_side:
        picture = F.resize(picture, [short_side], antialias=False)
    top, left = (round((side - crop_size) / 2) for side in picture.shape[-2:])
    return picture[..., top : top + crop_size, left : left + crop_size]


class StyledPairs(Dataset[dict[str, Any]]):
    """Pairs of styled clips.

    An item is ``{"video", "paired_video"}`` (3, T, H, W) uint8, ``"factor"`` (an index into static, dynamic),
    ``"seed"``, ``"label"`` and ``"id"``, the name of the video. Where pathways are sampled by themselves there are also
    ``"slow"`` and ``"paired_slow"``. Only the frames that are needed are read.

    A pair with a frame that cannot be read raises VideoDecodeError with ``on_error="raise"``. With ``"skip"`` the item
    has no videos, but ``"skipped"``, a list of (id, reason); where not a single pair can be read, VideoDecodeError is
    raised all the same.

    Args:
        folder: the styled data set.
        pairs: what to read.
        short_side: length of the shorter side after resizing, in pixels.
        crop_size: height and width of clips in pixels, at most ``short_side``.
        on_error: ``"raise"`` or ``"skip"``.

    Raises:
        OptionError: the crop is larger than the shorter side.
    """

    def __init__(
        self,
        folder: StyledFolder,
        pairs: Sequence[StyledPair],
        short_side: int = 256,
        crop_size: int = 256,
        on_error: Literal["skip", "raise"] = "raise",
    ) -> None:
        if not 1 <= crop_size <= short_side:
            raise OptionError(f"crop_size={crop_size} must be at least 1 and not above short_side={short_side}.")
        self.folder, self.pairs = folder, list(pairs)
        self.short_side, self.crop_size, self.on_error = short_side, crop_size, on_error
        self._some_readable = False

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def item_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of an item's videos."""
        pair = self.pairs[0].pair
        lengths = {"video": len(pair.frames_a), "paired_video": len(pair.frames_a)}
        if pair.slow is not None:
            lengths |= {"slow": len(pair.slow.frames_a), "paired_slow": len(pair.slow.frames_a)}
        return {name: (3, length, self.crop_size, self.crop_size) for name, length in lengths.items()}

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Read a pair."""
        pair, seed, label = self.pairs[index]
        item: dict[str, Any] = {"label": label, "id": pair.name, "factor": pair.factor, "seed": seed}
        try:
            item |= self._load(pair)
        except VideoDecodeError as error:
            if self.on_error == "raise":
                raise
            if not self._some_readable and not self._finds_readable(index):
                raise VideoDecodeError(
                    error.path,
                    _READER,
                    f"{error.reason.rstrip('.')}; and none of the {len(self)} pairs could be read",
                    "Check --data.root and --data.pattern.",
                ) from error
            item["skipped"] = [(pair.name, error.reason)]
        self._some_readable = True
        return item

    def _finds_readable(self, index: int) -> bool:
        """Whether any other pair can be read."""
        for step in range(1, len(self)):
            try:
                self._load(self.pairs[(index + step) % len(self)].pair)
            except VideoDecodeError:
                continue
            return True
        return False

    def _load(self, pair: ActionPair) -> dict[str, Tensor]:
        sides = {"video": Pathway(pair.frames_a, pair.frames_b, pair.order)}
        if pair.slow is not None:
            sides["slow"] = pair.slow
        read: dict[str, Tensor] = {}
        wanted_a = {frame for side in sides.values() for frame in side.frames_a}
        first_side = self._frames(pair.name, pair.style_a, wanted_a)
        second_side = first_side
        if pair.order is None:
            wanted_b = {frame for side in sides.values() for frame in side.frames_b}
            second_side = self._frames(pair.name, pair.style_b, wanted_b)
        for name, (first, second, order) in sides.items():
            read[name] = _clip(first_side, first)
            paired = _clip(second_side, second)
            read[f"paired_{name}"] = paired if order is None else paired[:, list(order)]
        return read

    def _frames(self, video: str, style: int, wanted: set[int]) -> dict[int, Tensor]:
        """The pictures of some frames, each read once however often a clip shows it."""
        files = self.folder.frames(style, video)
        if len(files) <= max(wanted):
            number, name = self.folder.styles[style]
            path = self.folder.pattern.folder(self.folder.root, name, number, video)
            found = f"it has {len(files)} frames, but had more than {max(wanted)} when they were counted"
            raise VideoDecodeError(path, _READER, found, "Stylise it again.")
        return {frame: self._picture(files[frame]) for frame in sorted(wanted)}

    def _picture(self, file: Path) -> Tensor:
        return square(torch.from_numpy(read_picture(file)).permute(2, 0, 1), self.short_side, self.crop_size)


def _clip(pictures: dict[int, Tensor], frames: Sequence[int]) -> Tensor:
    return torch.stack([pictures[frame] for frame in frames], dim=1)


class PairCollate:
    """Make a batch of items of :class:`StyledPairs`.

    As :class:`.VideoCollate`, with ``"paired_video"``, and perhaps ``"slow"`` and ``"paired_slow"``, beside
    ``"video"``, and ``"factor"`` and ``"seed"``, (B,) int64. Pairs that could not be read are left out.

    Args:
        item_shapes: shapes of one item's videos by name.

    Example:
        >>> shapes = {"video": (3, 8, 32, 32), "paired_video": (3, 8, 32, 32)}
        >>> batch = PairCollate(shapes)([{"label": 0, "id": "7", "factor": 1, "seed": 1, "skipped": [("7", "no")]}])
        >>> batch["paired_video"].shape, batch["factor"].shape, batch["skipped"]
        (torch.Size([0, 3, 8, 32, 32]), torch.Size([0]), [('7', 'no')])
    """

    def __init__(self, item_shapes: dict[str, tuple[int, ...]]) -> None:
        self.item_shapes = dict(item_shapes)
        self._collate = VideoCollate(item_shapes["video"])

    def __call__(self, items: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Collate items."""
        batch = self._collate(items)
        read = [item for item in items if "video" in item]
        for name, shape in self.item_shapes.items():
            if name != "video":
                empty = torch.empty((0, *shape), dtype=torch.uint8)
                batch[name] = torch.stack([item[name] for item in read]) if read else empty
        for name in ("factor", "seed"):
            batch[name] = torch.tensor([item[name] for item in read], dtype=torch.int64)
        return batch

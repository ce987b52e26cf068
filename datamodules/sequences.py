# SPDX-License-Identifier: Apache-2.0
"""A video of a segmentation data set: its frames, their masks and boxes, as paths."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

__all__ = ("Box", "VideoSequence")


class Box(NamedTuple):
    """A labelled box of one frame, in pixels of the frame size that the annotation file speaks of.

    Attributes:
        x: left edge.
        y: upper edge.
        width: to the right of x.
        height: below y.
        motion: type of motion (MoCA: 0 locomotion, 1 deformation, 2 static); -1 where it is not given.
    """

    x: float
    y: float
    width: float
    height: float
    motion: int = -1


@dataclass(frozen=True)
class VideoSequence:
    """One video as a series of pictures, some or all of them with a mask.

    Attributes:
        name: the name in the data set, which is also the folder of its flow; it may hold slashes.
        frames: the pictures in the order of time.
        masks: for each frame the file of its mask, or None.
        boxes: for each frame its box, or None; None as a whole where the data set has no boxes.
        box_size: height and width of the frame in whose pixels the boxes are given.
        void: value of pixels in palette masks that are neither foreground nor background; None: there are none.

    Raises:
        ValueError: frames, masks and boxes are not of one length.

    Example:
        >>> video = VideoSequence("bear", (Path("00000.jpg"), Path("00001.jpg")), (Path("00000.png"), None))
        >>> len(video), video.frame_id(1), video.has_masks
        (2, 'bear/00001', True)
    """

    name: str
    frames: tuple[Path, ...]
    masks: tuple[Path | None, ...]
    boxes: tuple[Box | None, ...] | None = None
    box_size: tuple[int, int] | None = None
    void: int | None = None

    def __post_init__(self) -> None:
        """Check the lengths."""
        lengths = {len(self.frames), len(self.masks), len(self.frames if self.boxes is None else self.boxes)}
        if len(lengths) > 1:
            raise ValueError(f"Sequence {self.name!r} has frames, masks and boxes of different numbers: {lengths}.")

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def has_masks(self) -> bool:
        """Whether any frame has a mask."""
        return any(mask is not None for mask in self.masks)

    def frame_id(self, position: int) -> str:
        """Return ``"<sequence>/<frame stem>"`` of the frame at ``position``, from 0."""
        return f"{self.name}/{self.frames[position].stem}"

    def box(self, position: int) -> Box | None:
        """Return the box of the frame at ``position``, or None."""
        return None if self.boxes is None else self.boxes[position]

# SPDX-License-Identifier: Apache-2.0
"""The files of one frame of a segmentation data set: picture, flow, mask, negatives, read into tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from ..errors import AnnotationError, DatasetNotFoundError, OptionError
from ..perturbations.flow_colours import Encoding
from .flow import find_flow, flow_path, read_flow_picture
from .frame_selection import FrameRef
from .pictures import picture_size, read_mask, read_mask_values, read_picture
from .sequences import Box

__all__ = ("FrameFiles", "OnSizeMismatch", "draw_box", "wrong_size")

OnSizeMismatch = Literal["raise", "resize"]
"""What to do with a mask of another size than its frame."""

_FLOW_HINT = (
    "Compute it with `staticdropout data flow ROOT`, or let fit do so (--data.flow dis); another folder of flow is set "
    "with --data.flow_dir."
)


def draw_box(box: Box, box_size: tuple[int, int], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return a mask of ``size`` that is 1 inside a box, given in pixels of a frame of ``box_size`` (height, width).

    Example:
        >>> draw_box(Box(2, 0, 2, 2), (4, 4), (2, 2)).tolist()
        [[0, 1], [0, 0]]
    """
    mask = np.zeros(size, np.uint8)
    down, right = size[0] / box_size[0], size[1] / box_size[1]
    top, left = max(0, round(box.y * down)), max(0, round(box.x * right))
    mask[top : max(0, round((box.y + box.height) * down)), left : max(0, round((box.x + box.width) * right))] = 1
    return mask


def wrong_size(ref: FrameRef, mask: Sequence[int], frame: Sequence[int]) -> str:
    """Return the sentence about a mask of another size than its frame; sizes are (H, W)."""
    return (
        f"The mask {str(ref.mask)!r} is {mask[1]}x{mask[0]} pixels, but its frame {ref.frame.name} is "
        f"{frame[1]}x{frame[0]}. Mend or remove it, or have such masks resized (--data.on_size_mismatch resize)."
    )


@dataclass(frozen=True)
class FrameFiles:
    """Reads what belongs to a frame, and checks beforehand that it is there.

    Attributes:
        flow_dir: folder of the flow.
        gaps: which flow: (1,), or (1, -1) for forward and backward.
        flow_encoding: colours of the flow pictures.
        max_flow: magnitude in pixels of the full colour; None: as the pictures are, each at its own.
        negatives_dir: folder of ``<sequence>/<frame>.png``, maps of hard negatives; None: there are none.
        with_negatives: whether there are to be negatives all the same, of zeros.
        on_size_mismatch: ``raise``, or ``resize`` by nearest neighbour.
    """

    flow_dir: Path
    gaps: tuple[int, ...] = (1,)
    flow_encoding: Encoding = "middlebury"
    max_flow: float | None = None
    negatives_dir: Path | None = None
    with_negatives: bool = False
    on_size_mismatch: OnSizeMismatch = "raise"

    def load(self, ref: FrameRef) -> dict[str, Tensor]:
        """Read a frame: ``image`` (3, H, W), ``flow`` (3 or 6, …), ``mask`` (1, H, W), perhaps ``negatives``, uint8.

        The mask is that of the file; without one that of the box; without a box it is empty. Flow and negatives may
        have another size than the frame.

        Raises:
            VideoDecodeError: a file cannot be read.
            AnnotationError: the mask has another size than the frame.
            DatasetNotFoundError: the flow or the negatives are missing.
        """
        image = read_picture(ref.frame)
        flow = [read_flow_picture(self.flow_file(ref, gap), self.flow_encoding, self.max_flow) for gap in self.gaps]
        frame = {
            "image": torch.from_numpy(image).permute(2, 0, 1),
            "flow": torch.from_numpy(np.concatenate(flow, -1)).permute(2, 0, 1),
            "mask": self._mask(ref, (image.shape[0], image.shape[1])),
        }
        if self.negatives_dir is not None:
            values, _ = read_mask_values(self.negatives_file(ref))
            frame["negatives"] = torch.from_numpy(values.astype(np.uint8))[None]
        elif self.with_negatives:
            frame["negatives"] = torch.zeros_like(frame["mask"])
        return frame

    def _mask(self, ref: FrameRef, size: tuple[int, int]) -> Tensor:
        if ref.mask is None:
            box = ref.sequence.box(ref.position)
            drawn = np.zeros(size, np.uint8) if box is None else draw_box(box, ref.sequence.box_size or size, size)
            return torch.from_numpy(drawn)[None]
        mask = torch.from_numpy(read_mask(ref.mask, ref.sequence.void))[None]
        if mask.shape[1:] == size:
            return mask
        if self.on_size_mismatch == "raise":
            raise AnnotationError(wrong_size(ref, mask.shape[1:], size))
        resized: Tensor = F.resize(mask, list(size), interpolation=InterpolationMode.NEAREST_EXACT)
        return resized

    def flow_file(self, ref: FrameRef, gap: int) -> Path:
        """Return the file of a frame's flow.

        Raises:
            DatasetNotFoundError: it is missing.
        """
        name, stem = ref.sequence.name, ref.frame.stem
        file = find_flow(self.flow_dir, name, stem, gap)
        if file is None:
            kind = "flow" if gap > 0 else "backward flow"
            hint = f"It is the {kind} of frame {stem} of sequence {name!r}. {_FLOW_HINT}"
            raise DatasetNotFoundError(self.flow_dir, [flow_path(self.flow_dir, name, stem, gap)], hint)
        return file

    def negatives_file(self, ref: FrameRef) -> Path:
        """Return the file of a frame's negatives.

        Raises:
            DatasetNotFoundError: it is missing.
            OptionError: there is no folder of negatives.
        """
        if self.negatives_dir is None:
            raise OptionError("There are no maps of hard negatives: set their folder with negatives_dir.")
        file = self.negatives_dir / ref.sequence.name / f"{ref.frame.stem}.png"
        if not file.is_file():
            hint = f"It is the map of hard negatives of {ref.id}; training without them needs no --data.negatives_dir."
            raise DatasetNotFoundError(self.negatives_dir, [file], hint)
        return file

    def has_wrong_size(self, ref: FrameRef) -> str:
        """Return a sentence about the mask where its size is not the frame's, else an empty string."""
        if ref.mask is None:
            return ""
        mask, frame = picture_size(ref.mask), picture_size(ref.frame)
        return "" if mask == frame else wrong_size(ref, mask, frame)

# SPDX-License-Identifier: Apache-2.0
"""Pairs of styled frames with flow and masks as a map-style data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..errors import DatasetNotFoundError
from ..perturbations.protocols import STATIC, DavisPair, DavisProtocol
from .frame_selection import FrameRef
from .pictures import read_picture
from .segmentation_dataset import SegmentationDataset
from .sequences import VideoSequence
from .styled_videos import StyledFolder

__all__ = ("StyledFrame", "StyledFramePairs")


class StyledFrame(NamedTuple):
    """A pair of samples to read.

    Attributes:
        pair: the pair of sequences that it belongs to.
        seed: that it was drawn with.
        position: index of the frame in its sequence, from 0.
    """

    pair: DavisPair
    seed: int
    position: int


class StyledFramePairs(Dataset[dict[str, Any]]):
    """Every frame of every pair of styled sequences.

    An item is that of a :class:`.SegmentationDataset` in evaluation, its ``image`` in the first style, with
    ``paired_image`` and ``paired_flow`` of the same shapes, ``factor`` (an index into static, dynamic) and ``seed``.
    The ``annotation`` has the size of the styled picture.

    Args:
        folder: the styled pictures.
        frames: the data set without style: its sequences, flow, masks and transform.
        protocol: what is drawn.

    Attributes:
        items: what is read, pair by pair and seed by seed.
    """

    def __init__(self, folder: StyledFolder, frames: SegmentationDataset, protocol: DavisProtocol) -> None:
        self.folder, self.protocol = folder, protocol
        self.sequences, self.transform = frames.sequences, frames.transform
        # a style may have been made at another size; everything is resized to one size later
        self.files = replace(frames.files, on_size_mismatch="resize")
        lengths = [(sequence.name, len(sequence)) for sequence in self.sequences]
        self.items = [
            StyledFrame(pair, seed, position)
            for seed in protocol.seeds
            for pair in protocol.draw(lengths, seed)
            for position in protocol.frames(len(self.sequences[pair.sequence]))
        ]
        self._jitters = {seed: protocol.jitter(seed) for seed in protocol.seeds}
        self._styled = {
            (number, style): replace(sequence, frames=self._pictures(sequence, style))
            for number, sequence in enumerate(self.sequences)
            for style in range(len(folder.styles))
        }

    def _pictures(self, sequence: VideoSequence, style: int) -> tuple[Path, ...]:
        number, name = self.folder.styles[style]
        pattern = self.folder.pattern
        frames = [
            file.stem if pattern.by_stem else index + pattern.first_frame for index, file in enumerate(sequence.frames)
        ]
        return tuple(pattern.path(self.folder.root, name, number, sequence.name, frame) for frame in frames)

    def check(self) -> None:
        """Look whether every picture that will be read is there in every style.

        Raises:
            DatasetNotFoundError: one is not.
        """
        for (number, style), sequence in self._styled.items():
            used = [sequence.frames[position] for position in self.protocol.frames(len(sequence))]
            missing = [path for path in used if not path.is_file()]
            if missing:
                original = str(self.sequences[number].frames[0].parent)
                found = (
                    f"{len(missing)} of {len(used)} frames of sequence {sequence.name!r} are missing in the style "
                    f"{self.folder.styles[style].name!r}; the original is {original!r}."
                )
                hint = f"{found} Stylise it again, or check --data.pattern ({self.folder.pattern.text})."
                raise DatasetNotFoundError(self.folder.root, missing[:1], hint)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Read a pair of samples."""
        pair, seed, position = self.items[index]
        refs = [FrameRef(self._styled[pair.sequence, pair.style_a], place) for place in self._places(pair, position)]
        loaded = [self.files.load(ref) for ref in refs]
        for frame, ref in zip(loaded, refs, strict=True):
            frame["paired_image"] = frame["image"]
            if pair.style_b != pair.style_a:
                other = self._styled[pair.sequence, pair.style_b].frames[ref.position]
                frame["paired_image"] = torch.from_numpy(read_picture(other)).permute(2, 0, 1)
        frames = self.transform(loaded)
        item: dict[str, Any] = {
            name: torch.stack([frame[name] for frame in frames]) if len(frames) > 1 else frames[0][name]
            for name in frames[0]
        }
        sequence = self.sequences[pair.sequence]
        item["paired_flow"] = item["flow"]
        if pair.factor == STATIC:
            item["paired_flow"] = self._jittered(item["flow"], seed, pair.key(sequence.frames[position].stem))
        item |= {"id": sequence.frame_id(position), "sequence": sequence.name}
        item |= {"position": position, "num_frames": len(sequence), "factor": pair.factor, "seed": seed}
        item["annotation"] = None if refs[0].mask is None else loaded[0]["mask"][0]
        return item

    def _places(self, pair: DavisPair, position: int) -> Sequence[int]:
        """The frames of an item: one, or two at the pair's offset, counted around in the usable frames."""
        if self.protocol.clip_frames == 1:
            return [position]
        usable = self.protocol.frames(len(self.sequences[pair.sequence]))
        return [position, usable[(usable.index(position) + pair.offset) % len(usable)]]

    def _jittered(self, flow: Tensor, seed: int, key: str) -> Tensor:
        jittered = self._jitters[seed](flow[None].float() / 255, [key])[0]
        return (jittered * 255).round().to(torch.uint8)

# SPDX-License-Identifier: Apache-2.0
"""A map-style data set of video frames with flow and masks, and its collate function."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from ..errors import AnnotationError, OptionError
from ..perturbations.flow_colours import Encoding
from .frame_files import FrameFiles, OnSizeMismatch
from .frame_selection import FrameRef, flow_runs, hashed_partner, partners, select_frames
from .option_checks import check_clip_frames
from .pictures import read_mask
from .segmentation_transforms import SegmentationTransform
from .sequences import VideoSequence
from .threads import map_in_threads

__all__ = ("SegmentationDataset", "collate_frames")


class SegmentationDataset(Dataset[dict[str, Any]]):
    """Frames of videos with their flow and masks, one frame in an item.

    An item is ``image`` (3, H, W), ``flow`` (3, H, W), ``mask`` (1, H, W) in {0, 1}, all uint8 and of the transform's
    size; ``id`` ``"<sequence>/<frame stem>"``, ``sequence``, ``position`` (index in the sequence from 0) and
    ``num_frames`` (length of the sequence). In evaluation there is also ``annotation``: the mask as it is in the file,
    uint8 (H0, W0), or None where the frame has none (``mask`` is then empty, or shows the box). ``negatives``
    (1, H, W), where there are maps of hard negatives, are 0 to 255. Where the data set has boxes: ``box``, float32
    x, y, width, height (NaN where a frame has none), ``box_size`` (H, W) of the frame that they refer to, and
    ``motion``, the type of motion (-1: not known).

    Training takes the frames that have a mask and flow, evaluation all that have flow: every frame but the last.

    With ``clip_frames=2`` (RTNet) an item holds two frames of a video, ``image`` (2, 3, H, W), ``flow`` (2, 6, H, W)
    with forward and backward flow, ``mask`` (2, 1, H, W). All else speaks of the first one. The second is at an offset
    in [-max_offset, max_offset - 1]: random in training, in evaluation never 0 and the same each time, drawn by the
    frame's id and ``pair_seed``. The first and last frame of a sequence are then not used.

    Args:
        sequences: the videos, from :func:`.list_sequences`.
        transform: brings the pictures of a frame to one size.
        flow_dir: folder of the flow, see :mod:`.flow`.
        training: take frames with a mask only, and second frames at random.
        clip_frames: 1 or 2.
        max_offset: largest distance of the second frame; None: 40 in training, 10 in evaluation, as RTNet has it.
        every: take every n-th usable frame of each sequence (MATNet: 10 on YouTube-VOS).
        flow_encoding: how the flow pictures are coloured.
        max_flow: magnitude in pixels of the full colour; None: each flow picture at its own largest.
        negatives_dir: folder of maps of hard negatives, ``<sequence>/<frame>.png``.
        with_negatives: give empty ``negatives`` where there is no folder of them, to mix with data that has.
        on_size_mismatch: what to do with a mask of another size than its frame: raise, or resize it (nearest
            neighbour) and warn once.
        pair_seed: seed of the second frames in evaluation.

    Raises:
        OptionError: an option is out of range.
        AnnotationError: (from an item, or :meth:`check`) a mask has another size than its frame.
        DatasetNotFoundError: (likewise) flow is missing.
        VideoDecodeError: (likewise) a picture cannot be read.
    """

    def __init__(
        self,
        sequences: Sequence[VideoSequence],
        transform: SegmentationTransform,
        flow_dir: str | Path,
        *,
        training: bool = False,
        clip_frames: int = 1,
        max_offset: int | None = None,
        every: int = 1,
        flow_encoding: Encoding = "middlebury",
        max_flow: float | None = None,
        negatives_dir: str | Path | None = None,
        with_negatives: bool = False,
        on_size_mismatch: OnSizeMismatch = "raise",
        pair_seed: int = 0,
    ) -> None:
        offset = (40 if training else 10) if max_offset is None else max_offset
        check_clip_frames(clip_frames)
        if min(every, offset) < 1:
            raise OptionError(f"every and max_offset must be at least 1; got {every} and {offset}.")
        if on_size_mismatch not in ("raise", "resize"):
            raise OptionError(f"on_size_mismatch must be 'raise' or 'resize'; got {on_size_mismatch!r}.")
        self.sequences, self.transform, self.training = tuple(sequences), transform, training
        self.clip_frames, self.max_offset, self.pair_seed = clip_frames, offset, pair_seed
        self.files = FrameFiles(
            Path(flow_dir),
            (1,) if clip_frames == 1 else (1, -1),
            flow_encoding,
            max_flow,
            None if negatives_dir is None else Path(negatives_dir),
            with_negatives,
            on_size_mismatch,
        )
        self.refs = select_frames(self.sequences, self.files.gaps, training=training, every=every)

    def __len__(self) -> int:
        return len(self.refs)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return the frame, or pair of frames, at ``index``."""
        ref = self.refs[index]
        refs = [ref] if self.clip_frames == 1 else [ref, self._partner(ref)]
        loaded = [self.files.load(one) for one in refs]
        frames = self.transform(loaded)
        item: dict[str, Any] = {
            name: frames[0][name] if self.clip_frames == 1 else torch.stack([frame[name] for frame in frames])
            for name in frames[0]
        }
        item |= {"id": ref.id, "sequence": ref.sequence.name}
        item |= {"position": ref.position, "num_frames": len(ref.sequence)}
        if not self.training:
            item["annotation"] = None if ref.mask is None else loaded[0]["mask"][0]
        if ref.sequence.boxes is not None:
            box = ref.sequence.box(ref.position)
            item["box"] = torch.tensor([float("nan")] * 4 if box is None else box[:4])
            item["box_size"] = torch.tensor(ref.sequence.box_size)
            item["motion"] = -1 if box is None else box.motion
        return item

    def _partner(self, ref: FrameRef) -> FrameRef:
        candidates = partners(ref, self.max_offset, self.files.gaps, training=self.training)
        if self.training:
            return FrameRef(ref.sequence, candidates[int(torch.randint(len(candidates), ()))])
        return FrameRef(ref.sequence, hashed_partner(ref, candidates, self.pair_seed))

    def _refs_with_partners(self) -> list[FrameRef]:
        """Every frame that an item may hold, each once."""
        found = {(ref.sequence.name, ref.position): ref for ref in self.refs}
        if self.clip_frames == 2:
            for ref in self.refs:
                near = (
                    partners(ref, self.max_offset, self.files.gaps, training=True)
                    if self.training
                    else [self._partner(ref).position]
                )
                found |= {(ref.sequence.name, position): FrameRef(ref.sequence, position) for position in near}
        return list(found.values())

    def needed_flow(self) -> dict[int, list[tuple[str, tuple[Path, ...]]]]:
        """Return the flow that the items need, by gap, as runs of frames for :func:`.compute_flow`."""
        refs = self._refs_with_partners()
        return {gap: flow_runs(refs, gap) for gap in self.files.gaps}

    def check(self) -> None:
        """Look whether all files are there and masks have the size of their frames, before training finds out.

        Raises:
            DatasetNotFoundError: flow is missing.
            AnnotationError: (and others) see :meth:`check_frames`, which comes first.
        """
        self.check_frames()
        for ref in self._refs_with_partners():
            for gap in self.files.gaps:
                self.files.flow_file(ref, gap)

    def check_frames(self) -> None:
        """Look at all but the flow: whether there are frames to use, maps of negatives, and masks of the right size.

        Raises:
            AnnotationError: there is no frame to use, or a mask has another size than its frame (unless it is to be
                resized: then there is a warning).
            DatasetNotFoundError: a map of negatives is missing.
            VideoDecodeError: a picture cannot be opened.
        """
        if not self.refs:
            wanted = "a mask and flow" if self.training else "flow"
            at_least = "three frames" if self.clip_frames == 2 else "two frames"
            raise AnnotationError(
                f"None of {len(self.sequences)} sequences has a frame with {wanted}: a sequence needs {at_least}"
                f"{', and masks not on the last one only' if self.training else ''}."
            )
        refs = self._refs_with_partners()
        if self.files.negatives_dir is not None:
            for ref in refs:
                self.files.negatives_file(ref)
        wrong = [sentence for ref in refs if (sentence := self.files.has_wrong_size(ref))]
        if wrong and self.files.on_size_mismatch == "raise":
            raise AnnotationError(wrong[0])
        if wrong:
            # at this line, whoever calls: then Python shows it once, though prepare_data and setup both look
            warnings.warn(f"{len(wrong)} masks are resized to their frames. The first: {wrong[0]}", stacklevel=1)

    def annotations(self) -> Iterator[NDArray[np.uint8]]:
        """Yield the masks that the data set uses, uint8 (H, W) in {0, 1}, for statistics; sequence by sequence.

        In training these are the masks of the selected frames, those that have flow and that ``every`` leaves; in
        evaluation all masks there are, also those of frames without flow. A few threads read ahead.

        Raises:
            VideoDecodeError: a mask cannot be read.
        """
        all_refs = (FrameRef(video, position) for video in self.sequences for position in range(len(video)))
        refs = self.refs if self.training else all_refs
        masks = ((ref.mask, ref.sequence.void) for ref in refs if ref.mask is not None)
        return map_in_threads(lambda mask: read_mask(*mask), masks)


def collate_frames(items: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Make a batch of items: tensors stacked, numbers as int64 (B,), names and annotations as lists.

    Example:
        >>> batch = collate_frames([{"id": "bear/00000", "position": 0, "mask": torch.zeros(1, 4, 4)}] * 2)
        >>> batch["id"], batch["position"].tolist(), batch["mask"].shape
        (['bear/00000', 'bear/00000'], [0, 0], torch.Size([2, 1, 4, 4]))
    """
    batch: dict[str, Any] = {}
    for name, first in items[0].items():
        values = [item[name] for item in items]
        if name != "annotation" and isinstance(first, torch.Tensor):
            batch[name] = torch.stack(values)
        else:
            batch[name] = torch.tensor(values) if isinstance(first, int) else values
    return batch

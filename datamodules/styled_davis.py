# SPDX-License-Identifier: Apache-2.0
"""Styled DAVIS as a LightningDataModule that measures by the sampling of the paper's released code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lightning import LightningDataModule
from torch.utils.data import DataLoader

from ..errors import OptionError
from ..perturbations.flow_colours import Encoding
from ..perturbations.protocols import DavisProtocol
from .flow import FileFormat, flow_folder, read_provenance
from .flow_preparation import prepare_flow
from .frame_patterns import FramePattern
from .layouts import list_sequences, refuse
from .loaders import default_num_workers, make_loader
from .option_checks import as_size, check_counts
from .segmentation_dataset import SegmentationDataset, collate_frames
from .segmentation_transforms import SegmentationEvalTransform
from .style_provenance import describe_styles, styles_on_disk
from .styled_frames import note_styles, refuse_training
from .styled_sequences import StyledFramePairs
from .styled_videos import StyledFolder, choose_styles, find_pattern

__all__ = ("StyledDavisDataModule",)

_ORIGINALS = ("480p", "1080p", "Full-Resolution")  # folders of DAVIS itself beside those of styles


class StyledDavisDataModule(LightningDataModule):
    """Pairs of styled frames with flow, drawn as the paper's released code draws them on DAVIS.

    The pictures lie on disk in several styles; lists, masks and flow are those of the data set without style. Flow that
    is not on disk is computed, as :class:`.VideoSegmentationDataModule` does. BiasMonitor measures the pairs of the
    validation loader as they are; see ``docs/protocol.md`` for the protocol step by step, and
    :class:`~staticdropout.perturbations.protocols.DavisProtocol` for what is drawn.

    Batches are those of :class:`.SegmentationDataset` in evaluation, with ``image`` in the first style, and
    ``paired_image`` and ``paired_flow`` of the same shapes, ``factor`` (B,) int64, an index into (static, dynamic), and
    ``seed`` (B,) int64. Every frame of every pair of sequences makes a sample, the pairs of all seeds one seed after
    the other: 4 seeds x 20 sequences x 5 repetitions on DAVIS 2016. J and F of such a validation count every frame
    once, in the style that came last.

    Args:
        root: folder of the styled data set.
        source_root: folder of the data set without style, with lists, masks and flow.
        pattern: where the styled frames lie: davis, or another pattern such as
            ``JPEGImages/{style}/{video}/{stem}.jpg``; null: that of its ``styles.json``, else davis.
        styles: names or numbers of the styles, or how many of those on disk; null: all on disk.
        layout: layout of source_root, see VideoSegmentationDataModule.
        split: the split to measure on.
        flow: how missing flow is made: dis, raft_small, raft_large, or folder (not at all).
        flow_dir: folder of the flow, ``FlowImages_gap1/<sequence>/00000.png``; null: source_root.
        flow_weights: weights of RAFT: a file or an official name.
        flow_encoding: colours of the flow: middlebury (no motion is white) or hsv (no motion is black).
        max_flow: magnitude in pixels that gets the full colour; null: the largest of each picture.
        flow_format: what computed flow is kept as: png (colour pictures) or flo (pixels as floats).
        clip_frames: 1, or 2 for networks that take pairs of frames (RTNet).
        eval_size: height and width of pictures; one number: a square.
        repetitions: how often each sequence comes for each seed.
        seeds: seeds; each one is a measurement of its own.
        oddities: what the released code does and the paper does not say, see
            ``staticdropout.perturbations.protocols.DAVIS_ODDITIES``; null: none of it.
        batch_size: frames (or clips) in a batch, for each device.
        num_workers: worker processes; null: one for each CPU core, at most 8.
        limit: use the first so many sequences only; null: all.

    Attributes:
        flow_encoding: as given, as is clip_frames; a VideoObjectSegmenter has to know the same.
        clip_frames: frames of an item.

    Raises:
        OptionError: an option is out of range, or (from setup) there is no such style, or a training is asked for.
        UnknownNameError: there is no such oddity, layout or flow method.
        DatasetNotFoundError: (from prepare_data and setup) data set, lists, flow, styles or styled frames are missing.
        AnnotationError: (likewise) a list is in another format, or a mask or frame is missing.
        VideoDecodeError: (from a loader) a picture cannot be read.

    Example:
        >>> data = StyledDavisDataModule("/data/Stylized_DAVIS", "/data/DAVIS", clip_frames=2)
        >>> data.protocol.repetitions, data.protocol.clip_frames
        (5, 2)
    """

    def __init__(
        self,
        root: str,
        source_root: str,
        pattern: str | None = None,
        styles: Sequence[str | int] | int | None = None,
        layout: str = "davis2016",
        split: str = "val",
        flow: str = "dis",
        flow_dir: str | None = None,
        flow_weights: str | None = None,
        flow_encoding: Encoding = "middlebury",
        max_flow: float | None = None,
        flow_format: FileFormat = "png",
        clip_frames: int = 1,
        eval_size: int | tuple[int, int] = (480, 854),
        repetitions: int = 5,
        seeds: Sequence[int] = (1, 2, 3, 4),
        oddities: Sequence[str] | None = None,
        batch_size: int = 2,
        num_workers: int | None = None,
        limit: int | None = None,
    ) -> None:
        super().__init__()
        eval_size, seeds, oddities = as_size("eval_size", eval_size), tuple(seeds), oddities or ()
        oddities = (oddities,) if isinstance(oddities, str) else tuple(oddities)
        self.save_hyperparameters(logger=False)
        check_counts(batch_size=batch_size)
        check_counts(optional=True, limit=limit)
        self.root, self.source_root = Path(root), Path(source_root)
        self._pattern = None if pattern is None else FramePattern.of(pattern)
        self._styles, self._layout, self._split, self._limit = styles, layout, split, limit
        self._flow_dir = Path(flow_dir or source_root)
        self._flow_options: dict[str, Any] = {
            "method": flow,
            "weights": flow_weights,
            "file_format": flow_format,
            "encoding": flow_encoding,
            "max_flow": max_flow,
        }
        self.flow_encoding, self.clip_frames, self.max_flow = flow_encoding, clip_frames, max_flow
        self.eval_size, self.batch_size = eval_size, batch_size
        self.num_workers = default_num_workers() if num_workers is None else num_workers
        self.protocol = DavisProtocol(repetitions=repetitions, seeds=seeds, clip_frames=clip_frames, oddities=oddities)
        self._dataset: StyledFramePairs | None = None
        self._described: dict[str, Any] = {}

    def _frames(self) -> SegmentationDataset:
        """The data set without style."""
        return SegmentationDataset(
            list_sequences(self.source_root, self._layout, self._split, refuse)[: self._limit],
            SegmentationEvalTransform(self.eval_size),
            self._flow_dir,
            clip_frames=self.clip_frames,
            flow_encoding=self.flow_encoding,
            max_flow=self.max_flow,
        )

    def _pairs(self, frames: SegmentationDataset) -> StyledFramePairs:
        """The pairs of all seeds."""
        pattern = self._pattern or find_pattern(self.root, ["davis"])
        wanted = self._styles
        if wanted is None:
            wanted = [style.name for style in styles_on_disk(self.root, pattern) if style.name not in _ORIGINALS]
        folder = StyledFolder(self.root, pattern, choose_styles(self.root, pattern, wanted))
        return StyledFramePairs(folder, frames, replace(self.protocol, num_styles=len(folder.styles)))

    def prepare_data(self) -> None:
        """Compute the flow that is missing; what :meth:`setup` would refuse in lists and masks is refused before."""
        if self._flow_options["method"] == "folder":
            return
        frames = self._frames()
        frames.check_frames()
        self._pairs(frames).check()
        prepare_flow(frames.needed_flow(), frames.files.flow_dir, **self._flow_options)

    def setup(self, stage: str | None = None) -> None:
        """Find sequences, flow and styles, and draw the pairs of all seeds; ``fit`` is refused."""
        refuse_training(type(self).__name__, stage)
        if self._dataset is not None:
            return
        frames = self._frames()
        dataset = self._pairs(frames)
        dataset.check()
        frames.check()
        folder, pattern = dataset.folder, dataset.folder.pattern
        self.protocol = dataset.protocol
        note_styles(len(folder.styles))
        flow = read_provenance(flow_folder(self._flow_dir, 1)) or {}
        self._described = {
            **self.protocol.description,
            **describe_styles(self.root, folder.styles, pattern),
            "pairs_per_seed": len(dataset) // len(self.protocol.seeds),
            "eval_size": list(self.eval_size),
            "flow": flow.get("method", "found on disk"),
        }
        self._dataset = dataset

    @property
    def pair_protocol(self) -> dict[str, object]:
        """How the pairs were drawn and styled, as plain values; what BiasMonitor looks for and puts into its report."""
        return dict(self._described) or self.protocol.description

    def _loader(self) -> DataLoader[dict[str, Any]]:
        dataset = self._dataset
        if dataset is None:
            raise OptionError("There are no pairs yet: call setup, or hand the data module to a Trainer.")
        return make_loader(
            dataset, len(dataset), self.batch_size, False, self.num_workers, collate_frames, self.trainer
        )

    def val_dataloader(self) -> DataLoader[dict[str, Any]]:
        """The frames of the first seed, pair of sequences by pair of sequences, then those of the next."""
        return self._loader()

    def test_dataloader(self) -> DataLoader[dict[str, Any]]:
        """The same as in validation; BiasMonitor measures in `validate` only."""
        return self._loader()

# SPDX-License-Identifier: Apache-2.0
"""Video object segmentation data sets as a LightningDataModule."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from ..errors import UnknownNameError
from ..perturbations.flow_colours import Encoding
from .draws import DrawnConcatDataset
from .flow import FileFormat
from .flow_preparation import prepare_flow
from .frame_files import OnSizeMismatch
from .layouts import list_sequences, refuse
from .loaders import default_num_workers, make_loader
from .option_checks import as_size, check_clip_frames, check_counts
from .seeded_module import SeededDataModule
from .segmentation_dataset import SegmentationDataset, collate_frames
from .segmentation_sources import SegmentationSource
from .segmentation_splits import evaluation_split, roles_of
from .segmentation_transforms import SegmentationEvalTransform, SegmentationTrainTransform

__all__ = ("VideoSegmentationDataModule",)


class VideoSegmentationDataModule(SeededDataModule):
    """DAVIS 2016 and 2017, YouTube-VOS, TAO-VOS, ImageNet-VID, MoCA, or any data set in one of their layouts.

    Batches are dicts of uint8: ``image`` (B, 3, H, W), ``flow`` (B, 3, H, W), optical flow as a colour picture, and
    ``mask`` (B, 1, H, W) in {0, 1}; with ``id``, ``sequence``, ``position`` and ``num_frames``, in evaluation also
    ``annotation``: masks at their own size. With ``clip_frames=2`` two frames of a video, with forward and backward
    flow: (B, 2, 3, H, W), (B, 2, 6, H, W) and (B, 2, 1, H, W). See :class:`.SegmentationDataset`.
    Pixels stay uint8: the LightningModule converts and normalises them on the device.

    Flow that is not on the disk is computed before the first epoch, for the splits that are needed and with a progress
    bar, and kept in ``flow_dir``; frames and masks are looked at before. With ``flow="folder"`` nothing is computed and
    missing flow is an error.

    ``test`` runs on the test split where it has masks (or boxes), otherwise on the validation split; ``predict`` on the
    test split where there is one.

    Args:
        root: folder of the data set.
        layout: davis2016, davis2017, youtube_vos, tao_vos, imagenet_vid, moca, or auto: guessed from the folders.
        flow: how missing flow is made: dis, raft_small, raft_large, or folder (not at all).
        flow_dir: folder of the flow, ``FlowImages_gap1/<sequence>/00000.png``; null: root.
        flow_weights: weights of RAFT: a file or an official name.
        flow_encoding: colours of the flow: middlebury (no motion is white) or hsv (no motion is black).
        max_flow: magnitude in pixels that gets the full colour; null: the largest of each picture.
        flow_format: what computed flow is kept as: png (colour pictures) or flo (pixels as floats).
        size: height and width of training pictures; one number: a square.
        eval_size: height and width in evaluation; one number: a square; null: size.
        flip: probability of mirroring left and right in training.
        rotation: largest angle of the rotation in training, in degrees.
        scale: range of the zoom in training.
        turn_flow: turn the colours of the flow when the picture is mirrored or rotated; the reference models' code
            leaves them.
        clip_frames: 1, or 2 for networks that take pairs of frames (RTNet).
        max_offset: largest distance in frames of the second frame in training.
        eval_max_offset: the same in evaluation.
        pair_seed: seed of the second frames in evaluation.
        every: take every n-th frame with a mask of each training sequence.
        more: further data sets to train on: dicts with root and, where they differ from the defaults, layout, split,
            every, flow_dir, negatives_dir.
        train_split: name of the training split.
        val_split: name of the validation split.
        test_split: name of the test split; null: the data set's own, where it has one.
        batch_size: frames (or pairs) in a training batch, for each device.
        eval_batch_size: frames (or pairs) in an evaluation batch, for each device; null: batch_size.
        num_workers: worker processes of each loader; null: one for each CPU core, at most 8.
        negatives_dir: folder of maps of hard negatives for training, ``<sequence>/<frame>.png``; null: none.
        on_size_mismatch: what to do with a mask of another size than its frame: raise, or resize it.
        limit: use the first so many sequences of each split only; null: all.

    Attributes:
        flow_encoding: as given, as are the others; a LightningModule that mirrors flow has to know the same.
        turn_flow: likewise.
        clip_frames: frames of an item; 2 for networks that take pairs.

    Raises:
        DatasetNotFoundError: (from prepare_data and setup) the data set, its lists, or flow is not there.
        AnnotationError: (likewise) a list is in another format, a mask or frame is missing, a mask has another size.
        UnknownNameError: (likewise) there is no such layout, split or flow method.
        OptionError: an option is out of range, or (from prepare_data) flow_dir cannot be written to.

    Example:
        >>> data = VideoSegmentationDataModule("/data/DAVIS", more=[{"root": "/data/YouTubeVOS", "every": 10}])
        >>> data.hparams["flow"], data.hparams["size"]
        ('dis', (473, 473))
    """

    def __init__(
        self,
        root: str,
        layout: str = "auto",
        flow: str = "dis",
        flow_dir: str | None = None,
        flow_weights: str | None = None,
        flow_encoding: Encoding = "middlebury",
        max_flow: float | None = None,
        flow_format: FileFormat = "png",
        size: int | tuple[int, int] = (473, 473),
        eval_size: int | tuple[int, int] | None = None,
        flip: float = 0.5,
        rotation: float = 10.0,
        scale: tuple[float, float] = (0.75, 1.25),
        turn_flow: bool = True,
        clip_frames: int = 1,
        max_offset: int = 40,
        eval_max_offset: int = 10,
        pair_seed: int = 0,
        every: int = 1,
        more: Sequence[SegmentationSource | dict[str, Any]] | None = None,
        train_split: str = "train",
        val_split: str = "val",
        test_split: str | None = None,
        batch_size: int = 2,
        eval_batch_size: int | None = None,
        num_workers: int | None = None,
        negatives_dir: str | None = None,
        on_size_mismatch: OnSizeMismatch = "raise",
        limit: int | None = None,
    ) -> None:
        super().__init__()
        size = as_size("size", size)
        eval_size = None if eval_size is None else as_size("eval_size", eval_size)
        check_clip_frames(clip_frames)
        check_counts(batch_size=batch_size, max_offset=max_offset, eval_max_offset=eval_max_offset)
        check_counts(optional=True, eval_batch_size=eval_batch_size, limit=limit)
        self._main = SegmentationSource(root, layout, train_split, every, flow_dir, negatives_dir)
        self._more = [SegmentationSource.of(source) for source in more or ()]
        # plain values only, so that checkpoints can be read without running code from them
        more = [asdict(source) for source in self._more]
        # into checkpoints, not to the logger: Lightning refuses to log a name that the model uses with another value
        self.save_hyperparameters(logger=False)
        self._train_transform = SegmentationTrainTransform(
            size, flip, rotation, scale, turn_flow, flow_encoding, fixed_scale=max_flow is not None
        )
        self._eval_transform = SegmentationEvalTransform(eval_size or size)
        self._val_split, self._test_split, self._limit = val_split, test_split, limit
        self._offsets = {True: max_offset, False: eval_max_offset}
        self._dataset_options: dict[str, Any] = {
            "clip_frames": clip_frames,
            "flow_encoding": flow_encoding,
            "max_flow": max_flow,
            "on_size_mismatch": on_size_mismatch,
            "pair_seed": pair_seed,
        }
        self._flow_options: dict[str, Any] = {
            "method": flow,
            "weights": flow_weights,
            "file_format": flow_format,
            "encoding": flow_encoding,
            "max_flow": max_flow,
        }
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size or batch_size
        self.num_workers = default_num_workers() if num_workers is None else num_workers
        self.flow_encoding, self.turn_flow, self.clip_frames = flow_encoding, turn_flow, clip_frames
        self._datasets: dict[str, list[SegmentationDataset]] = {}

    def prepare_data(self) -> None:
        """Compute the missing flow of the splits that the Trainer is about to use (without a Trainer: of all).

        It may take hours, so what :meth:`setup` would refuse in lists, frames and masks is refused before.
        """
        if self._flow_options["method"] == "folder":
            return
        running = self.trainer.state.fn if self.trainer is not None else None
        datasets: list[SegmentationDataset] = []
        for role in roles_of(running):
            try:
                datasets += self._role_datasets(role)
            except UnknownNameError:
                if running is not None:
                    raise  # otherwise nobody has asked for this split yet
        if running is None:  # nor for those without frames to use
            datasets = [dataset for dataset in datasets if dataset.refs]
        for dataset in datasets:
            dataset.check_frames()
        for dataset in datasets:
            prepare_flow(dataset.needed_flow(), dataset.files.flow_dir, **self._flow_options)

    def setup(self, stage: str | None = None) -> None:
        """Read the lists that ``stage`` needs (``fit``, ``validate``, ``test``, ``predict``; None: all).

        Missing frames, masks and flow, and masks of another size than their frame, are found here and not in training.
        """
        for role in roles_of(stage):
            datasets = self._role_datasets(role)
            for dataset in datasets:
                dataset.check()
            self._datasets[role] = datasets

    def _role_datasets(self, role: str) -> list[SegmentationDataset]:
        if role == "train":
            sources = [self._main, *self._more]
            negatives = any(source.negatives_dir is not None for source in sources)
            return [self._dataset(source, source.split, True, negatives) for source in sources]
        split = evaluation_split(role, self._main, self._val_split, self._test_split)
        return [self._dataset(self._main, split, False, False)]

    def _dataset(self, source: SegmentationSource, split: str, training: bool, negatives: bool) -> SegmentationDataset:
        return SegmentationDataset(
            list_sequences(source.root, source.layout, split, refuse)[: self._limit],
            self._train_transform if training else self._eval_transform,
            source.flow_folder,
            training=training,
            max_offset=self._offsets[training],
            every=source.every if training else 1,
            negatives_dir=source.negatives_dir if training else None,
            with_negatives=negatives,
            **self._dataset_options,
        )

    def annotations(self, role: str = "train") -> Iterator[NDArray[np.uint8]]:
        """Yield the masks of a split, uint8 (H, W) in {0, 1}, see :meth:`.SegmentationDataset.annotations`.

        Args:
            role: ``train`` (with the data sets in ``more``), ``val``, ``test`` or ``predict``.
        """
        for dataset in self._datasets.get(role) or self._role_datasets(role):
            yield from dataset.annotations()

    def _loader(self, role: str) -> DataLoader[dict[str, Any]]:
        dataset, training = DrawnConcatDataset(self._datasets[role]), role == "train"
        batch_size = self.batch_size if training else self.eval_batch_size
        count, seed = len(dataset), self.training_seed() if training else 0
        return make_loader(dataset, count, batch_size, training, self.num_workers, collate_frames, self.trainer, seed)

    def train_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Augmented frames with masks of the training split and of ``more``, shuffled."""
        return self._loader("train")

    def val_dataloader(self) -> DataLoader[dict[str, Any]]:
        """The frames of the validation split that have flow, in order."""
        return self._loader("val")

    def test_dataloader(self) -> DataLoader[dict[str, Any]]:
        """The frames of the test split where it has masks, otherwise of the validation split."""
        return self._loader("test")

    def predict_dataloader(self) -> DataLoader[dict[str, Any]]:
        """The frames of the test split where there is one, otherwise of the validation split."""
        return self._loader("predict")

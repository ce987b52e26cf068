# SPDX-License-Identifier: Apache-2.0
"""Clips of videos as a LightningDataModule: all that data sets of actions share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from copy import copy
from pathlib import Path
from typing import Any, Literal, TypeAlias

from lightning.pytorch.utilities import rank_zero_info
from torch.utils.data import DataLoader

from ..errors import AnnotationError, DatasetNotFoundError, OptionError
from .entries import Entry
from .loaders import default_num_workers, make_loader
from .readers import resolve_reader
from .sampling import Sampling
from .seeded_module import SeededDataModule
from .transforms import EvalTransform, TrainTransform
from .video_dataset import VideoCollate, VideoDataset
from .video_source import Split, VideoSource
from .viewed_dataset import ViewedDataset

__all__ = ("Role", "VideoDataModule")

Role: TypeAlias = Literal["train", "val", "test", "predict"]

_STAGES: dict[str | None, tuple[Role, ...]] = {
    "fit": ("train", "val"),
    "validate": ("val",),
    "test": ("test",),
    "predict": ("predict",),
    None: ("train", "val", "test", "predict"),
}


class VideoDataModule(SeededDataModule, ABC):
    """Clips of videos in batches; a subclass says where classes and entries come from (:meth:`source`).

    Batches are ``{"video": (B, 3, T, H, W) uint8, "label": (B,) int64, "id": list of str}`` and, only where a video
    could not be read, ``"skipped"``: a list of pairs (id, reason). With ``test_clips`` x ``test_crops`` = V > 1 the
    test and predict loaders give ``(B, V, 3, T, H, W)``. In evaluation an unreadable video is left out, so a batch can
    be smaller than usual, even empty (B = 0); in training another one takes its place.

    With ``val_views`` validation batches have ``"views"`` ``(B, V, 3, T, H, W)`` beside the clip.

    Pixels stay uint8: the LightningModule converts and normalises them on the device.

    With ``shuffle_frames`` a model is trained and validated on clips whose frames come in another order, so that it has
    statics alone to learn from (Kowal et al., Fig. 6 right). On such clips there is no motion left to measure:
    BiasMonitor then tells how the model treats shuffled clips, its dynamic share is that of a motion nobody filmed, and
    ShuffledValidation compares one shuffled order with another. Measure with ``shuffle_frames`` off, in a `validate`
    of the trained checkpoint.

    Args:
        root: folder of the data set.
        num_frames: frames in a clip.
        sampling: ``segment`` takes one frame from each of num_frames equal parts of the video (the official sampling of
            Something-Something V2); ``dense`` takes num_frames frames at a distance of stride; ``window`` spreads
            num_frames frames over num_frames x stride frames, ends included (SlowFast's sampling of Kinetics).
        stride: distance of neighbouring frames with dense and window sampling, in frames of the video.
        crop_size: height and width of training clips in pixels.
        eval_crop_size: height and width of evaluation clips in pixels; null: crop_size.
        short_side: range (smallest, largest) of the random length of the shorter side in training, in pixels, or one
            length. Evaluation resizes to the smallest. Larger videos are decoded at reduced size.
        scale: range of the random crop's share of the picture's area; given, it replaces the random short side in
            training.
        ratio: range of the random crop's width divided by its height; used with scale.
        flip: mirror training clips with probability 0.5. Off where classes differ only in left and right.
        reader: video reader: decord, torchcodec, pyav or frames.
        batch_size: clips in a training batch, for each device.
        eval_batch_size: videos in an evaluation batch, for each device; null: batch_size.
        num_workers: worker processes of each loader; null: one for each CPU core, at most 8.
        on_error: what to do with a video that cannot be read: skip it and list it in the batch, or raise.
        val_views: classify the views of testing (test_clips x test_crops) in validation, too; BiasMonitor and
            ShuffledValidation still take the one centred clip, which stands beside them in the batch.
        test_clips: clips along time in testing.
        test_crops: crops in testing: 1 (centre), or several along the longer side (3 is usual).
        labels_dir: folder of the annotation files; null: guessed below root.
        video_dir: folder of the videos or frame folders; null: guessed below root.
        limit: use the first so many entries of each split only; null: all.
        target_fps: frames a second that the stride counts in, whatever a video has (SlowFast: 30); null: the stride
            counts frames of the video. Not with reader frames, since folders do not tell how fast they play.
        shuffle_frames: put the frames of every clip into another order: in training a new one each time, in evaluation
            always the same one for a video.

    Raises:
        OptionError: options contradict each other.
        DatasetNotFoundError: (from setup) a file or folder of the data set is not there.
        AnnotationError: (from setup) an annotation is not in the official format.
        ReaderNotAvailableError: (from setup) the reader's library is not installed.

    Example:
        >>> from staticdropout.datamodules import SSv2DataModule
        >>> data = SSv2DataModule("/data/ssv2", num_frames=16, crop_size=112, short_side=(128, 160))
        >>> data.hparams["reader"]
        'decord'
    """

    def __init__(
        self,
        root: str,
        num_frames: int = 8,
        sampling: Sampling = "segment",
        stride: int = 2,
        crop_size: int = 224,
        eval_crop_size: int | None = None,
        short_side: int | tuple[int, int] = (256, 320),
        scale: tuple[float, float] | None = None,
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        flip: bool = False,
        reader: str = "decord",
        batch_size: int = 8,
        eval_batch_size: int | None = None,
        num_workers: int | None = None,
        on_error: Literal["skip", "raise"] = "skip",
        test_clips: int = 1,
        test_crops: int = 1,
        labels_dir: str | None = None,
        video_dir: str | None = None,
        limit: int | None = None,
        target_fps: float | None = None,
        shuffle_frames: bool = False,
        val_views: bool = False,
    ) -> None:
        super().__init__()
        # into checkpoints, not to the logger: Lightning refuses to log a name that the model uses with another value
        self.save_hyperparameters(logger=False)
        self.root, self.labels_dir, self.video_dir, self.limit = Path(root), labels_dir, video_dir, limit
        self.reader, self.on_error, self.test_clips = reader, on_error, test_clips
        self.num_frames, self.sampling, self.stride = num_frames, sampling, stride
        self.target_fps, self.shuffle_frames, self.val_views = target_fps, shuffle_frames, val_views
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size or batch_size
        self.num_workers = default_num_workers() if num_workers is None else num_workers
        shortest = short_side if isinstance(short_side, int) else short_side[0]
        eval_size = eval_crop_size or crop_size
        if shortest < eval_size:
            raise OptionError(
                f"short_side={short_side} must not be below the crops: crop_size={crop_size} in training and "
                f"eval_crop_size={eval_size} in evaluation. Set all three (--data.short_side, --data.crop_size, "
                "--data.eval_crop_size): a recipe may set those that you did not."
            )
        self._train_transform = TrainTransform(crop_size, short_side, scale, ratio, flip)
        self._eval_transform = EvalTransform(eval_size, shortest)
        self._test_transform = EvalTransform(eval_size, shortest, test_crops)
        if shuffle_frames:
            rank_zero_info("shuffle_frames is on: BiasMonitor and ShuffledValidation would measure shuffled clips.")
        self._class_names: tuple[str, ...] | None = None
        self._datasets: dict[str, VideoDataset] = {}
        self._check_options()

    def _check_options(self) -> None:
        if self.shuffle_frames and self.num_frames < 2:
            raise OptionError(
                f"shuffle_frames needs clips of at least 2 frames, num_frames is {self.num_frames}: one frame has no "
                "other order. Raise --data.num_frames or leave --data.shuffle_frames off."
            )
        if self.target_fps is not None and not self.target_fps > 0:
            raise OptionError(f"target_fps must be above 0, or null; got {self.target_fps}.")
        if self.target_fps is not None and self.reader == "frames" and self.sampling != "segment":
            raise OptionError(
                f"target_fps={self.target_fps:g} needs the frame rate of each video, which folders of frames do not "
                "tell. Set --data.target_fps null: the stride then counts the frames that were extracted."
            )

    @abstractmethod
    def source(self, reader: str) -> VideoSource:
        """The data set on disk, for a reader."""

    def splits_for(self, role: Role) -> Sequence[Split]:
        """The splits that serve a role; the first one that has entries is taken."""
        return ("train",) if role == "train" else ("validation",)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes in the order of their indices."""
        if self._class_names is None:
            self._class_names = self.source(self.reader).class_names()
        return self._class_names

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    def setup(self, stage: str | None = None) -> None:
        """Read the annotations that ``stage`` needs (``fit``, ``validate``, ``test``, ``predict``; None: all)."""
        for role in _STAGES[stage]:
            self._datasets[role] = self._dataset(role)

    def _entries(self, role: Role, reader: str) -> list[Entry]:
        source, splits = self.source(reader), self.splits_for(role)
        for split in splits:
            entries = source.entries(split)
            if entries:
                if role == "test" and any(entry.label < 0 for entry in entries):
                    raise AnnotationError(
                        f"The {split} split of {str(self.root)!r} has no labels, so there is nothing to test. Run "
                        "`predict` on it, or test on the validation split."
                    )
                return (_on_disk(source, split, entries) if source.incomplete else entries)[: self.limit]
        raise AnnotationError(
            f"The {splits[-1]} split of {str(self.root)!r} has no entries: its annotations are empty. Fetch them again."
        )

    def _dataset(self, role: Role) -> VideoDataset:
        reader = resolve_reader(self.reader)  # here, so that a warning comes once and not from every worker
        training, views = role == "train", role in ("test", "predict")
        transform = self._train_transform if training else self._test_transform if views else self._eval_transform
        return VideoDataset(
            self._entries(role, reader),
            transform,
            num_frames=self.num_frames,
            sampling=self.sampling,
            stride=self.stride,
            training=training,
            num_clips=self.test_clips if views else 1,
            reader=reader,
            short_side=max(transform.short_side) if isinstance(transform, TrainTransform) else transform.short_side,
            on_error=self.on_error,
            target_fps=self.target_fps,
            shuffle_frames=self.shuffle_frames,
        )

    def _loader(self, role: Role) -> DataLoader[dict[str, Any]]:
        dataset: VideoDataset | ViewedDataset = self._datasets[role]
        training = role == "train"
        if role == "val" and self.val_views and self.test_clips * self._test_transform.num_views > 1:
            dataset = ViewedDataset(self._datasets[role], self._with_views(self._datasets[role]))
        batch_size = self.batch_size if training else self.eval_batch_size
        collate, seed = VideoCollate(dataset.item_shape), self.training_seed() if training else 0
        return make_loader(dataset, len(dataset), batch_size, training, self.num_workers, collate, self.trainer, seed)

    def _with_views(self, clips: VideoDataset) -> VideoDataset:
        """The same entries with the views of testing."""
        views = copy(clips)
        views.transform, views.num_clips = self._test_transform, self.test_clips
        return views

    def training_labels(self) -> list[int]:
        """The label of every training video, without opening any; also where only a validation was set up."""
        dataset = self._datasets.get("train")
        entries = dataset.entries if dataset else self._entries("train", resolve_reader(self.reader))
        return [entry.label for entry in entries]

    def train_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Random clips of the training split, shuffled."""
        return self._loader("train")

    def val_dataloader(self) -> DataLoader[dict[str, Any]]:
        """One centred clip of each validation video, in the order of the file."""
        return self._loader("val")

    def test_dataloader(self) -> DataLoader[dict[str, Any]]:
        """``test_clips`` x ``test_crops`` views of each video that is tested."""
        return self._loader("test")

    def predict_dataloader(self) -> DataLoader[dict[str, Any]]:
        """The views of each video; the label is -1 where it is not known."""
        return self._loader("predict")


def _on_disk(source: VideoSource, split: Split, entries: list[Entry]) -> list[Entry]:
    """The entries whose videos are there, and a line that says how many these are."""
    there = [entry for entry in entries if source.is_there(entry)]
    if not there:
        raise DatasetNotFoundError(
            source.root,
            [entries[0].path, *(entry.path for entry in entries[1:2])],
            f"None of the {len(entries)} entries of the {split} split of {source.title} has its video there. "
            f"{source.describe_videos()}Set the folder of the videos with --data.video_dir.",
        )
    if len(there) < len(entries):
        rank_zero_info(
            f"{source.title}: {len(there)} of {len(entries)} entries of the {split} split are on disk and are used; "
            "`staticdropout data check` lists the others."
        )
    return there

# SPDX-License-Identifier: Apache-2.0
"""Something-Something V2 as a LightningDataModule."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from torch.utils.data import DataLoader

from ..errors import AnnotationError
from .loaders import default_num_workers, make_loader
from .readers import resolve_reader
from .sampling import Sampling
from .seeded_module import SeededDataModule
from .ssv2_annotations import Split, find_annotation, find_videos, read_class_names, read_split
from .transforms import EvalTransform, TrainTransform
from .video_dataset import VideoCollate, VideoDataset

__all__ = ("SSv2DataModule",)


class SSv2DataModule(SeededDataModule):
    """Something-Something V2, or any data set in its layout.

    Batches are ``{"video": (B, 3, T, H, W) uint8, "label": (B,) int64, "id": list of str}`` and, only where a video
    could not be read, ``"skipped"``: a list of pairs (id, reason). With ``test_clips`` x ``test_crops`` = V > 1 the
    test and predict loaders give ``(B, V, 3, T, H, W)``. In evaluation an unreadable video is left out, so a batch can
    be smaller than usual, even empty (B = 0); in training another one takes its place.

    The test split takes its labels from ``test-answers.csv``. Without that file ``test`` runs on the validation split,
    which is what results on this data set are usually reported on; ``predict`` takes the test split with or without
    answers (label -1) and the validation split where there is no test file.

    Pixels stay uint8: the LightningModule converts and normalises them on the device.

    Args:
        root: folder with ``labels/`` and ``20bn-something-something-v2/<id>.webm`` (or ``videos/``;
            ``frames/<id>/0001.jpg`` with reader ``frames``).
        num_frames: frames in a clip.
        sampling: ``segment`` takes one frame from each of num_frames equal parts of the video (the official sampling);
            ``dense`` takes num_frames frames at a distance of stride.
        stride: distance of neighbouring frames with dense sampling, in frames of the video.
        crop_size: height and width of training clips in pixels.
        eval_crop_size: height and width of evaluation clips in pixels; null: crop_size.
        short_side: range (smallest, largest) of the random length of the shorter side in training, in pixels, or one
            length. Evaluation resizes to the smallest. Larger videos are decoded at reduced size.
        scale: range of the random crop's share of the picture's area; given, it replaces the random short side in
            training.
        ratio: range of the random crop's width divided by its height; used with scale.
        flip: mirror training clips with probability 0.5. Off: some classes differ only in left and right.
        reader: video reader: decord, torchcodec, pyav or frames.
        batch_size: clips in a training batch, for each device.
        eval_batch_size: videos in an evaluation batch, for each device; null: batch_size.
        num_workers: worker processes of each loader; null: one for each CPU core, at most 8.
        on_error: what to do with a video that cannot be read: skip it and list it in the batch, or raise.
        test_clips: clips along time in testing.
        test_crops: crops in testing: 1 (centre) or 3 (along the longer side).
        labels_dir: folder of the annotation files; null: guessed below root.
        video_dir: folder of the videos or frame folders; null: guessed below root.
        limit: use the first so many entries of each split only; null: all.

    Raises:
        DatasetNotFoundError: (from setup) a file or folder of the data set is not there.
        AnnotationError: (from setup) an annotation is not in the official format.
        ReaderNotAvailableError: (from setup) the reader's library is not installed.

    Example:
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
    ) -> None:
        super().__init__()
        # into checkpoints, not to the logger: Lightning refuses to log a name that the model uses with another value
        self.save_hyperparameters(logger=False)
        self.root, self.labels_dir, self.video_dir, self.limit = Path(root), labels_dir, video_dir, limit
        self.reader, self.on_error, self.test_clips = reader, on_error, test_clips
        self.num_frames, self.sampling, self.stride = num_frames, sampling, stride
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size or batch_size
        self.num_workers = default_num_workers() if num_workers is None else num_workers
        shortest = short_side if isinstance(short_side, int) else short_side[0]
        eval_size = eval_crop_size or crop_size
        self._train_transform = TrainTransform(crop_size, short_side, scale, ratio, flip)
        self._eval_transform = EvalTransform(eval_size, shortest)
        self._test_transform = EvalTransform(eval_size, shortest, test_crops)
        self._class_names: tuple[str, ...] | None = None
        self._datasets: dict[str, VideoDataset] = {}

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes in the order of their indices, e.g. ``"Pushing something from left to right"``."""
        if self._class_names is None:
            self._class_names = read_class_names(self.root, self.labels_dir)
        return self._class_names

    @property
    def num_classes(self) -> int:
        """Number of classes: 174 in the full data set."""
        return len(self.class_names)

    def setup(self, stage: str | None = None) -> None:
        """Read the annotations that ``stage`` needs (``fit``, ``validate``, ``test``, ``predict``; None: all)."""
        if stage in ("fit", None):
            self._datasets["train"] = self._dataset("train", "train")
        if stage in ("fit", "validate", None):
            self._datasets["val"] = self._dataset("validation", "val")
        has_test = find_annotation(self.root, "test", self.labels_dir) is not None
        if stage in ("test", None):
            answered = has_test and find_annotation(self.root, "test-answers", self.labels_dir) is not None
            self._datasets["test"] = self._dataset("test" if answered else "validation", "test")
        if stage in ("predict", None):
            self._datasets["predict"] = self._dataset("test" if has_test else "validation", "predict")

    def _dataset(self, split: Split, role: str) -> VideoDataset:
        reader = resolve_reader(self.reader)  # here, so that a warning comes once and not from every worker
        videos = find_videos(self.root, reader, self.video_dir)
        entries = read_split(self.root, split, self.class_names, videos, self.labels_dir)[: self.limit]
        if not entries:
            if split == "test":  # an empty list is as good as none
                return self._dataset("validation", role)
            raise AnnotationError(f"The {split} split of {str(self.root)!r} has no entries.")
        training, views = role == "train", role in ("test", "predict")
        transform = self._train_transform if training else self._test_transform if views else self._eval_transform
        return VideoDataset(
            entries,
            transform,
            num_frames=self.num_frames,
            sampling=self.sampling,
            stride=self.stride,
            training=training,
            num_clips=self.test_clips if views else 1,
            reader=reader,
            short_side=max(transform.short_side) if isinstance(transform, TrainTransform) else transform.short_side,
            on_error=self.on_error,
        )

    def _loader(self, role: str) -> DataLoader[dict[str, Any]]:
        dataset, training = self._datasets[role], role == "train"
        batch_size = self.batch_size if training else self.eval_batch_size
        collate, seed = VideoCollate(dataset.item_shape), self.training_seed() if training else 0
        return make_loader(dataset, len(dataset), batch_size, training, self.num_workers, collate, self.trainer, seed)

    def train_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Random clips of the training split, shuffled."""
        return self._loader("train")

    def val_dataloader(self) -> DataLoader[dict[str, Any]]:
        """One centred clip of each validation video, in the order of the file."""
        return self._loader("val")

    def test_dataloader(self) -> DataLoader[dict[str, Any]]:
        """``test_clips`` x ``test_crops`` views of each test video (of each validation video without test answers)."""
        return self._loader("test")

    def predict_dataloader(self) -> DataLoader[dict[str, Any]]:
        """The views of each test video; the label is -1 where there are no test answers."""
        return self._loader("predict")

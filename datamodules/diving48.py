# SPDX-License-Identifier: Apache-2.0
"""Diving48 (V2) as a LightningDataModule."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import AnnotationError, DatasetNotFoundError
from .annotation_files import find_file, label_folders, read_json, require_file
from .entries import Entry, Span
from .sampling import Sampling
from .video_data_module import Role, VideoDataModule
from .video_files import VideoFiles, video_folders
from .video_source import Split, VideoSource

__all__ = ("Diving48DataModule", "Diving48Source")

_FILES: dict[Split, str] = {"train": "Diving48_V2_train.json", "test": "Diving48_V2_test.json"}
_VOCABULARY = "Diving48_vocab.json"
_CLASSES = 48
_HINT = (
    "Videos and annotations are at http://www.svcl.ucsd.edu/projects/resound/dataset.html: take those of V2, since "
    "many labels of V1 (Diving48_train.json) are wrong. Other places are set with --data.labels_dir and "
    "--data.video_dir."
)


class Diving48Source(VideoSource):
    """Diving48 V2 on disk; see :class:`VideoSource`. Its splits are train and test; there is no validation split."""

    title = "Diving48"

    @classmethod
    def found_at(cls, root: Path) -> bool:
        """Whether there is an annotation file of V2."""
        return find_file(label_folders(root, None), list(_FILES.values())) is not None

    def splits(self) -> tuple[Split, ...]:
        """Those of train and test that have a file."""
        folders = label_folders(self.root, self.labels_dir)
        return tuple(split for split, name in _FILES.items() if find_file(folders, [name]) is not None)

    def class_names(self) -> tuple[str, ...]:
        """The four parts of a dive, joined: ``Back+15som+05Twis+FREE``."""
        file = require_file(self.root, label_folders(self.root, self.labels_dir), [_VOCABULARY], _HINT)
        data = read_json(file)
        if not isinstance(data, list) or not all(
            isinstance(parts, list) and all(isinstance(part, str) for part in parts) for parts in data
        ):
            raise AnnotationError(
                f"{str(file)!r} is not in the official format: expected a list of lists of words such as "
                '["Back", "15som", "05Twis", "FREE"]. Fetch it again.'
            )
        return tuple("+".join(parts) for parts in data)

    def entries(self, split: Split) -> list[Entry]:
        """See :meth:`VideoSource.entries`."""
        folders = label_folders(self.root, self.labels_dir)
        file = require_file(self.root, folders, [_FILES.get(split, _FILES["test"])], _HINT)
        data = read_json(file)
        if not isinstance(data, list):
            raise AnnotationError(f"{str(file)!r} is not in the official format: expected a JSON list of entries.")
        frames = self.reader == "frames"
        names = ("frames", "rawframes", "rgb") if frames else ("rgb", "videos")
        files = VideoFiles(video_folders(self.root, self.video_dir, (), *names), frames)
        if not files:
            raise DatasetNotFoundError(self.root, [self.video_dir or "rgb/<vid_name>.mp4"], _HINT)
        return [_entry(raw, f"Entry {number} of {str(file)!r}", files) for number, raw in enumerate(data)]


def _entry(raw: Any, where: str, files: VideoFiles) -> Entry:
    expected = '{"vid_name": "_8Vy3dlHg2w_00000", "label": 0, "start_frame": 0, "end_frame": 89}'
    if not isinstance(raw, dict) or not isinstance(raw.get("vid_name"), str):
        raise AnnotationError(f"{where} has no 'vid_name': expected {expected}; found {raw!r:.100}.")
    name, label = raw["vid_name"], raw.get("label")
    numbers = [raw.get("start_frame", 0), raw.get("end_frame", 0)]
    if not isinstance(label, int) or not all(isinstance(number, int) for number in numbers):
        raise AnnotationError(f"{where} ({name}) has something else than whole numbers: expected {expected}.")
    if not 0 <= label < _CLASSES:
        raise AnnotationError(f"{where} ({name}) has the label {label}: Diving48 has {_CLASSES} classes, from 0.")
    span = Span(numbers[0], numbers[1], "frames") if "end_frame" in raw else None
    return Entry(name, files.find([name]), label, span)


class Diving48DataModule(VideoDataModule):
    """Diving48 in its second version: 48 dives that differ in take-off, somersaults, twists and position.

    The root holds ``Diving48_V2_train.json``, ``Diving48_V2_test.json`` and ``Diving48_vocab.json`` (or
    ``annotations/`` or ``labels/`` with them) and ``rgb/<vid_name>.mp4`` (or ``videos/``; folders of frames with reader
    ``frames``). There is no validation split: the test split serves validation, test and prediction, as everywhere.
    Batches are those of :class:`VideoDataModule`.

    Args:
        root: folder of the data set.
        num_frames: frames in a clip.
        sampling: ``window`` spreads num_frames frames over num_frames x stride frames, ends included, as SlowFast does
            and the paper with it; ``segment`` takes one frame from each of num_frames equal parts, so that a clip
            shows the whole dive; ``dense`` takes num_frames frames at a distance of stride.
        stride: sampling rate: 8 in a model called 8x8.
        flip: mirror training clips with probability 0.5: a dive is the same dive seen in a mirror, since take-off and
            turns are named with respect to the diver.
        **kwargs: further arguments of VideoDataModule.

    Example:
        >>> Diving48DataModule("/data/diving48", num_frames=32, stride=2).hparams["flip"]
        True
    """

    def __init__(
        self,
        root: str,
        num_frames: int = 8,
        sampling: Sampling = "window",
        stride: int = 8,
        flip: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(root=root, num_frames=num_frames, sampling=sampling, stride=stride, flip=flip, **kwargs)

    def source(self, reader: str) -> VideoSource:
        """See :meth:`VideoDataModule.source`."""
        return Diving48Source(self.root, reader, self.labels_dir, self.video_dir)

    def splits_for(self, role: Role) -> Sequence[Split]:
        """See :meth:`VideoDataModule.splits_for`."""
        return ("train",) if role == "train" else ("test",)

# SPDX-License-Identifier: Apache-2.0
"""ActivityNet on disk: one JSON file with the segments of all videos."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import AnnotationError, DatasetNotFoundError
from .annotation_files import class_index, find_file, label_folders, read_json
from .entries import Entry, Span
from .video_files import VideoFiles, video_folders
from .video_source import Split, VideoSource

__all__ = ("ActivityNetSource",)

_FILES = ("activity_net.v1-3.min.json", "activity_net.v1-3.json", "activitynet.json")
_LIKE = re.compile(r"(?:activity_?net|anet|gt).*\.json", re.IGNORECASE)
_SUBSETS: dict[Split, str] = {"train": "training", "validation": "validation", "test": "testing"}
_FOLDERS: dict[Split, tuple[str, ...]] = {
    "train": ("train", "training"),
    "validation": ("val", "validation"),
    "test": ("test", "testing"),
}
_BASES = ("videos", "v1-3", "train_val")
_YOUTUBE_ID = 11  # characters
_HINT = (
    "The annotations are at http://activity-net.org/download.html, videos there on request. Other places are set with "
    "--data.labels_dir (also the JSON file itself) and --data.video_dir."
)


def _database(data: Any, file: Path) -> Mapping[str, Any]:
    """The videos by their ids: what stands under ``database``, or the whole where a file holds only that."""
    database = data.get("database", data) if isinstance(data, dict) else None
    if not isinstance(database, dict) or not all(
        isinstance(video, dict) and isinstance(video.get("annotations"), list) and "subset" in video
        for video in database.values()
    ):
        raise AnnotationError(
            f"{str(file)!r} is not in the format of ActivityNet 1.3: expected an object from video to "
            '{"subset": "training", "annotations": [{"segment": [0.0, 12.5], "label": "Archery"}], …}, alone or under '
            '"database". Fetch it again.'
        )
    return database


class ActivityNetSource(VideoSource):
    """ActivityNet 1.3 on disk; every annotated segment is an entry. See :class:`VideoSource`.

    ``labels_dir`` may be the JSON file itself.
    """

    title = "ActivityNet"
    incomplete = True

    def __init__(
        self,
        root: str | Path,
        reader: str = "decord",
        labels_dir: str | Path | None = None,
        video_dir: str | Path | None = None,
    ) -> None:
        super().__init__(root, reader, labels_dir, video_dir)
        self._data: Any = None

    @classmethod
    def found_at(cls, root: Path) -> bool:
        """Whether there is a file with a name such as ``activity_net.v1-3.min.json``, in the right format."""
        try:
            cls(root)._videos()
        except (DatasetNotFoundError, AnnotationError):
            return False
        return True

    def _file(self) -> Path:
        if self.labels_dir is not None and self.labels_dir.is_file():
            return self.labels_dir
        folders = label_folders(self.root, self.labels_dir)
        file = find_file(folders, _FILES)
        if file is not None:
            return file
        alike = (path for folder in folders if folder.is_dir() for path in sorted(folder.iterdir()))
        file = next((path for path in alike if _LIKE.fullmatch(path.name)), None)
        if file is None:
            raise DatasetNotFoundError(self.root, _FILES[:1], _HINT)
        return file

    def _videos(self) -> Mapping[str, Any]:
        file = self._file()
        if self._data is None:
            self._data = read_json(file)
        return _database(self._data, file)

    def splits(self) -> tuple[Split, ...]:
        """Those of train, validation and test that some video is in."""
        there = {video["subset"] for video in self._videos().values()}
        return tuple(split for split, subset in _SUBSETS.items() if subset in there)

    def class_names(self) -> tuple[str, ...]:
        """The leaves of the taxonomy in alphabetical order; without a taxonomy, all labels that occur."""
        videos = self._videos()
        taxonomy = self._data.get("taxonomy") if "database" in self._data else None
        try:
            parents = {node["parentId"] for node in taxonomy or ()}
            leaves = {str(node["nodeName"]) for node in taxonomy or () if node["nodeId"] not in parents}
        except (KeyError, TypeError) as error:
            raise AnnotationError(
                f"The taxonomy in {str(self._file())!r} is not in the official format: expected a list of "
                '{"nodeName": "Archery", "nodeId": 382, "parentId": 381, …}. Fetch the file again.'
            ) from error
        if not leaves:
            annotations = (one for video in videos.values() for one in video["annotations"])
            leaves = {str(one["label"]) for one in annotations if isinstance(one, dict) and "label" in one}
        return tuple(sorted(leaves))

    def entries(self, split: Split) -> list[Entry]:
        """The segments of all videos of a split; a video of the test split, which has none, as a whole, label -1."""
        videos, file = self._videos(), self._file()
        indices = {name: index for index, name in enumerate(self.class_names())}
        folders = video_folders(self.root, self.video_dir, _FOLDERS[split], *_BASES)
        self._files = files = VideoFiles(folders, frames=self.reader == "frames")
        entries = []
        for key, video in videos.items():
            if video["subset"] != _SUBSETS[split]:
                continue
            name = key[2:] if key.startswith("v_") and len(key) == _YOUTUBE_ID + 2 else key
            path = files.find([f"v_{name}", name])
            if split == "test" and not video["annotations"]:
                entries.append(Entry(key, path, -1))
            for number, one in enumerate(video["annotations"]):
                where = f"Annotation {number} of {key!r} in {str(file)!r}"
                entries.append(_entry(one, f"{key}/{number}", path, indices, where))
        return entries


def _entry(raw: Any, name: str, path: Path, indices: dict[str, int], where: str) -> Entry:
    try:
        start, end = (float(second) for second in raw["segment"])
        label = raw["label"]
        if not isinstance(label, str) or not math.isfinite(end - start):
            raise ValueError("neither a name nor seconds")
    except (KeyError, TypeError, ValueError) as error:
        raise AnnotationError(
            f'{where} is {raw!r:.100}: expected {{"segment": [11.5, 57.1], "label": "Wakeboarding"}} with seconds.'
        ) from error
    return Entry(name, path, class_index(label, indices, where), Span(start, end))

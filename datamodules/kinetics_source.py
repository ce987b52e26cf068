# SPDX-License-Identifier: Apache-2.0
"""Kinetics on disk."""

from __future__ import annotations

from pathlib import Path

from ..errors import AnnotationError, DatasetNotFoundError
from .annotation_files import class_index, label_folders
from .entries import Entry
from .kinetics_files import FOLDERS, Clip, find_classes, find_list, is_official, read_classes, read_csv, read_list
from .video_files import VideoFiles, video_folders
from .video_source import Split, VideoSource

__all__ = ("KineticsSource",)

_HINT = (
    "The csv files and videos of Kinetics are at https://github.com/cvdfoundation/kinetics-dataset. Other places are "
    "set with --data.labels_dir and --data.video_dir, and docs/action_data.md shows what is understood."
)
_SIZES = (400, 600, 700)
_BASES = ("videos", "clips")


class KineticsSource(VideoSource):
    """Kinetics-400, -600 or -700 on disk, by official csv files or by "path label" lists; see :class:`VideoSource`.

    Args:
        root: folder of the data set.
        reader: the video reader.
        labels_dir: folder of the csv or list files; None: guessed.
        video_dir: folder of the videos; None: guessed.
        classes: file with the names of the classes; None: guessed, or else the labels of the training csv.
    """

    title = "Kinetics"
    incomplete = True

    def __init__(
        self,
        root: str | Path,
        reader: str = "decord",
        labels_dir: str | Path | None = None,
        video_dir: str | Path | None = None,
        classes: str | Path | None = None,
    ) -> None:
        super().__init__(root, reader, labels_dir, video_dir)
        self._folders = label_folders(self.root, self.labels_dir)
        self._classes = None if classes is None else Path(classes)

    @classmethod
    def found_at(cls, root: Path) -> bool:
        """Whether one of the splits has an official csv file or a list that can be read."""
        for split in FOLDERS:
            file = find_list(label_folders(root, None), split)
            if file is None:
                continue
            try:
                return is_official(file) or bool(read_list(file, frames=True))
            except AnnotationError:
                return False
        return False

    def splits(self) -> tuple[Split, ...]:
        """Those that have a csv or list file. A file ``list.txt`` that stands for all of them counts as validation."""
        files = {split: find_list(self._folders, split) for split in FOLDERS}
        named = tuple(split for split, file in files.items() if file is not None and file.stem.lower() != "list")
        return named or tuple(split for split in ("validation",) if files[split] is not None)

    def class_names(self) -> tuple[str, ...]:
        """See :meth:`VideoSource.class_names`; the order is that of the file, or alphabetical for those of a csv."""
        names = self._known_classes()
        if names is None:
            raise AnnotationError(
                f"The classes of {str(self.root)!r} are not known: a list has numbers only, and a csv file other than "
                "that of training may lack some. Give a file with a name in each line (400 for Kinetics-400, "
                "alphabetical) with --data.classes, or put it beside the lists as label_map.txt."
            )
        return names

    def _known_classes(self) -> tuple[str, ...] | None:
        if self._classes is not None and not self._classes.is_file():
            raise DatasetNotFoundError(self.root, [self._classes], "It was given with --data.classes.")
        file = self._classes or find_classes(self._folders)
        if file is not None:
            return read_classes(file)
        for split in ("train", "validation", "test"):
            listed = find_list(self._folders, split)
            if listed is None or not is_official(listed):
                continue
            names = sorted({clip.label for clip in read_csv(listed) if clip.label})
            # of a piece of the validation split nobody can tell which classes are missing
            if names and (split == "train" or len(names) in _SIZES):
                return tuple(names)
        return None

    def entries(self, split: Split) -> list[Entry]:
        """See :meth:`VideoSource.entries`."""
        file = find_list(self._folders, split)
        if file is None:
            short = {"train": "train", "validation": "val", "test": "test"}[split]
            expected = [f"annotations/{short}.csv", f"kinetics-400_{short}.csv", f"{short}_list.txt"]
            raise DatasetNotFoundError(self.root, expected, _HINT)
        if is_official(file):
            return self._from_csv(file, split)
        return self._from_list(file, split)

    def _from_csv(self, file: Path, split: Split) -> list[Entry]:
        clips = read_csv(file)
        indices = {name: index for index, name in enumerate(self.class_names())}
        folders = video_folders(self.root, self.video_dir, FOLDERS[split], *_BASES)
        self._files = files = VideoFiles(folders, frames=self.reader == "frames")
        entries = []
        for number, clip in enumerate(clips, start=2):
            where = f"Line {number} of {str(file)!r} ({clip.youtube_id})"
            if not clip.label and split != "test":
                raise AnnotationError(f"{where} has no label: the {split} split needs one in the column 'label'.")
            label = class_index(clip.label, indices, where) if clip.label else -1
            entries.append(Entry(clip.name, files.find(_names(clip), inside=clip.label), label))
        return entries

    def _from_list(self, file: Path, split: Split) -> list[Entry]:
        self._files = None
        lines = read_list(file, frames=self.reader == "frames")
        names = self._known_classes()
        base = self._base(file, split, [path for path, _ in lines[:100]])
        stems = [Path(path).stem for path, _ in lines]
        unique = len(set(stems)) == len(stems)
        entries = []
        for number, ((path, label), stem) in enumerate(zip(lines, stems, strict=True), start=1):
            if names is not None and label >= len(names):
                raise AnnotationError(
                    f"Line {number} of {str(file)!r} has the class {label}, but there are {len(names)} classes, 0 to "
                    f"{len(names) - 1}. Check that list and names of classes are of the same data set."
                )
            # not with slashes: what agrees up to the last one would count as parts of one video
            entries.append(Entry(stem if unique else path.replace("/", "|"), base / path, label))
        return entries

    def _base(self, file: Path, split: Split, paths: list[str]) -> Path:
        """The folder that the paths of a list start from."""
        bases = [file.parent, file.parent.parent, self.root]
        folders = video_folders(self.root, self.video_dir, FOLDERS[split], *_BASES)
        bases = [*folders, *([] if self.video_dir is not None else bases)]
        return next((base for base in bases if any((base / path).exists() for path in paths)), bases[0])


def _names(clip: Clip) -> list[str]:
    return [clip.name, f"{clip.youtube_id}_{clip.start}_{clip.end}", clip.youtube_id]

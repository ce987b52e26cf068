# SPDX-License-Identifier: Apache-2.0
"""The official layout of Something-Something V2: where its files lie and what stands in them.

Annotations are the files ``labels.json``, ``train.json``, ``validation.json``, ``test.json`` and ``test-answers.csv``,
or, in older downloads, the same with ``something-something-v2-`` in front; in ``labels/`` or directly in the root.
Videos are ``20bn-something-something-v2/<id>.webm``; frames, where they were extracted, ``frames/<id>/0001.jpg``.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Sequence
from pathlib import Path

from ..errors import AnnotationError, DatasetNotFoundError
from .annotation_files import class_index, read_json
from .entries import Entry
from .video_source import Split, VideoSource

__all__ = ("SPLITS", "SSv2Source", "find_annotation", "find_videos", "plain_template", "read_class_names", "read_split")

SPLITS: tuple[Split, ...] = ("train", "validation", "test")

_PREFIX = "something-something-v2-"
_VIDEO_DIRS = ("20bn-something-something-v2", "videos", "video")
_FRAME_DIRS = ("frames", "20bn-something-something-v2-frames", "20bn-something-something-v2", "rawframes")
_SUFFIXES = (".webm", ".mp4", ".mkv", ".avi")
_HINT = (
    "Something-Something V2 is given out by Qualcomm at https://www.qualcomm.com/developer/software/"
    "something-something-v-2-dataset (join the parts of the archive before unpacking). Other places are set with "
    "--data.labels_dir and --data.video_dir. For a trial without a download use --data MovingShapesDataModule."
)


def find_annotation(root: str | Path, name: str, labels_dir: str | Path | None = None) -> Path | None:
    """Return the file of annotations ``name`` (``"labels"``, ``"train"``, …, ``"test-answers"``), or None.

    Example:
        >>> find_annotation("/nowhere", "labels") is None
        True
    """
    root = Path(root)
    folders = [Path(labels_dir)] if labels_dir is not None else [root / "labels", root / "annotations", root]
    suffix = ".csv" if name == "test-answers" else ".json"
    files = (folder / f"{prefix}{name}{suffix}" for folder in folders for prefix in ("", _PREFIX))
    return next((file for file in files if file.is_file()), None)


def _require(root: str | Path, name: str, labels_dir: str | Path | None) -> Path:
    file = find_annotation(root, name, labels_dir)
    if file is None:
        folder = Path(labels_dir) if labels_dir is not None else Path("labels")
        raise DatasetNotFoundError(root, [folder / f"{name}.json", folder / f"{_PREFIX}{name}.json"], _HINT)
    return file


def find_videos(root: str | Path, reader: str = "decord", video_dir: str | Path | None = None) -> tuple[Path, str]:
    """Return the folder of videos (of frame folders with ``reader="frames"``) and the suffix of the files in it.

    Raises:
        DatasetNotFoundError: there is no such folder.
    """
    root, frames = Path(root), reader == "frames"
    names = _FRAME_DIRS if frames else _VIDEO_DIRS
    folders = [Path(video_dir)] if video_dir is not None else [root / name for name in names]
    folder = next((folder for folder in folders if folder.is_dir()), None)
    if folder is None:
        raise DatasetNotFoundError(root, folders[:2], _HINT)
    if frames:
        return folder, ""
    # one look at the beginning of the listing: some people keep re-encoded .mp4 under the official names
    found = {path.suffix.lower() for path in itertools.islice(folder.iterdir(), 100)}
    return folder, next((suffix for suffix in _SUFFIXES if suffix in found), ".webm")


def read_class_names(root: str | Path, labels_dir: str | Path | None = None) -> tuple[str, ...]:
    """Return the class names in the order of their indices.

    Raises:
        DatasetNotFoundError: there is no file of labels.
        AnnotationError: it does not map each name to an index of its own, from 0 on without gaps.
    """
    file = _require(root, "labels", labels_dir)
    labels = read_json(file)
    expected = 'a JSON object from class name to index such as {"Closing something": "5", …}'
    try:
        by_index = {int(index): str(name) for name, index in labels.items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise AnnotationError(f"{str(file)!r} is not in the official format: expected {expected}.") from error
    if sorted(by_index) != list(range(len(labels))):
        raise AnnotationError(
            f"The indices in {str(file)!r} are not 0 to {len(labels) - 1}, each once: expected {expected}."
        )
    return tuple(by_index[index] for index in range(len(labels)))


def plain_template(template: str) -> str:
    """The name of the class of a template: without its brackets.

    Example:
        >>> plain_template("Moving [something] down")
        'Moving something down'
    """
    return template.replace("[", "").replace("]", "")


def _answers(file: Path) -> dict[str, str]:
    with file.open(encoding="utf-8", newline="") as lines:
        return {row[0]: row[1] for row in csv.reader(lines, delimiter=";") if len(row) == 2}


def read_split(
    root: str | Path,
    split: Split,
    class_names: Sequence[str],
    videos: tuple[Path, str],
    labels_dir: str | Path | None = None,
) -> list[Entry]:
    """Read the entries of one split, in the order of its file.

    Entries of the test split take their label from ``test-answers.csv`` (lines ``208583;Moving something down``) and
    have the label -1 where that file is absent.

    Args:
        root: folder of the data set.
        split: ``"train"``, ``"validation"`` or ``"test"``.
        class_names: from :func:`read_class_names`.
        videos: folder and suffix of the videos, from :func:`find_videos`.
        labels_dir: folder of the annotations; None: guessed.

    Raises:
        DatasetNotFoundError: the file of the split is absent.
        AnnotationError: it is not in the official format, or an entry has a label that no class has.
    """
    file = _require(root, split, labels_dir)
    data = read_json(file)
    if not isinstance(data, list):
        raise AnnotationError(f"{str(file)!r} is not in the official format: expected a JSON list of entries.")
    answers: dict[str, str] | None = None
    if split == "test" and (answers_file := find_annotation(root, "test-answers", labels_dir)) is not None:
        answers = _answers(answers_file)
    indices = {name: index for index, name in enumerate(class_names)}
    folder, suffix = videos
    entries = []
    for number, raw in enumerate(data):
        where = f"Entry {number} of {str(file)!r}"
        if not isinstance(raw, dict) or "id" not in raw:
            expected = '{"id": "78687", "template": …}'
            raise AnnotationError(f"{where} has no 'id': expected {expected}; found {raw!r:.100}.")
        video_id = raw["id"]
        if not isinstance(video_id, str) or "label_id" in raw:
            raise AnnotationError(
                f"{where} (id {video_id!r}) is in a layout some repositories invented: a number as id, a label_id. "
                "The official one has a string as id and the class in 'template': use the files of the download."
            )
        where = f"{where} (id {video_id!r})"
        if split != "test":
            if not isinstance(raw.get("template"), str):
                raise AnnotationError(f"{where} has no 'template' to tell its class; its keys are {sorted(raw)}.")
            label = class_index(plain_template(raw["template"]), indices, where)
        elif answers is None:
            label = -1
        elif video_id not in answers:
            raise AnnotationError(f"{where} has no line in the file of test answers.")
        else:
            label = class_index(plain_template(answers[video_id]), indices, where)
        entries.append(Entry(video_id, folder / f"{video_id}{suffix}", label))
    return entries


class SSv2Source(VideoSource):
    """Something-Something V2 on disk; see :class:`VideoSource`."""

    title = "Something-Something V2"

    @classmethod
    def found_at(cls, root: Path) -> bool:
        """Whether there is a file of labels in one of the usual places."""
        return find_annotation(root, "labels") is not None

    def class_names(self) -> tuple[str, ...]:
        """See :func:`read_class_names`."""
        return read_class_names(self.root, self.labels_dir)

    def splits(self) -> tuple[Split, ...]:
        """Those of train, validation and test that have a file."""
        return tuple(split for split in SPLITS if find_annotation(self.root, split, self.labels_dir) is not None)

    def entries(self, split: Split) -> list[Entry]:
        """See :func:`read_split`."""
        videos = find_videos(self.root, self.reader, self.video_dir)
        return read_split(self.root, split, self.class_names(), videos, self.labels_dir)

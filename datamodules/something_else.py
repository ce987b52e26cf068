# SPDX-License-Identifier: Apache-2.0
"""Something-Else, other splits of the videos of Something-Something V2, as a LightningDataModule."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, TypeAlias

from ..errors import AnnotationError, OptionError
from .annotation_files import class_index, find_file, label_folders, read_json, require_file
from .entries import Entry
from .ssv2_annotations import find_videos, plain_template
from .video_data_module import VideoDataModule
from .video_source import Split, VideoSource

__all__ = ("ClassOrder", "SomethingElseDataModule", "SomethingElseSource", "Task")

ClassOrder: TypeAlias = Literal["ssv2", "something_else"]
Task: TypeAlias = Literal["compositional", "base", "5shot", "10shot"]

_FILES: dict[Task, dict[str, tuple[str, ...]]] = {
    "compositional": {"labels": ("labels.json",), "train": ("train.json",), "validation": ("validation.json",)},
    "base": {
        "labels": ("base_labels.json",),
        "train": ("base_training_set.json", "base_training.json"),
        "validation": ("base_validation_set.json", "base_validation.json"),
    },
}
for _shots in ("5shot", "10shot"):
    _FILES[_shots] = {
        "labels": ("finetune_labels.json",),
        "train": (f"finetune_{_shots}_training.json",),
        "validation": (f"finetune_{_shots}_validation.json",),
    }
_HINT = (
    "The splits are at https://github.com/joaanna/something_else in code/dataset_splits, the videos are those of "
    "Something-Something V2. Other places are set with --data.labels_dir and --data.video_dir."
)


class SomethingElseSource(VideoSource):
    """Something-Else on disk; see :class:`VideoSource`.

    Args:
        root: folder with the videos of Something-Something V2 and the split files.
        reader: the video reader.
        labels_dir: folder of the split files; None: guessed.
        video_dir: folder of the videos; None: guessed.
        class_order: see :class:`SomethingElseDataModule`.
        task: see :class:`SomethingElseDataModule`.
    """

    title = "Something-Else"

    def __init__(
        self,
        root: str | Path,
        reader: str = "decord",
        labels_dir: str | Path | None = None,
        video_dir: str | Path | None = None,
        class_order: ClassOrder = "ssv2",
        task: Task = "compositional",
    ) -> None:
        super().__init__(root, reader, labels_dir, video_dir)
        self._order, self._names, self._task = class_order, _FILES[task], task
        group = "compositional" if task == "compositional" else "fewshot"
        more = ("something_else", f"something_else/{group}", f"dataset_splits/{group}", group)
        self._folders = label_folders(self.root, self.labels_dir, *more)

    @classmethod
    def found_at(cls, root: Path) -> bool:
        """Whether there are class indices as numbers, in another order than that of Something-Something V2."""
        source = cls(root)
        file = find_file(source._folders, source._names["labels"])
        try:
            indices = {} if file is None else _indices(file)
        except AnnotationError:
            return False
        return sorted(indices) != sorted(indices, key=indices.__getitem__)

    def _labels(self) -> Path:
        return require_file(self.root, self._folders, self._names["labels"], _HINT)

    def class_names(self) -> tuple[str, ...]:
        """Names of the classes in the order that was chosen."""
        indices = _indices(self._labels())
        # the official order of Something-Something V2 is the alphabetical one
        return tuple(sorted(indices) if self._order == "ssv2" else sorted(indices, key=indices.__getitem__))

    def splits(self) -> tuple[Split, ...]:
        """Those of train and validation that have a file."""
        splits: tuple[Split, ...] = ("train", "validation")
        beside = [self._labels().parent]
        return tuple(split for split in splits if find_file(beside, self._names[split]) is not None)

    def entries(self, split: Split) -> list[Entry]:
        """See :meth:`VideoSource.entries`."""
        indices = {name: index for index, name in enumerate(self.class_names())}
        # beside the labels: Something-Something V2 has a train.json of its own
        beside = [self._labels().parent]
        file = require_file(self.root, beside, self._names.get(split, self._names["validation"]), _HINT)
        data = read_json(file)
        if not isinstance(data, list):
            raise AnnotationError(f"{str(file)!r} is not in the official format: expected a JSON list of entries.")
        folder, suffix = find_videos(self.root, self.reader, self.video_dir)
        entries = []
        for number, raw in enumerate(data):
            where = f"Entry {number} of {str(file)!r}"
            if (
                not isinstance(raw, dict)
                or not isinstance(raw.get("id"), str)
                or not isinstance(raw.get("template"), str)
            ):
                expected = '{"id": "203403", "template": "Putting [something] into [something]"}'
                raise AnnotationError(f"{where} has no 'id' and 'template' as text: expected {expected}.")
            label = class_index(plain_template(raw["template"]), indices, f"{where} (id {raw['id']!r})")
            entries.append(Entry(raw["id"], folder / f"{raw['id']}{suffix}", label))
        return entries


def _indices(file: Path) -> dict[str, int]:
    """The classes of a file of Something-Else with their indices there."""
    data = read_json(file)
    if isinstance(data, dict) and data and all(isinstance(index, str) for index in data.values()):
        raise AnnotationError(
            f"{str(file)!r} belongs to Something-Something V2 itself: its indices are strings. Set the folder with "
            "train.json, validation.json and labels.json of Something-Else with --data.labels_dir."
        )
    indices = list(data.values()) if isinstance(data, dict) else []
    numbers = indices and all(isinstance(index, int) for index in indices)
    if not numbers or sorted(indices) != list(range(len(indices))):
        raise AnnotationError(
            f"{str(file)!r} is not in the format of Something-Else: expected a JSON object from class to a number, "
            'each of 0 to the number of classes - 1 once, such as {"Moving something up": 76, …}. Fetch it again.'
        )
    return dict(data)


class SomethingElseDataModule(VideoDataModule):
    """Something-Else: the videos of Something-Something V2, split so that verbs meet objects not seen with them.

    The root is that of Something-Something V2 (``20bn-something-something-v2/<id>.webm``); ``train.json``,
    ``validation.json`` and ``labels.json`` of Something-Else lie in ``labels_dir``, or below the root in
    ``something_else/``, ``dataset_splits/compositional/`` or ``compositional/``. Testing and predicting take the
    validation split; there is no other. Batches and options are those of :class:`VideoDataModule`.

    The trap: ``labels.json`` here numbers the same 174 classes in another order than that of Something-Something V2
    (one index of 174 agrees). A model evaluated with the wrong order is at chance, without any error. A model with a
    head trained on Something-Something V2, or its ``labels.json``, has the order ``ssv2``; the models of the
    Something-Else authors have ``something_else``.

    Args:
        root: folder of the videos of Something-Something V2.
        class_order: order of the classes: ``ssv2``, the official one of Something-Something V2, which is alphabetical;
            or ``something_else``, the one in its own ``labels.json``.
        task: ``compositional``; or of the few-shot setting ``base``, ``5shot`` or ``10shot``, whose classes are those
            of ``base_labels.json`` or ``finetune_labels.json`` alone, 88 and 86 of them.
        **kwargs: further arguments of VideoDataModule.

    Raises:
        OptionError: ``class_order`` or ``task`` is none of these.

    Example:
        >>> SomethingElseDataModule("/data/ssv2", labels_dir="/data/something_else").hparams["class_order"]
        'ssv2'
    """

    def __init__(
        self, root: str, class_order: ClassOrder = "ssv2", task: Task = "compositional", **kwargs: Any
    ) -> None:
        super().__init__(root=root, **kwargs)
        if class_order not in ("ssv2", "something_else"):
            raise OptionError(f"class_order is 'ssv2' or 'something_else', not {class_order!r}.")
        if task not in _FILES:
            raise OptionError(f"task is one of {', '.join(map(repr, _FILES))}, not {task!r}.")
        self.class_order, self.task = class_order, task

    def source(self, reader: str) -> VideoSource:
        """See :meth:`VideoDataModule.source`."""
        return SomethingElseSource(self.root, reader, self.labels_dir, self.video_dir, self.class_order, self.task)

# SPDX-License-Identifier: Apache-2.0
"""Layouts of video segmentation data sets by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ...errors import AnnotationError, DatasetNotFoundError, UnknownNameError
from ..sequences import VideoSequence
from .common import OnProblem, refuse
from .davis import davis2016_splits, davis2017_splits, read_davis2016, read_davis2017
from .imagenet_vid import imagenet_vid_splits, read_imagenet_vid
from .moca import moca_splits, read_moca
from .tao_vos import read_tao_vos, tao_vos_splits
from .youtube_vos import read_youtube_vos, youtube_vos_splits

__all__ = ("LAYOUTS", "Layout", "detect_layout", "fits_layout", "list_sequences", "list_splits", "resolve_split")


@dataclass(frozen=True)
class Layout:
    """How a data set lies on the disk.

    Attributes:
        splits: from the root to the names of the splits that are there.
        read: from the root, a split and what to do with problems to the sequences.
        signs: globs below the root; a root in which one of them matches is taken for this layout.
        validation: the split to take for ``val`` where there is none of that name.
    """

    splits: Callable[[Path], tuple[str, ...]]
    read: Callable[[Path, str, OnProblem], list[VideoSequence]]
    signs: tuple[str, ...]
    validation: str | None = None


LAYOUTS: dict[str, Layout] = {
    "davis2016": Layout(davis2016_splits, read_davis2016, ("ImageSets/480p/*.txt",)),
    "davis2017": Layout(davis2017_splits, read_davis2017, ("ImageSets/2017/*.txt", "JPEGImages/480p")),
    "youtube_vos": Layout(
        youtube_vos_splits, read_youtube_vos, ("meta.json", "train/meta.json", "valid/meta.json", "test/meta.json")
    ),
    "tao_vos": Layout(
        tao_vos_splits, read_tao_vos, ("annotations_vos", "train/Annotations", "val/Annotations", "valid/Annotations")
    ),
    "imagenet_vid": Layout(
        imagenet_vid_splits, read_imagenet_vid, ("segmentation/ILSVRC2015/Data/VID", "segmentation/Data/VID")
    ),
    "moca": Layout(moca_splits, read_moca, ("annotations.csv", "*Dataset_per_sq", "*/Imgs"), validation="test"),
}
"""The layouts by name, in the order in which a root is compared with them. Put your own in here to use it by name."""

_SAME_SPLIT = ("val", "valid", "validation")


def detect_layout(root: str | Path) -> str:
    """Return the name of the layout in which a data set lies.

    Raises:
        DatasetNotFoundError: the folder does not exist, or fits no layout.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Path(folder, "JPEGImages", "480p").mkdir(parents=True)
        ...     detect_layout(folder)
        'davis2017'
    """
    root = Path(root)
    if found := fits_layout(root):
        return found
    signs = [layout.signs[0] for layout in LAYOUTS.values()]
    raise DatasetNotFoundError(
        root, signs, f"The layouts are {', '.join(LAYOUTS)}; choose one with layout (--data.layout)."
    )


def fits_layout(root: str | Path) -> str | None:
    """The name of the layout that a folder fits, or None.

    Example:
        >>> fits_layout("/nowhere") is None
        True
    """
    for name, layout in LAYOUTS.items():
        if any(next(Path(root).glob(sign), None) is not None for sign in layout.signs):
            return name
    return None


def _layout(root: Path, name: str) -> Layout:
    name = detect_layout(root) if name == "auto" else name
    if name not in LAYOUTS:
        raise UnknownNameError("layout of a segmentation data set", name, ["auto", *LAYOUTS])
    if not root.is_dir():
        raise DatasetNotFoundError(root, LAYOUTS[name].signs, "Set the folder of the data set (--data.root).")
    return LAYOUTS[name]


def list_splits(root: str | Path, layout: str = "auto") -> tuple[str, ...]:
    """Return the splits of a data set that are there; ``("all",)`` where it is not divided.

    Raises:
        DatasetNotFoundError: there are none.
        UnknownNameError: there is no layout of this name.
    """
    root = Path(root)
    found = _layout(root, layout).splits(root)
    if not found:
        name = detect_layout(root) if layout == "auto" else layout
        raise DatasetNotFoundError(root, LAYOUTS[name].signs, f"This is what the layout {name!r} looks like.")
    return found


def resolve_split(root: str | Path, split: str, layout: str = "auto") -> str:
    """Return the name that a split has in a data set: ``val`` may be called ``valid``, or be the test split (MoCA).

    In a data set that is not divided every name means the whole of it.

    Raises:
        DatasetNotFoundError: the data set has no splits.
        UnknownNameError: it has none of this name.
    """
    present = list_splits(root, layout)
    names = [split, *(_SAME_SPLIT if split in _SAME_SPLIT else ())]
    if split in _SAME_SPLIT and (instead := _layout(Path(root), layout).validation) is not None:
        names.append(instead)
    found = next((name for name in names if name in present), None)
    if found is None and present != ("all",):
        raise UnknownNameError(f"split of {str(root)!r}", split, present)
    return found or "all"


def list_sequences(
    root: str | Path, layout: str = "auto", split: str = "train", on_problem: OnProblem = refuse
) -> list[VideoSequence]:
    """Return the videos of a split: their frames, and the masks or boxes that belong to them.

    Args:
        root: folder of the data set.
        layout: ``davis2016``, ``davis2017``, ``youtube_vos``, ``tao_vos``, ``imagenet_vid``, ``moca``, or ``auto``.
        split: ``train``, ``val``, ``test-dev`` …, as the data set calls it; see :func:`resolve_split`.
        on_problem: called with every sequence without masks, missing mask and missing frame; raises by default.

    Raises:
        DatasetNotFoundError: the folder or the lists are not there.
        UnknownNameError: there is no layout or split of this name.
        AnnotationError: a list or an annotation is in another format, the split is empty, or there is a problem.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for file in ("JPEGImages/480p/bear/00000.jpg", "Annotations/480p/bear/00000.png"):
        ...         Path(folder, file).parent.mkdir(parents=True)
        ...         Path(folder, file).touch()
        ...     [(video.name, len(video)) for video in list_sequences(folder)]
        [('bear', 1)]
    """
    root = Path(root)
    read = _layout(root, layout).read(root, resolve_split(root, split, layout), on_problem)
    found = [sequence for sequence in read if len(sequence)]
    if not found:
        raise AnnotationError(f"The {split} split of {str(root)!r} is empty: none of its sequences has frames.")
    return found

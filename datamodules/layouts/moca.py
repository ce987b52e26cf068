# SPDX-License-Identifier: Apache-2.0
"""Moving Camouflaged Animals, with boxes (MoCA) or with masks (MoCA-Mask).

With boxes, as the evaluation of "Self-supervised Video Object Segmentation by Motion Grouping" has it: pictures in
``JPEGImages/<sequence>/00000.jpg`` and ``annotations.csv``, whose lines hold the picture's name, ``[2, x, y, w, h]``
in pixels of 1280 x 720 and ``{'1': '0'}``, the type of motion; ``[]`` stands for a frame without box, ``{}`` for the
motion of the frame before. There are no splits and no masks, so it is for evaluation only. With masks:
``[{Train,Test}Dataset_per_sq/]<sequence>/{Imgs,GT}/00000.{jpg,png}``; the test split serves as validation. The numbers
of the frames do not agree between the two.
"""

from __future__ import annotations

import ast
import csv
import json
from pathlib import Path

from ...errors import AnnotationError
from ..sequences import Box, VideoSequence
from .common import LayoutProblem, OnProblem, list_pictures, pair_masks, report_gaps

__all__ = ("FRAME_SIZE", "moca_splits", "read_moca", "read_moca_boxes")

FRAME_SIZE = (720, 1280)
"""Height and width of the frames in whose pixels the boxes are given."""

_MASK_SPLITS = {"train": "TrainDataset_per_sq", "test": "TestDataset_per_sq"}
_EXPECTED = """'0,/arabian_horn_viper/00000.jpg,"[2,482,225,507,191]",{'1': '0'}'"""


def moca_splits(root: Path) -> tuple[str, ...]:
    """Return the splits of MoCA-Mask; ``("all",)`` for boxes and for a folder of sequences without splits."""
    if (root / "annotations.csv").is_file():
        return ("all",)
    return tuple(split for split, folder in _MASK_SPLITS.items() if (root / folder).is_dir()) or ("all",)


def read_moca(root: Path, split: str, on_problem: OnProblem) -> list[VideoSequence]:
    """Read MoCA (boxes) or a split of MoCA-Mask.

    Raises:
        AnnotationError: a line of the boxes is in another format, or there are no sequences.
    """
    if (root / "annotations.csv").is_file():
        return _with_boxes(root, on_problem)
    folder = root / _MASK_SPLITS[split] if split in _MASK_SPLITS else root
    names = sorted(path.parent.name for path in folder.glob("*/Imgs"))
    if not names:
        raise AnnotationError(f"{str(folder)!r} holds no sequences: expected <sequence>/Imgs and <sequence>/GT.")
    sequences = []
    for name in names:
        folders = (folder / name / "Imgs", folder / name / "GT")
        frames, masks = list_pictures(folders[0]), list_pictures(folders[1])
        report_gaps(name, frames, folders[0], on_problem)
        sequences.append(pair_masks(name, frames, masks, folders, on_problem))
    return sequences


def read_moca_boxes(file: Path) -> dict[str, dict[str, Box | None]]:
    """Return the boxes of ``annotations.csv`` by sequence and frame stem, in the order of the pictures' names.

    As in the evaluation (``MoCA_eval.py`` of charigyang/motiongrouping), ``[]`` in place of a box means that the frame
    has none (None here), and ``{}`` in place of the type of motion repeats that of the sequence's previous box; there
    it would also be that of another sequence, here the first box of a sequence has then no type (-1). Comment lines
    (``#``) of the VIA annotation tool are passed over.

    Raises:
        AnnotationError: a line is in another format.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "annotations.csv")
        ...     _ = path.write_text('''0,/crab/00000.jpg,"[2,4,5,60,70]",{'1': '1'}''')
        ...     read_moca_boxes(path)["crab"]["00000"].motion
        1
    """
    boxes: dict[str, dict[str, Box | None]] = {}
    last_motion: dict[str, int] = {}
    with file.open(encoding="utf-8", newline="") as lines:
        for number, row in sorted(enumerate(csv.reader(lines), start=1), key=lambda line: line[1][1:2]):
            if not row or row[0].lstrip().startswith("#") or row[1:2] == ["file_list"]:
                continue
            try:
                name, frame = row[1].strip("/").split("/")
                coordinates = json.loads(row[2])
                motion = ast.literal_eval(",".join(row[3:])) if len(row) > 3 else {}
                box = None
                if coordinates != []:
                    x, y, width, height = (float(value) for value in coordinates[1:])
                    last_motion[name] = int(motion.get("1", last_motion.get(name, -1)))
                    box = Box(x, y, width, height, last_motion[name])
                boxes.setdefault(name, {})[Path(frame).stem] = box
            except (ValueError, TypeError, IndexError, AttributeError, SyntaxError) as error:
                raise AnnotationError(
                    f"Line {number} of {str(file)!r} is not in a known format: found {','.join(row)!r:.120}, "
                    f"expected {_EXPECTED}."
                ) from error
    if not last_motion:
        raise AnnotationError(f"{str(file)!r} holds no boxes: expected lines such as {_EXPECTED}.")
    return boxes


def _with_boxes(root: Path, on_problem: OnProblem) -> list[VideoSequence]:
    file = root / "annotations.csv"
    sequences = []
    for name, boxes in read_moca_boxes(file).items():
        folder = root / "JPEGImages" / name
        frames = list_pictures(folder)
        for stem in boxes:
            if stem not in frames:
                message = (
                    f"Frame {stem} of sequence {name!r} is missing: {str(file)!r} lists it, expected "
                    f"{str(folder / f'{stem}.jpg')!r}. Prepare the frames as the boxes were (every third one, cropped)."
                )
                on_problem(LayoutProblem(name, stem, "missing frame", message, folder / f"{stem}.jpg"))
        report_gaps(name, frames, folder, on_problem)
        of_frames = tuple(boxes.get(stem) for stem in frames)
        sequences.append(VideoSequence(name, tuple(frames.values()), (None,) * len(frames), of_frames, FRAME_SIZE))
    return sequences

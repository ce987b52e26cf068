# SPDX-License-Identifier: Apache-2.0
"""Writing the generated data set of camouflaged and salient objects in the layout of DAVIS 2016."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..errors import OptionError
from .camouflage_drawing import KINDS, Kind, check_drawing, draw_sequence
from .generated import write_generated
from .loaders import default_num_workers

__all__ = ("write_camouflage",)

_VERSION = 1  # raise it when the pictures change, so that old folders are not taken for new ones
_PICTURES, _MASKS, _LISTS = "JPEGImages/480p", "Annotations/480p", "ImageSets/480p"


class _Entry(NamedTuple):
    name: str
    kind: Kind
    distractor: bool
    seed: tuple[int, ...]


def write_camouflage(
    root: str | Path,
    num_train: int = 24,
    num_val: int = 8,
    num_frames: int = 10,
    height: int = 96,
    width: int = 160,
    *,
    distractors: float = 0.5,
    seed: int = 0,
    num_workers: int | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> Path:
    """Write the data set of camouflaged and salient objects: frames, masks and lists in the layout of DAVIS 2016.

    In each split, sequences are ``camouflaged_000``, ``salient_000``, ``camouflaged_001`` … in turn. A salient object
    is seen in every frame; a camouflaged one looks like its background and shows in motion alone, and in some of its
    sequences a thing that looks salient moves with the background (see :func:`.camouflage_drawing.draw_sequence`). What
    a model gets right on which kind says whether it goes by looks or by motion.

    The folder appears whole or not at all. Called again with the same parameters, the function returns at once.

    Args:
        root: folder to write.
        num_train: sequences in the training split, at least 1.
        num_val: sequences in the validation split, at least 1.
        num_frames: frames of a sequence, at least 2.
        height: of the frames in pixels, at least 48.
        width: of the frames in pixels, at least 48.
        distractors: share in [0, 1] of the camouflaged sequences of a split that have a distractor.
        seed: the same seed and parameters draw the same pictures; 0 or more.
        num_workers: threads; None: one for each CPU core, at most 8.
        overwrite: replace a folder that this function wrote with other parameters, and flow that was kept in it.
        progress: show a progress bar.

    Returns:
        The folder.

    Raises:
        OptionError: a parameter is out of range.
        DatasetExistsError: the folder holds something else, and ``overwrite`` is off or it was not written by this
            function.

    Example:
        >>> import tempfile
        >>> root = Path(tempfile.mkdtemp()) / "camouflage"
        >>> folder = write_camouflage(root, 2, 1, num_frames=2, height=48, width=48, progress=False)
        >>> sorted(path.name for path in (folder / "JPEGImages/480p").iterdir())
        ['camouflaged_000', 'camouflaged_001', 'salient_000']
    """
    if min(num_train, num_val) < 1:
        raise OptionError(f"num_train and num_val must be at least 1; got {num_train} and {num_val}.")
    if not 0 <= distractors <= 1:
        raise OptionError(f"distractors must be a share in [0, 1]; got {distractors}.")
    if seed < 0:
        raise OptionError(f"seed must be 0 or more; got {seed}.")
    check_drawing(num_frames, height, width)
    spec: dict[str, Any] = {
        "version": _VERSION,
        "num_train": num_train,
        "num_val": num_val,
        "num_frames": num_frames,
        "height": height,
        "width": width,
        "distractors": distractors,
        "seed": seed,
    }
    splits = {
        "train": _plan(num_train, distractors, (seed, 0), first=dict.fromkeys(KINDS, 0)),
        # numbered on from the training split: names are unique in the data set
        "val": _plan(
            num_val, distractors, (seed, 1), first={"camouflaged": -(-num_train // 2), "salient": num_train // 2}
        ),
    }

    def write(folder: Path) -> None:
        _write_lists(folder, splits, num_frames)
        entries = [entry for split in splits.values() for entry in split]
        _write_sequences(folder, entries, num_frames, height, width, num_workers or default_num_workers(), progress)

    return write_generated(
        root, write, contents="camouflaged objects", spec_file="camouflage.json", spec=spec, overwrite=overwrite
    )


def _plan(count: int, distractors: float, seed: tuple[int, ...], first: dict[Kind, int]) -> list[_Entry]:
    """Decide on the kind, the name and the distractor of every sequence of a split: kinds in turn."""
    entries = []
    for number in range(count):
        turn, kind = number // len(KINDS), KINDS[number % len(KINDS)]
        # spread evenly, so that small splits have their share too
        distractor = kind == "camouflaged" and int((turn + 1) * distractors) > int(turn * distractors)
        entries.append(_Entry(f"{kind}_{first[kind] + turn:03d}", kind, distractor, (*seed, number)))
    return entries


def _write_lists(folder: Path, splits: dict[str, list[_Entry]], num_frames: int) -> None:
    lists = folder / _LISTS
    lists.mkdir(parents=True)
    for name, entries in {**splits, "trainval": [*splits["train"], *splits["val"]]}.items():
        # the official lists have the slash in front and the space at the end
        lines = (
            f"/{_PICTURES}/{entry.name}/{number:05d}.jpg /{_MASKS}/{entry.name}/{number:05d}.png \n"
            for entry in entries
            for number in range(num_frames)
        )
        (lists / f"{name}.txt").write_text("".join(lines), encoding="utf-8")


def _write_sequences(
    folder: Path, entries: list[_Entry], num_frames: int, height: int, width: int, num_workers: int, progress: bool
) -> None:
    def write(entry: _Entry) -> None:
        drawn = draw_sequence(
            entry.kind,
            num_frames=num_frames,
            height=height,
            width=width,
            distractor=entry.distractor,
            rng=np.random.default_rng(entry.seed),
        )
        pictures, masks = folder / _PICTURES / entry.name, folder / _MASKS / entry.name
        pictures.mkdir(parents=True)
        masks.mkdir(parents=True)
        for number, (frame, mask) in enumerate(zip(drawn.frames, drawn.masks, strict=True)):
            # artefacts of compression would be steady while the texture moves
            Image.fromarray(frame).save(pictures / f"{number:05d}.jpg", quality=95, subsampling=0)
            Image.fromarray(mask * np.uint8(255)).save(masks / f"{number:05d}.png")

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    # Threads suffice: NumPy and Pillow let go of the interpreter in transforms and while they encode.
    with ThreadPoolExecutor(num_workers) as pool, Progress(*columns, disable=not progress) as bar:
        task = bar.add_task("Writing camouflaged objects", total=len(entries))
        for _ in pool.map(write, entries):
            bar.advance(task)

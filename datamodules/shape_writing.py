# SPDX-License-Identifier: Apache-2.0
"""Writing the generated data set of moving shapes in the layout of Something-Something V2."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from .generated import write_generated
from .loaders import default_num_workers
from .shape_drawing import APPEARANCES, MOTIONS, Appearance, Motion, draw_clip
from .vp9 import without_tag_warning, write_vp9

__all__ = ("class_names", "write_moving_shapes")

_VERSION = 1  # raise it when the pictures change, so that old folders are not taken for new ones


class _Clip(NamedTuple):
    id: str
    motion: Motion
    appearance: Appearance
    seed: tuple[int, ...]


def write_moving_shapes(
    root: str | Path,
    num_train: int = 600,
    num_val: int = 120,
    num_test: int = 60,
    *,
    num_classes: int = 6,
    num_frames: int = 24,
    height: int = 72,
    width: int = 80,
    correlation: float = 0.9,
    val_correlation: float = 0.0,
    seed: int = 0,
    num_workers: int | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> Path:
    """Write the data set of moving shapes: VP9 videos and annotations in the official layout of Something-Something V2.

    The class of a clip is the motion of its object and nothing else. The looks (the object's colour, shape and
    texture, and the tint of the background) are, in training, those of the class with probability ``correlation`` and
    random otherwise: a model can learn the shortcut. In validation and test they are random by default, so that the
    shortcut gives chance accuracy. Single frames say nothing about the motion (see :func:`.shape_drawing.draw_clip`).

    The folder appears whole or not at all. Called again with the same parameters, the function returns at once.

    Args:
        root: folder to write.
        num_train: clips in the training split.
        num_val: clips in the validation split.
        num_test: clips in the test split.
        num_classes: 2 to 8: right, left, up, down, away, towards, spinning, holding.
        num_frames: frames of a clip, at 12 frames a second.
        height: of the videos in pixels, even.
        width: of the videos in pixels, even; not 16, 24, 48 or 72, which decord 0.6 cannot read.
        correlation: probability in [0, 1] with which a training clip has the looks of its class; otherwise they are
            random.
        val_correlation: the same for validation and test.
        seed: the same seed and parameters draw the same pictures.
        num_workers: threads; None: one for each CPU core, at most 8.
        overwrite: replace a folder that this function wrote with other parameters.
        progress: show a progress bar.

    Returns:
        The folder.

    Raises:
        ValueError: a parameter is out of range.
        DatasetExistsError: the folder holds something else, and ``overwrite`` is off or it was not written by this
            function.
    """
    if not 2 <= num_classes <= len(MOTIONS):
        raise ValueError(f"num_classes must be 2 to {len(MOTIONS)}; got {num_classes}.")
    if not (0 <= correlation <= 1 and 0 <= val_correlation <= 1):
        raise ValueError(f"Correlations must be in [0, 1]; got {correlation} and {val_correlation}.")
    if width in (16, 24, 48, 72):
        raise ValueError(f"width must be another number than {width}: decord 0.6 cannot read videos of this width.")
    if height % 2 or width % 2 or min(height, width) < 16:
        raise ValueError(f"height and width must be even and at least 16 (VP9); got {height} and {width}.")
    spec: dict[str, Any] = {
        "version": _VERSION,
        "num_train": num_train,
        "num_val": num_val,
        "num_test": num_test,
        "num_classes": num_classes,
        "num_frames": num_frames,
        "height": height,
        "width": width,
        "correlation": correlation,
        "val_correlation": val_correlation,
        "seed": seed,
    }
    splits = {
        "train": _plan(num_train, num_classes, correlation, (seed, 0), first=1),
        "validation": _plan(num_val, num_classes, val_correlation, (seed, 1), first=1 + num_train),
        "test": _plan(num_test, num_classes, val_correlation, (seed, 2), first=1 + num_train + num_val),
    }

    def write(folder: Path) -> None:
        _write_annotations(folder, splits, num_classes)
        clips = [clip for split in splits.values() for clip in split]
        _write_videos(folder, clips, num_frames, height, width, num_workers or default_num_workers(), progress)

    return write_generated(
        root, write, contents="moving shapes", spec_file="moving_shapes.json", spec=spec, overwrite=overwrite
    )


def _plan(count: int, num_classes: int, correlation: float, seed: tuple[int, ...], first: int) -> list[_Clip]:
    """Decide on the class and the looks of every clip: classes equally frequent, in random order."""
    rng = np.random.default_rng(seed)
    clips = []
    for number, label in enumerate(rng.permutation(np.arange(count) % num_classes)):
        looks = label if rng.random() < correlation else rng.integers(num_classes)
        clips.append(_Clip(str(first + number), MOTIONS[label], APPEARANCES[looks], (*seed, number)))
    return clips


def _write_annotations(folder: Path, splits: dict[str, list[_Clip]], num_classes: int) -> None:
    labels = folder / "labels"
    labels.mkdir()
    names = class_names(num_classes)

    def write(name: str, data: Any) -> None:
        (labels / name).write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")

    write("labels.json", {name: str(index) for index, name in enumerate(names)})
    for split in ("train", "validation"):
        entries = []
        for clip in splits[split]:
            thing = clip.appearance.name
            text = clip.motion.template.replace("[something]", thing)
            entries.append(
                {
                    "id": clip.id,
                    "label": text[0].lower() + text[1:],
                    "template": clip.motion.template,
                    "placeholders": [thing],
                }
            )
        write(f"{split}.json", entries)
    write("test.json", [{"id": clip.id} for clip in splits["test"]])
    answers = "".join(f"{clip.id};{_class_name(clip.motion)}\n" for clip in splits["test"])
    (labels / "test-answers.csv").write_text(answers, encoding="utf-8")


def class_names(num_classes: int) -> tuple[str, ...]:
    """Names of the classes in the order of their indices: alphabetical, as in the official file.

    Example:
        >>> class_names(2)
        ('Pushing something from left to right', 'Pushing something from right to left')
    """
    return tuple(sorted(_class_name(motion) for motion in MOTIONS[:num_classes]))


def _class_name(motion: Motion) -> str:
    return motion.template.replace("[", "").replace("]", "")


def _write_videos(
    folder: Path, clips: list[_Clip], num_frames: int, height: int, width: int, num_workers: int, progress: bool
) -> None:
    videos = folder / "20bn-something-something-v2"
    videos.mkdir()

    def write(clip: _Clip) -> None:
        rng = np.random.default_rng(clip.seed)
        frames = draw_clip(clip.motion, clip.appearance, num_frames=num_frames, height=height, width=width, rng=rng)
        write_vp9(videos / f"{clip.id}.webm", frames)

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    # Threads suffice: OpenCV lets go of the interpreter while it draws and encodes.
    with (
        without_tag_warning(),
        ThreadPoolExecutor(num_workers) as pool,
        Progress(*columns, disable=not progress) as bar,
    ):
        task = bar.add_task("Writing moving shapes", total=len(clips))
        for _ in pool.map(write, clips):
            bar.advance(task)

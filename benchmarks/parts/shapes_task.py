# SPDX-License-Identifier: Apache-2.0
"""The task of the study: moving shapes, small enough to train a network in a minute.

The pictures are those of ``MovingShapesDataModule``. The class is the motion. In training the looks are those of the
class with probability ``correlation``, and otherwise random, so that they are a shortcut; in validation they are
random. Half of the classes are rare in training, which half depends on the seed; in validation all are equally
frequent.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from staticdropout.datamodules.shape_drawing import APPEARANCES, MOTIONS, draw_clip


@dataclass(frozen=True)
class Task:
    """What is drawn: everything that the numbers depend on."""

    num_classes: int = 8
    num_train: int = 1600
    num_val: int = 800
    num_frames: int = 6
    size: int = 32
    correlation: float = 0.8
    rare: float = 0.25
    """Clips of a rare class for one clip of a common class, in training."""

    def common(self, seed: int) -> list[int]:
        """The classes that are common in training: every other one."""
        return list(range(seed % 2, self.num_classes, 2))


class Shapes(Dataset[dict[str, Any]]):
    """Clips in memory, as the dict batches of this package, with the class whose looks each clip has."""

    def __init__(self, video: Tensor, label: Tensor, looks: Tensor) -> None:
        self.video, self.label, self.looks = video, label, looks

    def __len__(self) -> int:
        return len(self.label)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {
            "video": self.video[index],
            "label": int(self.label[index]),
            "looks": int(self.looks[index]),
            "id": str(index),
        }


def draw(task: Task, seed: int, train: bool) -> Shapes:
    """One split; the same task and seed give the same clips."""
    rng = np.random.default_rng((seed, int(train)))
    count = task.num_train if train else task.num_val
    weights = np.array([1.0 if c in task.common(seed) or not train else task.rare for c in range(task.num_classes)])
    ends = np.cumsum(weights) / weights.sum() * count
    labels = rng.permutation(np.searchsorted(ends, np.arange(count) + 0.5))
    correlation = task.correlation if train else 0.0
    looks = np.where(rng.random(count) < correlation, labels, rng.integers(task.num_classes, size=count))
    shape = {"num_frames": task.num_frames, "height": task.size, "width": task.size}
    clips = np.stack(
        [draw_clip(MOTIONS[m], APPEARANCES[a], rng=rng, **shape) for m, a in zip(labels, looks, strict=True)]
    )
    video = torch.from_numpy(clips).permute(0, 4, 1, 2, 3).contiguous()
    return Shapes(video, torch.from_numpy(labels), torch.from_numpy(looks))


def load(task: Task, seed: int, train: bool, cache: Path) -> Shapes:
    """One split, from the cache if it was drawn before."""
    name = "-".join(f"{key}{value}" for key, value in asdict(task).items())
    path = cache / f"{name}-seed{seed}-{'train' if train else 'val'}.pt"
    if not path.exists():
        shapes = draw(task, seed, train)
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(f".{os.getpid()}")
        torch.save([shapes.video, shapes.label, shapes.looks], unfinished)
        unfinished.replace(path)
    return Shapes(*torch.load(path, weights_only=True))

# SPDX-License-Identifier: Apache-2.0
"""Where the time for a clip goes, in one process: time of processors, so that a busy machine does not show."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from parts.loading_ways import BATCH, FRAMES, SHORT_SIDE, SIZE, data_module, epoch

from staticdropout.datamodules import TrainTransform, VideoCollate, open_video, sample_clips

STEPS = ("open", "choose frames", "decode and scale", "crop and resize", "collate")
REST = "random states, loader"


def one_round(paths: Sequence[Path], reader: str) -> dict[str, float]:
    """Processor seconds of each step over all videos, as VideoDataset and VideoCollate do them."""
    transform, collate = TrainTransform(SIZE, SHORT_SIDE), VideoCollate((3, FRAMES, SIZE, SIZE))
    spent = dict.fromkeys(STEPS, 0.0)
    items: list[dict[str, Any]] = []
    for path in paths:
        times = [time.process_time()]
        video = open_video(path, reader, max(SHORT_SIDE))
        times.append(time.process_time())
        indices = sample_clips(len(video), FRAMES, training=True)[0]
        times.append(time.process_time())
        frames = torch.from_numpy(video.get_batch(indices)).permute(0, 3, 1, 2)
        times.append(time.process_time())
        items.append({"video": transform(frames), "label": 0, "id": path.stem})
        times.append(time.process_time())
        if len(items) == BATCH:
            collate(items)
            items = []
        times.append(time.process_time())
        for step, (start, end) in zip(spent, itertools.pairwise(times), strict=True):
            spent[step] += end - start
    return spent


def shares(rounds: Sequence[Mapping[str, float]], reader: str) -> list[dict[str, Any]]:
    """A row for each step: its median over rounds, and its share of the sum of the medians.

    Args:
        rounds: milliseconds of a clip by step.
        reader: name of the reader.
    """
    medians = {step: statistics.median(spent[step] for spent in rounds) for step in rounds[0]}
    whole = sum(medians.values())
    return [
        {"reader": reader, "part": step, "cpu_ms_a_clip": round(value, 3), "share": round(value / whole, 3)}
        for step, value in medians.items()
    ]


def measure_parts(root: Path, reader: str, repeats: int) -> list[dict[str, Any]]:
    """Processor milliseconds a clip of each step, and of what the loader of the data module takes beyond them."""
    loader = data_module(root, reader, 0).train_dataloader()
    paths = [entry.path for entry in loader.dataset.entries]  # type: ignore[attr-defined]
    clips = epoch(loader)()
    rounds = []
    for turn in range(repeats + 1):
        spent = {step: taken * 1000 / len(paths) for step, taken in one_round(paths, reader).items()}
        start = time.process_time()
        epoch(loader)()
        whole = (time.process_time() - start) * 1000 / clips
        if turn:
            rounds.append({**spent, REST: max(0.0, whole - sum(spent.values()))})
    return shares(rounds, reader)

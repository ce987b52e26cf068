# SPDX-License-Identifier: Apache-2.0
"""Tiny data sets of actions in their official layouts, and a video that tells which of its frames one sees."""

from __future__ import annotations

import functools
import json
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

FRAMES, FPS = 24, 10.0
STEP = 10  # grey levels between neighbouring frames
SMALL: dict[str, Any] = {"num_frames": 4, "crop_size": 16, "short_side": 16, "batch_size": 2, "num_workers": 0}


@functools.cache
def _encoded(frames: int, fps: float) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), fps, (40, 32))
        for number in range(frames):
            writer.write(np.full((32, 40, 3), STEP * number, np.uint8))
        writer.release()
        return path.read_bytes()


def write_clip(path: Path, frames: int = FRAMES, fps: float = FPS) -> Path:
    """Write a video of grey frames, each 10 grey levels brighter than the one before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_encoded(frames, fps))
    return path


def frame_numbers(clip: Tensor) -> list[int]:
    """Which frames of such a video a clip ``(C, T, H, W)`` shows."""
    levels: list[int] = torch.round(clip.float().mean((0, 2, 3)) / STEP).int().tolist()
    return levels


def write_json(path: Path, data: Any) -> Path:
    """Write a JSON file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data))
    return path


def write_text(path: Path, lines: Iterable[str]) -> Path:
    """Write lines and the folders above them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


KINETICS_HEADER = "label,youtube_id,time_start,time_end,split"
KINETICS_TRAIN = (
    ("zumba", "aaaaaaaaaaa", 5),
    ("abseiling", "bbbbbbbbbbb", 417),
    ("passing American football (in game)", "c-ccccccc_c", 0),
    ("abseiling", "ddddddddddd", 36),
)
KINETICS_VAL = (("zumba", "eeeeeeeeeee", 8), ("abseiling", "-ffffffffff", 12))


def kinetics_csv(path: Path, rows: Iterable[tuple[str, str, int]], split: str) -> Path:
    """Write an official csv file."""
    lines = [f"{label},{name},{start},{start + 10},{split}" for label, name, start in rows]
    return write_text(path, [KINETICS_HEADER, *lines])


def kinetics(root: Path, pattern: str = "{split}/{id}_{start:06d}_{end:06d}.mp4", space: str = " ") -> Path:
    """Kinetics with three classes, four training and two validation videos; ``pattern`` names their files."""
    for split, rows in (("train", KINETICS_TRAIN), ("val", KINETICS_VAL)):
        kinetics_csv(root / "annotations" / f"{split}.csv", rows, split)
        for label, name, start in rows:
            folder = label.replace(" ", space)
            write_clip(root / pattern.format(split=split, label=folder, id=name, start=start, end=start + 10))
    return root


def diving48(root: Path) -> Path:
    """Diving48 V2 with three training and two test videos."""
    write_json(root / "Diving48_vocab.json", [["Back", f"{n}som", "NoTwis", "PIKE"] for n in range(48)])
    for split, names in (("train", ("a_00000", "a_00001", "-b_00000")), ("test", ("c_00000", "c_00001"))):
        entries = [
            {"vid_name": name, "label": 47 - number, "start_frame": 0, "end_frame": FRAMES}
            for number, name in enumerate(names)
        ]
        write_json(root / f"Diving48_V2_{split}.json", entries)
        for name in names:
            write_clip(root / "rgb" / f"{name}.mp4")
    return root


def _video(subset: str, *segments: tuple[float, float, str]) -> dict[str, Any]:
    annotations = [{"segment": [start, end], "label": label} for start, end, label in segments]
    return {"duration": FRAMES / FPS, "subset": subset, "annotations": annotations}


ACTIVITYNET: dict[str, Any] = {
    "database": {
        "aaaaaaaaaaa": _video("training", (0.5, 1.2, "Surfing"), (1.5, 2.0, "Archery")),
        "v_bbbbbbbbb": _video("training", (0.0, 99.0, "Archery")),  # 11 characters, so v_ is part of the id
        "ccccccccccc": _video("validation", (1.0, 2.0, "Surfing")),
        "ddddddddddd": _video("testing"),
    },
    "taxonomy": [
        {"nodeName": "Root", "nodeId": 0, "parentId": None, "parentName": None},
        {"nodeName": "Sports", "nodeId": 1, "parentId": 0, "parentName": "Root"},
        {"nodeName": "Surfing", "nodeId": 2, "parentId": 1, "parentName": "Sports"},
        {"nodeName": "Archery", "nodeId": 3, "parentId": 1, "parentName": "Sports"},
        {"nodeName": "Belly dance", "nodeId": 4, "parentId": 0, "parentName": "Root"},
    ],
    "version": "VERSION 1.3",
}


def activitynet(root: Path) -> Path:
    """ActivityNet with four videos, the second called by its id alone."""
    write_json(root / "activity_net.v1-3.min.json", ACTIVITYNET)
    for name in ("v_aaaaaaaaaaa", "v_bbbbbbbbb", "v_ccccccccccc", "v_ddddddddddd"):
        write_clip(root / "videos" / f"{name}.mp4")
    return root


SOMETHING_ELSE = {"Moving something up": 2, "Opening something": 0, "Closing something": 1}


def something_else(root: Path) -> Path:
    """Something-Else with three training and two validation videos, in ``something_else`` beside the videos of SSv2."""
    write_json(root / "something_else" / "labels.json", SOMETHING_ELSE)
    splits = {
        "train": {"1": "Moving [something] up", "2": "Opening [something]", "3": "Closing [something]"},
        "validation": {"4": "Opening [something]", "5": "Moving [something] up"},
    }
    for split, templates in splits.items():
        entries = [
            {"id": name, "template": text, "label": "x", "placeholders": ["x"]} for name, text in templates.items()
        ]
        write_json(root / "something_else" / f"{split}.json", entries)
        for name in templates:
            write_clip(root / "20bn-something-something-v2" / f"{name}.mp4")
    return root

# SPDX-License-Identifier: Apache-2.0
"""Videos like those of Something-Something V2, for benchmarks: VP9 in WebM, 427x240, 12 frames a second, 2 to 6 s.

As in the official files there is one key frame, and 1 to 3 kB a frame. Each shows a thing that moves before a textured
background, held by an unsteady hand, with the noise of a sensor.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from staticdropout.datamodules.shape_drawing import APPEARANCES, MOTIONS, draw_clip

HEIGHT, WIDTH, RATE = 240, 427, 12
MEAN, SPREAD, SHORTEST, LONGEST = 46, 11, 24, 72  # frames
QUALITY = 22  # libvpx's crf: gives these pictures the 1 to 3 kB a frame of the official files
VIDEOS = "20bn-something-something-v2"
Frames = NDArray[np.uint8]


def lengths(count: int, seed: int = 0) -> list[int]:
    """Numbers of frames: a mean of 46, none below 24 or above 72."""
    drawn = np.random.default_rng(seed).normal(MEAN, SPREAD, count)
    return [int(length) for length in drawn.round().clip(SHORTEST, LONGEST)]


def draw(number: int, length: int, height: int = HEIGHT, width: int = WIDTH) -> Frames:
    """The frames (T, H, W, 3) of one video; the same number gives the same pictures."""
    rng = np.random.default_rng((7, number))
    motion, looks = MOTIONS[number % 6], APPEARANCES[number // 6 % len(APPEARANCES)]
    clip = draw_clip(motion, looks, num_frames=length, height=height, width=width, rng=rng).astype(np.float32)
    scene = np.zeros((height + 40, width + 40, 3), np.float32)
    for cells in (2, 5, 12, 40):
        coarse = rng.normal(0, 9, (height // cells, width // cells, 3)).astype(np.float32)
        scene += cv2.resize(coarse, (width + 40, height + 40))
    way = np.cumsum(rng.normal(0, 0.7, (length, 2)), axis=0).round().clip(-20, 20).astype(int) + 20
    for frame, (y, x) in zip(clip, way, strict=True):
        frame += scene[y : y + height, x : x + width] + rng.normal(0, 1.5, frame.shape)
    return clip.round().clip(0, 255).astype(np.uint8)


def encode(path: Path, frames: Sequence[Frames] | Frames, interval: int = 128) -> None:
    """Write frames as VP9 of constant quality with a key frame every ``interval`` frames (128: libvpx's own choice).

    PyAV does it, since OpenCV leaves out the last column of an odd width. It fails once decord has been imported.
    """
    with av.open(str(path), "w", format="webm") as output:
        stream: Any = output.add_stream("libvpx-vp9", rate=RATE)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt, stream.bit_rate = "yuv420p", 0
        stream.options = {"g": str(interval), "crf": str(QUALITY), "deadline": "good", "cpu-used": "4", "row-mt": "0"}
        stream.codec_context.thread_count = 1
        for number, picture in enumerate(frames):
            frame: Any = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))


def decode(path: Path) -> Iterator[Frames]:
    """The frames of a video in their order."""
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)


def annotate(root: Path, names: Sequence[str]) -> None:
    """Write the annotations of a training split."""
    labels = root / "labels"
    labels.mkdir(parents=True, exist_ok=True)
    templates = sorted(motion.template for motion in MOTIONS[:6])
    plain = [template.replace("[", "").replace("]", "") for template in templates]
    (labels / "labels.json").write_text(json.dumps({name: str(i) for i, name in enumerate(plain)}))
    entries = [
        {"id": name, "label": plain[i % 6].lower(), "template": templates[i % 6], "placeholders": ["a thing"]}
        for i, name in enumerate(names)
    ]
    for split in ("train", "validation"):
        (labels / f"{split}.json").write_text(json.dumps(entries))


def write_like_ssv2(root: Path, count: int, workers: int = 2) -> Path:
    """Write generated videos in the layout of Something-Something V2."""
    (root / VIDEOS).mkdir(parents=True)
    counts = lengths(count)
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(lambda i: encode(root / VIDEOS / f"{i + 1}.webm", draw(i, counts[i])), range(count)))
    annotate(root, [str(i + 1) for i in range(count)])
    return root


def training_files(root: Path) -> list[Path]:
    """The videos of the training split."""
    entries = json.loads((root / "labels/train.json").read_text())
    return [root / VIDEOS / f"{entry['id']}.webm" for entry in entries]


def rewrite(source: Path, root: Path, interval: int = 128, short_side: int | None = None, workers: int = 2) -> Path:
    """Encode the training split again: with other distances of key frames, or at a smaller size."""
    (root / VIDEOS).mkdir(parents=True)
    files = training_files(source)

    def again(file: Path) -> None:
        frames = list(decode(file))
        height, width = frames[0].shape[:2]
        share = 1.0 if short_side is None else min(1.0, short_side / min(height, width))
        if share < 1:
            size = round(width * share / 2) * 2, round(height * share / 2) * 2
            frames = [np.asarray(cv2.resize(f, size, interpolation=cv2.INTER_AREA), np.uint8) for f in frames]
        encode(root / VIDEOS / file.name, frames, interval)

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(again, files))
    annotate(root, [file.stem for file in files])
    return root


def write_frames(source: Path, root: Path, workers: int = 2, quality: int = 90) -> Path:
    """Extract the frames of the training split as JPEG files, ``frames/<id>/0001.jpg``."""

    def extract(file: Path) -> None:
        folder = root / "frames" / file.stem
        folder.mkdir(parents=True)
        for number, frame in enumerate(decode(file), start=1):
            Image.fromarray(frame).save(folder / f"{number:04d}.jpg", quality=quality)

    files = training_files(source)
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(extract, files))
    annotate(root, [file.stem for file in files])
    return root


def megabytes(root: Path) -> float:
    """Size of all files."""
    return sum(file.stat().st_size for file in root.rglob("*") if file.is_file()) / 1e6

# SPDX-License-Identifier: Apache-2.0
"""Tiny video segmentation data sets in every layout: a square that moves to the right over noise."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from staticdropout.datamodules import VideoSequence
from staticdropout.datamodules.flow import flow_path, write_flow_picture

HEIGHT, WIDTH = 48, 64
SPEED = 3
PALETTE = [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0] + [200] * 756  # 256 colours: fewer would cut indices

Pixels = NDArray[np.uint8]


def square_mask(position: int, height: int = HEIGHT, width: int = WIDTH) -> Pixels:
    """Where the square is in frame ``position``: 16 x 16 pixels, moving by SPEED."""
    mask = np.zeros((height, width), np.uint8)
    left = 4 + SPEED * position
    mask[12:28, left : left + 16] = 1
    return mask


def square_frame(position: int, seed: int = 0) -> Pixels:
    """The picture of frame ``position``: a square of noise over still noise."""
    background = np.random.default_rng(seed).integers(0, 120, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    pattern = np.random.default_rng(seed + 1).integers(130, 255, (16, 16, 3), dtype=np.uint8)
    background[12:28, 4 + SPEED * position : 20 + SPEED * position] = pattern
    return background


def write_picture(path: Path, pixels: Pixels, palette: bool = False) -> None:
    """Write a picture, its folder included; with a palette the values are indices."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(pixels)
    if palette:
        picture.putpalette(PALETTE)  # makes it mode P
    picture.save(path, quality=95)  # which PNG ignores


def write_video(
    frames: Path,
    masks: Path | None,
    stems: Sequence[str],
    *,
    palette: bool = False,
    suffix: str = ".jpg",
    masked: Iterable[str] | None = None,
    seed: int = 0,
) -> None:
    """Write the frames and masks of a video; ``masked``: the stems that get a mask, by default all."""
    labelled = set(stems if masked is None else masked)
    for position, stem in enumerate(stems):
        write_picture(frames / f"{stem}{suffix}", square_frame(position, seed))
        if masks is not None and stem in labelled:
            write_picture(masks / f"{stem}.png", square_mask(position) * (1 if palette else 255), palette)


def stems(number: int, step: int = 1, digits: int = 5) -> list[str]:
    return [str(index * step).zfill(digits) for index in range(number)]


SPLITS: Mapping[str, Sequence[str]] = {"train": ("bear", "dog"), "val": ("swan",)}


def davis2016(root: Path, number: int = 5, slash: str = "/", splits: Mapping[str, Sequence[str]] = SPLITS) -> Path:
    for split, names in splits.items():
        lines = []
        for name in names:
            write_video(root / "JPEGImages/480p" / name, root / "Annotations/480p" / name, stems(number))
            frame = f"{slash}JPEGImages/480p/{name}/%s.jpg {slash}Annotations/480p/{name}/%s.png \n"
            lines += [frame % (stem, stem) for stem in stems(number)]
        file = root / "ImageSets/480p" / f"{split}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(lines))
    return root


def davis2017(root: Path, number: int = 5, lists: bool = True) -> Path:
    for split, names in {**SPLITS, "test-dev": ("orca",)}.items():
        for name in names:
            masked = ["00000"] if split == "test-dev" else None
            folders = (root / "JPEGImages/480p" / name, root / "Annotations/480p" / name)
            write_video(*folders, stems(number), palette=True, masked=masked)
        if lists:
            file = root / "ImageSets/2017" / f"{split}.txt"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("".join(f"{name}\n" for name in names))
    return root


def youtube_vos(root: Path, number: int = 5) -> Path:
    for split, names in {"train": ("003234408d", "0043f083b5"), "valid": ("00f88c4f0a",)}.items():
        videos = {}
        for name in names:
            masked = ["00000"] if split == "valid" else stems(number, 5)
            folders = (root / split / "JPEGImages" / name, root / split / "Annotations" / name)
            write_video(*folders, stems(number, 5), palette=True, masked=masked)
            videos[name] = {"objects": {"1": {"category": "penguin", "frames": stems(number, 5)}}}
        (root / split / "meta.json").write_text(json.dumps({"videos": videos}))
    return root


def tao_vos(root: Path, number: int = 5) -> Path:
    names = [f"frame{index * 30 + 1:04d}" for index in range(number)]
    for split, videos in {"train": ("YFCC100M/v_1", "LaSOT/cat-2"), "val": ("BDD/b_3",)}.items():
        for video in videos:
            masks = root / "annotations_vos" / split / "Annotations" / video
            write_video(root / "frames" / split / video, masks, names, palette=True, masked=names[::2])
    return root


def imagenet_vid(root: Path, number: int = 5) -> Path:
    for split, part, names in (("train", "ILSVRC2015_VID_train_0000/", ("a", "b")), ("val", "", ("c",))):
        for name in names:
            frames = root / "ILSVRC2015/Data/VID" / split / f"{part}{name}"
            masks = root / "segmentation/ILSVRC2015/Data/VID" / split / name
            write_video(frames, masks, stems(number, digits=6), suffix=".JPEG")
    return root


def moca_masks(root: Path, number: int = 5, divided: bool = True) -> Path:
    for split, names in {"Train": ("crab", "moth"), "Test": ("hedgehog_3",)}.items():
        for name in names:
            folder = root / f"{split}Dataset_per_sq" / name if divided else root / name
            write_video(folder / "Imgs", folder / "GT", stems(number, 5))
    return root


def moca_boxes(root: Path, number: int = 5) -> Path:
    """Boxes around the square, in pixels of 1280 x 720."""
    lines = [",file_list,spatial_coordinates,metadata\n"]
    for name in ("crab", "moth"):
        write_video(root / "JPEGImages" / name, None, stems(number))
        for position, stem in enumerate(stems(number)):
            x, y = (4 + SPEED * position) * 1280 // WIDTH, 12 * 720 // HEIGHT
            box = f'"[2,{x},{y},{16 * 1280 // WIDTH},{16 * 720 // HEIGHT}]"'
            lines.append(f"{len(lines) - 1},/{name}/{stem}.jpg,{box},{{'1': '{position % 3}'}}\n")
    (root / "annotations.csv").write_text("".join(lines))
    return root


MAKERS: dict[str, Callable[[Path], Path]] = {
    "davis2016": davis2016,
    "davis2017": davis2017,
    "youtube_vos": youtube_vos,
    "tao_vos": tao_vos,
    "imagenet_vid": imagenet_vid,
    "moca": moca_masks,
}


def write_flow(flow_dir: Path, sequences: Iterable[VideoSequence], gaps: Sequence[int] = (1,)) -> Path:
    """Write the true flow of the square: (SPEED, 0) on it for gap 1, (-SPEED, 0) for gap -1."""
    for video in sequences:
        for position, frame in enumerate(video.frames):
            for gap in gaps:
                if 0 <= position + gap < len(video):
                    flow = np.stack([square_mask(position) * float(gap * SPEED), np.zeros((HEIGHT, WIDTH))])
                    write_flow_picture(flow_path(flow_dir, video.name, frame.stem, gap), flow.astype(np.float32))
    return flow_dir

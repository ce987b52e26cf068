# SPDX-License-Identifier: Apache-2.0
"""Tiny styled data sets: frames that tell which video, frame and style they are, and moving squares in real styles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from action_data import write_json
from PIL import Image
from sequences import square_frame
from torch import Tensor

from staticdropout.datamodules.frame_patterns import FramePattern
from staticdropout.datamodules.layouts import list_sequences
from staticdropout.perturbations import StyleSet

MARKED = FramePattern("style_{k}/{video}/{frame:06d}.png")  # without loss, so that the marks can be read
STYLES = ("paint", "neon")


def write_marked(
    root: Path,
    videos: Mapping[str, int],
    styles: int = 4,
    pattern: FramePattern = MARKED,
    size: tuple[int, int] = (12, 16),
    names: Sequence[str] | None = None,
) -> Path:
    """Write frames of one colour: red is the number of the frame from 0, green the style from 0, blue the video."""
    for number, (video, frames) in enumerate(videos.items()):
        for style in range(styles):
            name = names[style] if names else f"style_{style + 1}"
            for frame in range(frames):
                path = pattern.path(root, name, style + 1, video, frame + pattern.first_frame)
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", size[::-1], (frame, style, number)).save(path)
    return root


def marks(clip: Tensor, channel: int) -> list[int]:
    """What a clip (3, T, H, W) of such frames has in a channel: 0 frame, 1 style, 2 video."""
    values = clip[channel].flatten(1)
    assert (values == values[:, :1]).all()
    found: list[int] = values[:, 0].tolist()
    return found


def write_styled_squares(root: Path, names: Sequence[str], frames: int = 10, pattern: str = "release") -> Path:
    """Write moving squares in two of the built-in styles, without ``styles.json``."""
    styles, where = StyleSet(STYLES), FramePattern.of(pattern)
    for number, video in enumerate(names):
        clip = np.stack([square_frame(position, seed=3 * number) for position in range(frames)])
        pixels = torch.from_numpy(clip).permute(3, 0, 1, 2)[None].float() / 255
        for style, name in enumerate(styles.names):
            for frame, picture in enumerate(_pictures(styles.render(style, pixels)[0])):
                path = where.path(root, name, style + 1, video, frame + where.first_frame)
                path.parent.mkdir(parents=True, exist_ok=True)
                picture.save(path)
    return root


def write_styled_davis(root: Path, source: Path, split: str = "val") -> Path:
    """Write the sequences of a split of DAVIS in two of the built-in styles, as the authors' folder has them."""
    styles, where = StyleSet(STYLES), FramePattern.of("davis")
    for sequence in list_sequences(source, "davis2016", split):
        clip = np.stack([np.asarray(Image.open(file).convert("RGB")) for file in sequence.frames])
        pixels = torch.from_numpy(clip).permute(3, 0, 1, 2)[None].float() / 255
        for style, name in enumerate(styles.names):
            for file, picture in zip(sequence.frames, _pictures(styles.render(style, pixels)[0]), strict=True):
                path = where.path(root, name, style + 1, sequence.name, file.stem)
                path.parent.mkdir(parents=True, exist_ok=True)
                picture.save(path, quality=95)
    return root


def _pictures(clip: Tensor) -> list[Image.Image]:
    """The frames of a clip (3, T, H, W) in [0, 1]."""
    pixels = (clip * 255).round().to(torch.uint8).permute(1, 2, 3, 0).numpy()
    return [Image.fromarray(frame) for frame in pixels]


CLASSES = ("Moving something down", "Moving something up")


def ssv2_labels(root: Path, order: Mapping[str, int]) -> Path:
    """Write annotations of Something-Something V2 whose validation split has these videos and classes, in order."""
    write_json(root / "something-something-v2-labels.json", {name: str(i) for i, name in enumerate(CLASSES)})
    entries = [
        {"id": video, "label": "x", "template": CLASSES[label].replace("something", "[something]"), "placeholders": []}
        for video, label in order.items()
    ]
    write_json(root / "something-something-v2-validation.json", entries)
    return root

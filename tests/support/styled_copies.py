# SPDX-License-Identifier: Apache-2.0
"""Styled copies of tiny data sets, the files that are then there, and an independent rendering of what should be."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Trainer
from numpy.typing import NDArray
from PIL import Image

from staticdropout.callbacks.styled_frames_writer import StyledFramesWriter
from staticdropout.datamodules import open_video
from staticdropout.datamodules.whole_videos import WholeVideoDataModule
from staticdropout.lightning_modules.video_stylizer import VideoStylizer
from staticdropout.perturbations import get_style

Pixels = NDArray[np.uint8]
PNG = "style_{k}/{video}/{frame:06d}.png"


def stylize(
    root: Path,
    output: Path,
    styles: Sequence[str] = ("neon", "relief"),
    writer: StyledFramesWriter | None = None,
    **more: Any,
) -> tuple[WholeVideoDataModule, StyledFramesWriter]:
    """Write styled copies in this process."""
    data = WholeVideoDataModule(str(root), str(output), styles=styles, **{"num_workers": 0, **more})
    writer = writer or StyledFramesWriter(num_threads=2, progress=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = Trainer(
            accelerator="cpu",
            devices=1,
            callbacks=[writer],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.predict(VideoStylizer(), datamodule=data, return_predictions=False)
    return data, writer


def files_in(folder: Path) -> dict[str, bytes]:
    """All files below a folder, hidden ones as well, by their path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def frames_in(folder: Path) -> dict[str, bytes]:
    """The frames below a folder, those in hidden folders as well."""
    return {name: content for name, content in files_in(folder).items() if name.endswith((".jpg", ".png"))}


def hidden_in(folder: Path) -> list[str]:
    """What is hidden below a folder."""
    return [path.name for path in folder.rglob(".*")]


def decoded(path: Path, reader: str = "decord") -> Pixels:
    """All frames of a video, (T, H, W, 3)."""
    video = open_video(path, reader=reader)
    return np.asarray(video.get_batch(range(len(video))))


def rendered(frames: Pixels, style: str) -> Pixels:
    """Frames (T, H, W, 3) in a style, one after another."""
    apply, pictures = get_style(style), []
    for frame in frames:
        clip = torch.from_numpy(frame.astype(np.float32) / np.float32(255)).permute(2, 0, 1)[None, :, None]
        styled = apply(clip)[0, :, 0].permute(1, 2, 0).numpy()
        pictures.append(np.rint(styled * np.float32(255)).astype(np.uint8))
    return np.stack(pictures)


def pixels(path: Path) -> Pixels:
    """A picture file, (H, W, 3)."""
    return np.array(Image.open(path))

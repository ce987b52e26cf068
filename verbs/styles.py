# SPDX-License-Identifier: Apache-2.0
"""``staticdropout styles …``: look at styles."""

from __future__ import annotations

from pathlib import Path

import torch

from .. import datamodules
from ..perturbations import list_styles
from ..perturbations.styles.style_set import DEFAULT_STYLES
from .style_lists import split_styles

__all__ = ("style_sheet",)


def style_sheet(
    video: str,
    output: str = "styles.png",
    styles: str | list[str] | None = None,
    frames: int = 6,
    reader: str = "decord",
) -> None:
    """Write a contact sheet of a video in every style, as PNG.

    Args:
        video: path of the video.
        output: path of the PNG.
        styles: names of styles and files of trained ones, with commas between them, or a list; by default all that
            have a name.
        frames: frames to show.
        reader: decord, torchcodec, pyav, or frames for a folder of frames.
    """
    import numpy as np

    from ..perturbations import save_sheet

    source = datamodules.open_video(video, reader=reader, short_side=240)
    indices = np.linspace(0, len(source) - 1, frames).round().astype(int).tolist()
    clip = torch.from_numpy(source.get_batch(indices)).permute(3, 0, 1, 2).float() / 255
    path = save_sheet(clip, Path(output), _all_styles() if styles is None else split_styles(styles), num_frames=frames)
    print(f"Wrote {path}.")


def _all_styles() -> list[str]:
    """The default set in its order, and then whatever else is registered."""
    return [*DEFAULT_STYLES, *(name for name in list_styles() if name not in DEFAULT_STYLES)]

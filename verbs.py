# SPDX-License-Identifier: Apache-2.0
"""The grouped verbs, ``staticdropout models list`` and so on; the work is done in the room each belongs to."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import LightningArgumentParser

from . import datamodules
from .config_files import find_config, load_config
from .datamodules.flow_preparation import run_flow
from .datamodules.segmentation_check import run_segmentation_check
from .datamodules.ssv2_annotations import find_annotation
from .errors import ConfigNotFoundError
from .lightning_modules import VideoClassifier, VideoObjectSegmenter
from .models import model_info
from .models.tables import print_layers, print_models

__all__ = ("VERBS", "check_data", "list_layers", "list_models", "prepare_flow", "style_sheet")


def list_models(pattern: str = "*") -> None:
    """List the models with parameters, multiply-adds and input.

    Args:
        pattern: a glob over names, e.g. "slow*".
    """
    print_models(pattern)


def list_layers(target: str, frames: int = 8, size: int = 112) -> None:
    """List the layers of a model with their output shapes, by the names that callbacks take.

    Args:
        target: a config (a file or the short name of a packaged one), or the name of a model.
        frames: frames of the clip that is sent through a video model.
        size: height and width of what is sent through, in pixels.
    """
    try:
        config = load_config(find_config(target))
    except FileNotFoundError:
        if "/" in target or target.endswith(".yaml"):
            raise
        segments = model_info(target).task == "segmentation"
        module: LightningModule = VideoObjectSegmenter(target) if segments else VideoClassifier(target)
    else:
        parser = LightningArgumentParser()
        parser.add_lightning_class_args(LightningModule, "model", subclass_mode=True)
        if "model" not in config:
            raise ConfigNotFoundError(
                f"{target} has no model. Give a config with a `model:` section, or a model's name."
            )
        module = parser.instantiate_classes(parser.parse_object({"model": config["model"]}))["model"]
    inputs = getattr(module, "example_inputs", _one_clip)(frames, size)
    print_layers(module, *inputs)


def _one_clip(frames: int, size: int) -> tuple[torch.Tensor]:
    return (torch.rand(1, 3, frames, size, size),)


def check_data(
    root: str,
    layout: str = "auto",
    reader: str = "decord",
    min_frames: int = 8,
    flow_dir: str | None = None,
    gaps: list[int] = [1],  # noqa: B006 - jsonargparse shows the default; it is not changed
    workers: int | None = None,
    output: str | None = None,
) -> None:
    """Check every file of a data set: what is missing, unreadable, too short, or of another size.

    Exits with 1 if anything is wrong.

    Args:
        root: folder of the data set.
        layout: ssv2, davis2016, davis2017, youtube_vos, tao_vos, imagenet_vid, moca, or auto to guess.
        reader: of videos: decord, torchcodec, pyav or frames.
        min_frames: a video with fewer frames is short.
        flow_dir: folder of the flow of a segmentation data set; missing flow is wrong only where this is given. By
            default the data set's own folder.
        gaps: the flow to look for: 1 for that to the next frame, -1 for that to the previous one; RTNet needs [1, -1].
        workers: number of processes; by default one a core.
        output: CSV file for all findings.
    """
    if layout == "auto" and find_annotation(Path(root), "labels") is not None:
        layout = "ssv2"
    if layout == "ssv2":
        problems = datamodules.run_check(root, reader=reader, min_frames=min_frames, num_workers=workers, output=output)
    else:
        problems = run_segmentation_check(
            root, layout, flow_dir=flow_dir, gaps=gaps, num_workers=workers, output=output
        )
    if problems:
        raise SystemExit(1)


def prepare_flow(
    root: str,
    method: str = "dis",
    layout: str = "auto",
    output: str | None = None,
    gaps: list[int] = [1],  # noqa: B006 - jsonargparse shows the default; it is not changed
    format: Literal["png", "flo"] = "png",  # noqa: A002 - the name of the option
    encoding: Literal["middlebury", "hsv"] = "middlebury",
    max_flow: float | None = None,
    weights: str | None = None,
    workers: int | None = None,
) -> None:
    """Compute the optical flow of a segmentation data set where it is missing; stop and go on as you like.

    Args:
        root: folder of the data set.
        method: dis, raft_small or raft_large.
        layout: davis2016, davis2017, youtube_vos, tao_vos, imagenet_vid, moca, or auto to guess.
        output: folder of the flow; the data set's own by default.
        gaps: 1 for the flow to the next frame, -1 for that to the previous one; RTNet needs [1, -1].
        format: png (colour pictures as networks take them) or flo (pixels as floats, about 20 times the size).
        encoding: colours of the pictures: middlebury (no motion is white) or hsv (no motion is black).
        max_flow: magnitude in pixels that gets the full colour; by default the largest of each picture.
        weights: of RAFT: a file, or DEFAULT to let torchvision download its own.
        workers: number of threads; by default one a core.
    """
    report = run_flow(
        root,
        layout,
        method,
        output,
        gaps,
        file_format=format,
        encoding=encoding,
        max_flow=max_flow,
        weights=weights,
        num_workers=workers,
    )
    print(f"{report.written} flow files written to {output or root}, {report.present} were there already.")


def style_sheet(
    video: str, output: str = "styles.png", styles: list[str] | None = None, frames: int = 6, reader: str = "decord"
) -> None:
    """Write a contact sheet of a video in every style, as PNG.

    Args:
        video: path of the video.
        output: path of the PNG.
        styles: names of styles; all by default.
        frames: frames to show.
        reader: decord, torchcodec or pyav.
    """
    import numpy as np

    from .perturbations import list_styles, save_sheet

    source = datamodules.open_video(video, reader=reader, short_side=240)
    indices = np.linspace(0, len(source) - 1, frames).round().astype(int).tolist()
    clip = torch.from_numpy(source.get_batch(indices)).permute(3, 0, 1, 2).float() / 255
    path = save_sheet(clip, Path(output), styles or list_styles(), num_frames=frames)
    print(f"Wrote {path}.")


VERBS: dict[str, dict[str, Any]] = {
    "data": {"check": check_data, "flow": prepare_flow},
    "models": {"layers": list_layers, "list": list_models},
    "styles": {"sheet": style_sheet},
}
"""The grouped verbs: ``staticdropout models list`` and so on."""

# SPDX-License-Identifier: Apache-2.0
"""``staticdropout styles check``: is a style set fit for a measurement on one's own clips, and by one's own network?"""

from __future__ import annotations

import math
from typing import Any

import torch
from lightning.pytorch.accelerators import CUDAAccelerator, MPSAccelerator

from ..callbacks.measuring import terminal
from ..datamodules.findings import progress_bar
from ..errors import OptionError, VideoDecodeError
from ..metrics.style_fitness import DESCRIPTOR_LIMIT, NETWORK_LIMIT, StyleLimits, find_faults
from ..metrics.style_quality import static_descriptor
from ..perturbations import StyleSet
from .style_clips import ClipDraw, find_videos
from .style_lists import split_styles
from .style_measuring import StyleMeasuring
from .style_network import StillNetwork, build_network
from .style_report import StyleReport

__all__ = ("check_styles",)

ENOUGH = 8  # clips; over the stills of fewer, correlations are too rough to be judged
SEEN = 1.0  # pixels, of three; an estimator that errs by more in the source does not see the motion


def check_styles(
    *,
    data: str,
    styles: str | list[str] | None = None,
    model: str | None = None,
    checkpoint: str | None = None,
    num_classes: int | None = None,
    model_args: dict[str, Any] | None = None,
    layer: str | None = None,
    model_frames: int | None = None,
    model_size: int | None = None,
    mean: list[float] = [0.45],  # noqa: B006 - jsonargparse shows the default; it is not changed
    std: list[float] = [0.225],  # noqa: B006 - jsonargparse shows the default; it is not changed
    num_clips: int = 16,
    num_frames: int = 16,
    stride: int = 2,
    size: int = 256,
    seed: int = 0,
    reader: str = "decord",
    device: str = "auto",
    output: str | None = None,
    figure: str | None = None,
) -> None:
    """Measure what styles change and keep on your own clips; exits with 1 where the set is unfit, 0 where it is fit.

    A row a style: distance of colours from the source, error of optical flow against a motion that is known, flicker,
    correlation with the source, speed; then the correlation of each pair of styles. docs/style_check.md tells what each
    means, and where the limits come from.

    Args:
        data: folder of a data set in a known layout, of videos, or of folders of frames; or one video.
        styles: names of styles and files of trained ones, with commas between them, or a list; by default the default
            set.
        model: your network: a name of `staticdropout models list`, or package.module:callable for one of your own,
            which takes clips (B, 3, T, H, W). Without one, a descriptor of colours and edges takes its place.
        checkpoint: file of its weights.
        num_classes: of the network, for its constructor.
        model_args: further arguments of its constructor.
        layer: pattern of the layer to ask; by default what the classifier (the last linear layer) sees.
        model_frames: frames of the network's clips; by default those that a listed model was made for, else num_frames.
        model_size: side of the network's pictures; by default that of a listed model, else size.
        mean: subtracted from the network's pixels in [0, 1]; one number or three.
        std: divides them then.
        num_clips: how many clips to measure on; several of a video where there are fewer videos.
        num_frames: frames of a clip.
        stride: distance of its frames in the video.
        size: side of the clips in pixels: they are resized to it and cropped to a square.
        seed: the variant of the styles.
        reader: of videos: decord, torchcodec, pyav or frames.
        device: of styles and network: auto, cpu, cuda, mps.
        output: CSV file for the numbers.
        figure: PNG file for a picture of them.
    """
    _check_numbers(num_clips=(num_clips, 1), num_frames=(num_frames, 2), stride=(stride, 1), size=(size, 48))
    chosen = StyleSet(split_styles(styles), seed=seed)
    place = _device(device)
    network = _network(
        model, checkpoint, num_classes, model_args,
        layer=layer, num_frames=model_frames or (num_frames if model and ":" in model else None), crop=model_size,
        mean=mean, std=std, device=place,
    )  # fmt: skip
    draw = ClipDraw(find_videos(data, reader, num_clips), num_clips, num_frames, stride, size)
    measuring = StyleMeasuring(chosen, network or static_descriptor, place)
    console = terminal()
    with progress_bar(console) as bar:
        task = bar.add_task("Measuring clips", total=num_clips)
        for clip in draw:
            measuring.add(clip)
            bar.advance(task)
    if not measuring.clips:
        first = draw.skipped[0]
        reason = f"none of its {len(draw.skipped)} videos can be read; the first, {first.path}: {first.reason}"
        raise VideoDecodeError(data, reader, reason, "Check the folder, or choose another reader.")
    correlation = NETWORK_LIMIT if network else DESCRIPTOR_LIMIT
    measures = measuring.measures()
    limits = StyleLimits(
        correlation=correlation if measuring.clips >= ENOUGH else math.inf,
        flow_ratio=StyleLimits.flow_ratio if measures[0].flow_error <= SEEN else math.inf,
    )
    faults = find_faults(measures[1:], limits, source=measures[0])
    report = StyleReport(measures, faults, limits, measuring, draw, network, data)
    report.print(console)
    report.write(output, figure)
    if not report.is_fit:
        raise SystemExit(1)


def _check_numbers(**numbers: tuple[int, int]) -> None:
    for name, (found, least) in numbers.items():
        if found < least:
            raise OptionError(f"{name}={found} must be at least {least}.")


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if CUDAAccelerator.is_available() else "mps" if MPSAccelerator.is_available() else "cpu"
    try:
        return torch.zeros(1, device=name).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise OptionError(f"device={name!r} cannot be used: {reason} Choose auto, cpu, cuda or mps.") from error


def _network(model: str | None, checkpoint: str | None, *args: Any, **options: Any) -> StillNetwork | None:
    if model is not None:
        return build_network(model, checkpoint, *args, **options)
    if checkpoint is not None:
        raise OptionError(f"checkpoint={checkpoint!r} was given without a model. Say what it is of with model=….")
    return None

# SPDX-License-Identifier: Apache-2.0
"""What the built-in styles change and what they keep: colour, motion, flicker, static descriptors, and speed.

Means over the clips (real ones of ``STATICDROPOUT_TEST_DATA`` where present, generated ones otherwise):

- ``hellinger``: distance of the 8x8x8 RGB histogram to that of the source, 0 (same) to 1 (disjoint);
- ``flow_error_px``: median error of DIS flow against a known smooth warp (mean 3 px) plus noise of 1/255, both frames
  styled; ``source_flow_error_px`` is the same of the unstyled frames, ``flow_error_ratio`` the quotient;
- ``flicker_ratio``: mean absolute difference of successive frames, styled over source (median over the clips);
- ``r_source``, ``r_others``: Pearson correlation over stills of a hand-made static descriptor (colour and oriented
  edges in four cells), style against source and against the other styles; low is good, 1 would be no change;
- ``fps_112``, ``fps_224``, ``fps_256``: frames a second on two clips of 8 square frames of noise. The row ``default``
  is for the default set, each of its styles equally often, as triplets draw them.
"""

from __future__ import annotations

import argparse
import functools
import os
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from parts.common import RESULTS, HelpFormatter, environment, in_turns, report
from parts.options import add_device
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2.functional import center_crop, resize

from staticdropout.datamodules.flow import DisFlow
from staticdropout.metrics.style_quality import (
    flicker,
    flow_error,
    hellinger,
    mean_correlation,
    static_descriptor,
    warped_pair,
)
from staticdropout.perturbations import list_styles
from staticdropout.perturbations.styles import Style, get_style
from staticdropout.perturbations.styles.style_set import DEFAULT_STYLES

DATA = Path(os.environ.get("STATICDROPOUT_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
SIZES = (112, 224, 256)


def generated_clips(count: int, frames: int, size: int) -> list[Tensor]:
    """Colourful textures with shapes of several sizes that drift."""
    clips = []
    for index in range(count):
        generator = torch.Generator().manual_seed(index)
        scene = torch.zeros(3, 2 * size, 2 * size)
        for cells in (4, 16, 64, 192):
            coarse = torch.rand(1, 3, cells, cells, generator=generator)
            scene += F.interpolate(coarse, 2 * size, mode="bicubic")[0] / cells**0.5
        scene = (scene - scene.amin()) / (scene.amax() - scene.amin())
        clips.append(torch.stack([scene[:, 2 * t : 2 * t + size, t : t + size] for t in range(frames)], dim=1))
    return clips


def real_clips(frames: int, size: int) -> list[Tensor]:
    """Every second frame from the middle of each test clip, resized and cropped to a square."""
    import decord

    clips = []
    for path in sorted((DATA / "clips").glob("*")):
        reader = decord.VideoReader(str(path))
        start = max(0, len(reader) // 2 - frames)
        indices = [min(start + 2 * i, len(reader) - 1) for i in range(frames)]
        video = torch.from_numpy(reader.get_batch(indices).asnumpy()).permute(0, 3, 1, 2) / 255
        square = center_crop(resize(video, [size], antialias=True), [size, size])
        clips.append(square.clamp(0, 1).transpose(0, 1).contiguous())
    return clips


def speeds(names: Sequence[str], sizes: Sequence[int], device: str, repeats: int) -> dict[str, dict[str, float]]:
    """Frames a second of each style at each size, all styles of a size in turns."""
    found: dict[str, dict[str, float]] = {name: {} for name in names}
    for size in sizes:
        clips = torch.rand(2, 3, 8, size, size, generator=torch.Generator().manual_seed(0)).to(device)
        calls = {name: functools.partial(get_style(name), clips) for name in names}
        for name, taken in in_turns(calls, repeats, device).items():
            found[name][f"fps_{size}"] = round(16 / statistics.median(taken), 1)
    return found


def together(found: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Frames a second where every style has as many frames: the harmonic mean of each column."""
    columns = next(iter(found.values()))
    return {column: round(statistics.harmonic_mean([row[column] for row in found.values()]), 1) for column in columns}


def mean(values: list[float]) -> float:
    return round(float(np.mean(values)), 3)


def measure(names: list[str], clips: list[Tensor], device: str) -> list[dict[str, Any]]:
    def rendered(style: Style, clip: Tensor) -> Tensor:
        return style(clip[None].to(device))[0].cpu()

    def stills(videos: list[Tensor]) -> Tensor:
        return static_descriptor(torch.cat([video[:, [0, -1]].transpose(0, 1) for video in videos]))

    pairs = [warped_pair(clip[:, clip.shape[1] // 2], seed) for seed, clip in enumerate(clips)]
    estimate = DisFlow()
    before = mean([flow_error(*pair, estimate) for pair in pairs])
    changes = [flicker(clip) for clip in clips]
    features = {"source": stills(clips)}
    rows: list[dict[str, Any]] = []
    for name in names:
        style = get_style(name)
        styled = [rendered(style, clip) for clip in clips]
        features[name] = stills(styled)
        after = mean([flow_error(rendered(style, pair), flow, estimate) for pair, flow in pairs])
        ratios = [flicker(clip) / max(change, 1e-6) for clip, change in zip(styled, changes, strict=True)]
        row = {"style": name, "hellinger": mean([hellinger(a, b) for a, b in zip(clips, styled, strict=True)])}
        row |= {"flow_error_px": after, "source_flow_error_px": before, "flow_error_ratio": mean([after / before])}
        rows.append(row | {"flicker_ratio": mean([float(np.median(ratios))])})
    for name, row in zip(names, rows, strict=True):
        row["r_source"] = mean([mean_correlation(features[name], features["source"])])
        others = [mean_correlation(features[name], features[other]) for other in names if other != name]
        row["r_others"] = mean(others) if others else ""
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HelpFormatter)
    parser.add_argument("--styles", nargs="+", default=list_styles(), help="styles by name")
    add_device(parser, "for the styles: what they change is judged on the CPU")
    parser.add_argument("--sizes", nargs="+", type=int, default=list(SIZES), help="for the speed, in pixels")
    parser.add_argument("--repeats", type=int, default=7, help="timed rounds, for the speed")
    parser.add_argument("--generated", action="store_true", help="use generated clips even where real ones are present")
    parser.add_argument("--output", type=Path, default=RESULTS / "styles.csv", help="the CSV")
    options = parser.parse_args()
    use_real = (DATA / "clips").is_dir() and not options.generated
    clips = real_clips(16, 256) if use_real else generated_clips(8, 16, 256)
    rows = measure(options.styles, clips, options.device)
    found = speeds(options.styles, options.sizes, options.device, options.repeats)
    rows = [row | found[row["style"]] for row in rows]
    if set(DEFAULT_STYLES) <= set(found):
        rows.append({"style": "default", **together({name: found[name] for name in DEFAULT_STYLES})})
    kind = "real" if use_real else "generated"
    about = environment(
        options.device,
        input=f"{len(clips)} {kind} clips of 16 frames; noise for the speed",
        precision="float32",
        layout="BCTHW",
        clock="wall",
        repeats=options.repeats,
        opencv=cv2.__version__,
    )
    report(rows, about, options.output)


if __name__ == "__main__":
    main()

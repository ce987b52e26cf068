# SPDX-License-Identifier: Apache-2.0
"""What it costs to make triplets, beside the three forward passes that they are made for.

- ``VideoTriplets``: clips of 8 frames in two styles each, one of them shuffled as well; networks: resnet3d;
- ``FlowTriplets``: pictures in two styles each, beside flow that is jittered as in the paper or as vectors; network:
  MATNet.

``frames_per_s`` counts the frames that come in; three times as many come out. ``share`` is the time for triplets over
that of three forward passes (eval mode, no gradient) of as many clips: the median of neighbouring measurements, with
the lowest and the highest. Triplets are made of 24 clips at once, so that all pairs of styles take part, forward passes
have 2 clips; both are divided by the number of clips.
"""

from __future__ import annotations

import argparse
import functools
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from parts.common import RESULTS, HelpFormatter, environment, in_turns, report, spread
from parts.options import add_device
from torch import Tensor, nn

from staticdropout.models import create_model
from staticdropout.perturbations import FlowJitter, FlowTriplets, VideoTriplets

SIZES = (112, 224, 256)
FRAMES = 8

Calls = dict[str, Callable[[], Any]]


def noise(*shape: int, device: str = "cpu") -> Tensor:
    """Uniform pixels, the same at every call."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(device)


@torch.no_grad()
def three_forwards(network: nn.Module, *inputs: Tensor) -> None:
    """A forward pass for each member of a triplet."""
    for _ in range(3):
        network(*inputs)


def forwards(names: Sequence[str], inputs: Sequence[Tensor], device: str, **options: Any) -> Calls:
    """Three forward passes of each network."""
    networks = {name: create_model(name, **options).eval().to(device) for name in names}
    return {name: functools.partial(three_forwards, network, *inputs) for name, network in networks.items()}


def video_calls(clips: int, size: int, device: str) -> Calls:
    """Making triplets of clips."""
    return {"VideoTriplets": functools.partial(VideoTriplets(), noise(clips, 3, FRAMES, size, size, device=device))}


def flow_calls(clips: int, size: int, device: str) -> Calls:
    """Making triplets of pictures with flow."""
    pictures = noise(clips, 3, size, size, device=device)
    batch = {"image": pictures, "flow": pictures.flip(0), "id": [f"dog/{i}" for i in range(clips)]}
    return {
        "FlowTriplets, paper": functools.partial(FlowTriplets(), batch),
        "FlowTriplets, vector": functools.partial(FlowTriplets(jitter=FlowJitter("vector")), batch),
    }


def rows_of(
    times: Mapping[str, Sequence[float]], ways: Sequence[str], clips: int, forward_clips: int, frames: int, size: int
) -> list[dict[str, Any]]:
    """A row for each way of making triplets beside each network.

    Args:
        times: seconds of every round, by way and by network.
        ways: which of them make triplets.
        clips: number of clips that triplets were made of in a call.
        forward_clips: number of clips in a forward pass.
        frames: frames of a clip.
        size: of the frames, in pixels.
    """
    rows: list[dict[str, Any]] = []
    each = {name: [t / (clips if name in ways else forward_clips) for t in taken] for name, taken in times.items()}
    for way in ways:
        made = statistics.median(each[way])
        row = {
            "triplets": way,
            "size": size,
            "frames_per_s": round(frames / made, 1),
            "ms_a_clip": round(made * 1e3, 2),
        }
        for name in each:
            if name not in ways:
                found = spread(each[way], each[name])
                forward = round(statistics.median(each[name]) * 1e3, 1)
                share = {"share": found["ratio"], "lowest": found["lowest"], "highest": found["highest"]}
                rows.append({**row, "network": name, "three_forwards_ms_a_clip": forward, **share})
    return rows


def measure(options: argparse.Namespace) -> list[dict[str, Any]]:
    """All rows."""
    rows: list[dict[str, Any]] = []
    clips, few, device = options.clips, options.forward_clips, options.device
    for size in options.sizes:
        ways = video_calls(clips, size, device)
        networks = forwards(
            options.networks, [noise(few, 3, FRAMES, size, size, device=device)], device, num_classes=10
        )
        times = in_turns({**ways, **networks}, options.repeats, device)
        rows += rows_of(times, list(ways), clips, few, FRAMES, size)
        ways = flow_calls(clips, size, device)
        networks = forwards(options.flow_networks, [noise(few, 3, size, size, device=device)] * 2, device)
        times = in_turns({**ways, **networks}, options.repeats, device)
        rows += rows_of(times, list(ways), clips, few, 1, size)
    return rows


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HelpFormatter)
    parser.add_argument("--sizes", nargs="+", type=int, default=list(SIZES), help="of the frames, in pixels")
    parser.add_argument("--networks", nargs="+", default=["resnet3d_r18", "resnet3d_r50"], help="networks for clips")
    parser.add_argument("--flow-networks", nargs="+", default=["matnet"], help="networks for pictures with flow")
    parser.add_argument("--clips", type=int, default=24, help="clips, or pictures, that triplets are made of at once")
    parser.add_argument("--forward-clips", type=int, default=2, help="clips, or pictures, in a forward pass")
    parser.add_argument("--repeats", type=int, default=5, help="timed rounds")
    add_device(parser)
    parser.add_argument("--output", type=Path, default=RESULTS / "triplets.csv", help="the CSV")
    options = parser.parse_args()
    about = environment(
        options.device,
        input=f"noise, {FRAMES} frames a clip",
        precision="float32",
        layout="BCTHW",
        clock="wall",
        repeats=options.repeats,
    )
    report(measure(options), about, options.output)


if __name__ == "__main__":
    main()

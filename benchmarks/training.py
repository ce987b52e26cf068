# SPDX-License-Identifier: Apache-2.0
"""Training and inference of SlowOnly-R50, I3D-R50 and FastOnly-R50, beside PyTorchVideo's.

Both sides are the same network: as many parameters and multiply-adds, and the same weights, carried over by the
translation of checkpoints. PyTorchVideo has no FastOnly; it is built from its parts.

- ``training``: a step of SGD on random clips: forward, cross-entropy, backward, update;
- ``inference``: a forward pass in evaluation.

The ways of doing it:

- ``pytorchvideo``: its model as it comes, float32;
- ``plain``: ours with ``nn.Conv3d`` throughout and the usual layout;
- ``channels_last``: that with ``channels_last_3d`` for weights and clips;
- ``ours``: our model as it comes, which on a CPU uses that layout by itself;
- ``fused``: a copy made by ``fuse_batchnorm``; ``in_place``: its ReLUs work in place, too;
- ``..._bf16``: the same under ``torch.autocast`` with bfloat16; ``..._compiled``: through ``torch.compile``, in
  inference with Inductor's option ``freezing``, which merges and packs the weights.

The columns: ``ms`` of a pass (the median over the repetitions), ``clips_a_second``, ``gflops`` (10^9 operations a
second, two for each multiply-add of convolutions and linear layers; a training step counts three forward passes) and
their ``share`` of the ``ceiling``, which one convolution reaches that suits any processor (3x3, 256 channels) in the
same precision; ``speedup`` over ``pytorchvideo`` (the median over the turns of
its time divided by this one's, with ``lowest`` and ``highest``). ``error``: how far a first pass is from that of
PyTorchVideo in float64, which is what rounding costs; PyTorchVideo's own row says what it costs there. In inference it
is the largest of a logit, in units of their standard deviation; in training that of all gradients, as a share of their
norm.

PyTorchVideo is not needed by the package. To install it beside everything else, without what it would bring along:

    pip install --no-deps --target DIR pytorchvideo==0.1.5 fvcore iopath portalocker termcolor tabulate
    PYTHONPATH=DIR python benchmarks/training.py

Its models import with any torchvision (its transforms do not, since 0.17). OMP_NUM_THREADS sets the number of threads.
"""

from __future__ import annotations

import argparse
import importlib
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from parts.common import RESULTS, HelpFormatter, environment, in_turns, report, spread
from parts.options import add_clock, add_device, clock, clock_name, parse
from parts.training_networks import CLASSES, NETWORKS, carried_over, ceiling, gmacs, official
from torch import Tensor, nn
from torch.nn import functional

from staticdropout.models import fuse_batchnorm, model_info
from staticdropout.models.checkpoints import to_own_names
from staticdropout.models.video_conv import VideoConv3d

KINDS = {
    "inference": (
        "plain",
        "channels_last",
        "ours",
        "fused",
        "in_place",
        "pytorchvideo_bf16",
        "ours_bf16",
        "in_place_bf16",
    ),
    "training": ("plain", "channels_last", "ours", "pytorchvideo_bf16", "ours_bf16"),
}
COMPILED = ("ours_compiled", "ours_bf16_compiled")


@contextmanager
def settings(way: str, device: str) -> Iterator[None]:
    """Be in the precision of a way, with the convolutions that it stands for."""
    plain = (
        patch.object(VideoConv3d, "forward", nn.Conv3d.forward) if way in ("plain", "channels_last") else nullcontext()
    )
    low = "bf16" in way
    with plain, torch.autocast(torch.device(device).type, torch.bfloat16, enabled=low):
        yield


def prepare(way: str, models: dict[str, nn.Module], kind: str, clip: Tensor) -> tuple[nn.Module, Tensor]:
    """Return a model of its own for a way, and the clips in its layout."""
    theirs = way.startswith("pytorchvideo")
    model = deepcopy(models["pytorchvideo" if theirs else "ours"]).train(kind == "training")
    if way.startswith(("fused", "in_place")):
        model = fuse_batchnorm(model, clip[:1], inplace=way.startswith("in_place"))
    if way == "channels_last" or (clip.is_cuda and not theirs and way != "plain"):
        model = model.to(memory_format=torch.channels_last_3d)
        clip = clip.contiguous(memory_format=torch.channels_last_3d)
    return model, clip


def make_pass(way: str, model: nn.Module, kind: str, clip: Tensor, label: Tensor) -> Callable[[], Tensor]:
    """Return what is timed."""
    call: Callable[[Tensor], Tensor] = model
    if way.endswith("compiled"):
        call = torch.compile(model, options={"freezing": kind == "inference"})

    def infer() -> Tensor:
        with torch.no_grad() if way.endswith("compiled") else torch.inference_mode(), settings(way, clip.device.type):
            return call(clip)

    if kind == "inference":
        return infer
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9, weight_decay=1e-4)

    def step() -> Tensor:
        optimizer.zero_grad()
        with settings(way, clip.device.type):
            loss = functional.cross_entropy(call(clip), label)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return loss

    return step


def outcome(model: nn.Module, run: Callable[[], Tensor], kind: str) -> Tensor:
    """What a first pass gives: logits, or all gradients in the order of our names."""
    given = run()
    if kind == "inference":
        return given.double().cpu()
    gradients = to_own_names(
        {name: p.grad.double().cpu() for name, p in model.named_parameters() if p.grad is not None}
    )
    return torch.cat([gradients[name].flatten() for name in sorted(gradients)])


def difference(found: Tensor, expected: Tensor, kind: str) -> float:
    """How far two outcomes are apart."""
    if kind == "inference":
        return float((found - expected).abs().max() / expected.std())
    return float((found - expected).norm() / expected.norm())


def measure(
    name: str, kind: str, size: int, ways: Sequence[str], options: Any, peaks: dict[str, float]
) -> list[dict[str, Any]]:
    """Return one row for each way."""
    frames, clips = options.frames or model_info(name).frames, max(1, options.clips * 112**2 // size**2)
    torch.manual_seed(0)
    clip = torch.randn(clips, 3, frames, size, size, device=options.device)
    label = torch.randint(CLASSES, (clips,), device=options.device)
    models = {"pytorchvideo": official(name, frames, size).to(options.device).eval()}
    models["ours"] = carried_over(name, models["pytorchvideo"]).to(options.device).eval()
    counts = {side: sum(p.numel() for p in model.parameters()) for side, model in models.items()}
    work = {side: gmacs(model, clip) for side, model in models.items()}
    assert counts["ours"] == counts["pytorchvideo"], counts
    assert abs(work["ours"] - work["pytorchvideo"]) < 1e-6 * work["ours"], work
    double = deepcopy(models["pytorchvideo"]).double().train(kind == "training")
    exact = outcome(double, make_pass("pytorchvideo", double, kind, clip.double(), label), kind)
    del double
    passes, outcomes = {}, {}
    for way in ("pytorchvideo", *ways):
        model, clips_of_way = prepare(way, models, kind, clip)
        passes[way] = make_pass(way, model, kind, clips_of_way, label)
        outcomes[way] = outcome(model, passes[way], kind)
    times = in_turns(passes, options.repeats, options.device)
    about = {"network": name, "kind": kind, "clips": clips, "frames": frames, "size": size}
    rows = []
    for way in passes:
        median, precision = statistics.median(times[way]), "bfloat16" if "bf16" in way else "float32"
        gflops = 2 * work["ours"] * clips * (3 if kind == "training" else 1) / median
        found = spread(times["pytorchvideo"], times[way])
        named = "float32, TF32 convolutions" if precision == "float32" and clip.is_cuda else precision
        row: dict[str, Any] = {**about, "way": way, "precision": named, "ms": round(1000 * median, 1)}
        row |= {"clips_a_second": round(clips / median, 2), "gflops": round(gflops, 1)}
        row |= {
            "ceiling": round(peaks[precision], 1),
            "share": round(gflops / peaks[precision], 3),
            "speedup": found.pop("ratio"),
            **found,
        }
        row |= {"error": f"{difference(outcomes[way], exact, kind):.1e}"}
        rows.append({**row, "parameters": counts["ours"], "gmacs_a_clip": round(work["ours"], 3)})
        print(
            *(f"{key} {row[key]}" for key in ("network", "kind", "size", "way", "ms", "speedup", "error")), flush=True
        )
    return rows


def run(options: argparse.Namespace) -> None:
    peaks = {"float32": ceiling(options.device, torch.float32), "bfloat16": ceiling(options.device, torch.bfloat16)}
    layout = "pytorchvideo and plain NCTHW, others NTHWC"
    about = {"layout": layout, "repeats": options.repeats, "clock": clock_name(options)}
    for kind in options.kinds:
        ways = (*KINDS[kind], *(COMPILED if options.compile else ()))
        rows = [
            row
            for name in options.networks
            for size in options.sizes
            for row in measure(name, kind, size, ways, options, peaks)
        ]
        report(
            rows,
            environment(options.device, ("pytorchvideo",), **about),
            options.results / f"{kind}{options.suffix}.csv",
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=NETWORKS, help="by name")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), help="kinds of passes")
    parser.add_argument(
        "--sizes", nargs="+", type=int, default=[112, 224], help="pixels; a multiple of 32 or half of one"
    )
    parser.add_argument("--clips", type=int, default=4, help="of a pass at 112 pixels; fewer at more pixels")
    parser.add_argument("--frames", type=int, help="of a clip, instead of what each network was made for")
    add_clock(parser)
    parser.add_argument("--compile", action="store_true", help="add the compiled ways; minutes for each network")
    add_device(parser)
    parser.add_argument("--repeats", type=int, default=7, help="timed rounds")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of training.csv and inference.csv")
    parser.add_argument("--suffix", default="", help="of their names, such as _one_thread")
    options = parse(parser)
    try:
        importlib.import_module("pytorchvideo")
    except ImportError:
        parser.error("pytorchvideo is not installed; the end of the text above (--help) says how to get it")
    with clock(options):
        run(options)


if __name__ == "__main__":
    main()

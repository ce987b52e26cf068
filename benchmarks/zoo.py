# SPDX-License-Identifier: Apache-2.0
"""Every network for clips that PyTorchVideo has as well: a forward pass and a training step, theirs and ours.

One clip of each network's own length and crop. Both sides are the same network: as many parameters, and PyTorchVideo's
weights carried over by the translation of checkpoints; ``error`` is how far the logits are apart, in units of their
standard deviation. PyTorchVideo's SlowFast is called through a wrapper that packs the pathways as ours does.

- ``inference``: a forward pass in evaluation;
- ``training``: forward, cross-entropy, backward, an update of SGD.

The columns: ``official_ms`` and ``ms``, medians over the repetitions; ``speedup``, the median over the turns of
PyTorchVideo's time divided by ours, with ``lowest`` and ``highest``. Float32, or bfloat16 under autocast with
``--precision bf16``.

Not in the table, because PyTorchVideo has no such network: TimeSformer, I3D with non-local blocks, depth 18. How to
install PyTorchVideo: see ``training.py --help``. OMP_NUM_THREADS sets the number of threads.
"""

from __future__ import annotations

import argparse
import importlib
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from parts.common import RESULTS, HelpFormatter, environment, in_turns, report, spread
from parts.options import add_clock, add_device, clock, clock_name, parse
from parts.zoo_networks import BUILDERS, carried_over, official
from torch import Tensor, nn
from torch.nn import functional

from staticdropout.models import model_info

KINDS = ("inference", "training")


def make_pass(model: nn.Module, kind: str, clip: Tensor, label: Tensor, low: bool) -> Callable[[], Tensor]:
    """Return what is timed."""
    autocast = torch.autocast(clip.device.type, torch.bfloat16, enabled=low)

    def infer() -> Tensor:
        with torch.inference_mode(), autocast:
            logits: Tensor = model(clip)
        return logits

    if kind == "inference":
        return infer
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-5, momentum=0.9)

    def step() -> Tensor:
        optimizer.zero_grad()
        with autocast:
            loss = functional.cross_entropy(model(clip), label)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return loss

    return step


def measure(name: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return one row for each kind of pass."""
    info = model_info(name)
    torch.manual_seed(0)
    clip = torch.randn(1, 3, info.frames, info.crop, info.crop, device=options.device)
    label = torch.zeros(1, dtype=torch.long, device=options.device)
    theirs = official(name).to(options.device).eval()
    ours = carried_over(name, theirs).to(options.device).eval()
    counts = [sum(p.numel() for p in model.parameters()) for model in (theirs, ours)]
    assert counts[0] == counts[1], counts
    with torch.inference_mode():
        expected = theirs(clip)
        error = float((ours(clip) - expected).abs().max() / expected.std())
    rows = []
    for kind in options.kinds:
        models = {"official": theirs.train(kind == "training"), "ours": ours.train(kind == "training")}
        passes = {
            way: make_pass(model, kind, clip, label, options.precision == "bf16") for way, model in models.items()
        }
        times = in_turns(passes, options.repeats, options.device)
        found = spread(times["official"], times["ours"])
        row: dict[str, Any] = {"network": name, "kind": kind, "frames": info.frames, "size": info.crop}
        for way, column in (("official", "official_ms"), ("ours", "ms")):
            row[column] = round(1000 * statistics.median(times[way]), 1)
        row |= {"speedup": found.pop("ratio"), **found, "error": f"{error:.1e}", "parameters": counts[0]}
        print(
            *(f"{key} {row[key]}" for key in ("network", "kind", "official_ms", "ms", "speedup", "error")), flush=True
        )
        rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=BUILDERS, default=list(BUILDERS), help="by name")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), help="kinds of passes")
    parser.add_argument("--precision", choices=("32", "bf16"), default="32", help="of both sides")
    parser.add_argument("--repeats", type=int, default=5, help="timed rounds")
    add_clock(parser)
    add_device(parser)
    parser.add_argument("--output", type=Path, default=RESULTS / "zoo.csv", help="the CSV")
    options = parse(parser)
    try:
        importlib.import_module("pytorchvideo")
    except ImportError:
        parser.error("pytorchvideo is not installed; the end of training.py --help says how to get it")
    with clock(options):
        rows = [row for name in options.networks for row in measure(name, options)]
    about = {"precision": "float32" if options.precision == "32" else "bfloat16", "clips": 1}
    about |= {"repeats": options.repeats, "clock": clock_name(options)}
    report(rows, environment(options.device, ("pytorchvideo",), **about), options.output)


if __name__ == "__main__":
    main()

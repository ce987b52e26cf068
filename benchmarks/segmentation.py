# SPDX-License-Identifier: Apache-2.0
"""What the segmentation networks cost: time, memory, multiply-adds and parameters, beside the official code.

One row for each network, size and kind of pass, all with random weights:

- ``inference``: one forward pass, batch 1. RTNet takes two frames and gives two masks;
- ``training``: forward and backward, without the optimiser's step, of two frames (RTNet: of one clip of two). The loss
  is the mean of everything that the network returns.

The columns:

- ``masks`` that a pass gives; ``seconds`` (the median over the repetitions) and ``gmacs`` (10^9 multiply-adds, half the
  FLOPs that PyTorch's FlopCounterMode counts) of a pass; ``seconds_a_mask``;
- ``peak_mb`` (10^6 bytes): the most that a pass holds beyond what was held before it, which are the weights (4 bytes a
  parameter). Gradients count. Measured once, in a process of its own: on the CPU of the memory of the process (on
  Linux), on a GPU of that of tensors. ``over 20 GB``: the process would need more, and the row has no times;
- ``parameters``: ours, all alive; ``checkpoint_parameters``: those of the official checkpoint, dead ones included;
- ``official``: the repository of the official network, where ``--official`` has it. ``ratio`` (of seconds) and
  ``peak_ratio`` are ours over official. For the seconds both run in one process in turns; ``ratio`` is the median over
  the turns, with the ``lowest`` and the ``highest``.

Both sides give masks of the official size. In inference the official RTNet also computes the masks of the motion
stream, which ours gives in training. The official MATNets compute a convolution of each refinement three times and
parts of the co-attention that nothing uses.

Run: ``python benchmarks/segmentation.py --official DIR``, where DIR holds checkouts of tfzhou/MATNet,
MSiam/MATNet_FusionCrossConStudy, OliverRensu/RTNet and YorkUCVIL/Static-Dynamic-Interpretability, or some of them.
OMP_NUM_THREADS sets the number of threads. It takes about an hour on two cores, most of it for the training passes.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import re
import resource
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest.mock import MagicMock, patch

import torch
import torchvision
from parts.common import RESULTS, HelpFormatter, environment, in_turns, report, spread
from parts.options import add_device
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from staticdropout.models import create_model

KINDS = ("inference", "training")
WIDE, SQUARE = (384, 672), (473, 473)
MATNET, STUDY, RTNET = "MATNet", "MATNet_FusionCrossConStudy", "RTNet"
FUSIONSEG = "Static-Dynamic-Interpretability"
FIRST = ("network", "kind", "size", "masks", "seconds", "seconds_a_mask", "gmacs", "peak_mb", "parameters")
OFFICIAL = ("official", "official_seconds", "ratio", "lowest", "highest", "official_gmacs", "official_peak_mb")
COLUMNS = (*FIRST, "checkpoint_parameters", *OFFICIAL, "peak_ratio")
LIMIT = 20_000_000_000  # bytes that a pass may take
NO_MEMORY = re.compile("allocate memory|out of memory|create a primitive")  # of PyTorch, CUDA, oneDNN


class Network(NamedTuple):
    """Where a network is from, and what makes ours give masks of the official size."""

    repository: str
    checkpoint: int  # parameters: tests/models/parity/segmentation, (study_)n_parameters
    settings: str = ""  # of the official network
    options: Mapping[str, Any] = {"mask_size": 473}  # of ours
    frames: int = 1
    sizes: Sequence[tuple[int, int]] = (SQUARE,)


RELEASED = {"released_size": True}
NETWORKS = {
    "matnet": Network(MATNET, 142_691_843),
    "matnet_nobar": Network("", 138_088_154),  # no public code: MATNet's without its bdry2 … bdry5 and concat
    "matnet_ccg": Network(STUDY, 129_593_955, "fusion_type=convex_gated"),
    "matnet_bidirectional": Network(STUDY, 130_294_019, "cc_type=coatt_recip"),
    "rtnet_star": Network(STUDY, 130_308_361, "cc_type=coatt_gated_recip"),
    "rtnet34": Network(RTNET, 105_549_876, "model_R34", RELEASED, 2, (WIDE, SQUARE)),
    "rtnet_rx50": Network(RTNET, 277_236_532, "model_RX50", RELEASED, 2, (WIDE, SQUARE)),
    "fusionseg_r101": Network(FUSIONSEG, 112_394_210, options={}),
}


class Task(NamedTuple):
    """What one process measures."""

    model: str
    kind: str
    size: tuple[int, int]
    sides: Sequence[str]  # the folder of official code, or "" for ours
    repeats: int  # 0: measure memory instead
    device: str


class Official(nn.Module):
    """An official network, called like ours."""

    def __init__(self, call: Callable[..., Sequence[Tensor]], *parts: nn.Module) -> None:
        super().__init__()
        self.call, self.parts = call, nn.ModuleList(parts)

    def forward(self, image: Tensor, flow: Tensor) -> Sequence[Tensor]:
        return self.call(*self.parts, image, flow)


def build_official(root: Path, network: Network) -> nn.Module:
    """Build an official network from its checkout. What it imports and never uses is replaced by nothing."""

    def load(module: str, *unused: str) -> Any:
        sys.path.insert(0, str(root / network.repository))
        sys.modules.update({name: MagicMock() for name in unused})
        return importlib.import_module(module)

    if network.repository == RTNET:
        net = load(network.settings).Interactive()
        return Official(lambda net, image, flow: [m for stream in net(image, flow) for m in stream], net)
    if network.repository == FUSIONSEG:
        modeling = load("models.vos_models.modeling", "easydict", "torchvision.models.utils")
        net = modeling.twostream_deeplabv3plus_resnet101(2, 16, False)
        return Official(lambda net, image, flow: net({"Image": image, "Flow": flow}, ())[:1], net)
    resnet101 = torchvision.models.resnet101
    with patch.object(torchvision.models, "resnet101", lambda pretrained: resnet101()):  # no download
        if network.repository == MATNET:
            matnet = load("modules.MATNet")
            return Official(lambda enc, dec, image, flow: dec(*enc(image, flow)), matnet.Encoder(), matnet.Decoder())
        study = load("modules.MATNet", "modules.i3res", "modules.netwarp", "modules.r2plus1d")
        settings = dict([network.settings.split("=")])
        matnet = study.MATNet(SimpleNamespace(frame_nb=-1, center=False, **settings))
        return Official(lambda net, image, flow: net(image, flow), matnet)


def make_pass(task: Task, side: str) -> Callable[[], None]:
    """Build a network and its input; return what is measured."""
    network, training = NETWORKS[task.model], task.kind == "training"
    with torch.device("meta"):  # to initialise takes longer than to measure
        net = build_official(Path(side), network) if side else create_model(task.model, **network.options)
    assert not side or sum(p.numel() for p in net.parameters()) == network.checkpoint
    net.to_empty(device=task.device).train(training)
    torch.manual_seed(0)
    for name, tensor in net.state_dict().items():
        if tensor.ndim > 1:
            nn.init.kaiming_uniform_(tensor, a=5**0.5)
        else:
            tensor.fill_(name.endswith(("weight", "running_var")))
    batch, flows = ((1, 2), 6) if network.frames == 2 else ((2 if training else 1,), 3)
    image, flow = (torch.randn(*batch, channels, *task.size, device=task.device) for channels in (3, flows))

    def run() -> None:
        with torch.inference_mode(not training):
            maps = net(image, flow)
            if training:
                net.zero_grad()
                values = maps.values() if isinstance(maps, dict) else maps
                torch.stack([m.mean() for m in values]).sum().backward()  # type: ignore[no-untyped-call]

    return run


def measure_time(task: Task) -> dict[str, Any]:
    """Run the sides in turns. The first pass of each warms up, and its multiply-adds are counted."""
    passes = {side: make_pass(task, side) for side in task.sides}
    gmacs = []
    for run in passes.values():
        with FlopCounterMode(display=False) as counter:
            run()
        gmacs.append(round(counter.get_total_flops() / 2e9, 2))
    times = in_turns(passes, task.repeats, task.device, warmup=0)
    return {"seconds": list(times.values()), "gmacs": gmacs}


def measure_memory(task: Task) -> dict[str, Any]:
    """Return the megabytes that a first pass holds beyond those held before it; None where they are too many."""
    run, on_gpu = make_pass(task, task.sides[0]), task.device.startswith("cuda")

    def resident(field: str) -> int:
        return 1024 * int(Path("/proc/self/status").read_text().partition(f"{field}:")[2].split()[0])

    if on_gpu:
        whole = torch.cuda.mem_get_info(task.device)[1]
        torch.cuda.set_per_process_memory_fraction(min(1.0, LIMIT / whole), task.device)
        torch.cuda.reset_peak_memory_stats(task.device)
    else:
        resource.setrlimit(resource.RLIMIT_DATA, (LIMIT, LIMIT))
        # The peak begins anew; ru_maxrss would begin with the peaks of the parent and of building the network.
        Path("/proc/self/clear_refs").write_text("5")
    before = torch.cuda.memory_allocated(task.device) if on_gpu else resident("VmRSS")
    try:
        run()
    except RuntimeError as error:
        if not NO_MEMORY.search(str(error)):
            raise
        return {"mb": None}
    peak = torch.cuda.max_memory_allocated(task.device) if on_gpu else resident("VmHWM")
    return {"mb": round((peak - before) / 1e6, 1)}


def in_own_process(task: Task) -> Any:
    command = [sys.executable, "-W", "ignore", __file__, "--task", json.dumps(task)]
    # glibc gives freed tensors back at once; otherwise peaks of the same pass differ by up to a quarter.
    settings = os.environ if task.repeats else {**os.environ, "MALLOC_MMAP_THRESHOLD_": "1048576"}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=settings)
    return json.loads(done.stdout.splitlines()[-1])


def measure(task: Task, official: str) -> dict[str, Any]:
    """Return a row."""
    network = NETWORKS[task.model]
    beside = bool(official and network.repository and (Path(official) / network.repository).is_dir())
    sides, prefixes = (["", official], ["", "official_"]) if beside else ([""], [""])
    masks = 2 if network.frames == 2 or task.kind == "training" else 1
    with torch.device("meta"):
        parameters = sum(p.numel() for p in create_model(task.model, **network.options).parameters())
    row: dict[str, Any] = dict.fromkeys(COLUMNS, "")
    row |= {"network": task.model, "kind": task.kind, "size": "x".join(map(str, task.size)), "masks": masks}
    row |= {"parameters": parameters, "checkpoint_parameters": network.checkpoint}
    row["official"] = network.repository if beside else ""
    peaks = [in_own_process(task._replace(sides=[side], repeats=0))["mb"] for side in sides]
    row |= {f"{prefix}peak_mb": peak or "over 20 GB" for prefix, peak in zip(prefixes, peaks, strict=True)}
    if None not in peaks:
        found = in_own_process(task._replace(sides=sides))
        for prefix, seconds, gmacs in zip(prefixes, found["seconds"], found["gmacs"], strict=True):
            row |= {f"{prefix}seconds": round(statistics.median(seconds), 4), f"{prefix}gmacs": gmacs}
        row["seconds_a_mask"] = round(row["seconds"] / masks, 4)
        if beside:
            row |= {**spread(*found["seconds"]), "peak_ratio": round(peaks[0] / peaks[1], 4)}
    print(*(f"{key} {row[key]}" for key in ("network", "kind", "size", "seconds", "ratio", "peak_ratio")), flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HelpFormatter)
    parser.add_argument("--models", nargs="+", choices=NETWORKS, default=list(NETWORKS), help="networks by name")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS, help="kinds of passes")
    parser.add_argument(
        "--size", nargs=2, type=int, metavar=("HEIGHT", "WIDTH"), help="in pixels, instead of the official sizes"
    )
    parser.add_argument("--official", default="", metavar="DIR", help="folder of checkouts of the official code")
    add_device(parser)
    parser.add_argument("--repeats", type=int, default=5, help="timed rounds")
    parser.add_argument("--output", type=Path, default=RESULTS / "segmentation.csv", help="the CSV")
    parser.add_argument("--task", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.task:
        task = Task(*json.loads(options.task))
        print(json.dumps(measure_time(task) if task.repeats else measure_memory(task)))
        return
    if options.official and not Path(options.official).is_dir():
        parser.error(f"there is no folder {options.official!r}")
    rows = [
        measure(Task(model, kind, size, [], options.repeats, options.device), options.official)
        for kind in options.kinds
        for model in options.models
        for size in ([options.size] if options.size else NETWORKS[model].sizes)
    ]
    precision = "float32, TF32 convolutions" if options.device.startswith("cuda") else "float32"
    about = environment(options.device, precision=precision, layout="NCHW", clock="wall", repeats=options.repeats)
    report(rows, about, options.output)


if __name__ == "__main__":
    main()

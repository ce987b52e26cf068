# SPDX-License-Identifier: Apache-2.0
"""The parity fixtures of the segmentation networks: official weights by rule, inputs by rule, recorded statistics.

Each JSON in ``tests/models/parity/segmentation`` holds the official state dict's names and shapes and, for three cases
of input, statistics of tensors of the official network. Its field ``rules`` says what the functions here do.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

PARITY = Path(__file__).parents[1] / "models" / "parity" / "segmentation"
CASES = ("main", "odd", "batch2")
TOLERANCE = 1e-4  # of the recorded standard deviation of the tensor


def read_fixture(name: str) -> dict[str, Any]:
    """Return the content of a fixture, e.g. of ``"matnet"``."""
    content: dict[str, Any] = json.loads((PARITY / f"{name}.json").read_text())
    return content


def _gain(parts: list[str], shape: list[int]) -> float:
    """Return the first gain that applies to a tensor of two or more axes (rule 8)."""
    if {"proj1", "proj2"} & set(parts):
        return 0.02
    if shape[0] <= 2:
        return 0.1
    if {"query", "key"} & set(parts):
        return 0.03
    if "value" in parts:
        return 0.15
    if {"fc1", "fc2", "excitation_1", "excitation_2", "GC"} & set(parts):
        return 0.3
    if any(part.startswith(("convG", "convFS", "convMM")) for part in parts):
        return 0.5
    return 1.0


def official_weight(key: str, shape: list[int]) -> Tensor:
    """Fill one entry of a state dict from its name and shape alone (rules 1 to 5 and 8; 6 and 7 are VisTR's)."""
    rng, parts = np.random.default_rng(zlib.crc32(key.encode())), key.split(".")
    last, owner = parts[-1], parts[-2]
    if last == "num_batches_tracked":
        return torch.zeros(shape, dtype=torch.int64)
    if last == "running_var":
        return torch.from_numpy(rng.uniform(0.5, 1.5, shape).astype(np.float32))
    values = rng.standard_normal(shape)
    if last == "weight" and len(shape) == 1:
        values = (0.5 if owner in ("bn2", "bn3") else 1.0) * (1 + 0.1 * values)
    elif len(shape) <= 1:
        values *= 0.1
    else:
        values *= _gain(parts, shape) * np.sqrt(2 / np.prod(shape[1:]))
    return torch.from_numpy(values.astype(np.float32))


def official_weights(
    data: Mapping[str, Any], known: dict[tuple[str, tuple[int, ...]], Tensor] | None = None
) -> dict[str, Tensor]:
    """Return the state dict of the official network that a fixture describes.

    Networks that have names and shapes in common have those weights in common: ``known`` keeps them between calls.
    """
    known = {} if known is None else known
    for key, shape in data["state_dict"]:
        if (key, tuple(shape)) not in known:
            known[key, tuple(shape)] = official_weight(key, shape)
    return {key: known[key, tuple(shape)] for key, shape in data["state_dict"]}


def save_official(
    weights: Mapping[str, Tensor], path: Path, container: str | None = "state_dict", prefix: str = "module."
) -> Path:
    """Write weights as one file: a dict with ``container`` in it, or the bare weights where it is None."""
    renamed = {prefix + name: tensor for name, tensor in weights.items()}
    torch.save({container: renamed, "epoch": 1} if container else renamed, path)
    return path


def save_matnet_pair(weights: Mapping[str, Tensor], folder: Path, epoch: int = 0, prefix: str = "module.") -> Path:
    """Write MATNet's weights as its authors do: ``encoder_<epoch>.pt`` and ``decoder_<epoch>.pt``, bare."""
    for part in ("encoder", "decoder"):
        of_part = {k.removeprefix(f"{part}."): v for k, v in weights.items() if k.startswith(f"{part}.")}
        save_official(of_part, folder / f"{part}_{epoch}.pt", container=None, prefix=prefix)
    return folder


def official_input(data: Mapping[str, Any], case: str) -> tuple[Tensor, Tensor]:
    """Return image and flow of a case."""
    shapes = (data["cases"][case]["image_shape"], data["cases"][case]["flow_shape"])
    image, flow = (
        torch.from_numpy(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))
        for seed, shape in enumerate(shapes)
    )
    return image, flow


def recorded(data: Mapping[str, Any], case: str) -> dict[str, dict[str, Any]]:
    """Return the recorded tensors of a case by their official names."""
    tensors: dict[str, dict[str, Any]] = data["cases"][case]["tensors"]
    return tensors


def assert_like_recorded(name: str, ours: Tensor, official: Mapping[str, Any]) -> None:
    """Compare shape, mean, std, the first channel means and 16 samples of a tensor with what is recorded of it."""
    assert list(ours.shape) == official["shape"], f"{name} has shape {tuple(ours.shape)}"
    double = ours.detach().double()
    channel_means = double.flatten(2).mean(2) if ours.ndim > 2 else double
    count = ours.numel()
    places = [k * (count - 1) // 15 for k in range(16)] if count >= 16 else range(count)
    found = torch.stack([double.mean(), double.std(correction=0)])
    found = torch.cat([found, channel_means.flatten()[:16], double.flatten()[list(places)]])
    expected = torch.tensor(
        [official["mean"], official["std"], *official["gap16"], *official["sample16"]], dtype=torch.float64
    )
    error = float((found - expected).abs().max()) / official["std"]
    assert error <= TOLERANCE, f"{name} differs by {error:.1e} of its standard deviation"


def uninitialised(build: Callable[[], nn.Module]) -> nn.Module:
    """Build a network, in evaluation mode, without drawing random weights: all of them will come from a file.

    The memory is filled with NaN, so that a weight that does not come shows.
    """
    with torch.device("meta"):
        model = build()
    model = model.to_empty(device="cpu").eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(torch.nan)
    return model


@contextmanager
def recording(model: nn.Module, layers: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Collect the outputs of modules (or, with ``[key]`` behind the name, one entry of them) by official name.

    Args:
        model: the network.
        layers: our module's name by the official name of its output.
    """
    outputs: dict[str, Any] = {}

    def keep(official: str, key: str) -> Callable[[nn.Module, Any, Any], None]:
        # Cloned, because a ReLU that follows may work in place.
        return lambda _module, _inputs, output: outputs.update({official: (output[key] if key else output).clone()})

    handles = []
    for official, layer in layers.items():
        module, _, key = layer.partition("[")
        handles.append(model.get_submodule(module).register_forward_hook(keep(official, key.rstrip("]"))))
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


def count_parameters(weights: Mapping[str, Tensor]) -> int:
    """Count the parameters of a state dict, without its buffers."""
    buffers = ("running_mean", "running_var", "num_batches_tracked")
    return sum(tensor.numel() for name, tensor in weights.items() if not name.endswith(buffers))

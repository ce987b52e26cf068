# SPDX-License-Identifier: Apache-2.0
"""State dicts of the official networks, from the key lists in ``tests/models/parity``, small enough for tests."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

PARITY = Path(__file__).parents[1] / "models" / "parity"
# The naming of each file, and the registered model that it fits.
NETWORKS = {
    "c2d_r50": ("pytorchvideo", "c2d_r50"),
    "c2d_r50_8x8": ("slowfast", "c2d_r50"),
    "fast_r50": ("slowfast", "fastonly_r50"),
    "i3d_nln_r50_8x8": ("slowfast", "i3d_nln_r50"),
    "i3d_r50": ("pytorchvideo", "i3d_r50"),
    "i3d_r50_8x8": ("slowfast", "i3d_r50"),
    "mvit_b_16x4_crop64": ("slowfast", "mvit_b_16x4"),
    "mvit_b_16x4_paper": ("slowfast", "mvit_b_16x4"),
    "mvit_base_16x4_ptv": ("pytorchvideo", "mvit_b_16x4"),
    "slow_r18": ("slowfast", "slowonly_r18"),
    "slow_r50": ("pytorchvideo", "slowonly_r50"),
    "slow_r50_8x8": ("slowfast", "slowonly_r50"),
    "slow_r50_8x8_fullconv": ("slowfast", "slowonly_r50"),
    "slowfast_r18_4x16_paper": ("slowfast", "slowfast_r18_4x16"),
    "slowfast_r50": ("pytorchvideo", "slowfast_r50_8x8"),
    "slowfast_r50_4x16": ("slowfast", "slowfast_r50_4x16"),
    "slowfast_r50_8x8": ("slowfast", "slowfast_r50_8x8"),
    "timesformer_divst_8x32_in64": ("timesformer", "timesformer_divst_8x32"),
    "x3d_m": ("slowfast", "x3d_m"),
    "x3d_m_ptv": ("pytorchvideo", "x3d_m"),
    "x3d_s": ("slowfast", "x3d_s"),
}
LAYOUTS = {"slowfast": "SlowFast", "pytorchvideo": "PyTorchVideo", "timesformer": "TimeSformer"}
SHRINK = 16


def key_list(network: str) -> list[tuple[str, list[int]]]:
    """The names and shapes of the official network, in its order."""
    content: dict[str, Any] = json.loads((PARITY / f"{network}.json").read_text())
    return [(key, shape) for key, shape in content["state_dict"]]


def aliases(network: str) -> dict[str, str]:
    """Names that the official network lists a second time, and the first name of the tensor."""
    content: dict[str, Any] = json.loads((PARITY / f"{network}.json").read_text())
    return dict(content["aliases"])


def values(key: str, shape: list[int]) -> Tensor:
    """Numbers that follow from a name alone, as in the files, so that no two tensors are alike."""
    rng = np.random.default_rng(zlib.crc32(key.encode()))
    if key.endswith("num_batches_tracked"):
        return torch.tensor(int(rng.integers(1000)))
    return torch.from_numpy(rng.standard_normal(shape).astype(np.float32))


def official_weights(network: str, shrink: int = SHRINK) -> dict[str, Tensor]:
    """The official state dict, every axis that can be divided by ``shrink`` so many times shorter."""
    first = aliases(network)
    weights: dict[str, Tensor] = {}
    for key, shape in key_list(network):
        small = [size // shrink if size % shrink == 0 else size for size in shape]
        weights[key] = weights[first[key]] if key in first else values(key, small)
    return weights


def shapes(network: str) -> dict[str, Tensor]:
    """The official state dict in full size, of tensors that take no memory."""
    return {key: torch.zeros(1).expand(shape) if shape else torch.tensor(0) for key, shape in key_list(network)}


def assert_same_tensors(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Names in the same order, every tensor equal to the last bit."""
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype, name
        assert torch.equal(found[name], tensor), name

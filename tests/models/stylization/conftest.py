# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from staticdropout.models.stylization import PatchGenerator

SMALL = {"blocks": 1, "filters": (4, 6, 8, 8, 6, 5)}


def with_random_numbers(network: nn.Module, seed: int = 0) -> nn.Module:
    """Fill weights and running statistics, so that no layer is the identity."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            drawn = torch.rand(tensor.shape, generator=generator)
            is_scale = name.endswith(("running_var", "weight")) and tensor.ndim == 1
            tensor.copy_(0.5 + drawn if is_scale else (drawn - 0.5) * 4 / max(1, tensor[0].numel()) ** 0.5)
    return network


@pytest.fixture
def small_generator() -> Callable[..., PatchGenerator]:
    """A function that makes shrunken generators with random numbers in them."""

    def make(seed: int = 0, **changes: Any) -> PatchGenerator:
        network = with_random_numbers(PatchGenerator(**{**SMALL, **changes}), seed)
        assert isinstance(network, PatchGenerator)
        return network.eval().requires_grad_(False)

    return make


@pytest.fixture
def lightning_file(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes a checkpoint as a training does: with discriminator, settings and other contents."""

    def write(generator: PatchGenerator, name: str = "mine.ckpt", **settings: Any) -> Path:
        state = {f"generator.{key}": value for key, value in generator.state_dict().items()}
        state |= {"discriminator.net.conv0.conv.weight": torch.zeros(12, 3, 4, 4)}
        content = {
            "pytorch-lightning_version": "2.6.0",
            "epoch": 1,
            "state_dict": state,
            "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(2)}}}],
            "hyper_parameters": {"in_channels": generator.in_channels, **settings},
        }
        torch.save(content, tmp_path / name)
        return tmp_path / name

    return write

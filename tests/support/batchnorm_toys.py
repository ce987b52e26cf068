# SPDX-License-Identifier: Apache-2.0
"""Networks with batch normalisations, for the tests of their merged copies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from staticdropout.models import create_model, model_info


def with_statistics(model: nn.Module) -> nn.Module:
    """Give every normalisation something to do."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.uniform_(module.weight, 0.5, 1)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model


def small(name: str) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """A registered network made small, and inputs of it."""
    if model_info(name).task == "classification":
        frames = 8 if name.startswith("slowfast") else 4
        model = create_model(name, num_classes=3, width=8)
        return with_statistics(model), (torch.randn(2, 3, frames, 32, 32),)
    paired = name in ("rtnet34", "rtnet_rx50")  # two frames in, two masks out
    image = torch.randn(1, 2, 3, 64, 64) if paired else torch.randn(1, 3, 64, 64)
    options: dict[str, Any] = {"backbone": "resnet18", "backbone_args": {"channels": (16, 32, 64, 128)}}
    options |= {"bridges": None, "bottom_width": None} if paired else {"width": 16}
    return with_statistics(create_model(name, **options)), (
        image,
        torch.cat([image, -image], 2) if paired else image.flip(-1),
    )


def normalisations(model: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d) for module in model.modules())


class Shared(nn.Module):
    """What a convolution gives is normalised, and used by itself as well."""

    def __init__(self, seen: bool) -> None:
        super().__init__()
        self.conv, self.norm, self.other, self.seen = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.BatchNorm2d(4), seen

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        out: Tensor = self.norm(x) + (self.other(x) if self.seen else x)
        return out


class Gives(nn.Module):
    """A convolution and a normalisation, called by name, under two names; ``wrap`` makes the output of the result."""

    def __init__(self, wrap: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.conv, self.norm, self.wrap = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), wrap
        self.blocks = nn.ModuleDict({"again": self.norm})

    def forward(self, x: Tensor) -> Any:
        return self.wrap(self.blocks["again"](input=self.conv(input=x)))

# SPDX-License-Identifier: Apache-2.0
"""A network of the user's own, or one of the registry, that is asked about stills."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.transforms.v2 import functional as F

from ..errors import OptionError
from ..models import create_model, load_checkpoint, model_info
from ..models.style_correlation import still_features

__all__ = ("StillNetwork", "build_network")


@dataclass(frozen=True)
class StillNetwork:
    """A network with what it takes, to be called with stills.

    Attributes:
        name: for reports.
        module: maps normalised clips ``(B, 3, T, H, W)`` to logits.
        num_frames: frames of its clips.
        crop: side of its pictures in pixels; None: as they come.
        mean: subtracted from pixels in [0, 1].
        std: divides them then.
        layer: pattern of the layer to ask; None: what the classifier sees.
        note: what the reader of its numbers has to know.
    """

    name: str
    module: nn.Module
    num_frames: int
    crop: int | None = None
    mean: Sequence[float] = (0.45, 0.45, 0.45)
    std: Sequence[float] = (0.225, 0.225, 0.225)
    layer: str | None = None
    note: str = ""

    def __call__(self, stills: Tensor) -> Tensor:
        """Features ``(N, C)`` on the host of stills ``(N, 3, H, W)`` in [0, 1]."""
        if self.crop is not None:
            small = min(stills.shape[-2:]) < self.crop
            stills = F.resize(stills, [self.crop], antialias=True) if small else stills
            stills = F.center_crop(stills, [self.crop, self.crop])
        weights = next(chain(self.module.parameters(), self.module.buffers()), torch.empty(0))
        pixels = F.normalize(stills, list(self.mean), list(self.std)).to(weights)
        return still_features(self.module, pixels, self.num_frames, self.layer).cpu()


def build_network(
    model: str,
    checkpoint: str | None = None,
    num_classes: int | None = None,
    model_args: Mapping[str, Any] | None = None,
    *,
    num_frames: int | None = None,
    crop: int | None = None,
    mean: Sequence[float] = (0.45,),
    std: Sequence[float] = (0.225,),
    layer: str | None = None,
    device: torch.device | str = "cpu",
) -> StillNetwork:
    """Build a network and load its weights.

    Args:
        model: a name of the registry, or ``package.module:callable`` for something of one's own that returns a module;
            it must be importable.
        checkpoint: file of weights, see :func:`staticdropout.models.load_checkpoint`; None: as it is built.
        num_classes: handed to the constructor; 400 for a name of the registry by default, since only what comes after
            the features depends on it.
        model_args: further arguments of the constructor.
        num_frames: frames of its clips; by default those that a model of the registry was made for, otherwise 16.
        crop: side of its pictures; by default that of a model of the registry, otherwise as they come.
        mean: of the pixels, one number or three.
        std: of the pixels, one number or three.
        layer: pattern of the layer to ask.
        device: where it runs.

    Raises:
        UnknownNameError: the registry has no such model.
        OptionError: the model segments, cannot be imported, is no module; or mean and std do not fit.
        CheckpointError: the weights cannot be read, or belong to another model.

    Example:
        >>> build_network("fastonly_r50", num_classes=4)(torch.rand(1, 3, 48, 48)).shape
        torch.Size([1, 256])
    """
    options = dict(model_args or {})
    if ":" in model:
        if num_classes is not None:
            options["num_classes"] = num_classes
        module, note, frames = _own(model, options), "", num_frames or 16
    else:
        info = model_info(model)
        if info.task != "classification":
            raise OptionError(
                f"{model} segments frames and takes no clips. Give a classifier of clips, or leave the model out."
            )
        module, frames = create_model(model, num_classes or 400, **options), num_frames or info.frames
        crop = crop or info.crop
        note = "" if checkpoint else f"{model} has random weights: give --checkpoint to learn about a trained network."
    if checkpoint is not None:
        load_checkpoint(module, checkpoint)
    module = module.to(device).eval()
    return StillNetwork(model, module, frames, crop, _three("mean", mean), _three("std", std), layer, note)


def _own(target: str, options: Mapping[str, Any]) -> nn.Module:
    place, _, name = target.partition(":")
    try:
        found: Any = importlib.import_module(place)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise OptionError(
            f"The model {target!r} cannot be imported: {error}. Write it as package.module:callable, and start with "
            "`python -m staticdropout` in the folder that holds the package, or put that folder into PYTHONPATH."
        ) from error
    module = found if isinstance(found, nn.Module) else found(**options)
    if not isinstance(module, nn.Module):
        raise OptionError(f"The model {target!r} gave a {type(module).__name__}, not a torch.nn.Module.")
    return module


def _three(name: str, values: Sequence[float]) -> list[float]:
    if len(values) not in (1, 3) or (name == "std" and min(values) <= 0):
        raise OptionError(f"{name}={list(values)} must be one number or three, and a std above 0.")
    return list(values) * (3 // len(values))

# SPDX-License-Identifier: Apache-2.0
"""``staticdropout models …``: what models there are and what is in them."""

from __future__ import annotations

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import LightningArgumentParser

from ..config_files import find_config, load_config
from ..errors import ConfigNotFoundError
from ..lightning_modules import VideoClassifier, VideoObjectSegmenter
from ..models import model_info
from ..models.tables import print_layers, print_models

__all__ = ("list_layers", "list_models")


def list_models(pattern: str = "*") -> None:
    """List the models with parameters, multiply-adds and input.

    Args:
        pattern: a glob over names, e.g. "slow*".
    """
    print_models(pattern)


def list_layers(target: str, frames: int = 8, size: int = 112) -> None:
    """List the layers of a model with their output shapes, by the names that callbacks take.

    Args:
        target: a config (a file or the short name of a packaged one), or the name of a model.
        frames: frames of the clip that is sent through a video model.
        size: height and width of what is sent through, in pixels.
    """
    try:
        config = load_config(find_config(target))
    except FileNotFoundError:
        if "/" in target or target.endswith(".yaml"):
            raise
        segments = model_info(target).task == "segmentation"
        module: LightningModule = VideoObjectSegmenter(target) if segments else VideoClassifier(target)
    else:
        parser = LightningArgumentParser()
        parser.add_lightning_class_args(LightningModule, "model", subclass_mode=True)
        if "model" not in config:
            raise ConfigNotFoundError(
                f"{target} has no model. Give a config with a `model:` section, or a model's name."
            )
        module = parser.instantiate_classes(parser.parse_object({"model": config["model"]}))["model"]
    inputs = getattr(module, "example_inputs", _one_clip)(frames, size)
    print_layers(module, *inputs)


def _one_clip(frames: int, size: int) -> tuple[torch.Tensor]:
    return (torch.rand(1, 3, frames, size, size),)

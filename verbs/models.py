# SPDX-License-Identifier: Apache-2.0
"""``staticdropout models …``: what models there are, what is in them, and what is in files of weights."""

from __future__ import annotations

from typing import Literal

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import LightningArgumentParser

from ..config_files import find_config, load_config
from ..errors import ConfigNotFoundError
from ..lightning_modules import VideoClassifier, VideoObjectSegmenter
from ..models import model_info
from ..models.checkpoints import export_file, inspect_file, print_inspection
from ..models.tables import print_layers, print_models

__all__ = ("export_checkpoint", "inspect_checkpoint", "list_layers", "list_models")


def list_models(pattern: str = "*") -> None:
    """List the models with input, parameters, multiply-adds, published accuracy and where official weights are.

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


def inspect_checkpoint(file: str, model: str | None = None) -> None:
    """Say what a checkpoint file is, which models it fits, and what of it would be loaded. Runs nothing in the file.

    Exits with 1 if it fits no model.

    Args:
        file: the file, of any packaging and naming; for MATNet the folder of its two files.
        model: a model's name, to try the file on that one only.
    """
    report = inspect_file(file, model)
    print_inspection(report)
    if not report.models:
        raise SystemExit(1)


def export_checkpoint(
    file: str,
    output: str,
    *,
    naming: Literal["slowfast", "pytorchvideo", "timesformer"],
    model: str | None = None,
) -> None:
    """Write the weights of a checkpoint, bit for bit, as a file that the official code reads.

    Args:
        file: a checkpoint of this package, or any other file of weights that it reads.
        output: the new file.
        naming: slowfast (facebookresearch/SlowFast), pytorchvideo, or timesformer.
        model: the name of the model that the file is of; found by itself by default.
    """
    report = export_file(file, output, naming, model)
    print(f"{report.tensors} tensors written to {report.path} in the naming of {naming}: {report.architecture}.")
    for note in report.notes:
        print(note)


def _one_clip(frames: int, size: int) -> tuple[torch.Tensor]:
    return (torch.rand(1, 3, frames, size, size),)

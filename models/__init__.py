# SPDX-License-Identifier: Apache-2.0
"""Models as plain modules: a registry, official checkpoints, feature capture, StaticDropout as a layer."""

from .checkpoints import load_checkpoint, read_checkpoint
from .features import capture, channel_means, list_layers
from .fused_batchnorm import fuse_batchnorm
from .inflation import inflate_from_timm
from .layer_names import find_layers, last_linear
from .registry import ModelInfo, create_model, list_models, model_info, models_table, register_model
from .resnet3d import ResNet3d
from .static_dropout import StaticDropoutLayer

__all__ = (
    "ModelInfo",
    "ResNet3d",
    "StaticDropoutLayer",
    "capture",
    "channel_means",
    "create_model",
    "find_layers",
    "fuse_batchnorm",
    "inflate_from_timm",
    "last_linear",
    "list_layers",
    "list_models",
    "load_checkpoint",
    "model_info",
    "models_table",
    "read_checkpoint",
    "register_model",
)

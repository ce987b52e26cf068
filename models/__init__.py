# SPDX-License-Identifier: Apache-2.0
"""Models as plain modules: a registry, official checkpoints, feature capture, StaticDropout as a layer."""

from .analysis import analysis_layers
from .checkpoints import load_checkpoint, read_checkpoint
from .features import capture, channel_means, list_layers
from .fused_batchnorm import fuse_batchnorm
from .gmacs import count_gmacs
from .inflation import inflate_from_timm
from .layer_names import find_layers, last_linear
from .mvit import MViT
from .registry import ModelInfo, create_model, list_models, model_info, models_table, register_model
from .resnet3d import ResNet3d
from .slowfast import SlowFast
from .static_dropout import StaticDropoutLayer
from .style_correlation import StyleCorrelation, still_features
from .stylization import FewShotStyle, load_generator
from .timesformer import TimeSformer
from .x3d import X3D

__all__ = (
    "X3D",
    "FewShotStyle",
    "MViT",
    "ModelInfo",
    "ResNet3d",
    "SlowFast",
    "StaticDropoutLayer",
    "StyleCorrelation",
    "TimeSformer",
    "analysis_layers",
    "capture",
    "channel_means",
    "count_gmacs",
    "create_model",
    "find_layers",
    "fuse_batchnorm",
    "inflate_from_timm",
    "last_linear",
    "list_layers",
    "list_models",
    "load_checkpoint",
    "load_generator",
    "model_info",
    "models_table",
    "read_checkpoint",
    "register_model",
    "still_features",
)

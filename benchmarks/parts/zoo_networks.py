# SPDX-License-Identifier: Apache-2.0
"""The networks of ``zoo.py``: PyTorchVideo's, and ours with its weights."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from parts.training_networks import enliven
from torch import Tensor, nn

from staticdropout.models import create_model, model_info
from staticdropout.models.adaptation import Adaptable
from staticdropout.models.checkpoints import to_own_names
from staticdropout.models.slowfast import slow_frames

CLASSES = 400
FIRST_SIX = ((3, 1, 1),) * 6 + ((1, 1, 1),) * 17


class Packed(nn.Module):
    """PyTorchVideo's SlowFast, called with one clip as ours is: its pathways are packed in the same way."""

    def __init__(self, model: nn.Module, alpha: int) -> None:
        super().__init__()
        self.model, self.alpha = model, alpha

    def forward(self, video: Tensor) -> Tensor:
        """Map a clip to logits."""
        logits: Tensor = self.model([slow_frames(video, self.alpha), video])
        return logits


def _resnet(**options: Any) -> Callable[[int], nn.Module]:
    def build(frames: int) -> nn.Module:
        create = importlib.import_module("pytorchvideo.models.resnet").create_resnet
        model: nn.Module = create(
            model_num_class=CLASSES, dropout_rate=0.0, head_pool_kernel_size=(frames, 7, 7), **options
        )
        return model

    return build


def _slowfast(alpha: int = 4, **options: Any) -> Callable[[int], nn.Module]:
    def build(frames: int) -> nn.Module:
        create = importlib.import_module("pytorchvideo.models.slowfast").create_slowfast
        pools = ((frames // alpha, 7, 7), (frames, 7, 7))
        strides = {"slowfast_fusion_conv_stride": (alpha, 1, 1)}
        model = create(model_num_class=CLASSES, dropout_rate=0.0, head_pool_kernel_sizes=pools, **strides, **options)
        return Packed(model, alpha)

    return build


def _hub(name: str, **options: Any) -> Callable[[int], nn.Module]:
    def build(frames: int) -> nn.Module:
        create = getattr(importlib.import_module("pytorchvideo.models.hub"), name)
        model: nn.Module = create(**options)
        return model

    return build


PLAIN = {"model_num_class": CLASSES, "dropout_rate": 0.0}
LOGITS: dict[str, Any] = {"head_activation": None}  # release 0.1.5 would give probabilities
FIVE: dict[str, Any] = {"slowfast_fusion_conv_kernel_size": (5, 1, 1)}
KERNELS = (((1, 1, 1), (1, 1, 1), FIRST_SIX, (3, 1, 1)), ((3, 1, 1), (3, 1, 1), FIRST_SIX, (3, 1, 1)))
BUILDERS: Mapping[str, Callable[[int], nn.Module]] = {
    "c2d_r50": _hub("c2d_r50", head_pool_kernel_size=(4, 7, 7), **PLAIN),
    "i3d_r50": _hub("i3d_r50", head_pool_kernel_size=(4, 7, 7), **PLAIN),
    "slowonly_r50": _resnet(stem_conv_kernel_size=(1, 7, 7)),
    "slowonly_r50_4x16": _resnet(stem_conv_kernel_size=(1, 7, 7)),
    "slowonly_r101": _resnet(stem_conv_kernel_size=(1, 7, 7), model_depth=101),
    "fastonly_r50": _resnet(stem_dim_out=8, stem_conv_kernel_size=(5, 7, 7), stage_conv_a_kernel_size=((3, 1, 1),) * 4),
    "slowfast_r50_4x16": _slowfast(alpha=8, **FIVE),
    "slowfast_r50_8x8": _slowfast(),
    "slowfast_r50_16x8": _slowfast(),
    "slowfast_r101_8x8": _slowfast(model_depth=101, **FIVE),
    "slowfast_r101_16x8": _slowfast(model_depth=101, stage_conv_a_kernel_sizes=KERNELS, **FIVE),
    "x3d_xs": _hub("x3d_xs", **PLAIN, **LOGITS),
    "x3d_s": _hub("x3d_s", **PLAIN, **LOGITS),
    "x3d_m": _hub("x3d_m", **PLAIN, **LOGITS),
    "x3d_l": _hub("x3d_l", **PLAIN, **LOGITS),
    "mvit_b_16x4": _hub("mvit_base_16x4"),
}
"""PyTorchVideo's networks by our names, built for clips of so many frames."""


def official(name: str) -> nn.Module:
    """Build PyTorchVideo's network."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit.script
        model = BUILDERS[name](model_info(name).frames)
    enliven(model)
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = 1e-6  # also in attention, where release 0.1.5 has 1e-5 and the present code 1e-6
    return model


def carried_over(name: str, model: nn.Module) -> nn.Module:
    """Build our network with the weights of PyTorchVideo's."""
    # as PyTorchVideo has it: without the normalisation that SlowFast's code has
    ours = create_model(name, CLASSES, **({"shortcut_norm": False} if name.startswith("x3d") else {}))
    weights = to_own_names((model.model if isinstance(model, Packed) else model).state_dict())
    ours.load_state_dict(ours.adapt_to(weights).weights if isinstance(ours, Adaptable) else weights)
    return ours

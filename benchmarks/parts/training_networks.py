# SPDX-License-Identifier: Apache-2.0
"""The networks of ``training.py``: PyTorchVideo's, and ours with its weights."""

from __future__ import annotations

import importlib
import warnings

import torch
from parts.common import seconds
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from staticdropout.models import create_model
from staticdropout.models.checkpoints import to_own_names

NETWORKS = ("slowonly_r50", "i3d_r50", "fastonly_r50")
CLASSES = 174


def official(name: str, frames: int, size: int) -> nn.Module:
    """Build PyTorchVideo's network, with normalisations that do something."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit.script
        create = importlib.import_module("pytorchvideo.models.resnet").create_resnet
        hub = importlib.import_module("pytorchvideo.models.hub")
    pool = (frames // 2 if name == "i3d_r50" else frames, -(-size // 32), -(-size // 32))
    options = {"model_num_class": CLASSES, "dropout_rate": 0.0, "head_pool_kernel_size": pool}
    if name == "slowonly_r50":
        model = create(stem_conv_kernel_size=(1, 7, 7), **options)
    elif name == "i3d_r50":
        model = hub.i3d_r50(**options)
    else:
        model = create(
            stem_dim_out=8, stem_conv_kernel_size=(5, 7, 7), stage_conv_a_kernel_size=((3, 1, 1),) * 4, **options
        )
    enliven(model)
    result: nn.Module = model
    return result


def enliven(model: nn.Module) -> None:
    """Give a network normalisations that do something."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm3d) and module.running_mean is not None and module.running_var is not None:
            # little of the residual branches, as in training: a random network of whole ones makes noise of rounding
            nn.init.uniform_(module.weight, *((0.1, 0.2) if getattr(module, "block_final_bn", False) else (0.5, 1.0)))
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)


def carried_over(name: str, model: nn.Module) -> nn.Module:
    """Build our network with the weights of PyTorchVideo's."""
    ours = create_model(name, CLASSES)
    ours.load_state_dict(to_own_names(model.state_dict()))
    return ours


def gmacs(model: nn.Module, clip: Tensor) -> float:
    """Count 10^9 multiply-adds of one clip."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(clip[:1])
    return float(counter.get_total_flops() / 2e9)


def ceiling(device: str, dtype: torch.dtype) -> float:
    """GFLOP/s of a convolution that suits any processor; the best of several calls."""
    maps, kernel = torch.randn(32, 256, 28, 28, device=device, dtype=dtype), torch.randn(256, 256, 3, 3, device=device)
    maps, kernel = maps.contiguous(memory_format=torch.channels_last), kernel.to(dtype)
    with torch.inference_mode():
        best = min(seconds(lambda: functional.conv2d(maps, kernel, padding=1), device) for _ in range(20))
    return float(2 * maps.numel() * kernel[0].numel() / best / 1e9)

# SPDX-License-Identifier: Apache-2.0
"""A copy of a network for inference, with every batch normalisation merged into the convolution before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights

from ..errors import OptionError

__all__ = ("fuse_batchnorm",)

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TOLERANCE = 1e-3  # of the largest output: rounding stays far below, a wrong merge far above


def fuse_batchnorm(model: nn.Module, *inputs: Any, inplace: bool = False, **options: Any) -> nn.Module:
    """Return a copy for inference in which batch normalisations are part of the convolutions before them.

    In evaluation a batch normalisation multiplies and adds constants, which the convolution can do by itself. Which
    belong together is seen in one forward pass: those normalisations that take exactly what one convolution gave. The
    copy must then give what the model gives.

    The model and its mode stay as they are. The copy keeps all layer names (a merged normalisation is an
    ``nn.Identity``), so layers are captured as before, except that a merged convolution gives what its normalisation
    gave. Its state dict is another one: keep checkpoints of the model, and make a new copy after training on.

    Args:
        model: any network whose normalisations have running statistics.
        *inputs: arguments of one forward pass, small ones of the right shape.
        inplace: let the ReLUs work in place, too: faster still, but a hook of your own that keeps what a layer gave,
            and not a copy or a mean of it, then finds it changed. :func:`~staticdropout.models.capture` keeps means.
        **options: keyword arguments of it.

    Returns:
        The copy, in evaluation mode, its weights without gradients.

    Raises:
        OptionError: if the copy would not give the same: the model uses what a convolution gave in another place, too,
            or with ``inplace`` what a ReLU takes.

    Example:
        >>> from staticdropout.models import create_model
        >>> model, clip = create_model("resnet3d_r18", num_classes=4, width=8), torch.randn(1, 3, 4, 32, 32)
        >>> fused = fuse_batchnorm(model, clip)
        >>> fused.get_submodule("res2.block0.bn_a"), torch.allclose(fused(clip), model.eval()(clip), atol=1e-5)
        (Identity(), True)
    """
    fused = deepcopy(model).eval().requires_grad_(False)
    with torch.inference_mode():
        expected, pairs = _watch(fused, inputs, options)
    with torch.no_grad():
        for norm, conv in pairs.items():
            _merge(fused.get_submodule(conv), fused.get_submodule(norm))
            parent, _, name = norm.rpartition(".")
            fused.get_submodule(parent).register_module(name, nn.Identity().eval())
    if inplace:
        for module in fused.modules():
            if isinstance(module, nn.ReLU):
                module.inplace = True
    with torch.inference_mode():
        error = max(_difference(*both) for both in zip(expected, _tensors(fused(*inputs, **options)), strict=True))
    if not error <= TOLERANCE:
        raise OptionError(
            f"With merged batch normalisations the model's output changes by {error:.1e} of its largest value. It uses "
            "what a convolution gives (or with inplace=True what a ReLU takes) in another place as well. "
            + ("Try inplace=False." if inplace else "Run it as it is.")
        )
    return fused


def _watch(model: nn.Module, inputs: Sequence[Any], options: Mapping[str, Any]) -> tuple[list[Tensor], dict[str, str]]:
    """Run the model; return its outputs, and for every normalisation that can be merged the convolution before it."""
    given: dict[int, tuple[str, Tensor]] = {}  # what a convolution gave, kept so that its id stays its own
    before: dict[str, set[str | None]] = {}
    after: dict[str, set[str | None]] = {}
    handles = []

    def gave(name: str, output: Tensor) -> None:
        given[id(output)] = (name, output)
        after.setdefault(name, set())

    def takes(name: str, x: Tensor) -> None:
        conv = given[id(x)][0] if id(x) in given else None
        before.setdefault(name, set()).add(conv)
        if conv is not None:
            after[conv].add(name)

    for name, module in model.named_modules():
        if isinstance(module, CONVOLUTIONS):
            handles.append(module.register_forward_hook(lambda _, args, out, name=name: gave(name, out)))
        elif isinstance(module, _BatchNorm) and module.running_mean is not None:
            handles.append(module.register_forward_pre_hook(lambda _, args, name=name: takes(name, args[0])))
    try:
        outputs = _tensors(model(*inputs, **options))
    finally:
        for handle in handles:
            handle.remove()
    single = {norm: next(iter(convs)) for norm, convs in before.items() if len(convs) == 1}
    return outputs, {norm: conv for norm, conv in single.items() if conv is not None and after[conv] == {norm}}


def _merge(conv: Any, norm: Any) -> None:
    """Make the convolution do what the normalisation does after it."""
    statistics = norm.running_mean, norm.running_var, norm.eps
    conv.weight, conv.bias = fuse_conv_bn_weights(conv.weight, conv.bias, *statistics, norm.weight, norm.bias)
    conv.requires_grad_(False)


def _tensors(output: Any) -> list[Tensor]:
    """All tensors in what a model gives."""
    if isinstance(output, Tensor):
        return [output]
    if isinstance(output, Mapping):
        output = list(output.values())
    return [tensor for part in output for tensor in _tensors(part)] if isinstance(output, list | tuple) else []


def _difference(expected: Tensor, found: Tensor) -> float:
    """Largest difference, in units of the largest value."""
    return float((expected - found).abs().max() / expected.abs().max().clamp(min=1e-12))

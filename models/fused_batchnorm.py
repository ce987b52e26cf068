# SPDX-License-Identifier: Apache-2.0
"""A copy of a network for inference, with every batch normalisation merged into the convolution before it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.nn.utils.parametrize import is_parametrized

from ..errors import OptionError
from .video_conv import VideoConv3d

__all__ = ("fuse_batchnorm",)

CONVOLUTIONS = (nn.Conv1d.forward, nn.Conv2d.forward, nn.Conv3d.forward, VideoConv3d.forward)
NORMALISATIONS = (_BatchNorm.forward, nn.SyncBatchNorm.forward)
# of the largest output: rounding stays below, a wrong merge far above
TOLERANCES = {torch.bfloat16: 5e-2, torch.float16: 1e-2}
TOLERANCE = 1e-3  # of all other precisions


def fuse_batchnorm(model: nn.Module, *inputs: Any, inplace: bool = False, **options: Any) -> nn.Module:
    """Return a copy for inference in which batch normalisations are part of the convolutions before them.

    In evaluation a batch normalisation multiplies and adds constants, which the convolution can do by itself. Which
    belong together is seen in one forward pass: those normalisations that take exactly what one convolution gave. The
    copy must then give what the model gives, up to rounding: 0.05 of the largest output in bfloat16, 0.01 in float16,
    and 0.001 otherwise.

    Layers with a ``forward`` of their own (such as normalisations that end in a ReLU) or with parametrizations (such as
    weight normalisation) stay as they are, and so do the layers next to them.

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
            or with ``inplace`` what a ReLU takes. Or if there are no numbers to tell by: the model gives something else
            than floating-point tensors, or lists, tuples, mappings or dataclasses of them.

    Example:
        >>> from staticdropout.models import create_model
        >>> model, clip = create_model("resnet3d_r18", num_classes=4, width=8), torch.randn(1, 3, 4, 32, 32)
        >>> fused = fuse_batchnorm(model, clip)
        >>> fused.get_submodule("res2.block0.bn_a"), torch.allclose(fused(clip), model.eval()(clip), atol=1e-5)
        (Identity(), True)
    """
    fused = deepcopy(model).eval().requires_grad_(False)
    with torch.no_grad(), _full_precision():
        output, pairs, dtypes = _watch(fused, inputs, options)
        expected = _tensors(output)
        if not expected:
            raise OptionError(
                f"The model gives {type(output).__name__}, with no floating-point tensors in it to check the copy by. "
                "Expected are tensors, or lists, tuples, mappings or dataclasses of them: wrap the model in a module "
                "that returns its tensors."
            )
        for norm, conv in pairs.items():
            _merge(conv, norm)
            _replace(fused, norm, nn.Identity().eval())
        if inplace:
            for module in fused.modules():
                if isinstance(module, nn.ReLU):
                    module.inplace = True
        error = max(_difference(*both) for both in zip(expected, _tensors(fused(*inputs, **options)), strict=True))
    dtype = max(dtypes, key=lambda dtype: TOLERANCES.get(dtype, TOLERANCE))
    if not error <= TOLERANCES.get(dtype, TOLERANCE):
        raise OptionError(
            f"With merged batch normalisations the model's output changes by {error:.1e} of its largest value. It uses "
            "what a convolution gives (or with inplace=True what a ReLU takes) in another place as well, or rounding "
            f"in {str(dtype).removeprefix('torch.')} changes it. "
            + ("Try inplace=False." if inplace else "Run it as it is.")
        )
    return fused


def _watch(
    model: nn.Module, inputs: Sequence[Any], options: Mapping[str, Any]
) -> tuple[Any, dict[nn.Module, nn.Module], set[torch.dtype]]:
    """Run the model; return its output, the convolution before every normalisation to merge, and all precisions."""
    given: dict[int, tuple[nn.Module, Tensor, int]] = {}  # what a convolution gave, kept so that its id stays its own
    before: dict[nn.Module, set[nn.Module | None]] = {}
    after: dict[nn.Module, set[nn.Module]] = {}
    handles = []

    def gave(module: nn.Module, _: Any, output: Tensor) -> None:
        given[id(output)] = (module, output, _version(output))
        after.setdefault(module, set())

    def takes(module: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        x = args[0] if args else named["input"]
        conv, _, version = given.get(id(x), (None, x, 0))
        if conv is None or version != _version(x):  # another layer may have changed it in place
            before.setdefault(module, set()).add(None)
        else:
            before.setdefault(module, set()).add(conv)
            after[conv].add(module)

    for module in model.modules():
        if _computes(module, CONVOLUTIONS):
            handles.append(module.register_forward_hook(gave))
        elif _computes(module, NORMALISATIONS) and module.running_mean is not None:
            handles.append(module.register_forward_pre_hook(takes, with_kwargs=True))
    try:
        output = model(*inputs, **options)
    finally:
        for handle in handles:
            handle.remove()
    single = {norm: next(iter(convs)) for norm, convs in before.items() if len(convs) == 1}
    pairs = {norm: conv for norm, conv in single.items() if conv is not None and after[conv] == {norm}}
    values = [*model.parameters(), *_tensors(output), *(maps for _, maps, _ in given.values())]
    return output, pairs, {value.dtype for value in values}


def _computes(module: nn.Module, forwards: Sequence[Callable[..., Any]]) -> bool:
    """Whether a layer computes what one of PyTorch's does, from weights that are its own and no more than that."""
    if getattr(module.forward, "__func__", None) not in forwards or is_parametrized(module):
        return False
    # old-style weight normalisation and pruning compute a weight, too
    return "weight" in module._parameters


def _version(x: Tensor) -> int:
    """How often a tensor was changed in place; where that is not counted 0."""
    return 0 if x.is_inference() else x._version


def _replace(model: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Put one module in another's place, in every module that holds it."""
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):
            if child is old:
                parent.register_module(name, new)


@contextmanager
def _full_precision() -> Iterator[None]:
    """Compute float32 in float32, not in TF32 or bfloat16, whose rounding would be taken for a wrong merge."""
    backends: Any = torch.backends
    cuda, cudnn, mkldnn = backends.cuda, backends.cudnn, backends.mkldnn
    settings: list[tuple[Any, str, Any]] = [(cuda.matmul, "allow_tf32", False), (cudnn, "allow_tf32", False)]
    if hasattr(cudnn, "conv"):  # from PyTorch 2.9 on, where setting the others could not be undone exactly
        places = (cuda.matmul, cudnn.conv, cudnn.rnn, mkldnn.matmul, mkldnn.conv)
        settings = [(place, "fp32_precision", "ieee") for place in places]
    before = [getattr(place, name) for place, name, _ in settings]
    try:
        for setting in settings:
            setattr(*setting)
        yield
    finally:
        for (place, name, _), value in zip(settings, before, strict=True):
            setattr(place, name, value)


def _merge(conv: Any, norm: Any) -> None:
    """Make the convolution do what the normalisation does after it."""
    statistics = norm.running_mean, norm.running_var, norm.eps
    conv.weight, conv.bias = fuse_conv_bn_weights(conv.weight, conv.bias, *statistics, norm.weight, norm.bias)
    conv.requires_grad_(False)


def _tensors(output: Any) -> list[Tensor]:
    """All tensors of numbers that can be compared in what a model gives."""
    if isinstance(output, Tensor):
        return [output] if output.numel() and (output.is_floating_point() or output.is_complex()) else []
    if isinstance(output, Mapping):
        output = list(output.values())
    elif is_dataclass(output):
        output = [getattr(output, field.name) for field in fields(output)]
    return [tensor for part in output for tensor in _tensors(part)] if isinstance(output, list | tuple) else []


def _difference(expected: Tensor, found: Tensor) -> float:
    """Largest difference, in units of the largest value."""
    # in float32, as 1e-12 is 0 in float16
    return float((expected - found).abs().max().float() / expected.abs().max().float().clamp(min=1e-12))

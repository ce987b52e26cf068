# SPDX-License-Identifier: Apache-2.0
"""Capture what the layers of any model compute, reduced to one value a channel inside the hook."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import BatchError, LayerNotCalledError, LayerNotFoundError
from .layer_names import INPUT, Layer, find_layers, module_names

__all__ = ("FeatureCapture", "capture", "channel_means", "guess_channel_dim", "list_layers")

Reduction = Callable[[Tensor], Tensor]


class _StopForward(Exception):  # noqa: N818 - a signal, not an error
    """Ends a forward pass once all layers have been seen."""


def guess_channel_dim(module: nn.Module | None, shape: Sequence[int]) -> int:
    """Where channels are in what a module takes and gives, by the widths of the layers inside it.

    Last for ``nn.Linear`` and ``nn.LayerNorm``, for tokens and for vectors, and for maps whose last dimension alone
    is as wide as some layer of the module (Swin); in dimension 1 for all others.

    Example:
        >>> guess_channel_dim(nn.Linear(4, 2), (1, 8, 7, 7, 2)), guess_channel_dim(nn.Conv3d(1, 1, 1), (1, 1, 4, 7, 7))
        (-1, 1)
        >>> guess_channel_dim(nn.Sequential(nn.LayerNorm(32), nn.ReLU()), (1, 8, 7, 7, 32))
        -1
    """
    if len(shape) <= 3 or isinstance(module, nn.Linear | nn.LayerNorm):
        return -1
    widths = {width for part in module.modules() for width in _widths(part)} if module is not None else set()
    return -1 if shape[-1] in widths and shape[1] not in widths else 1


def _widths(part: nn.Module) -> tuple[int, ...]:
    """How many channels a layer takes and gives."""
    names = ("in_features", "out_features", "in_channels", "out_channels", "num_features", "num_channels")
    found = tuple(value for name in names if isinstance(value := getattr(part, name, None), int))
    return (*found, part.normalized_shape[-1]) if isinstance(part, nn.LayerNorm) else found


def channel_means(features: Tensor, channel_dim: int | None = None, batch_size: int | None = None) -> Tensor:
    """Average features over all dimensions but batch and channel, in float32 at least.

    Args:
        features: maps ``(B, C, ...)`` of four or more dimensions, tokens ``(B, N, C)``, or vectors ``(B, C)``.
        channel_dim: where the channels are; by default 1 for maps, last for tokens and vectors. Set -1 for
            channels-last maps.
        batch_size: the number of clips. A model that folds time into the batch gives ``B * T`` rows (clip by clip);
            they are averaged to ``B``.

    Returns:
        ``(B, C)``.

    Raises:
        ValueError: if the rows are not a multiple of ``batch_size``, or there are fewer than two dimensions.

    Example:
        >>> channel_means(torch.ones(2, 16, 4, 7, 7)).shape, channel_means(torch.ones(2, 50, 32)).shape
        (torch.Size([2, 16]), torch.Size([2, 32]))
    """
    if features.ndim < 2:
        raise BatchError(
            f"Expected features with a batch and a channel dimension, found shape {tuple(features.shape)}."
        )
    if not features.is_floating_point():
        raise BatchError(f"Expected floating-point features, found {features.dtype}.")
    if channel_dim is None:
        channel_dim = guess_channel_dim(None, features.shape)
    features = features.movedim(channel_dim, 1)
    wide = torch.promote_types(features.dtype, torch.float32)
    means = features.flatten(2).mean(2, dtype=wide) if features.ndim > 2 else features.to(wide)
    if batch_size is not None and len(means) != batch_size:
        if batch_size == 0 or len(means) % batch_size:
            raise BatchError(
                f"The layer gives {len(means)} rows for {batch_size} clips, not a whole number of rows a clip. "
                "Its first dimension is not the batch; choose another layer or give a `reduce` function."
            )
        means = means.view(batch_size, -1, means.shape[1]).mean(1)
    return means


def _select(output: Any, layer: Layer) -> Tensor:
    """Pick the part of a module's output that the layer's suffix names."""
    if layer.selector is not None and layer.selector != INPUT:
        key: Any = layer.selector
        if isinstance(output, Sequence) and re.fullmatch(r"-?\d+", key):
            key = int(key)
        try:
            output = output[key]
        except (KeyError, IndexError, TypeError) as error:
            has = f"keys {list(output)}" if isinstance(output, Mapping) else f"type {type(output).__name__}"
            raise LayerNotFoundError(f"{layer.name} (its output has {has})", []) from error
    if not isinstance(output, Tensor):
        base = layer.name.split("[")[0]
        options = (
            [f"{base}[{key}]" for key in (output if isinstance(output, Mapping) else range(len(output)))]
            if isinstance(output, Mapping | Sequence)
            else []
        )
        raise LayerNotFoundError(f"{layer.name} (it gives a {type(output).__name__}, not a tensor)", options)
    return output


class FeatureCapture:
    """Runs forward passes and returns what the layers computed; made by :func:`capture`."""

    def __init__(self, layers: Sequence[Layer], reduce: Callable[[Tensor, Layer], Tensor], stop_early: bool) -> None:
        self.layers = layers
        self._reduce = reduce
        self._stop_early = stop_early
        self._sums: dict[str, Tensor] = {}
        self._calls: dict[str, int] = {}
        self._handles: list[torch.utils.hooks.RemovableHandle] = []

    def __call__(self, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """Run ``forward(*args, **kwargs)`` and return the features by layer name.

        A layer that runs several times in one pass (a frame model called frame by frame) gives the mean over its calls.

        Raises:
            LayerNotCalledError: if a layer did not run.
        """
        self._sums, self._calls = {}, {}
        # Hooks put on after the first compiled call never fire; run eagerly what has been compiled.
        with torch.compiler.set_stance("force_eager"), suppress(_StopForward):
            forward(*args, **kwargs)
        missing = [layer.name for layer in self.layers if layer.name not in self._calls]
        if missing:
            raise LayerNotCalledError(missing)
        return {layer.name: self._sums[layer.name] / self._calls[layer.name] for layer in self.layers}

    def attach(self) -> None:
        """Register the hooks."""
        for layer in self.layers:
            if layer.selector == INPUT:
                self._handles.append(layer.module.register_forward_pre_hook(self._input_hook(layer), with_kwargs=True))
            else:
                self._handles.append(layer.module.register_forward_hook(self._output_hook(layer)))

    def detach(self) -> None:
        """Remove the hooks."""
        while self._handles:
            self._handles.pop().remove()

    def _keep(self, layer: Layer, value: Any) -> None:
        # The reduction makes a new tensor, so a later in-place operation (an in-place ReLU, say) cannot change what
        # was kept.
        features = self._reduce(_select(value, layer).detach(), layer)
        self._sums[layer.name] = self._sums[layer.name] + features if layer.name in self._sums else features
        self._calls[layer.name] = self._calls.get(layer.name, 0) + 1
        if self._stop_early and len(self._calls) == len(self.layers):
            raise _StopForward

    def _output_hook(self, layer: Layer) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            self._keep(layer, output)

        return hook

    def _input_hook(self, layer: Layer) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            self._keep(layer, args[0] if args else next(iter(kwargs.values()), None))

        return hook


@contextmanager
def capture(
    model: nn.Module,
    layers: str | Sequence[str],
    *,
    reduce: Reduction | None = None,
    channel_dim: int | None = None,
    batch_size: int | None = None,
    stop_early: bool = False,
) -> Iterator[FeatureCapture]:
    """Capture features of layers during forward passes; the hooks are gone afterwards, whatever happened.

    The reduction to ``(B, C)`` runs inside the hook, so no feature map outlives the pass. Gradients are not tracked.

    Args:
        model: any module, also compiled or wrapped for DDP.
        layers: patterns, see :mod:`staticdropout.models.layer_names`.
        reduce: function of the layer's tensor that returns what to keep; by default :func:`channel_means`. It must
            not return its argument or a view of it.
        channel_dim: where the channels of the layers are; by default :func:`guess_channel_dim`.
        batch_size: passed to :func:`channel_means`.
        stop_early: end the forward pass once every layer has run once. Cheaper for early layers; a layer that would
            run several times counts with its first call.

    Yields:
        A callable: ``run(forward, *args)`` returns ``{layer name: features}``.

    Raises:
        LayerNotFoundError: if a pattern matches nothing.
        LayerNotCalledError: from the call, if a layer did not run.

    Example:
        >>> net = nn.Sequential(nn.Conv3d(3, 8, 3), nn.ReLU(), nn.Conv3d(8, 4, 3))
        >>> with torch.no_grad(), capture(net, ["0", "2"]) as run:
        ...     features = run(net, torch.rand(2, 3, 8, 16, 16))
        >>> {name: tuple(value.shape) for name, value in features.items()}
        {'0': (2, 8), '2': (2, 4)}
    """
    found = find_layers(model, layers)

    def reduce_layer(features: Tensor, layer: Layer) -> Tensor:
        if reduce is not None:
            return reduce(features)
        dim = guess_channel_dim(layer.module, features.shape) if channel_dim is None else channel_dim
        return channel_means(features, dim, batch_size)

    captured = FeatureCapture(found, reduce_layer, stop_early)
    try:
        captured.attach()
        yield captured
    finally:
        captured.detach()


def list_layers(model: nn.Module, *args: Any, **kwargs: Any) -> dict[str, tuple[int, ...]]:
    """Names and output shapes of the layers that run in a forward pass, in the order they run.

    Args:
        model: any module.
        args: what to call the model with.
        kwargs: the same, by name.

    Returns:
        ``{name: shape}``.

    Example:
        >>> list_layers(nn.Sequential(nn.Conv3d(3, 8, 1), nn.Flatten()), torch.rand(2, 3, 1, 4, 4))
        {'0': (2, 8, 1, 4, 4), '1': (2, 128)}
    """
    shapes: dict[str, tuple[int, ...]] = {}
    handles = []

    def watch(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            parts = (
                output.items()
                if isinstance(output, Mapping)
                else enumerate(output)
                if isinstance(output, list | tuple)
                else ()
            )
            for key, part in parts:
                if isinstance(part, Tensor):
                    shapes[f"{name}[{key}]"] = tuple(part.shape)
            if isinstance(output, Tensor):
                shapes[name] = tuple(output.shape)

        return hook

    training = {module: module.training for module in model.modules()}
    try:
        handles = [module.register_forward_hook(watch(name)) for name, module in module_names(model).items()]
        model.eval()
        with torch.no_grad(), torch.compiler.set_stance("force_eager"):
            model(*args, **kwargs)
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in training.items():
            module.training = mode
    return shapes

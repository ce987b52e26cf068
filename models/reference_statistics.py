# SPDX-License-Identifier: Apache-2.0
"""Batch normalisation of one batch by the statistics of another, with gradients through both.

A batch that differs from all others as a whole (every clip of it shuffled) can be told by its statistics: a network
then learns to answer otherwise to such *batches*, and answers to a single such clip as ever when running statistics
take over in evaluation. Normalised as the usual batch is, it can only be told clip by clip. The idea is that of virtual
batch normalisation (Salimans et al., "Improved Techniques for Training GANs", NeurIPS 2016). Gradients through the
statistics keep the answer independent of the scale of the weights before a normalisation; taken as constants they let
that scale drift, until training breaks down.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .still_statistics import refuse_recomputed

__all__ = ("ReferenceStatistics",)


class ReferenceStatistics:
    """Notes the batch statistics of one forward pass, and normalises another by them.

    Only batch normalisations in training mode take part, and of those the ones whose weight and bias are their own
    parameters: one that is parametrized or pruned goes on normalising by its own batch. Where a layer was called
    several times, its last call counts. Statistics are those of this process, also for ``SyncBatchNorm``. Running
    statistics are not touched.

    Args:
        model: its ``BatchNorm`` layers get a hook, until :meth:`remove`.

    Raises:
        OptionError: in either pass, if such a layer is under activation checkpointing, which would run it again.

    Example:
        >>> norm, usual = nn.BatchNorm1d(2, affine=False), torch.tensor([[1.0, 0.0], [3.0, 4.0]])
        >>> reference = ReferenceStatistics(norm)
        >>> with reference.noted():
        ...     _ = norm(usual)
        >>> with reference.applied():
        ...     norm(torch.tensor([[2.0, 2.0], [4.0, 2.0]])).round(decimals=3)
        tensor([[0., 0.],
                [2., 0.]])
        >>> reference.remove()
    """

    def __init__(self, model: nn.Module) -> None:
        self._noting = False
        self._applied: set[_BatchNorm] = set()  # in the pass that runs now
        self._statistics: dict[_BatchNorm, tuple[Tensor, Tensor]] = {}
        norms = [part for part in model.modules() if isinstance(part, _BatchNorm)]
        self._handles = [norm.register_forward_pre_hook(_Hook(self), with_kwargs=True) for norm in norms]

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Passes inside are noted, in place of those that were."""
        self._statistics = {}
        self._noting = True
        try:
            yield
        finally:
            self._noting = False

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Passes inside are normalised by what was noted, which is forgotten then.

        Meanwhile the layers hold scaled weights and other running statistics, in place of their own: a ``state_dict``
        that another thread or a signal handler takes inside is not one of the model.
        """
        statistics, self._statistics = self._statistics, {}
        kept = []
        try:
            for norm, (mean, variance) in statistics.items():
                if not {"weight", "bias"} <= norm._parameters.keys():
                    continue  # computed on access, by a parametrization: not ours to replace
                self._applied.add(norm)
                kept.append((norm, norm.training, norm.eps, dict(norm._parameters), dict(norm._buffers)))
                scale = torch.rsqrt(variance + norm.eps)
                weight = scale if norm.weight is None else norm.weight * scale
                bias = -mean * weight if norm.bias is None else norm.bias - mean * weight
                # All of it is in weight and bias: running statistics have no gradient.
                norm.training, norm.eps = False, 0.0
                tensors: dict[str, Any] = norm._parameters
                tensors |= {"weight": weight, "bias": bias}
                norm._buffers |= {"running_mean": torch.zeros_like(mean), "running_var": torch.ones_like(mean)}
            yield
        finally:
            self._applied = set()
            for norm, training, eps, parameters, buffers in kept:
                norm.training, norm.eps = training, eps
                norm._parameters.update(parameters)
                norm._buffers.update(buffers)

    def forget(self) -> None:
        """Let go of what was noted, and of the graph that it is part of."""
        self._statistics = {}

    def remove(self) -> None:
        """Leave no hook behind."""
        self.forget()
        while self._handles:
            self._handles.pop().remove()

    def note(self, norm: _BatchNorm, x: Tensor) -> None:
        """Note the statistics of what a layer is given."""
        if not torch.compiler.is_compiling() and (norm in self._applied or (self._noting and norm.training)):
            refuse_recomputed(norm)
        if self._noting and norm.training:
            self._statistics[norm] = _Moments.apply(x)


class _Moments(torch.autograd.Function):
    """Mean and variance of each channel, in float32 at least; faster than ``var_mean``, and keeps nothing but ``x``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        dims = [0, *range(2, x.ndim)]
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        mean = wide.mean(dims, keepdim=True)
        variance = (wide - mean).square().mean(dims)
        ctx.save_for_backward(x, mean)
        return mean.flatten(), variance

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        x, mean = ctx.saved_tensors
        if torch.is_grad_enabled() and not torch.compiler.is_compiling():  # a second derivative is through the mean too
            mean = x.to(mean.dtype).mean([0, *range(2, x.ndim)], keepdim=True)
        count = x.numel() // x.shape[1]
        of_mean, of_variance = (gradient.view_as(mean) / count for gradient in gradients)
        slope = 2 * of_variance
        return torch.addcmul(of_mean - slope * mean, x, slope).to(x.dtype)


class _Hook:
    """A forward hook that does nothing in a copy of the module."""

    def __init__(self, owner: ReferenceStatistics | None = None) -> None:
        self.owner = owner

    def __call__(self, norm: _BatchNorm, args: tuple[Tensor, ...], kwargs: dict[str, Tensor]) -> None:
        if self.owner is not None:
            self.owner.note(norm, next(iter([*args, *kwargs.values()])))

    def __reduce__(self) -> tuple[type[_Hook], tuple[()]]:
        return type(self), ()

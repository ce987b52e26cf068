# SPDX-License-Identifier: Apache-2.0
"""What normalisation layers do while running statistics are kept still, and where that is refused."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from staticdropout.errors import OptionError
from staticdropout.models.still_statistics import still_statistics


def norms() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.BatchNorm3d(3), nn.InstanceNorm3d(3, track_running_stats=True), nn.BatchNorm3d(3))


def clips() -> Tensor:
    return 5 + 2 * torch.randn(4, 3, 2, 4, 4, generator=torch.Generator().manual_seed(1))


def state(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


def test_batch_statistics_are_used_and_running_ones_left_alone() -> None:
    model, reference = norms(), norms()
    before = state(model)
    with still_statistics(model):
        output = model(clips())
    assert torch.equal(output, reference(clips()))
    assert same(before, state(model))
    assert torch.equal(model(clips()), norms()(clips()))  # and the next pass updates as ever
    assert same(state(model), state(reference))


def test_frozen_layers_stay_frozen() -> None:
    model, reference = norms().eval(), norms().eval()
    with still_statistics(model):
        output = model(clips())
    assert torch.equal(output, reference(clips()))
    assert not any(part.training for part in model.modules())


def test_layers_are_as_before_after_an_error() -> None:
    model = norms()
    buffers = [id(buffer) for buffer in model.buffers()]
    with pytest.raises(RuntimeError, match="boom"), still_statistics(model):
        raise RuntimeError("boom")
    assert [id(buffer) for buffer in model.buffers()] == buffers
    assert all(part.training for part in model.modules())
    assert all(part.track_running_stats for part in model)
    assert not any(part._forward_pre_hooks for part in model)


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("number", [0, 1])
def test_a_layer_that_the_backward_pass_runs_again_is_refused(reentrant: bool, number: int) -> None:
    layer = norms()[number]
    before = state(layer)
    with still_statistics(layer), pytest.raises(OptionError, match=rf"Found a {type(layer).__name__}.*\"update\""):
        checkpoint(layer, clips().requires_grad_(), use_reentrant=reentrant)
    assert same(before, state(layer))
    layer.eval()
    with still_statistics(layer):  # it has no statistics to lose
        checkpoint(layer, clips().requires_grad_(), use_reentrant=reentrant).sum().backward()


@pytest.mark.parametrize("reentrant", [True, False])
def test_a_pass_without_gradients_is_never_run_again_and_not_refused(reentrant: bool) -> None:
    model, reference = norms(), norms()
    before = state(model)
    with torch.no_grad(), still_statistics(model):
        output = checkpoint(model, clips(), use_reentrant=reentrant)
    assert torch.equal(output, reference(clips()))
    assert same(before, state(model))


@pytest.mark.parametrize("within", [nullcontext, torch.no_grad, torch.autograd.graph.save_on_cpu])
def test_what_is_not_run_again_is_not_refused(within: Any) -> None:
    model, reference = norms(), norms()
    with within(), still_statistics(model):
        output = model(clips())
    assert torch.equal(output, reference(clips()))

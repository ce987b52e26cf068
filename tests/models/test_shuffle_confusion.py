# SPDX-License-Identifier: Apache-2.0
"""The confusion loss against torch's own cross-entropy, and what normalisation layers do meanwhile."""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint

from staticdropout.errors import BatchError, OptionError
from staticdropout.models.shuffle_confusion import confusion_loss, largest_probability, still_statistics


def random_logits(clips: int = 5, classes: int = 7) -> Tensor:
    return 3 * torch.randn(clips, classes, generator=torch.Generator().manual_seed(0))


def test_it_is_the_cross_entropy_to_uniform_labels_with_its_gradient() -> None:
    ours, theirs = random_logits().requires_grad_(), random_logits().requires_grad_()
    confusion_loss(ours).backward()  # type: ignore[no-untyped-call]
    expected = cross_entropy(theirs, torch.full((5, 7), 1 / 7))
    expected.backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(confusion_loss(ours), expected)
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_uniform_predictions_are_the_only_minimum() -> None:
    logits = torch.full((2, 4), 1.5, requires_grad=True)
    loss = confusion_loss(logits)
    assert float(loss.detach()) == pytest.approx(math.log(4))
    (gradient,) = torch.autograd.grad(loss, logits)
    assert float(gradient.abs().max()) < 1e-7
    assert float(confusion_loss(random_logits(2, 4))) > math.log(4)


def test_confident_predictions_are_not_lost_to_underflow() -> None:
    logits = torch.tensor([[1000.0, 0.0]], requires_grad=True)
    loss = confusion_loss(logits)
    assert float(loss.detach()) == 500
    loss.backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert logits.grad.tolist() == [[0.5, -0.5]]


@pytest.mark.parametrize(
    ("given", "computed"),
    [(torch.bfloat16, torch.float32), (torch.float16, torch.float32), (torch.float64, torch.float64)],
)
def test_it_is_computed_in_single_precision_or_better(given: torch.dtype, computed: torch.dtype) -> None:
    logits = random_logits().to(given)
    assert confusion_loss(logits).dtype == largest_probability(logits).dtype == computed
    torch.testing.assert_close(confusion_loss(logits), confusion_loss(logits.to(computed)))


def test_the_largest_probability_is_that_of_the_predicted_class() -> None:
    probabilities = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]])
    assert float(largest_probability(probabilities.log())) == pytest.approx(0.65)


@pytest.mark.parametrize(
    "logits",
    [torch.zeros(3), torch.zeros(3, 1), torch.zeros(2, 3, 4), torch.zeros(2, 3, dtype=torch.long), torch.zeros(0, 3)],
)
def test_what_are_no_logits_is_refused(logits: Tensor) -> None:
    with pytest.raises(BatchError, match=r"Expected logits \(clips, classes\).*found"):
        confusion_loss(logits)


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

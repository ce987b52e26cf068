# SPDX-License-Identifier: Apache-2.0
"""The confusion loss against torch's own cross-entropy."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from staticdropout.errors import BatchError
from staticdropout.models.shuffle_confusion import confusion_loss, largest_probability


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

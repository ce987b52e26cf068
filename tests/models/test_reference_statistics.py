# SPDX-License-Identifier: Apache-2.0
"""Batch normalisation by the statistics of another batch, against the formula written out."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any, cast

import pytest
import torch
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune
from torch.utils.checkpoint import checkpoint

from staticdropout.errors import OptionError
from staticdropout.models.reference_statistics import ReferenceStatistics


def data(seed: int, dtype: torch.dtype = torch.float32, size: tuple[int, ...] = (4, 3, 2, 4, 4)) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    scale, shift = torch.rand(2, generator=generator)
    clips: Tensor = 5 * shift + (1 + scale) * torch.randn(size, generator=generator)
    return clips.to(dtype)


def formula(norm: nn.Module, x: Tensor, reference: Tensor) -> Tensor:
    """Normalise ``x`` by mean and variance of ``reference``."""
    assert isinstance(norm, nn.BatchNorm3d | nn.BatchNorm2d)
    dims = (0, *range(2, x.ndim))
    mean = reference.mean(dims, keepdim=True)
    variance = (reference - mean).square().mean(dims, keepdim=True)
    normalised = (x - mean) / (variance + norm.eps).sqrt()
    if not norm.affine:
        return normalised
    shape = [1, -1, *[1] * (x.ndim - 2)]
    return normalised * norm.weight.view(shape) + norm.bias.view(shape)


def kinds() -> list[Callable[[], nn.Module]]:
    return [
        lambda: nn.BatchNorm3d(3),
        lambda: nn.BatchNorm3d(3, affine=False),
        lambda: nn.BatchNorm3d(3, track_running_stats=False),
        lambda: nn.BatchNorm3d(3, momentum=None, eps=0.1),
    ]


def random_norm(kind: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    norm = kind()
    for part in norm.parameters():
        nn.init.uniform_(part, 0.5, 1.5)
    return norm


@pytest.mark.parametrize("kind", kinds())
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_outputs_and_all_gradients_are_those_of_the_formula(kind: Callable[[], nn.Module], dtype: torch.dtype) -> None:
    results = []
    for by_hand in (False, True):
        norm = random_norm(kind).to(dtype)
        usual, other = data(1, dtype).requires_grad_(), data(2, dtype).requires_grad_()
        reference = ReferenceStatistics(norm)
        with reference.noted():
            first = norm(usual)
        if by_hand:
            second = formula(norm, other, usual)
        else:
            with reference.applied():
                second = norm(other)
        (first.square().sum() + second.pow(3).sum()).backward()
        results.append([second, usual.grad, other.grad, *(part.grad for part in norm.parameters())])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_a_network_is_independent_of_the_scale_of_weights_before_a_normalisation() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv3d(3, 5, 3, padding=1, bias=False), nn.BatchNorm3d(5), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2)
    )
    weight = cast("Tensor", model[0].weight)
    outputs = []
    for factor in (1.0, 10.0):
        with torch.no_grad():
            weight.mul_(factor)
        reference = ReferenceStatistics(model)
        with reference.noted():
            model(data(1))
        with reference.applied():
            outputs.append(model(data(2)))
        reference.remove()
    torch.testing.assert_close(outputs[0], outputs[1], rtol=1e-4, atol=1e-4)
    (gradient,) = torch.autograd.grad(outputs[1].square().sum(), weight)
    assert float((gradient * weight).sum().abs()) < 1e-4 * float(gradient.norm() * weight.norm())


def state(model: nn.Module) -> dict[str, Any]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_statistics_and_layers_are_as_before_also_after_an_error() -> None:
    norm = random_norm(kinds()[0])
    reference = ReferenceStatistics(norm)
    with reference.noted():
        norm(data(1))
    kept = [id(part) for part in (*norm.parameters(), *norm.buffers())]
    with pytest.raises(RuntimeError, match="boom"), reference.applied():
        raise RuntimeError("boom")
    with reference.noted():
        norm(data(1))
    before = state(norm)
    with reference.applied():
        norm(data(2))
    assert list(before) == list(state(norm))
    assert all(torch.equal(before[name], value) for name, value in state(norm).items())
    assert [id(part) for part in (*norm.parameters(), *norm.buffers())] == kept
    assert norm.training
    assert norm.eps == 1e-5
    reference.remove()
    assert not norm._forward_pre_hooks


def test_frozen_layers_and_layers_that_were_not_called_take_no_part() -> None:
    model = nn.ModuleList([nn.BatchNorm3d(3).eval(), nn.BatchNorm3d(3), nn.BatchNorm3d(3)])
    reference = ReferenceStatistics(model)
    with reference.noted():
        model[0](data(1))
        model[1](data(1))
    model[1](data(3))  # outside: not noted
    with reference.applied():
        assert torch.equal(model[0](data(2)), nn.BatchNorm3d(3).eval()(data(2)))
        torch.testing.assert_close(
            model[1](data(2)), formula(nn.BatchNorm3d(3), data(2), data(1)), rtol=1e-4, atol=1e-4
        )
        assert torch.equal(model[2](data(2)), nn.BatchNorm3d(3)(data(2)))
    with reference.applied():  # forgotten
        assert torch.equal(model[1](data(2)), nn.BatchNorm3d(3)(data(2)))


def test_a_layer_with_more_in_its_forward_keeps_it() -> None:
    norm, size = BatchNormAct2d(3), (4, 3, 4, 4)
    reference = ReferenceStatistics(norm)
    with reference.noted():
        norm(data(1, size=size))
    with reference.applied():
        found = norm(data(2, size=size))
    expected = formula(norm, data(2, size=size), data(1, size=size)).relu()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert bool((found == 0).any())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("whole", [True, False], ids=["half-precision weights", "autocast"])
def test_half_precision_gives_half_precision_close_to_single(dtype: torch.dtype, whole: bool) -> None:
    norm = nn.BatchNorm3d(3).to(dtype if whole else torch.float32)
    reference = ReferenceStatistics(norm)
    usual, alike = data(1, dtype).requires_grad_(), data(1, dtype).float().requires_grad_()
    with torch.autocast("cpu", dtype, enabled=not whole):
        with reference.noted():
            norm(usual)
        with reference.applied():
            found = norm(data(2, dtype))
    assert found.dtype == dtype
    expected = formula(nn.BatchNorm3d(3), data(2, dtype).float(), alike)
    torch.testing.assert_close(found.float(), expected, rtol=0.02, atol=0.02)
    for output in (found.float(), expected):
        output.pow(3).mean().backward()
    assert usual.grad is not None
    assert alike.grad is not None
    error = (usual.grad.float() - alike.grad).norm() / alike.grad.norm()
    assert float(error) < 0.03


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))])
def test_a_copy_of_the_module_notes_nothing(duplicate: Callable[[Any], Any]) -> None:
    norm = nn.BatchNorm3d(3)
    reference = ReferenceStatistics(norm)
    twin = duplicate(norm)
    with reference.noted():
        twin(data(1))
    with reference.applied():
        assert torch.equal(norm(data(2)), nn.BatchNorm3d(3)(data(2)))


class ByKeyword(nn.Module):
    """Calls its normalisation by keyword."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm3d(3)

    def forward(self, x: Tensor) -> Tensor:
        normalised: Tensor = self.norm(input=x)
        return normalised


def test_a_layer_that_is_called_by_keyword_takes_part() -> None:
    model = ByKeyword()
    reference = ReferenceStatistics(model)
    with reference.noted():
        model(data(1))
    with reference.applied():
        found = model(data(2))
    torch.testing.assert_close(found, formula(model.norm, data(2), data(1)), rtol=1e-4, atol=1e-4)


def test_second_derivatives_are_those_of_the_formula() -> None:
    penalties = []
    for by_hand in (False, True):
        norm = random_norm(kinds()[0]).double()
        usual, other = data(1, torch.float64).requires_grad_(), data(2, torch.float64).requires_grad_()
        reference = ReferenceStatistics(norm)
        with reference.noted():
            norm(usual)
        if by_hand:
            output = formula(norm, other, usual)
        else:
            with reference.applied():
                output = norm(other)
        slopes = torch.autograd.grad(output.pow(3).sum(), [usual, other], create_graph=True)
        penalty = sum((slope.square().sum() for slope in slopes), torch.zeros(()))
        penalties.append(torch.autograd.grad(penalty, [usual, other, *norm.parameters()]))
    for ours, theirs in zip(*penalties, strict=True):
        torch.testing.assert_close(ours, theirs)


class Doubled(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return 2 * weight


@pytest.mark.parametrize(
    "change",
    [
        lambda norm: parametrize.register_parametrization(norm, "weight", Doubled()),
        lambda norm: prune.random_unstructured(norm, "weight", 1),  # type: ignore[no-untyped-call]
    ],
    ids=["parametrized", "pruned"],
)
def test_a_layer_whose_weight_is_computed_goes_on_by_its_own_batch(change: Callable[[Any], Any]) -> None:
    norm, twin = random_norm(kinds()[0]), random_norm(kinds()[0])
    torch.manual_seed(0)
    change(norm)
    torch.manual_seed(0)
    change(twin)
    reference = ReferenceStatistics(norm)
    with reference.noted():
        norm(data(1))
    before = list(norm._parameters)
    with reference.applied():
        assert torch.equal(norm(data(2)), twin(data(2)))
    assert list(norm._parameters) == before


@pytest.mark.parametrize("reentrant", [True, False])
def test_a_layer_that_the_backward_pass_runs_again_is_refused_in_either_pass(reentrant: bool) -> None:
    norm = nn.BatchNorm3d(3)
    reference = ReferenceStatistics(norm)
    with reference.noted(), pytest.raises(OptionError, match="Found a BatchNorm3d in training mode under activation"):
        checkpoint(norm, data(1).requires_grad_(), use_reentrant=reentrant)
    with reference.noted():
        norm(data(1))
    with reference.applied(), pytest.raises(OptionError, match="Found a BatchNorm3d in training mode under activation"):
        checkpoint(norm, data(2).requires_grad_(), use_reentrant=reentrant)
    checkpoint(norm, data(1).requires_grad_(), use_reentrant=reentrant).sum().backward()  # outside of both: as ever
    norm.eval()
    with reference.noted():
        checkpoint(norm, data(1).requires_grad_(), use_reentrant=reentrant)

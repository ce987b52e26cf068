# SPDX-License-Identifier: Apache-2.0
"""A copy with merged batch normalisations gives what the model gives, and leaves the model alone."""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import Any

import pytest
import torch
from batchnorm_toys import Gives, Shared, normalisations, small, with_statistics
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations, parametrize, prune

from staticdropout.models import capture, fuse_batchnorm, list_models, model_info

NAMES = [name for name in list_models() if not name.startswith(("mvit", "timesformer"))]  # these have none


def tensors(output: Any) -> list[Tensor]:
    return [output] if isinstance(output, Tensor) else list(output.values())


@pytest.mark.parametrize("name", NAMES)
def test_the_copy_gives_what_the_model_gives_and_keeps_its_names(name: str) -> None:
    torch.manual_seed(0)
    model, inputs = small(name)
    model, inputs = model.double(), tuple(part.double() for part in inputs)
    fused = fuse_batchnorm(model, *inputs)
    assert normalisations(fused) < 0.25 * normalisations(model)
    if model_info(name).task == "classification":
        assert normalisations(fused) == 0
    assert [name for name, _ in fused.named_modules()] == [name for name, _ in model.named_modules()]
    assert not any(module.training for module in fused.modules())
    others = tuple(torch.randn_like(part) for part in inputs)
    with torch.inference_mode():
        for found, expected in zip(tensors(fused(*others)), tensors(model.eval()(*others)), strict=True):
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-9 * float(expected.abs().max()))


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("name", ["i3d_nln_r50", "slowonly_r18", "fastonly_r50", "matnet"])
def test_in_single_precision_the_copy_is_as_exact_as_the_model(name: str, inplace: bool) -> None:
    torch.manual_seed(0)
    model, inputs = small(name)
    fused = fuse_batchnorm(model, *inputs, inplace=inplace)
    with torch.inference_mode():
        for found, expected in zip(tensors(fused(*inputs)), tensors(model.eval()(*inputs)), strict=True):
            torch.testing.assert_close(found, expected, rtol=0, atol=2e-5 * float(expected.std()))


def test_the_model_stays_as_it_is_and_trains_on() -> None:
    model, inputs = small("slowonly_r18")
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    fused = fuse_batchnorm(model, *inputs)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.training
    assert all(module.training for module in model.modules())
    model(*inputs).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert not any(parameter.requires_grad for parameter in fused.parameters())
    assert not any(
        module._forward_hooks or module._forward_pre_hooks for module in (*model.modules(), *fused.modules())
    )


@pytest.mark.parametrize("inplace", [False, True])
def test_layers_are_captured_by_the_same_names(inplace: bool) -> None:
    model, inputs = small("i3d_r50")
    model.eval()
    layers = ["stem", "res2.block0.bn_a", "res3.block0.shortcut.bn", "res4.block1.bn_c", "res5", "head.fc"]
    fused = fuse_batchnorm(model, *inputs, inplace=inplace)
    with torch.no_grad(), capture(model, layers) as run, capture(fused, layers) as run_fused:
        expected, found = run(model, *inputs), run_fused(fused, *inputs)
    for layer in layers:
        torch.testing.assert_close(found[layer], expected[layer], rtol=0, atol=2e-5 * float(expected[layer].std()))


def test_a_convolution_that_two_normalisations_share_stays() -> None:
    model = with_statistics(Shared(seen=True))
    fused = fuse_batchnorm(model, torch.randn(2, 3, 4, 4))
    assert normalisations(fused) == 2


def test_normalisations_without_statistics_or_before_the_convolution_stay() -> None:
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, track_running_stats=False))
    assert normalisations(fuse_batchnorm(model, torch.randn(2, 3, 4, 4))) == 2


def test_outputs_in_lists_and_arguments_by_name_are_taken() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4, affine=False))

        def forward(self, *, image: Tensor) -> list[Any]:
            return [self.layers(image), {"twice": 2 * self.layers(image)}]

    model, image = with_affine(Two()), torch.randn(2, 3, 4, 4)
    fused = fuse_batchnorm(model, image=image)
    assert normalisations(fused) == 0
    torch.testing.assert_close(fused(image=image)[1]["twice"], model.eval()(image=image)[1]["twice"])


def with_affine(model: nn.Module) -> nn.Module:
    """Running statistics other than 0 and 1 for a normalisation without weights."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
            nn.init.normal_(module.running_mean)
    return model


def test_a_normalisation_called_by_name_is_replaced_under_all_its_names() -> None:
    model, image = with_statistics(Gives(lambda x: x)), torch.randn(2, 3, 4, 4)
    fused = fuse_batchnorm(model, image)
    assert normalisations(fused) == 0
    assert isinstance(fused.get_submodule("norm"), nn.Identity)
    assert fused.get_submodule("norm") is fused.get_submodule("blocks.again")
    assert fused.state_dict().keys() == {"conv.weight", "conv.bias"}
    torch.testing.assert_close(fused(image), model.eval()(image).detach())


class NormAct(nn.BatchNorm2d):
    """A normalisation that goes on after it, as timm's do."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(super().forward(x))


class Standardised(nn.Conv2d):
    """A convolution that does something to its weights, and to what it gives."""

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight / self.weight.std()
        return functional.conv2d(x, weight, self.bias).relu_()


def layers(conv: type[nn.Conv2d] = nn.Conv2d, norm: type[nn.Module] = nn.BatchNorm2d) -> nn.Module:
    """Twice a convolution and a normalisation, the first of the given kinds, with statistics."""
    first = [conv(3, 4, 1), norm(4), nn.ReLU(inplace=True)]
    return with_statistics(nn.Sequential(*first, nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)))


def weight_normalised(model: nn.Module) -> None:
    parametrizations.weight_norm(model.get_submodule("0"))


def weight_normalised_in_the_old_way(model: nn.Module) -> None:
    torch.nn.utils.weight_norm(model.get_submodule("0"))


def pruned(model: nn.Module) -> None:
    prune.random_unstructured(model.get_submodule("0"), "weight", 0.5)  # type: ignore[no-untyped-call]


def norm_parametrized(model: nn.Module) -> None:
    parametrize.register_parametrization(model.get_submodule("1"), "weight", nn.Softplus())


def forward_replaced(model: nn.Module) -> None:
    norm = model.get_submodule("1")
    norm.forward = MethodType(lambda self, x: 2 * nn.BatchNorm2d.forward(self, x), norm)


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@pytest.mark.parametrize(
    ("model", "change"),
    [
        (layers(norm=NormAct), None),
        (layers(conv=Standardised), None),
        (layers(), weight_normalised),
        (layers(), weight_normalised_in_the_old_way),
        (layers(), pruned),
        (layers(), norm_parametrized),
        (layers(), forward_replaced),
    ],
)
def test_layers_that_compute_more_stay_and_the_others_are_merged(
    model: nn.Module, change: Callable[[nn.Module], None] | None
) -> None:
    if change is not None:
        change(model)
    image = torch.randn(2, 3, 4, 4)
    with torch.no_grad():
        model.eval()(image)  # weights computed with gradients cannot be copied
    fused = fuse_batchnorm(model, image)
    assert isinstance(fused.get_submodule("1"), nn.BatchNorm2d)
    assert isinstance(fused.get_submodule("4"), nn.Identity)
    other = torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(fused(other), model.eval()(other).detach(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("norm", [nn.SyncBatchNorm, type("Named", (nn.BatchNorm2d,), {})])
def test_subclasses_that_compute_the_same_are_merged(norm: type[nn.Module]) -> None:
    fused = fuse_batchnorm(layers(norm=norm), torch.randn(2, 3, 4, 4))
    assert isinstance(fused.get_submodule("1"), nn.Identity)


def test_a_relu_in_place_between_a_convolution_and_a_normalisation_keeps_both() -> None:
    model = with_statistics(nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(inplace=True), nn.BatchNorm2d(4)))
    image = torch.randn(2, 3, 4, 4)
    fused = fuse_batchnorm(model, image)
    assert normalisations(fused) == 1
    torch.testing.assert_close(fused(image), model.eval()(image).detach())
    with torch.inference_mode():  # where changes in place are not counted
        assert normalisations(fuse_batchnorm(layers(), image)) == 0

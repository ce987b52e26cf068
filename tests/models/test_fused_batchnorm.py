# SPDX-License-Identifier: Apache-2.0
"""A copy with merged batch normalisations gives what the model gives, and leaves the model alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from staticdropout.errors import OptionError
from staticdropout.models import capture, create_model, fuse_batchnorm, list_models, model_info

NAMES = list_models()


def with_statistics(model: nn.Module) -> nn.Module:
    """Give every normalisation something to do."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.uniform_(module.weight, 0.5, 1)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model


def small(name: str) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """A registered network made small, and inputs of it."""
    if model_info(name).task == "classification":
        return with_statistics(create_model(name, num_classes=3, width=8)), (torch.randn(2, 3, 4, 32, 32),)
    paired = name in ("rtnet34", "rtnet_rx50")  # two frames in, two masks out
    image = torch.randn(1, 2, 3, 64, 64) if paired else torch.randn(1, 3, 64, 64)
    options: dict[str, Any] = {"backbone": "resnet18", "backbone_args": {"channels": (16, 32, 64, 128)}}
    options |= {"bridges": None, "bottom_width": None} if paired else {"width": 16}
    return with_statistics(create_model(name, **options)), (
        image,
        torch.cat([image, -image], 2) if paired else image.flip(-1),
    )


def tensors(output: Any) -> list[Tensor]:
    return [output] if isinstance(output, Tensor) else list(output.values())


def normalisations(model: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d) for module in model.modules())


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


class Shared(nn.Module):
    """What a convolution gives is normalised, and used by itself as well."""

    def __init__(self, seen: bool) -> None:
        super().__init__()
        self.conv, self.norm, self.other, self.seen = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.BatchNorm2d(4), seen

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        out: Tensor = self.norm(x) + (self.other(x) if self.seen else x)
        return out


def test_a_convolution_that_two_normalisations_share_stays() -> None:
    model = with_statistics(Shared(seen=True))
    fused = fuse_batchnorm(model, torch.randn(2, 3, 4, 4))
    assert normalisations(fused) == 2


def test_a_model_that_uses_a_convolution_twice_is_refused() -> None:
    with pytest.raises(OptionError, match=r"output changes by .* of its largest value.*Run it as it is"):
        fuse_batchnorm(with_statistics(Shared(seen=False)), torch.randn(2, 3, 4, 4))


def test_relus_whose_input_is_used_again_are_refused_in_place() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.relu = nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            x = 1 * x
            out: Tensor = self.relu(x) - 2 * x
            return out

    model, x = Residual(), torch.randn(2, 3)
    assert torch.equal(fuse_batchnorm(model, x)(x), model(x))
    with pytest.raises(OptionError, match="Try inplace=False"):
        fuse_batchnorm(model, x, inplace=True)


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

# SPDX-License-Identifier: Apache-2.0
"""A copy with merged batch normalisations gives what the model gives, and leaves the model alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import MethodType
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations, parametrize, prune

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


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_a_network_in_half_precision_may_change_by_its_rounding(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model, (clip,) = small("slowonly_r50")
    fused = fuse_batchnorm(model.to(dtype), clip.to(dtype))
    assert normalisations(fused) == 0
    tolerance = {torch.bfloat16: 5e-2, torch.float16: 1e-2}[dtype]
    with torch.inference_mode():
        expected = model.eval()(clip.to(dtype))
        difference = (fused(clip.to(dtype)) - expected).abs().max()
    assert 0 < difference <= tolerance * expected.abs().max()


class Rounds(nn.Module):
    """Gives float32, and adds a part of the largest value where nothing is normalised any more."""

    def __init__(self, part: float) -> None:
        super().__init__()
        self.layers, self.part = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)), part

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x).float()
        return out if isinstance(self.layers[1], nn.BatchNorm2d) else out + self.part * out.abs().max()


@pytest.mark.parametrize(
    ("dtype", "allowed", "refused"),
    [(torch.bfloat16, 0.03, 0.08), (torch.float16, 0.006, 0.015), (torch.float32, 6e-4, 2e-3)],
    ids=str,
)
def test_every_precision_has_its_tolerance(dtype: torch.dtype, allowed: float, refused: float) -> None:
    torch.manual_seed(0)
    image = torch.randn(2, 3, 4, 4, dtype=dtype)
    assert normalisations(fuse_batchnorm(Rounds(allowed).to(dtype), image)) == 0
    with pytest.raises(OptionError, match=f"or rounding in {str(dtype)[6:]} changes it"):
        fuse_batchnorm(Rounds(refused).to(dtype), image)


def test_under_autocast_the_precision_is_that_of_the_convolutions() -> None:
    torch.manual_seed(0)
    image = torch.randn(2, 3, 4, 4)
    with torch.autocast("cpu", torch.bfloat16):
        assert normalisations(fuse_batchnorm(Rounds(0.03), image)) == 0
    with pytest.raises(OptionError, match="or rounding in float32 changes it"):
        fuse_batchnorm(Rounds(0.03), image)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
def test_a_wrong_merge_is_refused_in_every_precision_and_the_message_names_it(dtype: torch.dtype) -> None:
    model = with_statistics(Shared(seen=False)).to(dtype)
    with pytest.raises(OptionError, match=f"or rounding in {str(dtype)[6:]} changes it"):
        fuse_batchnorm(model, torch.randn(2, 3, 4, 4, dtype=dtype))


@pytest.fixture
def low_precision() -> Iterator[list[Any]]:
    """The settings of every backend, set to TF32 for one test."""
    backends: Any = torch.backends
    if not hasattr(backends.cudnn, "conv"):
        pytest.skip("PyTorch before 2.9 has other settings")
    places = [backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn]
    places += [backends.mkldnn.matmul, backends.mkldnn.conv]
    before = [place.fp32_precision for place in places]
    for place in places:
        place.fp32_precision = "tf32"
    yield places
    for place, precision in zip(places, before, strict=True):
        place.fp32_precision = precision


def test_both_passes_compute_in_full_precision_and_the_setting_stays(low_precision: list[Any]) -> None:
    seen: list[str] = []

    class Looks(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.extend(place.fp32_precision for place in low_precision)
            return x

    fuse_batchnorm(Looks(), torch.ones(1))
    assert seen == ["ieee"] * 2 * len(low_precision)
    with pytest.raises(OptionError):
        fuse_batchnorm(with_statistics(Shared(seen=False)), torch.randn(2, 3, 4, 4))
    assert [place.fp32_precision for place in low_precision] == ["tf32"] * len(low_precision)


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


class Gives(nn.Module):
    """A convolution and a normalisation, called by name, under two names; ``wrap`` makes the output of the result."""

    def __init__(self, wrap: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.conv, self.norm, self.wrap = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), wrap
        self.blocks = nn.ModuleDict({"again": self.norm})

    def forward(self, x: Tensor) -> Any:
        return self.wrap(self.blocks["again"](input=self.conv(input=x)))


def test_a_normalisation_called_by_name_is_replaced_under_all_its_names() -> None:
    model, image = with_statistics(Gives(lambda x: x)), torch.randn(2, 3, 4, 4)
    fused = fuse_batchnorm(model, image)
    assert normalisations(fused) == 0
    assert isinstance(fused.get_submodule("norm"), nn.Identity)
    assert fused.get_submodule("norm") is fused.get_submodule("blocks.again")
    assert fused.state_dict().keys() == {"conv.weight", "conv.bias"}
    torch.testing.assert_close(fused(image), model.eval()(image).detach())


@dataclass
class Output:
    logits: Tensor
    classes: Tensor


@pytest.mark.parametrize(
    "wrap",
    [
        lambda x: Output(x, x.argmax(1)),
        lambda x: (x, x.mean() > 0, x[:0], None),
        lambda x: {"logits": x, "classes": x.argmax(1)},
        lambda x: torch.complex(x, -x),
    ],
    ids=["dataclass", "truth", "classes", "complex"],
)
def test_outputs_are_compared_by_the_numbers_in_them(wrap: Callable[[Tensor], Any]) -> None:
    assert normalisations(fuse_batchnorm(with_statistics(Gives(wrap)), torch.randn(2, 3, 4, 4))) == 0


@pytest.mark.parametrize("wrap", [lambda x: x.argmax(1), lambda x: None, lambda x: iter([x])])
def test_a_model_whose_output_has_no_numbers_to_compare_is_refused_with_a_next_step(
    wrap: Callable[[Tensor], Any],
) -> None:
    with pytest.raises(OptionError, match=r"The model gives \w+, with no floating-point tensors.*wrap the model"):
        fuse_batchnorm(Gives(wrap), torch.randn(2, 3, 4, 4))

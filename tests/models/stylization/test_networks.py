# SPDX-License-Identifier: Apache-2.0
"""The networks of few-shot stylization against the counts, names and formulas of the paper's code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.signal import correlate
from torch import Tensor
from torch.nn import functional as F

from staticdropout.errors import BatchError, CheckpointMismatchError, OptionError
from staticdropout.models.stylization import PatchDiscriminator, PatchGenerator, PerceptualDistance

NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def official_names() -> set[str]:
    """Names of the weights of the official generator with its settings ``reference_P``, written down by hand."""
    convolutions = ["conv0.conv", "conv1.conv", "conv2.conv", "conv_11.0", "conv_11_a.0", "conv_11_a.3", "conv_12.0"]
    convolutions += [f"resnets.{i}.conv_{k}" for i in range(7) for k in (0, 1)]
    norms = ["conv0.normalization", "conv1.normalization", "conv2.normalization", "upconv2.2", "upconv1.2"]
    norms += ["conv_11_a.2", *(f"resnets.{i}.normalization" for i in range(7))]
    names = {f"{layer}.{leaf}" for layer in convolutions for leaf in ("weight", "bias")}
    return names | {f"{layer}.{leaf}" for layer in norms for leaf in NORM} | {"upconv2.1.weight", "upconv1.1.weight"}


def test_the_generator_has_the_official_names_and_number_of_parameters() -> None:
    generator = PatchGenerator()
    assert set(generator.state_dict()) == official_names()
    assert sum(weight.numel() for weight in generator.parameters()) == 3_267_523
    shapes = {name: tuple(weight.shape) for name, weight in generator.named_parameters()}
    assert shapes["conv0.conv.weight"] == (32, 3, 7, 7)
    assert shapes["upconv2.1.weight"] == (128, 256, 3, 3)
    assert shapes["upconv1.1.weight"] == (128, 192, 3, 3)
    assert shapes["conv_11.0.weight"] == (64, 163, 7, 7)


def stated_generator(w: dict[str, Tensor], x: Tensor, blocks: int, smoothers: bool, tanh: bool) -> Tensor:
    """The generator as a formula over its weights."""

    def conv(x: Tensor, name: str, stride: int = 1) -> Tensor:
        weight = w[f"{name}.weight"]
        return F.conv2d(x, weight, w.get(f"{name}.bias"), stride, padding=weight.shape[-1] // 2)

    def norm(x: Tensor, name: str) -> Tensor:
        mean, var, gain, bias = (
            w[f"{name}.{leaf}"][:, None, None] for leaf in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (var + 1e-5).sqrt() * gain + bias

    def twice(x: Tensor) -> Tensor:
        return x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)

    maps = []
    y = x
    for name, stride in (("conv0", 1), ("conv1", 2), ("conv2", 2)):
        y = norm(conv(y, f"{name}.conv", stride), f"{name}.normalization")
        y = torch.where(y > 0, y, 0.2 * y)
        maps.append(y)
    for i in range(blocks):
        z = norm(conv(y.clamp(min=0), f"resnets.{i}.conv_0"), f"resnets.{i}.normalization")
        y = y + conv(z.clamp(min=0), f"resnets.{i}.conv_1")
    for name, skip in (("upconv2", maps[2]), ("upconv1", maps[1])):
        y = norm(conv(twice(torch.cat([y, skip], dim=1)), f"{name}.1"), f"{name}.2").clamp(min=0)
    y = conv(torch.cat([y, maps[0], x], dim=1), "conv_11.0").clamp(min=0)
    if smoothers:
        y = norm(conv(y, "conv_11_a.0").clamp(min=0), "conv_11_a.2")
        y = conv(y, "conv_11_a.3").clamp(min=0)
    return torch.tanh(conv(y, "conv_12.0")) if tanh else conv(y, "conv_12")


@pytest.mark.parametrize(
    ("blocks", "guides", "smoothers", "tanh"), [(1, 0, True, True), (3, 2, False, True), (0, 1, True, False)]
)
def test_the_generator_is_the_stated_formula(
    blocks: int, guides: int, smoothers: bool, tanh: bool, small_generator: Callable[..., PatchGenerator]
) -> None:
    generator = small_generator(blocks=blocks, in_channels=3 + 3 * guides, smoothers=smoothers, tanh=tanh).double()
    x = torch.rand(2, 3 + 3 * guides, 20, 28, dtype=torch.float64) * 2 - 1
    expected = stated_generator(generator.state_dict(), x, blocks, smoothers, tanh)
    assert expected.std() > 1e-3
    assert torch.allclose(generator(x), expected, atol=1e-10)


@pytest.mark.parametrize("size", [(16, 16), (17, 22), (1, 3), (2, 31)])
def test_any_size_is_painted_as_the_picture_extended_by_its_border(
    size: tuple[int, int], small_generator: Callable[..., PatchGenerator]
) -> None:
    generator = small_generator()
    picture = torch.rand(1, 3, *size) * 2 - 1
    rows = np.minimum(np.arange(-(-size[0] // 4) * 4), size[0] - 1)
    columns = np.minimum(np.arange(-(-size[1] // 4) * 4), size[1] - 1)
    whole = generator(picture[:, :, rows][..., columns])
    painted = generator(picture)
    assert painted.shape == (1, 3, *size)
    assert torch.allclose(painted, whole[..., : size[0], : size[1]], atol=1e-6)
    assert float(painted.abs().max()) <= 1


def test_a_wrong_number_of_channels_says_how_many_guides_it_wants(
    small_generator: Callable[..., PatchGenerator],
) -> None:
    with pytest.raises(BatchError, match=r"\(B, 6, H, W\), RGB and 1 guides.*found \(1, 3, 8, 8\)"):
        small_generator(in_channels=6)(torch.zeros(1, 3, 8, 8))
    with pytest.raises(BatchError, match=r"found \(3, 8, 8\)"):
        small_generator()(torch.zeros(3, 8, 8))


@pytest.mark.parametrize(
    "changes",
    [{"in_channels": 4}, {"in_channels": 0}, {"blocks": -1}, {"filters": (1, 2, 3)}, {"filters": (4, 4, 8, 4, 4, 4)}],
)
def test_arguments_out_of_range_are_refused(changes: dict[str, int]) -> None:
    with pytest.raises(OptionError, match=next(iter(changes))):
        PatchGenerator(**changes)  # type: ignore[arg-type]


def test_the_generator_trains_on_patches(small_generator: Callable[..., PatchGenerator]) -> None:
    generator = small_generator().train().requires_grad_(True)
    F.l1_loss(generator(torch.rand(4, 3, 32, 32)), torch.zeros(4, 3, 32, 32)).backward()  # type: ignore[no-untyped-call]
    assert all(weight.grad is not None for weight in generator.parameters())
    assert int(generator.state_dict()["conv2.normalization.num_batches_tracked"]) == 1


def test_the_discriminator_has_the_official_names_parameters_and_judgements() -> None:
    discriminator = PatchDiscriminator()
    layers = ("conv0", "conv_1", "conv_2", "conv_out")
    assert list(discriminator.state_dict()) == [f"net.{n}.conv.{leaf}" for n in layers for leaf in ("weight", "bias")]
    assert sum(weight.numel() for weight in discriminator.parameters()) == 24_469
    assert discriminator(torch.zeros(2, 3, 32, 32)).shape == (2, 1, 6, 6)
    assert discriminator(torch.zeros(1, 3, 64, 48)).shape == (1, 1, 14, 10)
    with pytest.raises(OptionError, match="found 12 and 0"):
        PatchDiscriminator(layers=0)


def test_the_discriminator_is_the_stated_formula() -> None:
    discriminator = PatchDiscriminator(filters=5, layers=2).double()
    w = {name.replace(".conv.", "."): value for name, value in discriminator.state_dict().items()}
    x = torch.rand(3, 3, 32, 32, dtype=torch.float64) * 2 - 1
    y = x
    for name, stride, norm in (("conv0", 2, False), ("conv_1", 2, True), ("conv_2", 1, True), ("conv_out", 1, False)):
        y = F.conv2d(y, w[f"net.{name}.weight"], w[f"net.{name}.bias"], stride, padding=1)
        if norm:
            y = (y - y.mean((2, 3), keepdim=True)) / (y.var((2, 3), keepdim=True, unbiased=False) + 1e-5).sqrt()
        if name != "conv_out":
            y = torch.maximum(y, 0.2 * y)
    assert torch.allclose(discriminator(x), y, atol=1e-12)


def vgg_weights(prefix: str = "features.", seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"0": (64, 3, 3, 3), "2": (64, 64, 3, 3), "5": (128, 64, 3, 3), "7": (8, 128, 3, 3)}
    weights = {f"{prefix}{i}.weight": torch.randn(shape, generator=generator) / 20 for i, shape in shapes.items()}
    return weights | {f"{prefix}{i}.bias": torch.randn(shape[0], generator=generator) for i, shape in shapes.items()}


def stated_features(w: dict[str, Tensor], picture: Tensor) -> list[np.ndarray]:
    """The three features of one picture by SciPy's correlation, in float64."""

    def conv(maps: np.ndarray, index: int) -> np.ndarray:
        kernel, bias = (w[f"features.{index}.{leaf}"].double().numpy() for leaf in ("weight", "bias"))
        padded = np.pad(maps, ((0, 0), (1, 1), (1, 1)))
        out = [correlate(padded, k, mode="valid")[0] + b for k, b in zip(kernel, bias, strict=True)]
        return np.stack(out)

    first = conv(picture.double().numpy(), 0)
    second = np.maximum(conv(np.maximum(first, 0), 2), 0)
    channels, height, width = second.shape
    pooled = second.reshape(channels, height // 2, 2, width // 2, 2).max(axis=(2, 4))
    return [first, second, conv(pooled, 5)]


def test_the_perceptual_distance_is_one_mean_over_three_features(tmp_path: Path) -> None:
    weights = vgg_weights()
    torch.save(weights, tmp_path / "vgg.pth")
    distance = PerceptualDistance(tmp_path / "vgg.pth")
    first, second = torch.rand(2, 2, 3, 8, 6) * 2 - 1
    squares, count = 0.0, 0
    for a, b in zip(first, second, strict=True):
        for one, other in zip(stated_features(weights, a), stated_features(weights, b), strict=True):
            squares, count = squares + float(((one - other) ** 2).sum()), count + one.size
    assert float(distance(first, second)) == pytest.approx(squares / count, rel=1e-5)
    assert float(distance(first, first)) == 0


def test_the_perceptual_distance_holds_six_frozen_layers_and_passes_gradients_to_pictures(tmp_path: Path) -> None:
    torch.save({"model": vgg_weights("module.features.")}, tmp_path / "vgg.pth")
    before = torch.get_rng_state()
    distance = PerceptualDistance(tmp_path / "vgg.pth")
    assert torch.equal(torch.get_rng_state(), before)
    assert sum(weight.numel() for weight in distance.parameters()) == 112_576
    assert not any(weight.requires_grad for weight in distance.parameters())
    picture = torch.rand(1, 3, 8, 8, requires_grad=True)
    distance(picture, torch.zeros(1, 3, 8, 8)).backward()
    assert picture.grad is not None
    assert float(picture.grad.abs().sum()) > 0


def test_the_perceptual_distance_downloads_nothing_unasked_and_knows_other_weights(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="Pass the path"):
        PerceptualDistance(None)
    torch.save({"conv1.weight": torch.zeros(64, 3, 7, 7)}, tmp_path / "resnet.pth")
    with pytest.raises(CheckpointMismatchError, match=r"features\.0\.weight.*there is none.*conv1\.weight"):
        PerceptualDistance(tmp_path / "resnet.pth")
    torch.save(vgg_weights() | {"features.2.weight": torch.zeros(4, 4, 3, 3)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointMismatchError, match=r"features\.2\.weight.*it has \(4, 4, 3, 3\)"):
        PerceptualDistance(tmp_path / "other.pth")


def test_timm_is_asked_for_its_own_weights_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    weights, calls = vgg_weights(), []

    class Network(torch.nn.Module):
        def state_dict(self, *_: object, **__: object) -> dict[str, Tensor]:  # type: ignore[override]
            return weights

    def create(name: str, **options: object) -> Network:
        calls.append((name, options))
        return Network()

    monkeypatch.setattr("timm.create_model", create)
    distance = PerceptualDistance("timm")
    assert calls == [("vgg19.tv_in1k", {"pretrained": True, "num_classes": 0})]
    assert torch.equal(distance.state_dict()["features.5.weight"], weights["features.5.weight"])

# SPDX-License-Identifier: Apache-2.0
"""The convolutions of the 3-D networks are those of PyTorch, computed in another way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile

from staticdropout.models import capture, create_model
from staticdropout.models.video_conv import DTYPES, VideoConv3d

onednn = pytest.mark.skipif(not DTYPES, reason="this PyTorch is built without oneDNN")
KERNELS = [(1, 1, 1), (1, 3, 3), (3, 1, 1), (3, 3, 3), (1, 7, 7), (5, 7, 7)]


@pytest.fixture(params=[1, 2], ids=["one thread", "two threads"])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def output_and_gradients(conv: nn.Conv3d, clip: Tensor) -> list[Tensor]:
    """What a convolution gives, and the gradients of a function of it that tells all values apart."""
    parameters = list(conv.parameters())
    clip = clip.clone().requires_grad_()
    output = conv(clip)
    weights = torch.arange(output.numel(), dtype=torch.float64).view(output.shape).sin() + 1.5
    gradients = torch.autograd.grad((output * weights.to(output.dtype)).sum(), [clip, *parameters])
    return [output.detach(), *gradients]


@pytest.mark.parametrize("clips", [1, 3])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_outputs_and_gradients_are_those_of_the_definition(
    kernel: tuple[int, int, int], stride: int, clips: int, threads: int
) -> None:
    torch.manual_seed(0)
    padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
    conv = VideoConv3d(5, 6, kernel, (1, stride, stride), padding)
    exact = nn.Conv3d(5, 6, kernel, (1, stride, stride), padding).double()
    exact.load_state_dict(conv.state_dict())
    clip = torch.randn(clips, 5, 4, 9, 7)

    for found, expected in zip(
        output_and_gradients(conv, clip), output_and_gradients(exact, clip.double()), strict=True
    ):
        torch.testing.assert_close(found.double(), expected, rtol=0, atol=5e-6 * float(expected.abs().max()))


@pytest.mark.parametrize(
    "options",
    [
        {"groups": 2},
        {"dilation": (1, 2, 2)},
        {"padding": (0, 1, 1), "padding_mode": "circular"},
        {"padding": "same"},
        {"stride": (2, 1, 1)},
        {"padding": (1, 0, 0)},
    ],
    ids=str,
)
def test_every_option_of_a_convolution_means_the_same(options: dict[str, Any], threads: int) -> None:
    conv, reference = (kind(4, 6, (1, 3, 3), **options) for kind in (VideoConv3d, nn.Conv3d))
    reference.load_state_dict(conv.state_dict())
    clip = torch.randn(2, 4, 6, 8, 8)
    torch.testing.assert_close(conv(clip), reference(clip), rtol=0, atol=1e-5)


def test_clips_of_other_precisions_and_without_a_batch_or_a_clip_are_taken_like_pytorch_takes_them() -> None:
    conv = VideoConv3d(4, 6, (1, 3, 3), padding=(0, 1, 1))
    clip = torch.randn(2, 4, 3, 8, 8)
    torch.testing.assert_close(conv(clip[0]), conv(clip)[0], rtol=0, atol=1e-5)
    assert conv(clip[:0]).shape == (0, 6, 3, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        half = conv(clip)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), conv(clip), rtol=0, atol=0.05)
    double = conv.double()
    expected = functional.conv3d(clip.double(), double.weight, double.bias, padding=(0, 1, 1))
    assert torch.equal(double(clip.double()), expected)


@onednn
def test_a_network_keeps_its_channels_last_from_the_first_convolution_on() -> None:
    model = create_model("i3d_nln_r50", num_classes=3, width=8).eval()
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv3d)]
    assert all(isinstance(module, VideoConv3d) for module in convolutions)
    layouts: list[bool] = []
    for module in model.modules():
        if isinstance(module, nn.BatchNorm3d | nn.MaxPool3d):
            module.register_forward_hook(
                lambda _, args, out: layouts.append(out.is_contiguous(memory_format=torch.channels_last_3d))
            )
    with torch.inference_mode():
        model(torch.randn(2, 3, 4, 64, 64))
    assert len(layouts) > 50
    # what a non-local block's attention gives has its channels first
    assert layouts.count(False) <= 5


@onednn
@pytest.mark.parametrize("kernel", [(1, 1, 1), (3, 1, 1)], ids=str)
def test_one_thread_leaves_kernels_of_one_pixel_to_onednn(kernel: tuple[int, int, int]) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        conv = VideoConv3d(32, 32, kernel, padding=(kernel[0] // 2, 0, 0))
        with torch.inference_mode(), profile(activities=[ProfilerActivity.CPU]) as seen:
            conv(torch.randn(2, 32, 8, 14, 14))
    finally:
        torch.set_num_threads(before)
    assert "aten::mkldnn_convolution" in {event.key for event in seen.key_averages()}


def test_the_gradients_of_a_network_are_as_exact_as_with_plain_convolutions() -> None:
    torch.manual_seed(0)
    model = create_model("slowonly_r18", num_classes=3, width=8, zero_init_last_bn=False)
    for block in model.modules():  # without kinks, at which rounding decides which way a gradient takes
        for name, module in list(block.named_children()):
            if isinstance(module, nn.ReLU | nn.MaxPool3d):
                block.register_module(name, nn.Softplus() if isinstance(module, nn.ReLU) else nn.Identity())
    clip, label = torch.randn(4, 3, 4, 32, 32), torch.tensor([0, 1, 2, 0])

    def gradients(model: nn.Module, clip: Tensor) -> Tensor:
        model.zero_grad()
        functional.cross_entropy(model(clip), label).backward()  # type: ignore[no-untyped-call]
        return torch.cat([p.grad.flatten().double() for p in model.parameters() if p.grad is not None])

    found = gradients(model, clip)
    with patch.object(VideoConv3d, "forward", nn.Conv3d.forward):
        plain = gradients(model, clip)
    exact = gradients(model.double(), clip.double())
    errors = [float((gradient - exact).norm() / exact.norm()) for gradient in (found, plain)]
    assert errors[0] < max(1e-5, 3 * errors[1])
    assert errors[1] < 1e-3


@pytest.mark.parametrize("kernel", [(1, 1, 1), (1, 3, 3), (3, 1, 1)], ids=str)
def test_gradients_through_a_normalisation_are_right_for_maps_of_one_pixel(kernel: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
    conv, norm, clip = VideoConv3d(6, 8, kernel, padding=padding), nn.BatchNorm3d(8), torch.randn(4, 6, 4, 1, 1)

    def definition(x: Tensor) -> Tensor:
        variance, mean = torch.var_mean(x, (0, 2, 3, 4), correction=0, keepdim=True)
        return (x - mean) / (variance + norm.eps).sqrt()

    def gradient(conv: nn.Conv3d, normalise: Callable[[Tensor], Tensor], clip: Tensor) -> Tensor:
        loss = functional.adaptive_avg_pool3d(functional.softplus(normalise(conv(clip))), 1).pow(2).sum()
        return torch.autograd.grad(loss, conv.weight)[0]

    found = gradient(conv, norm, clip)
    expected = gradient(conv.double(), definition, clip.double())
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


def test_gradients_are_laid_out_like_the_weights(threads: int) -> None:
    model = create_model("i3d_nln_r50", num_classes=3, width=8)
    model(torch.randn(2, 3, 8, 64, 64)).sum().backward()
    # DistributedDataParallel warns of others and copies them.
    assert [name for name, p in model.named_parameters() if p.grad is None or p.grad.stride() != p.stride()] == []


@pytest.mark.parametrize("options", [{"stride": (2, 1, 1)}, {"padding": (1, 0, 0)}, {"stride": (1, 2, 2)}], ids=str)
@pytest.mark.parametrize("kernel", [(1, 1, 1), (1, 3, 3), (3, 1, 1)], ids=str)
def test_gradients_are_laid_out_like_the_weights_whatever_the_stride_and_padding_in_time(
    kernel: tuple[int, int, int], options: dict[str, Any], threads: int
) -> None:
    conv = VideoConv3d(5, 6, kernel, **options)
    conv(torch.randn(2, 5, 4, 9, 7)).sum().backward()
    assert conv.weight.grad is not None
    assert conv.weight.grad.stride() == conv.weight.stride()


@pytest.mark.parametrize("kernel", [(1, 1, 1), (1, 3, 3), (3, 1, 1)], ids=str)
def test_gradients_of_each_clip_and_networks_side_by_side_are_computed_by_vmap(kernel: tuple[int, int, int]) -> None:
    conv, clips = VideoConv3d(4, 6, kernel), torch.randn(3, 4, 4, 8, 8)
    parameters = {name: value.detach() for name, value in conv.named_parameters()}

    def loss(parameters: dict[str, Tensor], clip: Tensor) -> Tensor:
        out: Tensor = torch.func.functional_call(conv, parameters, (clip[None],))
        return out.pow(2).sum()

    found = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(parameters, clips)
    for index, clip in enumerate(clips):
        conv.zero_grad()
        conv(clip[None]).pow(2).sum().backward()
        for name, value in conv.named_parameters():
            assert value.grad is not None
            torch.testing.assert_close(
                found[name][index], value.grad, rtol=0, atol=1e-4 * float(value.grad.abs().max())
            )

    several = {name: torch.stack([value, 2 * value]) for name, value in parameters.items()}
    both = torch.func.vmap(lambda parameters: torch.func.functional_call(conv, parameters, (clips,)))(several)
    torch.testing.assert_close(both, torch.stack([conv(clips), 2 * conv(clips)]).detach(), rtol=0, atol=1e-5)


@onednn
def test_clips_in_the_layout_of_onednn_are_taken_like_pytorch_takes_them() -> None:
    conv, clip = VideoConv3d(4, 6, (1, 3, 3)), torch.randn(2, 4, 3, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(conv(clip.to_mkldnn()).to_dense(), conv(clip), rtol=0, atol=1e-5)


def test_layers_are_captured_by_name_as_with_plain_convolutions() -> None:
    model = create_model("fastonly_r50", num_classes=3, zero_init_last_bn=False).eval()
    clip, layers = torch.randn(2, 3, 8, 32, 32), ["stem", "res3.block0.conv_a", "res4.block1.bn_b", "res5", "head.fc"]
    with torch.no_grad(), capture(model, layers) as run:
        found = run(model, clip)
        with patch.object(VideoConv3d, "forward", nn.Conv3d.forward):
            expected = run(model, clip)
    for layer, values in found.items():
        torch.testing.assert_close(values, expected[layer], rtol=0, atol=2e-5 * float(expected[layer].std()))


def test_a_network_compiles_without_leaving_the_graph() -> None:
    model = create_model("i3d_nln_r50", num_classes=3, width=8).eval()
    clip = torch.randn(1, 3, 4, 32, 32)
    with torch.no_grad():
        compiled = torch.compile(model, backend="eager", fullgraph=True)
        torch.testing.assert_close(compiled(clip), model(clip), rtol=0, atol=1e-5)

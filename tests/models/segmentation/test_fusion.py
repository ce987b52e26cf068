# SPDX-License-Identifier: Apache-2.0
"""The fusions against Eq. 5 to 8 of the paper, stated in NumPy for one sample."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch
from scipy.signal import correlate2d
from torch import nn

from staticdropout.errors import UnknownNameError
from staticdropout.models.segmentation.fusion import (
    FUSIONS,
    ConcatFusion,
    ConvexGatedFusion,
    GatedFusion,
    make_fusion,
)

Array = np.ndarray
CHANNELS = 16


def prepare(module: nn.Module) -> dict[str, Array]:
    """Draw weights that keep no sigmoid near its middle, and statistics; return them by name."""
    torch.manual_seed(0)
    module.double().eval()
    for name, tensor in module.state_dict().items():
        if name.endswith("running_var"):
            nn.init.uniform_(tensor, 0.5, 1.5)
        elif tensor.is_floating_point():
            nn.init.normal_(tensor, std=0.5)
    return {name: tensor.numpy() for name, tensor in module.state_dict().items()}


def streams() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    a, m = (torch.randn((2, CHANNELS, 6, 9), generator=generator, dtype=torch.float64) for _ in range(2))
    return a, m


def sigmoid(x: Array) -> Array:
    out: Array = 1 / (1 + np.exp(-x))
    return out


def attention(w: dict[str, Array], joined: Array) -> tuple[Array, Array]:
    """Squeeze and excite: channel attention, and the squeezed vector."""
    squeeze, excite = (w[f"{name}.weight"].reshape(w[f"{name}.weight"].shape[:2]) for name in ("squeeze", "excite"))
    squeezed = np.maximum(squeeze @ joined.mean((1, 2)) + w["squeeze.bias"], 0)
    return sigmoid(excite @ squeezed + w["excite.bias"])[:, None, None], squeezed


def convolve(kernels: Array, maps: Array) -> Array:
    out: Array = sum(correlate2d(m, k, mode="same") for m, k in zip(maps, kernels, strict=True))
    return out


@pytest.mark.parametrize("global_gate", [True, False])
def test_gated_fusion_is_equation_6_and_the_released_form_of_equation_8(global_gate: bool) -> None:
    fusion = GatedFusion(CHANNELS, global_gate=global_gate)
    w = prepare(fusion)
    a, m = streams()
    for fused, u_a, u_m in zip(fusion(a, m).detach().numpy(), a.numpy(), m.numpy(), strict=True):
        u = np.concatenate([u_a, u_m])
        a_c, squeezed = attention(w, u)
        z = a_c * u
        spatial = convolve(w["spatial_conv.weight"][0], z.max(0, keepdims=True))
        norm = (spatial - w["spatial_bn.running_mean"]) / np.sqrt(w["spatial_bn.running_var"] + 1e-5)
        a_sp = norm * w["spatial_bn.weight"] + w["spatial_bn.bias"]
        q = sigmoid(w["gate.weight"] @ squeezed + w["gate.bias"]) if global_gate else 1
        np.testing.assert_allclose(fused, u + q * a_sp * z, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("combine", ["concat", "sum"])
@pytest.mark.parametrize("spatial_from", ["streams", "maximum"])
def test_convex_fusion_is_equations_5_and_7(
    combine: Literal["concat", "sum"], spatial_from: Literal["streams", "maximum"]
) -> None:
    fusion = ConvexGatedFusion(CHANNELS, combine=combine, spatial_from=spatial_from)
    w = prepare(fusion)
    a, m = streams()
    for fused, u_a, u_m in zip(fusion(a, m).detach().numpy(), a.numpy(), m.numpy(), strict=True):
        a_c, _ = attention(w, np.concatenate([u_a, u_m]))
        z_a, z_m = a_c * u_a, (1 - a_c) * u_m
        if spatial_from == "streams":
            maps = np.stack([z_a.mean(0), z_a.max(0), z_m.mean(0), z_m.max(0)])
        else:
            maps = np.concatenate([z_a, z_m]).max(0, keepdims=True)
        a_sp = sigmoid(convolve(w["spatial_conv.weight"][0], maps))
        parts = [a_sp * z_a, (1 - a_sp) * z_m]
        expected = sum(parts) if combine == "sum" else np.concatenate(parts)
        np.testing.assert_allclose(fused, expected, rtol=1e-9, atol=1e-12)


def test_concat_fusion_is_a_matrix_product_at_every_position() -> None:
    fusion = ConcatFusion(CHANNELS)
    w = prepare(fusion)
    a, m = streams()
    joined = torch.cat([a, m], 1).numpy()
    expected = np.einsum("oc,bchw->bohw", w["conv.weight"][:, :, 0, 0], joined) + w["conv.bias"][:, None, None]
    np.testing.assert_allclose(fusion(a, m).detach().numpy(), expected, rtol=1e-9, atol=1e-12)


def test_a_norm_of_the_concat_fusion_normalises_its_result() -> None:
    a, m = streams()
    fused = ConcatFusion(CHANNELS, norm=True).double()(a, m)
    torch.testing.assert_close(fused.mean((0, 2, 3)), torch.zeros(CHANNELS, dtype=torch.float64), atol=1e-9, rtol=0)


def test_what_the_convex_fusion_gives_one_stream_the_other_loses() -> None:
    """Equal streams of ones: the weights of appearance and of motion are complementary in channel and space."""
    fusion = ConvexGatedFusion(CHANNELS, combine="concat")
    prepare(fusion)
    ones = torch.ones(1, CHANNELS, 6, 9, dtype=torch.float64)
    of_a, of_m = fusion(ones, ones).chunk(2, 1)
    ratio_a, ratio_m = of_a / of_a[:, :, :1, :1], of_m / of_m[:, :, :1, :1]
    torch.testing.assert_close(ratio_a, ratio_a[:, :1].expand_as(ratio_a))  # one map for all channels
    torch.testing.assert_close(ratio_m, ratio_m[:, :1].expand_as(ratio_m))
    assert bool(((of_a.sqrt() + of_m.sqrt()) <= 1 + 1e-12).all())  # √(cs) + √((1-c)(1-s)) ≤ 1


@pytest.mark.parametrize("name", FUSIONS)
def test_every_fusion_states_its_channels_and_trains_all_its_parameters(name: str) -> None:
    torch.manual_seed(0)
    fusion = make_fusion(name, CHANNELS)
    fused = fusion(*(stream.float() for stream in streams()))
    assert fused.shape == (2, fusion.out_channels, 6, 9)
    (fused**2).sum().backward()
    without = [key for key, p in fusion.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


def test_an_unknown_fusion_is_answered_with_close_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"no fusion called 'convexx'.*convex"):
        make_fusion("convexx", 8)

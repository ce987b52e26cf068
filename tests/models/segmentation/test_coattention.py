# SPDX-License-Identifier: Apache-2.0
"""The co-attention against its statement in NumPy, one sample and one position at a time."""

from __future__ import annotations

import itertools
from typing import Literal

import numpy as np
import pytest
import torch

from staticdropout.errors import OptionError
from staticdropout.models.segmentation.coattention import CoAttention

Array = np.ndarray
CHANNELS, HEIGHT, WIDTH = 32, 3, 5


def module(
    direction: Literal["uni", "bi"], gated: bool, norm: Literal["tanh", "softmax"] = "tanh", cascades: int = 5
) -> CoAttention:
    torch.manual_seed(0)
    attention = CoAttention(CHANNELS, direction, gated, norm, cascades).double()
    for parameter in attention.parameters():  # large enough that every softmax and tanh matters
        torch.nn.init.normal_(parameter, std=0.5)
    return attention


def streams(batch: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    shape = (batch, CHANNELS, HEIGHT, WIDTH)
    a, m = (2 * torch.rand(shape, generator=generator, dtype=torch.float64) for _ in range(2))
    return a, m


def softmax(x: Array, axis: int) -> Array:
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    out: Array = e / e.sum(axis=axis, keepdims=True)
    return out


def reference(attention: CoAttention, a: Array, m: Array) -> tuple[Array, Array]:
    """The cascades on features (C, positions)."""
    w = {name: p.detach().numpy() for name, p in attention.named_parameters()}

    def linear(name: str, x: Array) -> Array:
        out: Array = w[f"{name}.weight"][:, :, 0, 0] @ x + w[f"{name}.bias"][:, None]
        return out

    positions = a.shape[1]
    for cascade in range(attention.cascades):
        selected_a = a * softmax(linear("select_appearance", a), axis=1)
        selected_m = m * softmax(linear("select_motion", m), axis=1)
        embedded_a, embedded_m = linear("embed_appearance", selected_a), linear("embed_motion", selected_m)
        affinity = np.array([[embedded_m[:, i] @ embedded_a[:, j] for j in range(positions)] for i in range(positions)])
        if attention.norm == "tanh":
            for_a = for_m = np.tanh(affinity)
        else:
            for_m, for_a = softmax(affinity, axis=1), softmax(affinity, axis=0)
        z_a = np.stack([sum(selected_m[:, i] * for_m[i, j] for i in range(positions)) for j in range(positions)], 1)
        z_b = np.stack([sum(selected_a[:, j] * for_a[i, j] for j in range(positions)) for i in range(positions)], 1)
        z_a, z_b = (z / np.maximum(np.sqrt((z**2).sum(0, keepdims=True)), 1e-12) for z in (z_a, z_b))
        of_a, of_m = z_b, (z_a if attention.direction == "bi" else selected_m)
        if attention.gate is not None:
            gates = 1 / (1 + np.exp(-linear("gate", np.concatenate([selected_a, selected_m]))))
            of_a = of_a + selected_a * gates[0] + selected_a
            if attention.direction == "bi":
                of_m = of_m + selected_m * gates[1] + selected_m
        if cascade < attention.cascades - 1:
            a, m = np.maximum(of_a + a, 0), np.maximum(of_m + m, 0)
    return of_a, of_m


@pytest.mark.parametrize(
    ("direction", "gated", "norm", "cascades"),
    list(itertools.product(["uni", "bi"], [False, True], ["tanh", "softmax"], [1, 5])),
)
def test_the_updates_are_those_of_the_statement_in_numpy(
    direction: Literal["uni", "bi"], gated: bool, norm: Literal["tanh", "softmax"], cascades: int
) -> None:
    attention = module(direction, gated, norm, cascades)
    a, m = streams()
    ours = attention(a, m)
    expected = reference(attention, a[0].flatten(1).numpy(), m[0].flatten(1).numpy())
    for found, stated in zip(ours, expected, strict=True):
        np.testing.assert_allclose(found[0].detach().flatten(1).numpy(), stated, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("norm", ["tanh", "softmax"])
def test_samples_of_a_batch_do_not_see_each_other(norm: Literal["tanh", "softmax"]) -> None:
    attention = module("bi", gated=True, norm=norm)
    a, m = streams(batch=3)
    together = attention(a, m)
    alone = [attention(a[i : i + 1], m[i : i + 1]) for i in range(3)]
    for side in (0, 1):
        torch.testing.assert_close(together[side], torch.cat([updates[side] for updates in alone]))


def test_gathered_features_have_unit_length() -> None:
    for gathered in module("bi", gated=False)(*streams()):
        torch.testing.assert_close(gathered.norm(dim=1), torch.ones(1, HEIGHT, WIDTH, dtype=torch.float64))


@pytest.mark.parametrize("direction", ["uni", "bi"])
@pytest.mark.parametrize("gated", [False, True])
def test_gradients_reach_every_parameter(direction: Literal["uni", "bi"], gated: bool) -> None:
    attention = module(direction, gated)
    of_appearance, of_motion = attention(*streams())
    generator = torch.Generator().manual_seed(2)
    direction_of = torch.rand(of_appearance.shape, generator=generator, dtype=torch.float64)
    ((of_appearance + 2 * of_motion) * direction_of).sum().backward()
    for name, parameter in attention.named_parameters():
        assert parameter.grad is not None, name
        # A softmax does not feel a constant that is added to all of its logits.
        assert parameter.grad.abs().sum() > 0 or name in ("select_appearance.bias", "select_motion.bias"), name


def test_the_number_of_weights_does_not_depend_on_the_number_of_cascades() -> None:
    counts = {sum(p.numel() for p in CoAttention(CHANNELS, cascades=n).parameters()) for n in (1, 5, 9)}
    assert len(counts) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"direction": "both"}, "direction is 'uni' or 'bi', not 'both'"),
        ({"norm": "relu"}, "norm is 'tanh' or 'softmax', not 'relu'"),
        ({"cascades": 0}, "cascades is 1 or more, not 0"),
    ],
)
def test_an_option_out_of_range_is_named(options: dict[str, str], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        CoAttention(CHANNELS, **options)  # type: ignore[arg-type]

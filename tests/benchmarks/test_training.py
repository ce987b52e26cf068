# SPDX-License-Identifier: Apache-2.0
"""The ways of training that the benchmark compares compute the same network; no PyTorchVideo is needed here."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
import training
from torch import Tensor, nn

from staticdropout.models import create_model

TOLERANCE = {"float32": 1e-4, "bfloat16": 0.2}


@pytest.fixture
def models() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    model = create_model("slowonly_r18", num_classes=4, width=8)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm3d):
            nn.init.uniform_(module.weight, 0.5, 1)
    return {"pytorchvideo": model, "ours": model}


@pytest.mark.parametrize("way", training.KINDS["inference"])
def test_every_way_of_inference_gives_the_same_logits(way: str, models: dict[str, nn.Module]) -> None:
    clip, label = torch.randn(2, 3, 4, 64, 64), torch.zeros(2, dtype=torch.long)

    def logits(way: str) -> Tensor:
        model, clips = training.prepare(way, models, "inference", clip)
        return training.outcome(model, training.make_pass(way, model, "inference", clips, label), "inference")

    precision = "bfloat16" if "bf16" in way else "float32"
    error = training.difference(logits(way), logits("pytorchvideo"), "inference")
    assert error < TOLERANCE[precision]
    assert (error > 1e-4) == (precision == "bfloat16")


@pytest.mark.parametrize("way", training.KINDS["training"])
def test_every_way_of_training_takes_the_same_step(way: str, models: dict[str, nn.Module]) -> None:
    clip, label = torch.randn(2, 3, 4, 64, 64), torch.tensor([0, 1])
    low = "bf16" in way  # autocast takes float32; all other ways are compared in float64, which leaves no rounding
    if not low:
        models, clip = {name: deepcopy(model).double() for name, model in models.items()}, clip.double()
    before = {name: value.clone() for name, value in models["ours"].state_dict().items()}
    found = {}
    for each in (way, "pytorchvideo_bf16" if low else "pytorchvideo"):
        model, clips = training.prepare(each, models, "training", clip)
        found[each] = training.outcome(model, training.make_pass(each, model, "training", clips, label), "training")
        assert len(found[each]) == sum(p.numel() for p in model.parameters())
        changed = [name for name, p in model.named_parameters() if not torch.equal(p, before[name])]
        assert len(changed) == len(list(model.parameters()))
    # Each took its step on a model of its own.
    assert all(torch.equal(value, before[name]) for name, value in models["ours"].state_dict().items())
    gradients = list(found.values())
    assert training.difference(gradients[0], gradients[-1], "training") < (TOLERANCE["bfloat16"] if low else 1e-9)


def test_differences_are_shares_of_the_spread_of_logits_and_of_the_norm_of_gradients() -> None:
    expected = torch.tensor([3.0, -3.0, 3.0, -3.0])
    found = expected + torch.tensor([0.0, 0.0, 0.0, 0.6])
    assert training.difference(found, expected, "inference") == pytest.approx(0.6 / float(expected.std()))
    assert training.difference(found, expected, "training") == pytest.approx(0.6 / 6)

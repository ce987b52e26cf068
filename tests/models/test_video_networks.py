# SPDX-License-Identifier: Apache-2.0
"""What holds for every network for clips: sizes it takes, a training step, cost, names of its stages."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from small_models import SMALL, small_model
from torch import nn
from torch.nn import functional

from staticdropout.errors import BatchError, StaticDropoutError
from staticdropout.models import capture, count_gmacs, create_model, list_layers, list_models, model_info
from staticdropout.models.analysis import analysis_layers
from staticdropout.models.layer_names import last_linear
from staticdropout.models.transformer_layers import attend

CLASSIFIERS = [name for name in list_models() if model_info(name).task == "classification"]
NEW = ("slowfast_r18_4x16", "slowfast_r18_8x8", "x3d_s", "x3d_l", "mvit_b_16x4", "timesformer_divst_8x32")

# (crop, billions of multiply-adds), recounted with fvcore from the official models; X3D-L as published, without norms
PUBLISHED = {
    "c2d_r50": ((224, 19.62), (256, 25.63)),
    "i3d_r50": ((224, 28.54), (256, 37.27)),
    "i3d_nln_r50": ((224, 36.68), (256, 49.10)),
    "slowonly_r50": ((224, 41.92), (256, 54.75)),
    "slowonly_r50_4x16": ((224, 20.96), (256, 27.38)),
    "slowonly_r18": ((224, 23.77), (256, 31.05)),
    "fastonly_r50": ((224, 5.37), (256, 7.02)),
    "slowfast_r50_8x8": ((224, 50.58), (256, 66.07)),
    "slowfast_r50_4x16": ((224, 27.82), (256, 36.34)),
    "slowfast_r50_16x8": ((224, 101.16), (256, 132.13)),
    "slowfast_r18_8x8": ((224, 31.12), (256, 40.65)),
    "x3d_xs": ((160, 0.63), (182, 0.87)),
    "x3d_s": ((160, 2.03), (182, 2.82)),
    "x3d_m": ((224, 4.90), (256, 6.40)),
    "x3d_l": ((312, 18.37),),
    "mvit_b_16x4": ((224, 70.80),),
    "timesformer_divst_8x32": ((224, 196.05),),
}


@pytest.mark.parametrize(("name", "crop", "gmacs"), [(n, *size) for n, sizes in PUBLISHED.items() for size in sizes])
def test_multiply_adds_are_the_published_ones_to_one_percent(name: str, crop: int, gmacs: float) -> None:
    with torch.device("meta"):
        model, clip = create_model(name, 400), torch.empty(1, 3, model_info(name).frames, crop, crop)
    assert count_gmacs(model, clip, norms=name != "x3d_l") == pytest.approx(gmacs, rel=0.01)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_parameters_and_multiply_adds_in_the_registry_are_the_real_ones(name: str) -> None:
    info = model_info(name)
    with torch.device("meta"):
        model, clip = create_model(name, 400), torch.empty(1, 3, info.frames, info.crop, info.crop)
    assert sum(p.numel() for p in model.parameters()) == info.params
    assert round(count_gmacs(model, clip), 2) == info.gmacs


def test_a_mvit_without_pooling_in_its_last_blocks_costs_what_was_published_for_it() -> None:
    with torch.device("meta"):
        model, clip = create_model("mvit_b_16x4", 400, last_key_pooling=False), torch.empty(1, 3, 16, 224, 224)
    assert sum(p.numel() for p in model.parameters()) == 36_599_536
    assert count_gmacs(model, clip) == pytest.approx(70.71, rel=0.01)


def step(model: nn.Module, clip: torch.Tensor, call: Any = None) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    logits = model(clip) if call is None else call(clip)
    loss = functional.cross_entropy(logits, torch.tensor([0, 2]))
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    assert loss.isfinite()


@pytest.mark.parametrize("precision", ["32", "autocast", "bf16"])
@pytest.mark.parametrize("name", SMALL)
def test_every_parameter_is_trained_by_a_step(name: str, precision: str) -> None:
    torch.manual_seed(0)
    options: dict[str, Any] = {} if "block" not in name and name in NEW[4:] else {"zero_init_last_bn": False}
    model, clip = small_model(name, **options), torch.randn(2, 3, 8, 32, 32)
    if name == "timesformer_divst_8x32":
        nn.init.normal_(model.get_parameter("blocks.1.time_fc.weight"))  # starts at zero, and stops gradients
    if precision == "bf16":
        model, clip = model.bfloat16(), clip.bfloat16()
    before = {key: parameter.detach().clone() for key, parameter in model.named_parameters()}
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "autocast"):
        step(model, clip)
    grads = {key: parameter.grad for key, parameter in model.named_parameters()}
    # a bias before a softmax over keys shifts all scores alike
    untrained = [key for key, grad in grads.items() if grad is None or not grad.any()]
    assert not [key for key in untrained if not key.endswith(("conv_theta.bias", "conv_phi.bias"))]
    assert any(not torch.equal(before[key], parameter) for key, parameter in model.named_parameters())


@pytest.mark.parametrize("name", ["i3d_nln_r50", "slowfast_r18_8x8", "x3d_s", "mvit_b_16x4", "timesformer_divst_8x32"])
def test_a_compiled_network_trains_and_gives_the_same(name: str) -> None:
    torch.manual_seed(0)
    model, clip = small_model(name), torch.randn(2, 3, 8, 32, 32)
    compiled: Any = torch.compile(model, backend="aot_eager", fullgraph=True)
    try:
        with torch.no_grad():
            torch.testing.assert_close(compiled.eval()(clip), model.eval()(clip), rtol=1e-4, atol=1e-4)
        step(model.train(), clip, compiled)
    finally:
        torch.compiler.reset()


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("slowfast_r18_8x8", [(4, 32, 32), (12, 40, 56), (8, 33, 47)]),
        ("slowfast_r18_4x16", [(8, 32, 32), (16, 64, 32)]),
        ("x3d_s", [(1, 32, 32), (5, 33, 47), (13, 182, 182)]),
        ("mvit_b_16x4", [(4, 32, 32), (2, 32, 32), (6, 40, 36), (16, 64, 64), (2, 4, 4)]),
        ("timesformer_divst_8x32", [(4, 32, 32), (1, 16, 16), (5, 48, 32), (16, 64, 64)]),
        ("slowonly_r18", [(1, 32, 32), (5, 33, 47)]),
        ("c2d_r50", [(2, 32, 32), (5, 33, 47)]),
        ("i3d_nln_r50", [(2, 17, 17), (5, 33, 47)]),
    ],
)
@torch.inference_mode()
def test_clips_of_any_size_that_the_design_allows_are_taken(name: str, sizes: list[tuple[int, int, int]]) -> None:
    model = small_model(name).eval()
    for size in sizes:
        assert model(torch.randn(2, 3, *size)).shape == (2, 3)


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("slowfast_r18_8x8", (6, 32, 32), r"takes clips of 4, 8, 12, … frames and got 6"),
        ("slowfast_r18_4x16", (4, 32, 32), r"takes clips of 8, 16, 24, … frames and got 4"),
        ("mvit_b_16x4", (3, 32, 32), r"2, 4, 6, … frames .* multiples of 4 pixels; got 3 frames of 32x32"),
        ("mvit_b_16x4", (4, 32, 30), r"multiples of 4 pixels; got 4 frames of 32x30"),
        ("timesformer_divst_8x32", (4, 32, 40), r"multiples of 16 pixels; got 4 frames of 32x40"),
        ("c2d_r50", (1, 32, 32), r"2 frames or more; it got 1"),
        ("i3d_nln_r50", (8, 16, 16), r"pools 2x2 positions .* got maps of 1x1.* 17 pixels or more"),
    ],
)
def test_other_sizes_are_refused_with_those_that_are_taken(name: str, size: tuple[int, int, int], message: str) -> None:
    with pytest.raises(BatchError, match=message):
        small_model(name)(torch.randn(1, 3, *size))


@pytest.mark.parametrize("name", ["slowonly_r18", "slowfast_r18_8x8", "x3d_s"])
def test_a_clip_that_is_too_small_for_the_official_pool_is_refused(name: str) -> None:
    model = small_model(name, pool_size=(8, 2, 2)).eval()
    assert model(torch.randn(1, 3, 8, 64, 64)).shape == (1, 3)
    with pytest.raises(
        BatchError, match=r"averages \(\d, 2, 2\) positions \(pool_size\), but the clip leaves a map of \(\d, 1, 1\)"
    ):
        model(torch.randn(1, 3, 8, 32, 32))


@pytest.mark.parametrize("name", SMALL)
def test_what_is_no_clip_is_refused(name: str) -> None:
    for shape in ((3, 8, 32, 32), (1, 8, 3, 32, 32)):
        with pytest.raises(BatchError, match=r"takes clips of shape \(B, 3, T, H, W\)"):
            small_model(name)(torch.randn(shape))


@pytest.mark.parametrize("name", SMALL)
@torch.inference_mode()
def test_an_official_head_gives_probabilities_in_evaluation_and_logits_in_training(name: str) -> None:
    torch.manual_seed(0)
    plain, official = small_model(name).eval(), small_model(name, head_mode="softmax").eval()
    official.load_state_dict(plain.state_dict())
    clip = torch.randn(2, 3, 8, 32, 32)
    torch.testing.assert_close(official(clip), plain(clip).softmax(1))
    assert not torch.allclose(official.train()(clip).sum(1), torch.ones(2))


@pytest.mark.parametrize("name", SMALL)
def test_the_classifier_is_the_last_linear_layer_and_dropout_comes_just_before(name: str) -> None:
    model = small_model(name, dropout=0.5)
    assert last_linear(model) == "head.fc"
    assert isinstance(model.get_submodule("head.dropout"), nn.Dropout)
    assert model.get_submodule("head.dropout").p == 0.5


@pytest.mark.parametrize("name", SMALL)
@torch.inference_mode()
def test_the_papers_layers_exist_and_have_the_channels_of_the_papers_code(name: str) -> None:
    model = small_model(name).eval()
    layers = analysis_layers(model)
    assert layers == analysis_layers(name) or name in NEW[2:]  # shrunken transformers and X3Ds have fewer blocks
    with capture(model, list(layers.values())) as run:
        features = run(model, torch.randn(2, 3, 8, 32, 32))
    channels = {label: features[layer].shape[1] for label, layer in layers.items()}
    if name.startswith("slowfast"):  # of width 16; the official networks have 64
        assert [4 * channels[f"SF-Slow.stage{i}"] for i in range(1, 6)] == [64, 256, 512, 1024, 2048]
        assert [4 * channels[f"SF-Fast.stage{i}"] for i in range(1, 6)] == [8, 32, 64, 128, 256]
        assert [4 * channels[f"SF-Fused.stage{i}"] for i in range(1, 6)] == [80, 320, 640, 1280, 2304]
    elif name == "mvit_b_16x4":  # of width 24; the output of the block before a pooling is as wide as that after it
        assert channels == {"block0": 48, "block1": 96, "block2": 96, "block3": 96}
    else:
        assert list(channels) == [f"stage{i}" for i in range(1, 6)] or list(channels) == ["block0", "block1"]


def test_the_official_transformers_have_the_channels_of_the_papers_code() -> None:
    expected = {"mvit_b_16x4": [192] * 2 + [384] * 11 + [768] * 3, "timesformer_divst_8x32": [768] * 12}
    for name, widths in expected.items():
        info = model_info(name)
        with torch.device("meta"):
            model, clip = create_model(name, 400), torch.empty(1, 3, info.frames, info.crop, info.crop)
            shapes = list_layers(model, clip)
        assert [shapes[layer][-1] for layer in analysis_layers(name).values()] == widths


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("slowonly_r18", {"pool_size": (8, 2)}, r"pool_size must be \(frames, height, width\), each at least 1"),
        ("x3d_s", {"pool_size": (0, 2, 2)}, "each at least 1"),
        ("slowfast_r18_8x8", {"pool_size": (6, 1, 1)}, "a multiple of alpha=4"),
        ("slowfast_r18_8x8", {"fusion_ratio": 0}, "fusion_ratio=0 must be at least 1"),
        ("slowfast_r18_8x8", {"width": 12}, "width=12 a multiple of beta_inv"),
        ("slowfast_r18_8x8", {"fusion_kernel": 4}, "must be odd"),
        ("x3d_s", {"blocks": [1, 2, 3]}, "four numbers"),
        ("mvit_b_16x4", {"width": 0}, "width=0 must be at least 1"),
        ("mvit_b_16x4", {"blocks": [1, 1, 1, 1], "key_stride": 4}, "key_stride=4 at least 8"),
        ("mvit_b_16x4", {"drop_path": 1.5}, "drop_path=1.5 must be at least 0 and below 1"),
        ("timesformer_divst_8x32", {"patch": 0}, "patch=0"),
        ("timesformer_divst_8x32", {"crop_size": 40}, "crop_size=40"),
        ("timesformer_divst_8x32", {"attention": "diagonal"}, "attention"),
        ("timesformer_divst_8x32", {"widht": 24}, "has no argument 'widht'"),
    ],
)
def test_options_that_no_network_can_have_are_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(StaticDropoutError, match=message):
        small_model(name, **options)


def test_a_clip_without_frames_is_refused() -> None:
    for name in ("slowfast_r18_8x8", "x3d_s", "mvit_b_16x4"):
        with pytest.raises(BatchError, match="takes clips of shape"):
            small_model(name)(torch.randn(1, 3, 0, 32, 32))


@pytest.mark.parametrize(("batch", "heads", "tokens"), [(1, 1, 9), (1, 1, 8), (2, 1, 5), (1, 3, 7), (1, 1, 2)])
def test_attention_in_parts_is_attention(batch: int, heads: int, tokens: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    torch.manual_seed(0)
    sides = [torch.randn(batch, heads, n, 4, dtype=torch.float64, requires_grad=True) for n in (tokens, 5, 5)]
    weights = torch.randn(batch, heads, tokens, 4, dtype=torch.float64)
    results = []
    for attention in (attend, functional.scaled_dot_product_attention):
        out = attention(*sides)
        results.append((out, *torch.autograd.grad((out * weights).sum(), sides)))
    torch.testing.assert_close(results[0], results[1])

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from staticdropout.errors import BatchError, UnknownNameError
from staticdropout.models.nonlocal_block import NonLocalBlock
from staticdropout.models.resnet3d import ResNet3d
from staticdropout.models.resnet_layers import BasicBlock, BottleneckBlock


def small(**kwargs: Any) -> ResNet3d:
    return ResNet3d(**{"num_classes": 5, "depth": 18, "width": 8, **kwargs})


@pytest.mark.parametrize("shape", [(1, 3, 1, 32, 32), (2, 3, 5, 50, 38), (1, 3, 4, 64, 32)])
@pytest.mark.parametrize("block", ["basic", "bottleneck"])
def test_any_clip_length_and_size_gives_one_row_of_logits(shape: tuple[int, ...], block: str) -> None:
    assert small(block=block).eval()(torch.randn(shape)).shape == (shape[0], 5)


def test_only_the_pooling_after_res2_shortens_the_clip() -> None:
    frames: dict[str, int] = {}
    model = small(stem_kernel=5, temporal_kernels=((3,), (3, 1), (3, 1), (1, 3)), pool_after_res2=True)
    for name, module in model.named_children():
        if name != "head":
            module.register_forward_hook(lambda _m, _i, out, name=name: frames.__setitem__(name, out.shape[2]))
    model(torch.randn(1, 3, 8, 32, 32))
    assert frames == {"stem": 8, "res2": 8, "pool2": 4, "res3": 4, "res4": 4, "res5": 4}


def test_patterns_of_temporal_kernels_are_repeated_over_the_blocks() -> None:
    model = ResNet3d(2, depth=50, width=8, temporal_kernels=((3,), (3, 1), (3, 1), (1, 3)))
    kernels = [[b.conv_a.kernel_size[0] for b in stage if isinstance(b, BottleneckBlock)] for stage in
               (model.res2, model.res3, model.res4, model.res5)]  # fmt: skip
    assert kernels == [[3, 3, 3], [3, 1, 3, 1], [3, 1, 3, 1, 3, 1], [1, 3, 1]]


def test_the_classifier_is_the_last_linear_layer_and_takes_channels_last() -> None:
    model = small()
    assert [name for name, module in model.named_modules() if isinstance(module, nn.Linear)] == ["head.fc"]
    for pool_size, expected in ((None, (2, 256)), ((4, 1, 1), (2, 1, 2, 2, 256))):
        seen: list[Tensor] = []
        model = small(width=8, pool_size=pool_size)
        model.head.fc.register_forward_pre_hook(lambda _m, inputs, seen=seen: seen.append(inputs[0]))
        model(torch.randn(2, 3, 4, 64, 64))
        assert seen[0].shape == expected


def test_the_sliding_pool_gives_the_mean_over_positions() -> None:
    model, video = small(pool_size=(4, 1, 1)).eval(), torch.randn(2, 3, 4, 64, 64)
    probabilities = small(pool_size=(4, 1, 1), head_mode="softmax").eval()
    probabilities.load_state_dict(model.state_dict())
    features = model.res5(model.res4(model.res3(model.pool2(model.res2(model.stem(video)))))).mean(2).flatten(2)
    logits = model.head.fc(features.movedim(1, -1))  # (B, positions, classes)

    torch.testing.assert_close(model(video), logits.mean(1))
    torch.testing.assert_close(probabilities(video), logits.softmax(-1).mean(1))


def test_the_softmax_head_returns_logits_while_training() -> None:
    model, video = small(head_mode="softmax"), torch.randn(2, 3, 2, 32, 32)
    nn.init.ones_(model.head.fc.bias)
    assert model.eval()(video).sum(1).tolist() == pytest.approx([1, 1])
    assert not torch.allclose(model.train()(video).sum(1), torch.ones(2))


def test_standard_dropout_acts_on_the_input_of_the_classifier_alone() -> None:
    model = small(dropout=0.5)
    seen: list[Tensor] = []
    model.head.fc.register_forward_pre_hook(lambda _m, inputs: seen.append(inputs[0]))
    features = torch.ones(8, 256, 2, 1, 1)
    model.eval().head(features)
    model.train().head(features)
    assert torch.equal(seen[0], torch.ones(8, 256))
    assert 0.4 < (seen[1] == 0).float().mean() < 0.6


def test_a_new_block_passes_its_shortcut_only() -> None:
    for block in (BottleneckBlock, BasicBlock):
        model = small(block="basic" if block is BasicBlock else "bottleneck")
        module = model.res3.get_submodule("block1")
        features = torch.rand(1, 16 * block.expansion, 2, 4, 4)
        torch.testing.assert_close(module.eval()(features), features)


def test_new_weights_have_the_spread_of_the_official_initialisation() -> None:
    torch.manual_seed(0)
    model = small(depth=50, width=16, nonlocal_blocks=((), (1,), (), ()))
    conv = model.res4.get_submodule("block2.conv_b")
    assert isinstance(conv, nn.Conv3d)
    assert conv.weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.05)
    assert model.head.fc.weight.std().item() == pytest.approx(0.01, rel=0.1)
    assert model.head.fc.bias.abs().max() == 0
    phi = model.res3.get_submodule("nonlocal1.conv_phi")
    assert isinstance(phi, nn.Conv3d)
    assert phi.bias is not None
    assert phi.bias.abs().max() == 0


def test_all_parameters_get_a_gradient() -> None:
    model = small(nonlocal_blocks=((), (0,), (1,), ()), zero_init_last_bn=False)
    model(torch.randn(2, 3, 2, 64, 64)).logsumexp(1).sum().backward()
    without = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    # A bias of the keys shifts all scores of a query alike, which the softmax takes out.
    assert [n for n in without if "conv_phi.bias" not in n] == []


def test_the_non_local_block_mixes_all_positions_in_both_modes() -> None:
    for mode in ("softmax", "dot_product"):
        block = NonLocalBlock(8, mode=mode, zero_init=False).eval()
        video = torch.randn(1, 8, 3, 4, 4)
        changed = video.clone()
        changed[0, :, 2, 3, 3] += 10
        assert not torch.allclose(block(video)[0, :, 0, 0, 0], block(changed)[0, :, 0, 0, 0])


@pytest.mark.parametrize("video", [torch.zeros(1, 8, 3, 32, 32), torch.zeros(3, 8, 32, 32)])
def test_a_clip_in_another_layout_is_refused_with_both_shapes(video: Tensor) -> None:
    with pytest.raises(BatchError, match=r"\(B, 3, T, H, W\) and got \("):
        small()(video)


def test_unknown_options_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="bottleneck"):
        small(block="bottelneck")
    with pytest.raises(UnknownNameError, match="softmax"):
        small(head_mode="probabilities")
    with pytest.raises(UnknownNameError, match="dot_product"):
        NonLocalBlock(8, mode="dot")
    with pytest.raises(ValueError, match="18, 50, 101"):
        small(depth=34)
    with pytest.raises(ValueError, match="res2 to res5"):
        small(temporal_kernels=((1,), (3,)))
    with pytest.raises(ValueError, match="odd"):
        small(stem_kernel=4)

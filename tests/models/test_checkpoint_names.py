# SPDX-License-Identifier: Apache-2.0
"""Names are translated into ours and back, for every recorded official network and every naming."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import Any

import pytest
import torch
from official_names import (
    LAYOUTS,
    NETWORKS,
    PARITY,
    aliases,
    assert_same_tensors,
    key_list,
    official_weights,
    shapes,
    values,
)
from torch import Tensor

from staticdropout.errors import CheckpointError, UnknownNameError
from staticdropout.models.checkpoints import (
    caffe2_to_slowfast,
    describe_weights,
    detect_layout,
    to_official_names,
    to_own_names,
)
from staticdropout.models.checkpoints.families import family_of
from staticdropout.models.checkpoints.fitting import fit_models
from staticdropout.models.checkpoints.name_table import NameTable
from staticdropout.models.registry import create_model

# One network in both namings, as the official repositories name it.
BOTH = {
    "c2d_r50_8x8": "c2d_r50",
    "i3d_r50_8x8": "i3d_r50",
    "slow_r50_8x8": "slow_r50",
    "slowfast_r50_8x8": "slowfast_r50",
    "mvit_b_16x4_crop64": "mvit_base_16x4_ptv",
}


@pytest.mark.parametrize("network", NETWORKS)
def test_our_names_and_back_are_the_official_state_dict_to_the_last_bit_and_in_its_order(network: str) -> None:
    official, (naming, _) = official_weights(network), NETWORKS[network]
    own = to_own_names(official)
    assert detect_layout(official) == LAYOUTS[naming]
    assert detect_layout(own) == "staticdropout"
    assert len(own) < len(official) if "mvit_base" in network else len(own) == len(official)
    assert_same_tensors(to_official_names(own, naming), official)  # type: ignore[arg-type]
    assert to_own_names(own).keys() == own.keys()


@pytest.mark.parametrize("network", NETWORKS)
def test_our_names_are_exactly_those_of_the_model(network: str) -> None:
    own = to_own_names(shapes(network))
    form: dict[str, Any] = {"last_key_pooling": False} if network == "mvit_b_16x4_paper" else {}
    form |= {"shortcut_norm": False} if network == "x3d_m_ptv" else {}
    form |= {"crop_size": 64} if network == "mvit_b_16x4_crop64" else {}
    with torch.device("meta"):
        model = create_model(NETWORKS[network][1], 400, **form)
    assert {name: tuple(t.shape) for name, t in own.items()} == {
        n: tuple(t.shape) for n, t in model.state_dict().items()
    }


@pytest.mark.parametrize("network", BOTH)
def test_one_naming_becomes_the_other_as_the_two_repositories_name_the_same_network(network: str) -> None:
    official = official_weights(network)
    other = to_official_names(to_own_names(official), "pytorchvideo")
    assert list(other) == [name for name, _ in key_list(BOTH[network])]
    assert_same_tensors(to_official_names(to_own_names(other), "slowfast"), official)


@pytest.mark.parametrize(
    ("official", "own"),
    [
        ("s1.pathway0_stem.bn.running_var", "stem.bn.running_var"),
        ("s3.pathway0_res11.branch1_bn.bias", "res3.block11.shortcut.bn.bias"),
        ("s4.pathway1_res2.branch2.b_bn.weight", "res4.block2.bn_b.weight"),
        ("s3.pathway0_nonlocal3.conv_theta.bias", "res3.nonlocal3.conv_theta.bias"),
        ("head.projection.weight", "head.fc.weight"),
    ],
)
def test_slowfast_names_of_one_pathway(official: str, own: str) -> None:
    pathway = "s1.pathway1_stem.conv.weight" if "pathway1" in official else "s1.pathway0_stem.conv.weight"
    stem = torch.ones(8 if "pathway1" in official else 64, 3, 1, 7, 7)
    weights = {pathway: stem, official: torch.ones(1)}
    assert list(to_own_names(weights)) == ["stem.conv.weight", own]
    assert list(to_official_names(to_own_names(weights), "slowfast")) == [pathway, official]


@pytest.mark.parametrize(
    ("network", "official", "own"),
    [
        ("slowfast_r50_8x8", "s1_fuse.conv_f2s.weight", "fuse1.conv.weight"),
        ("slowfast_r50_8x8", "s4.pathway1_res5.branch2.c.weight", "fast.res4.block5.conv_c.weight"),
        ("slowfast_r50", "blocks.3.multipathway_fusion.norm.bias", "fuse4.bn.bias"),
        (
            "slowfast_r50",
            "blocks.4.multipathway_blocks.0.res_blocks.0.branch1_norm.bias",
            "slow.res5.block0.shortcut.bn.bias",
        ),
        ("slowfast_r50", "blocks.6.proj.bias", "head.fc.bias"),
        ("i3d_r50", "blocks.3.res_blocks.0.branch2.conv_a.weight", "res3.block0.conv_a.weight"),
        ("slow_r50", "blocks.2.res_blocks.0.branch2.conv_a.weight", "res3.block0.conv_a.weight"),
        ("x3d_m", "s1.pathway0_stem.conv.weight", "stem.conv_t.weight"),
        ("x3d_m_ptv", "blocks.0.conv.conv_t.weight", "stem.conv_xy.weight"),
        ("x3d_m_ptv", "blocks.2.res_blocks.2.branch2.norm_b.1.block.2.bias", "res3.block2.se.fc2.bias"),
        ("x3d_m_ptv", "blocks.5.pool.pre_norm.bias", "head.bn5.bias"),
        ("mvit_b_16x4_paper", "blocks.0.proj.weight", "blocks.0.shortcut.weight"),
        ("mvit_b_16x4_paper", "blocks.3.attn.norm_q.bias", "blocks.3.attn.pool_q.norm.bias"),
        ("mvit_base_16x4_ptv", "cls_positional_encoding.pos_embed_class", "positions.class_token"),
        ("timesformer_divst_8x32_in64", "model.blocks.7.temporal_fc.bias", "blocks.7.time_fc.bias"),
        ("timesformer_divst_8x32_in64", "model.head.bias", "head.fc.bias"),
    ],
)
def test_names_of_each_family_as_the_facts_give_them(network: str, official: str, own: str) -> None:
    weights = official_weights(network)
    assert torch.equal(to_own_names(weights)[own], weights[official])


def test_queries_keys_and_values_become_one_layer_in_this_order_also_under_slowfasts_names_of_2021() -> None:
    official = official_weights("mvit_base_16x4_ptv")
    own = to_own_names(official)
    rows = [official[f"blocks.5.attn.{part}.weight"] for part in "qkv"]
    assert torch.equal(own["blocks.5.attn.qkv.weight"], torch.cat(rows))
    split: dict[str, Tensor] = {}
    for name, tensor in to_official_names(own, "slowfast").items():
        if ".qkv." in name:
            split |= {name.replace("qkv", part): rows for part, rows in zip("qkv", tensor.chunk(3), strict=True)}
        else:
            split[name] = tensor
    assert "blocks.0.attn.k.bias" in split
    assert detect_layout(split) == "SlowFast"
    found = to_own_names(split)
    assert_same_tensors({name: found[name] for name in own}, own)
    assert len(found) == len(own)


def test_second_names_may_be_absent_but_not_different() -> None:
    official, second = official_weights("mvit_base_16x4_ptv"), aliases("mvit_base_16x4_ptv")
    assert len(second) == 105
    without = {name: tensor for name, tensor in official.items() if name not in second}
    assert_same_tensors(to_own_names(without), to_own_names(official))
    name = next(iter(second))
    with pytest.raises(CheckpointError, match=f"{re.escape(second[name])} also as {re.escape(name)}"):
        to_own_names(official | {name: official[name] + 1})
    diverged = official[name] * float("nan")
    to_own_names(official | {name: diverged, second[name]: diverged.clone()})


def sub_batchnorm(weights: dict[str, Tensor], splits: int) -> dict[str, Tensor]:
    """The state dict of the same network with SubBatchNorm3d, in training."""
    live: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        module, _, leaf = name.rpartition(".")
        if f"{module}.running_mean" not in weights:
            live[name] = tensor
        elif leaf in ("weight", "bias"):
            live[name] = tensor.view(-1, 1, 1, 1)
        else:
            live[f"{module}.bn.{leaf}"] = tensor if tensor.ndim else torch.tensor(0)
            live[f"{module}.split_bn.{leaf}"] = tensor.repeat(splits) + 1 if tensor.ndim else tensor
    return live


@pytest.mark.parametrize("network", ["slowfast_r50_4x16", "slow_r50", "x3d_s"])
def test_batch_normalisation_in_parts_becomes_plain(network: str) -> None:
    plain = official_weights(network)
    live = sub_batchnorm(plain, splits=4)
    assert len(live) > len(plain)
    found, expected = to_own_names(live), to_own_names(plain)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_saved_weight_of_batch_normalisation_with_empty_axes_is_flattened_and_no_other_is() -> None:
    plain = official_weights("slow_r18")
    saved = {n: t.view(-1, 1, 1, 1) if n.endswith(("bn.weight", "bn.bias")) else t for n, t in plain.items()}
    assert_same_tensors(to_own_names(saved), to_own_names(plain))


def test_timesformers_names_are_read_with_and_without_their_prefix() -> None:
    official = official_weights("timesformer_divst_8x32_in64")
    bare = {name.removeprefix("model."): tensor for name, tensor in official.items()}
    assert detect_layout(bare) == "TimeSformer"
    assert_same_tensors(to_own_names(bare), to_own_names(official))


@pytest.mark.parametrize("attention", ["joint", "space_only"])
def test_a_timesformer_without_divided_attention_is_known_too(attention: str) -> None:
    model = create_model("timesformer_divst_8x32", 5, attention=attention, width=24, heads=2, depth=2, crop_size=32)
    official = to_official_names(model.state_dict(), "timesformer")
    assert not any("temporal" in name for name in official)
    assert ("model.time_embed" in official) == (attention == "joint")
    assert detect_layout(official) == "TimeSformer"
    assert to_own_names(official).keys() == model.state_dict().keys()


def test_every_recorded_caffe2_name_leads_to_our_model() -> None:
    for networks, pairs in json.loads((PARITY / "ar_caffe2_names.json").read_text()).items():
        network = networks.split()[0]
        full = shapes(network)
        own = to_own_names({blob: full[official] for blob, official in pairs})
        expected = to_own_names({name: t for name, t in full.items() if not name.endswith("num_batches_tracked")})
        assert own.keys() == expected.keys()
        assert family_of(own) == ("SlowFast" if "slowfast" in network else "3-D ResNet")


def test_a_blob_without_its_last_axes_gets_them_back() -> None:
    own = to_own_names(
        {"conv1_w": torch.ones(64, 3, 1), "res2_0_branch1_w": torch.ones(256, 64), "pred_w": torch.ones(5, 9)}
    )
    assert [tuple(tensor.shape) for tensor in own.values()] == [(64, 3, 1, 1, 1), (256, 64, 1, 1, 1), (5, 9)]
    assert caffe2_to_slowfast("conv1_w_momentum") is None


@pytest.mark.parametrize(("network", "pooled"), [("c2d_r50", True), ("i3d_r50", True), ("slow_r50", False)])
def test_whether_pooling_counts_as_a_block_is_seen_by_the_kernels_or_said(network: str, pooled: bool) -> None:
    own = to_own_names(official_weights(network))
    assert ("blocks.6.proj.bias" in to_official_names(own, "pytorchvideo")) == pooled
    assert "blocks.6.proj.bias" in to_official_names(own, "pytorchvideo", pooled=True)
    assert "blocks.5.proj.bias" in to_official_names(own, "pytorchvideo", pooled=False)


def test_the_pathway_of_a_fastonly_is_seen_by_its_width_or_said() -> None:
    own = to_own_names(official_weights("fast_r50"))
    assert "s1.pathway1_stem.bn.bias" in to_official_names(own, "slowfast")
    assert "s1.pathway0_stem.bn.bias" in to_official_names(own, "slowfast", pathway=0)
    other = to_own_names(official_weights("slow_r18"))
    assert "s5.pathway1_res0.branch1.weight" in to_official_names(other, "slowfast", pathway=1)
    assert "blocks.4.res_blocks.0.branch1_conv.weight" in to_official_names(own, "pytorchvideo")


def test_what_a_naming_cannot_express_is_refused_with_the_way_out() -> None:
    nonlocal_blocks = to_own_names(official_weights("i3d_nln_r50_8x8"))
    with pytest.raises(
        CheckpointError, match=r"no name for res3\.nonlocal1.*no non-local blocks; choose the naming slowfast"
    ):
        to_official_names(nonlocal_blocks, "pytorchvideo")
    timesformer = to_own_names(official_weights("timesformer_divst_8x32_in64"))
    with pytest.raises(CheckpointError, match=r"SlowFast has no TimeSformer\. Choose the naming timesformer"):
        to_official_names(timesformer, "slowfast")
    with pytest.raises(CheckpointError, match=r"TimeSformer has no MViT\. Choose the naming slowfast or pytorchvideo"):
        to_official_names(to_own_names(official_weights("mvit_b_16x4_paper")), "timesformer")
    with pytest.raises(CheckpointError, match=r"TimeSformer has no X3D\. Choose"):
        to_official_names(to_own_names(official_weights("x3d_s")), "timesformer")
    with pytest.raises(CheckpointError, match="segmentation network"):
        to_official_names({"encoder.appearance.conv1.weight": torch.ones(1)}, "slowfast")
    with pytest.raises(CheckpointError, match="no network that is known here"):
        to_official_names({"weight": torch.ones(1)}, "slowfast")
    with pytest.raises(CheckpointError, match=r"no name for loss\.weight"):
        to_official_names(timesformer | {"loss.weight": torch.ones(1)}, "timesformer")
    basic = create_model("slowonly_r18", 5, block="basic", width=16).state_dict()
    with pytest.raises(CheckpointError, match="bottleneck blocks, and this one has basic ones"):
        to_official_names(basic, "pytorchvideo")
    assert to_own_names(to_official_names(basic, "slowfast")).keys() == basic.keys()
    with pytest.raises(UnknownNameError, match="naming called 'SlowFast'"):
        to_official_names(basic, "SlowFast")  # type: ignore[arg-type]


def test_x3ds_extra_normalisation_is_left_out_only_where_it_changes_nothing() -> None:
    bare = to_own_names(official_weights("x3d_m_ptv"))
    complete = to_own_names(to_official_names(bare, "slowfast"))
    added = complete.keys() - bare.keys()
    assert added == {
        f"res2.block0.shortcut.bn.{leaf}"
        for leaf in (*("weight", "bias"), "running_mean", "running_var", "num_batches_tracked")
    }
    with torch.device("meta"):
        assert create_model("x3d_m", 400).state_dict().keys() == complete.keys()
    assert_same_tensors(to_official_names(complete, "pytorchvideo"), official_weights("x3d_m_ptv"))
    bn = torch.nn.BatchNorm3d(24).eval()
    bn.load_state_dict({name.rpartition(".")[2]: complete[name] for name in added})
    video = values("video", [1, 24, 2, 3, 3])
    torch.testing.assert_close(bn(video), video, rtol=1e-6, atol=0)
    for leaf in ("weight", "running_var"):
        changed = complete | {f"res2.block0.shortcut.bn.{leaf}": complete[f"res2.block0.shortcut.bn.{leaf}"] + 1e-3}
        with pytest.raises(CheckpointError, match=rf"not the identity here \(res2.block0.shortcut.bn.{leaf}\)"):
            to_official_names(changed, "pytorchvideo")


@pytest.mark.parametrize(
    ("names", "layout"),
    [
        (["blocks.0.norm1.weight"], "unknown"),  # in all namings of transformers
        (["blocks.0.norm1.weight", "positions.spatial"], "staticdropout"),
        (["blocks.0.norm1.weight", "pos_embed_class"], "SlowFast"),
        (["blocks.0.norm1.weight", "cls_positional_encoding.cls_token"], "PyTorchVideo"),
        (["blocks.0.norm1.weight", "time_embed"], "TimeSformer"),
        (["slow.res2.block0.conv_a.weight"], "staticdropout"),
        (["blocks.0.multipathway_blocks.1.norm.bias"], "PyTorchVideo"),
        (["t_conv1_w"], "caffe2"),
    ],
)
def test_namings_are_told_by_marks_of_their_own(names: list[str], layout: str) -> None:
    assert detect_layout(names) == layout


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("shape", [(), (3,), (3, 3)])
def test_tensors_of_impossible_shapes_are_translated_and_described_all_the_same(
    network: str, shape: tuple[int, ...]
) -> None:
    weights = {name: torch.zeros(shape) for name, _ in key_list(network)}
    own = to_own_names(weights)
    assert family_of(own)
    assert describe_weights(own)
    naming: Any = NETWORKS[network][0]
    with suppress(CheckpointError):  # of an X3D whose shortcuts all seem to keep their channels
        assert to_official_names(own, naming)
    assert not any(fit.fits for fit in fit_models(own, LAYOUTS[naming]))


def test_a_table_reads_and_writes_the_same_rows() -> None:
    table = NameTable([("a{n}.{letter}.{leaf}", "b.{letter}{n}.{leaf}")], read_only=[("c{n}.{leaf}", "b.a{n}.{leaf}")])
    assert table.to_own("a12.c.weight") == "b.c12.weight"
    assert table.to_official("b.c12.weight") == "a12.c.weight"
    assert table.to_own("c3.bias") == "b.a3.bias"
    assert table.to_official("b.a3.bias") == "a3.a.bias"
    assert table.to_own("a12.d.weight") is None
    assert table.to_own("a12.c.weight.more") is None
    assert table.to_official("a12.c.weight") is None

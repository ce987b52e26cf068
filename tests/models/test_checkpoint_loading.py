# SPDX-License-Identifier: Apache-2.0
"""Weights in every naming find their place, and a file that does not fit is refused with what it is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from official_names import official_weights, shapes
from torch import Tensor, nn

from staticdropout.errors import CheckpointMismatchError, OptionError, UnknownNameError
from staticdropout.models.checkpoints import (
    detect_layout,
    load_checkpoint,
    read_checkpoint,
    to_official_names,
    to_own_names,
)
from staticdropout.models.registry import create_model


def small(name: str = "slowonly_r18", num_classes: int = 4, **kwargs: Any) -> nn.Module:
    torch.manual_seed(num_classes)
    model = create_model(name, num_classes, **{"width": 8, "zero_init_last_bn": False, **kwargs})
    for module in model.modules():  # no two layers alike, so that a swap shows
        if isinstance(module, nn.BatchNorm3d):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    return model


def save(weights: Any, folder: Path) -> Path:
    torch.save(weights, folder / "weights.pth")
    return folder / "weights.pth"


def assert_equal(model: nn.Module, other: nn.Module) -> None:
    for (name, ours), theirs in zip(model.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs), name


def slowfast_names(model: nn.Module, pathway: int = 0) -> dict[str, Tensor]:
    """The same weights under SlowFast's names, by an inverse written on its own."""
    renamed = {}
    for name, tensor in model.state_dict().items():
        new = re.sub(r"^stem\.", f"s1.pathway{pathway}_stem.", name)
        new = re.sub(r"^res(\d)\.block(\d+)\.", rf"s\1.pathway{pathway}_res\2.", new)
        new = re.sub(r"^res(\d)\.nonlocal(\d+)\.", rf"s\1.pathway{pathway}_nonlocal\2.", new)
        new = new.replace("shortcut.conv", "branch1").replace("shortcut.bn", "branch1_bn")
        new = re.sub(r"(_res\d+)\.conv_([abc])\.", r"\1.branch2.\2.", new)
        new = re.sub(r"\.bn_([abc])\.", r".branch2.\1_bn.", new)
        renamed[new.replace("head.fc", "head.projection")] = tensor
    return renamed


@pytest.mark.parametrize("prefix", ["", "model.", "module."])
def test_our_own_and_lightnings_checkpoints_load_by_name(prefix: str, tmp_path: Path) -> None:
    source, target = small(), small()
    nn.init.zeros_(source.get_parameter("head.fc.bias"))
    path = save({"state_dict": {prefix + k: v for k, v in source.state_dict().items()}}, tmp_path)
    report = load_checkpoint(target, path)
    assert_equal(target, source)
    assert (report.file_format, report.layout, report.left_out) == ("torch zip", "staticdropout", ())
    assert report.loaded == len(source.state_dict())


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
@pytest.mark.parametrize("pathway", [0, 1])
def test_slowfast_names_load_for_both_kinds_of_block_and_either_pathway(
    block: str, pathway: int, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"block": block, "nonlocal_blocks": ((), (1,), (0,), ())}
    source, target = small(**options), small(**options)
    with torch.no_grad():
        target.get_parameter("res5.block1.conv_a.weight").zero_()
    report = load_checkpoint(target, save({"model_state": slowfast_names(source, pathway)}, tmp_path), allow=())
    assert_equal(target, source)
    assert report.layout == "SlowFast"
    assert f"2-2-2-2 {block} blocks, width 8, temporal kernels 1 | 1,1 | 1,1 | 3,3 | 3,3" in report.architecture


def test_a_head_for_other_classes_stays_fresh_and_is_reported(tmp_path: Path) -> None:
    source, target = small(num_classes=4), small(num_classes=7)
    fresh = target.get_parameter("head.fc.weight").clone()
    report = load_checkpoint(target, save(source.state_dict(), tmp_path))
    assert report.left_out == ("head.fc.weight", "head.fc.bias")
    assert torch.equal(target.get_parameter("head.fc.weight"), fresh)
    assert torch.equal(target.get_parameter("stem.conv.weight"), source.get_parameter("stem.conv.weight"))


def test_a_head_for_other_classes_is_refused_where_no_gap_is_allowed(tmp_path: Path) -> None:
    with pytest.raises(CheckpointMismatchError, match=r"head.fc.weight \(4, 256\) instead of \(7, 256\)"):
        load_checkpoint(small(num_classes=7), save(small().state_dict(), tmp_path), allow=())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("res4.block1.conv_b.weight"), r"1 missing in the file: res4.block1.conv_b.weight\."),
        (lambda w: w.pop("res2.block0.bn_a.running_var"), r"missing in the file: res2.block0.bn_a.running_var"),
        (lambda w: w.update({"res6.weight": torch.ones(1)}), r"1 not in the model: res6.weight"),
        (
            lambda w: w.update({"stem.conv.weight": torch.ones(8, 3, 5, 7, 7)}),
            r"stem.conv.weight \(8, 3, 5, 7, 7\) inst",
        ),
        (lambda w: w.pop("head.fc.weight"), "missing in the file: head.fc.weight"),
        (lambda w: w.update({"head.fc.weight": torch.ones(9, 99)}), r"\(9, 99\) instead of \(4, 256\)"),
    ],
)
def test_any_other_gap_is_an_error_and_leaves_the_model_untouched(change: Any, message: str, tmp_path: Path) -> None:
    target, weights = small(), dict(small(num_classes=4).state_dict())
    weights["stem.bn.bias"] = weights["stem.bn.bias"] + 1
    change(weights)
    before = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    with pytest.raises(CheckpointMismatchError, match=message):
        load_checkpoint(target, save(weights, tmp_path))
    assert all(torch.equal(before[name], tensor) for name, tensor in target.state_dict().items())


def test_a_gap_that_is_named_is_accepted_and_reported(tmp_path: Path) -> None:
    plain, target = small("i3d_r50"), small("i3d_nln_r50")
    weights = {**plain.state_dict(), "extra.weight": torch.ones(1)}
    report = load_checkpoint(target, save(weights, tmp_path), allow=["*.nonlocal*", "extra.*"])
    assert report.ignored == ("extra.weight",)
    assert report.left_out
    assert all(".nonlocal" in name for name in report.left_out)
    without_head = {name: tensor for name, tensor in plain.state_dict().items() if not name.startswith("head.")}
    assert load_checkpoint(plain, save(without_head, tmp_path), allow="head.*").left_out == (
        "head.fc.weight",
        "head.fc.bias",
    )


def test_counters_of_batch_normalisation_may_be_absent(tmp_path: Path) -> None:
    weights = {k: v for k, v in small().state_dict().items() if not k.endswith("num_batches_tracked")}
    assert load_checkpoint(small(), save(weights, tmp_path), allow=()).loaded == len(weights)


def test_the_error_says_what_the_file_is_and_what_the_model_is(tmp_path: Path) -> None:
    path = save({"model_state": slowfast_names(small("i3d_r50", 6))}, tmp_path)
    with pytest.raises(CheckpointMismatchError) as caught:
        load_checkpoint(small("slowonly_r50"), path)
    message = str(caught.value)
    assert "The file (SlowFast naming) looks like: 3-D ResNet, 3-4-6-3 bottleneck blocks, width 8" in message
    assert "5 | 3,3,3 | 3,1,3,1 | 3,1,3,1,3,1 | 1,3,1, 6 classes" in message
    assert "The model is: 3-D ResNet, 3-4-6-3 bottleneck blocks, width 8, temporal kernels 1 | 1,1,1" in message
    assert "11 of another shape: stem.conv.weight (8, 3, 5, 7, 7) instead of (8, 3, 1, 7, 7), res2.block0" in message
    assert "and 6 more." in message


def test_files_of_other_kinds_of_network_are_named(tmp_path: Path) -> None:
    both = {**slowfast_names(small()), **slowfast_names(small(), pathway=1)}
    with pytest.raises(CheckpointMismatchError, match="two pathways"):
        load_checkpoint(small(), save(both, tmp_path))
    fused = {"blocks.0.multipathway_blocks.0.conv.weight": torch.ones(1)}
    fused["blocks.0.multipathway_blocks.1.conv.weight"] = torch.ones(1)
    with pytest.raises(CheckpointMismatchError, match="two pathways"):
        load_checkpoint(small(), save(fused, tmp_path))
    with pytest.raises(CheckpointMismatchError, match="inflate_from_timm"):
        load_checkpoint(small(), save({"layer1.0.conv1.weight": torch.ones(1)}, tmp_path))
    with pytest.raises(CheckpointMismatchError, match=r"unknown naming.*no network that is known here"):
        load_checkpoint(small(), save({"a.weight": torch.ones(1)}, tmp_path))


def test_any_module_can_be_loaded_by_its_own_names(tmp_path: Path) -> None:
    source, target = nn.Linear(2, 3), nn.Linear(2, 3)
    load_checkpoint(target, save(source.state_dict(), tmp_path))
    assert_equal(target, source)


def test_names_that_nothing_is_known_about_are_kept() -> None:
    weights = {"s1.pathway0_stem.conv.weight": torch.ones(1), "s9.mystery": torch.ones(1)}
    assert detect_layout(weights) == "SlowFast"
    assert list(to_own_names(weights)) == ["stem.conv.weight", "s9.mystery"]


def test_reading_leaves_weights_in_the_naming_of_the_file(tmp_path: Path) -> None:
    weights = slowfast_names(small())
    assert read_checkpoint(save({"model_state": weights}, tmp_path)).keys() == weights.keys()


TINY: dict[str, dict[str, Any]] = {
    "slowfast_r18_4x16": {"width": 16},
    "x3d_xs": {"blocks": (1, 2, 1, 1), "width": 8, "head_width": 16},
    "mvit_b_16x4": {"frames": 4, "crop_size": 32, "blocks": (1, 1, 1)},
    "timesformer_divst_8x32": {"frames": 4, "crop_size": 32, "depth": 2, "width": 24, "heads": 2},
}


def tiny(name: str, num_classes: int = 4, seed: int = 0, **kwargs: Any) -> nn.Module:
    """Build a small network in which no two tensors are alike, so that a swap shows."""
    torch.manual_seed(seed)
    model = create_model(name, num_classes, **TINY[name] | kwargs)
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            nn.init.normal_(tensor)
    return model


@pytest.mark.parametrize("prefix", ["", "module.", "module.model.", "_orig_mod."])
@pytest.mark.parametrize(
    ("name", "naming"),
    [
        *((name, "slowfast") for name in TINY if "timesformer" not in name),
        *((name, "pytorchvideo") for name in TINY if name.startswith(("slowfast", "mvit"))),
        ("timesformer_divst_8x32", "timesformer"),
    ],
)
def test_every_family_loads_from_every_naming_that_has_it(name: str, naming: Any, prefix: str, tmp_path: Path) -> None:
    source, target = tiny(name), tiny(name, seed=1)
    official = {prefix + key: value for key, value in to_official_names(source.state_dict(), naming).items()}
    report = load_checkpoint(target, save({"epoch": 1, "model_state": official, "cfg": "text"}, tmp_path), allow=())
    assert_equal(target, source)
    assert report.layout.lower() == naming
    assert (report.loaded, report.notes) == (len(source.state_dict()), ())


@pytest.mark.parametrize("name", TINY)
def test_every_family_loads_its_own_checkpoints_and_those_with_other_classes(name: str, tmp_path: Path) -> None:
    source, target, other = tiny(name), tiny(name, seed=1), tiny(name, num_classes=9)
    path = save(source.state_dict(), tmp_path)
    assert load_checkpoint(target, path, allow=()).layout == "staticdropout"
    assert_equal(target, source)
    assert load_checkpoint(other, path).left_out == ("head.fc.weight", "head.fc.bias")


def test_a_model_changes_its_form_for_the_file_and_says_so(tmp_path: Path) -> None:
    source, target = tiny("mvit_b_16x4", last_key_pooling=False, key_stride=4), tiny("mvit_b_16x4", 4, 1, key_stride=4)
    official = to_official_names(source.state_dict(), "slowfast")
    report = load_checkpoint(target, save({"model_state": official}, tmp_path), allow=())
    assert_equal(target, source)
    assert "without pooling of keys and values" in report.notes[0]


def test_a_model_gets_its_form_back_where_the_file_does_not_fit(tmp_path: Path) -> None:
    source, target = tiny("mvit_b_16x4", last_key_pooling=False, key_stride=4), tiny("mvit_b_16x4", 4, 1, key_stride=4)
    before = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    weights = {name: tensor for name, tensor in source.state_dict().items() if name != "norm.bias"}
    with pytest.raises(CheckpointMismatchError, match=r"1 missing in the file: norm\.bias"):
        load_checkpoint(target, save(weights, tmp_path))
    after = target.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_positions_of_another_size_are_resized_and_reported(tmp_path: Path) -> None:
    source, target = tiny("mvit_b_16x4", crop_size=64), tiny("mvit_b_16x4", seed=1)
    report = load_checkpoint(target, save(source.state_dict(), tmp_path), allow=())
    assert report.notes == ("positions.spatial was resized from 16x16 to 8x8 places.",)
    assert report.left_out == ()
    for name, tensor in target.state_dict().items():
        assert name == "positions.spatial" or torch.equal(tensor, source.state_dict()[name]), name


def test_pytorchvideos_x3d_gets_the_normalisation_that_it_lacks_as_the_identity(tmp_path: Path) -> None:
    path = save({"model_state": official_weights("x3d_m_ptv", shrink=10**9)}, tmp_path)
    model = create_model("x3d_m", 400)
    report = load_checkpoint(model, path, allow=())
    assert "set to the identity" in report.notes[0]
    assert load_checkpoint(create_model("x3d_m", 400, shortcut_norm=False), path, allow=()).notes == ()


@pytest.mark.parametrize("mode", ["logits", "softmax"])
def test_what_the_head_gives_is_an_option_of_loading(mode: Any, tmp_path: Path) -> None:
    source, target = small(), small()
    path = save(source.state_dict(), tmp_path)
    load_checkpoint(target, path, head_mode=mode)
    video = torch.randn(1, 3, 4, 32, 32)
    scores, logits = target.eval()(video), source.eval()(video)
    torch.testing.assert_close(scores, logits if mode == "logits" else logits.softmax(dim=-1))
    load_checkpoint(target, path)  # and stays as it is where nothing is said
    torch.testing.assert_close(target(video), scores)


def test_a_head_mode_that_nothing_has_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    model, path = nn.Linear(2, 3), save({"weight": torch.ones(3, 2), "bias": torch.ones(3)}, tmp_path)
    with pytest.raises(OptionError, match=r"Linear has no head with a mode"):
        load_checkpoint(model, path, head_mode="softmax")
    with pytest.raises(UnknownNameError, match="no head_mode called 'probabilities'"):
        load_checkpoint(small(), path, head_mode="probabilities")  # type: ignore[arg-type]
    assert not torch.equal(model.weight, torch.ones(3, 2))


def test_the_fast_pathway_of_a_slowfast_file_is_taken_where_that_is_asked_for(tmp_path: Path) -> None:
    source = tiny("slowfast_r18_4x16", width=64)
    target = create_model("fastonly_r50", 4, depth=18)
    fresh = target.get_parameter("head.fc.weight").clone()
    path = save({"model_state": to_official_names(source.state_dict(), "slowfast")}, tmp_path)
    with pytest.raises(CheckpointMismatchError, match=r"two pathways .*but for the head: .*pathway='fast'"):
        load_checkpoint(target, path)
    report = load_checkpoint(target, path, pathway="fast")
    assert report.left_out == ("head.fc.weight", "head.fc.bias")
    assert torch.equal(target.get_parameter("head.fc.weight"), fresh)
    for name, tensor in target.state_dict().items():
        assert name.startswith("head.") or torch.equal(tensor, source.state_dict()[f"fast.{name}"]), name
    (tmp_path / "one").mkdir()
    one = save(target.state_dict(), tmp_path / "one")
    with pytest.raises(OptionError, match="holds no SlowFast network of two pathways"):
        load_checkpoint(target, one, pathway="fast")
    with pytest.raises(UnknownNameError, match="no pathway called 'slow'"):
        load_checkpoint(target, path, pathway="slow")  # type: ignore[arg-type]
    with pytest.raises(CheckpointMismatchError) as caught:
        load_checkpoint(small(), path)
    assert "pathway='fast'" not in str(caught.value)


@pytest.mark.parametrize(
    ("network", "models"),
    [
        ("slowfast_r50_4x16", "It fits slowfast_r50_4x16 of this package"),
        ("i3d_r50", "It fits i3d_r50 of this package"),
        ("timesformer_divst_8x32_in64", "It fits timesformer_divst_8x32 of this package"),
    ],
)
def test_an_error_names_the_models_that_the_file_fits(network: str, models: str, tmp_path: Path) -> None:
    path = save({"model_state": shapes(network)}, tmp_path)
    with pytest.raises(CheckpointMismatchError, match=models):
        load_checkpoint(small(), path)


class Foreign(nn.Module):
    """A network of a user's own, whose names are PyTorchVideo's by chance or by origin."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([nn.ModuleDict({"conv": nn.Conv3d(3, 4, 1), "norm": nn.BatchNorm3d(4)})])
        self.other = nn.Linear(2, 2)


def test_a_foreign_module_is_loaded_by_its_own_names_whatever_they_look_like(tmp_path: Path) -> None:
    source, target = Foreign(), Foreign()
    assert detect_layout(source.state_dict()) == "PyTorchVideo"
    load_checkpoint(target, save(source.state_dict(), tmp_path), allow=())
    assert_equal(target, source)


def test_second_names_of_one_tensor_that_differ_are_refused(tmp_path: Path) -> None:
    official = to_official_names(tiny("mvit_b_16x4").state_dict(), "pytorchvideo")
    name = next(name for name in official if "_attention_pool_" in name)
    official[name] = official[name] + 1
    with pytest.raises(CheckpointMismatchError, match="with other values"):
        load_checkpoint(tiny("mvit_b_16x4"), save({"model_state": official}, tmp_path))

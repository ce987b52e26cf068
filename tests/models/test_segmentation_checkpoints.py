# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of segmentation networks: two files, wrappers, dead weights, and files of other networks."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from segmentation_parity import save_matnet_pair, save_official
from torch import Tensor, nn

from staticdropout.errors import CheckpointError, CheckpointMismatchError, UnsafeCheckpointError
from staticdropout.models import create_model
from staticdropout.models.checkpoints import describe_weights, detect_layout, load_checkpoint

NARROW: dict[str, Any] = {"backbone": "resnet18", "backbone_args": {"channels": (16, 32, 64, 128)}, "width": 16}
MATNET = {**NARROW, "boundary_width": 8}
FUSIONSEG = {**NARROW, "early_width": 8}


def small(name: str = "matnet", seed: int = 0) -> nn.Module:
    """Build a network in which no two tensors are alike, so that a swap shows."""
    torch.manual_seed(seed)
    model = create_model(name, **(FUSIONSEG if name.startswith("fusionseg") else MATNET))
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            nn.init.normal_(tensor)
    return model


def renamed(weights: dict[str, Tensor], *rules: tuple[str, str]) -> dict[str, Tensor]:
    out = {}
    for name, tensor in weights.items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        out[name] = tensor
    return out


def matnet_names(model: nn.Module) -> dict[str, Tensor]:
    """The same weights under MATNet's names, by an inverse written on its own."""
    streams = [(rf"^encoder\.{s}\.(conv1|bn1)\.", rf"encoder.\1_{n}.") for n, s in ((1, "appearance"), (2, "motion"))]
    for number, stream in ((1, "appearance"), (2, "motion")):
        streams += [(rf"^encoder\.{stream}\.layer{i}\.", f"encoder.res{i + 1}_{number}.") for i in (1, 2, 3, 4)]
    return renamed(
        model.state_dict(),
        *streams,
        (r"^encoder\.connect(\d)\.attention\.", r"encoder.coa_res\1."),
        (r"select_appearance", "proj1"),
        (r"select_motion", "proj2"),
        (r"embed_appearance", "proja"),
        (r"embed_motion", "projb"),
        (r"(coa_res\d)\.gate\.", r"\1.rgating.conv.0."),
        (r"^encoder\.fuse(\d)\.squeeze\.", r"encoder.gated_res\1.excitation_1.0."),
        (r"^encoder\.fuse(\d)\.excite\.", r"encoder.gated_res\1.excitation_2.0."),
        (r"^encoder\.fuse(\d)\.gate\.", r"encoder.gated_res\1.global_attention.0."),
        (r"^encoder\.fuse(\d)\.spatial_(conv|bn)\.", r"encoder.gated_res\1.spatial.\2."),
        (r"decoder\.context\.left", "decoder.GC.conv_l"),
        (r"decoder\.context\.right", "decoder.GC.conv_r"),
        (r"decoder\.residual\.conv", "decoder.convG"),
        (r"decoder\.refine(\d)", r"decoder.RF\1"),
        (r"pyramid\.pointwise", "pdc.block0"),
        (r"pyramid\.dilated", "pdc.block1.conv"),
        (r"pyramid\.bn", "pdc.bn"),
        (r"before\.conv1", "convFS2"),
        (r"before\.conv2", "convFS3"),
        (r"after\.conv", "convMM"),
        (r"decoder\.predict", "decoder.pred2"),
        (r"decoder\.boundaries\.fuse", "decoder.concat"),
        (r"decoder\.boundaries\.stage", "decoder.bdry"),
    )


def fusionseg_names(model: nn.Module) -> dict[str, Tensor]:
    """The same weights under the names of the released FusionSeg, by an inverse written on its own."""
    return renamed(
        model.state_dict(),
        (r"^encoder\.appearance", "backbone.app_stream"),
        (r"^encoder\.motion", "backbone.mot_stream"),
        (r"^encoder\.fuse2\.conv", "backbone.sensor_fusion.layer1"),
        (r"^encoder\.fuse5\.conv", "backbone.sensor_fusion.layer4"),
        (r"^aspp\.branches", "classifier.aspp.convs"),
        (r"^aspp\.pooled\.0", "classifier.aspp.convs.4.1"),
        (r"^aspp\.pooled\.1", "classifier.aspp.convs.4.2"),
        (r"^aspp\.project", "classifier.aspp.project"),
        (r"^head\.early", "classifier.project"),
        (r"^head\.mix", "classifier.classifier"),
        (r"^head\.classify", "classifier.classifier.3"),
    )


def dead_weights() -> dict[str, Tensor]:
    return {
        "encoder.coa_res4.bottolneck1.0.weight": torch.ones(2, 2, 1, 1),
        "encoder.coa_res4.bna.running_mean": torch.ones(2),
        "decoder.RF3.convFS1.bias": torch.ones(2),
        "decoder.RF2.pdc.block3.conv.weight": torch.ones(2, 2, 3, 3),
        "decoder.pred5.weight": torch.ones(1, 2, 3, 3),
    }


def assert_equal(model: nn.Module, other: nn.Module) -> None:
    for (name, ours), theirs in zip(model.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs), name


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("which", ["", "encoder_0.pt", "decoder_0.pt"])
def test_matnets_two_files_load_by_their_folder_or_by_either_file(prefix: str, which: str, tmp_path: Path) -> None:
    source, target = small(), small(seed=1)
    save_matnet_pair(matnet_names(source) | dead_weights(), tmp_path, prefix=prefix)
    report = load_checkpoint(target, tmp_path / which, allow=())
    assert_equal(target, source)
    assert (report.layout, report.loaded) == ("MATNet", len(source.state_dict()))
    assert report.path == str(tmp_path / "encoder_0.pt")
    assert set(report.dead) == set(dead_weights())
    assert (report.left_out, report.ignored) == ((), ())


def test_of_several_epochs_the_last_with_both_files_is_taken(tmp_path: Path) -> None:
    early, late, target = small(), small(seed=1), small(seed=2)
    save_matnet_pair(matnet_names(early), tmp_path, epoch=9)
    save_matnet_pair(matnet_names(late), tmp_path, epoch=10)
    (tmp_path / "encoder_11.pt").write_bytes((tmp_path / "encoder_9.pt").read_bytes())
    assert load_checkpoint(target, tmp_path).path == str(tmp_path / "encoder_10.pt")
    assert_equal(target, late)


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_a_half_without_the_other_is_named(part: str, tmp_path: Path) -> None:
    other = "decoder" if part == "encoder" else "encoder"
    save_matnet_pair(matnet_names(small()), tmp_path, epoch=3)
    (tmp_path / f"{other}_3.pt").unlink()
    with pytest.raises(CheckpointError, match=f"the {part}, and {other}_3.pt is not beside it"):
        load_checkpoint(small(), tmp_path / f"{part}_3.pt")
    with pytest.raises(CheckpointError, match=r"folder without a pair of files encoder_<n>\.pt and decoder_<n>\.pt"):
        load_checkpoint(small(), tmp_path)
    (tmp_path / f"{part}_3.pt").rename(tmp_path / "weights.pt")
    with pytest.raises(CheckpointError, match=f"its name does not contain '{part}'"):
        load_checkpoint(small(), tmp_path / "weights.pt")


def test_a_file_beside_a_half_that_is_not_the_other_half_is_named(tmp_path: Path) -> None:
    save_matnet_pair(matnet_names(small()), tmp_path)
    (tmp_path / "decoder_0.pt").write_bytes((tmp_path / "encoder_0.pt").read_bytes())
    with pytest.raises(CheckpointError, match=r"decoder_0\.pt' does not hold MATNet's decoder"):
        load_checkpoint(small(), tmp_path)


@pytest.mark.parametrize("container", [None, "state_dict", "model_state", "model"])
@pytest.mark.parametrize("prefix", ["", "module.", "model.", "module.model."])
def test_every_packaging_of_one_file_is_read(container: str | None, prefix: str, tmp_path: Path) -> None:
    source, target = small("fusionseg_r101"), small("fusionseg_r101", seed=1)
    path = save_official(fusionseg_names(source), tmp_path / "file.pth", container, prefix)
    assert load_checkpoint(target, path, allow=()).layout == "FusionSeg"
    assert_equal(target, source)


def test_matnet_in_one_file_is_read_too(tmp_path: Path) -> None:
    source, target = small("rtnet_star"), small("rtnet_star", seed=1)
    load_checkpoint(target, save_official(matnet_names(source), tmp_path / "both.pt"), allow=())
    assert_equal(target, source)


@pytest.mark.parametrize("name", ["matnet", "rtnet_star", "fusionseg_r101"])
def test_our_own_checkpoints_load_by_name(name: str, tmp_path: Path) -> None:
    source, target = small(name), small(name, seed=1)
    content = {
        "pytorch-lightning_version": "2.6",
        "state_dict": {f"model.{k}": v for k, v in source.state_dict().items()},
    }
    torch.save(content | {"hyper_parameters": {"lr": 0.1}}, tmp_path / "last.ckpt")
    report = load_checkpoint(target, tmp_path / "last.ckpt", allow=())
    assert_equal(target, source)
    assert (report.layout, report.dead) == ("staticdropout", ())


def test_fusionsegs_fusions_that_are_never_called_are_listed_as_dead(tmp_path: Path) -> None:
    dead = {f"backbone.sensor_fusion.layer{n}.bias": torch.ones(2) for n in (2, 3)}
    path = save_official(fusionseg_names(small("fusionseg_r101")) | dead, tmp_path / "a.pth", "model_state", "")
    assert load_checkpoint(small("fusionseg_r101", seed=1), path, allow=()).dead == tuple(dead)


def test_a_global_gate_is_dead_only_where_the_network_has_none(tmp_path: Path) -> None:
    with_gate, without = small("matnet"), small("matnet_noglobal")
    save_matnet_pair(matnet_names(with_gate), tmp_path)
    gates = {f"encoder.fuse{stage}.gate.{kind}" for stage in (2, 3, 4, 5) for kind in ("weight", "bias")}
    assert set(load_checkpoint(without, tmp_path, allow=()).dead) == gates
    assert load_checkpoint(with_gate, tmp_path, allow=()).dead == ()


def test_a_name_that_is_not_known_to_be_dead_is_an_error(tmp_path: Path) -> None:
    for name in ("decoder.pred6.weight", "encoder.coa_res4.bnc.weight", "decoder.RF4.convFS4.weight"):
        path = save_official(matnet_names(small()) | {name: torch.ones(1)}, tmp_path / "a.pt")
        with pytest.raises(CheckpointMismatchError, match=f"1 not in the model: {re.escape(name)}"):
            load_checkpoint(small(), path)


def test_a_missing_weight_is_an_error_and_the_model_stays_untouched(tmp_path: Path) -> None:
    weights, target = matnet_names(small()), small(seed=1)
    del weights["decoder.RF4.pdc.block1.conv.weight"]
    before = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    save_matnet_pair(weights, tmp_path)
    with pytest.raises(
        CheckpointMismatchError, match=r"1 missing in the file: decoder\.refine4\.pyramid\.dilated\.weight"
    ):
        load_checkpoint(target, tmp_path)
    assert all(torch.equal(before[name], tensor) for name, tensor in target.state_dict().items())


@pytest.mark.parametrize(
    ("file", "model", "said"),
    [
        ("matnet", "matnet_nobar", r"looks like: MATNet.* boundary refinement\. The model is: MATNet.* no boundary"),
        ("matnet_ccg", "matnet", r"looks like: MATNet.*convex fusion.*The model is: MATNet.*gated fusion"),
        ("matnet", "rtnet_star", r"plain connections.*The model is: MATNet.*gated connections"),
        ("matnet", "fusionseg_r101", r"looks like: MATNet.*The model is: FusionSeg"),
        ("fusionseg_r101", "matnet", r"looks like: FusionSeg.*The model is: MATNet"),
    ],
)
def test_a_file_of_another_segmentation_network_is_refused_with_what_both_are(
    file: str, model: str, said: str, tmp_path: Path
) -> None:
    path = save_official(small(file).state_dict(), tmp_path / "a.pt", prefix="")
    with pytest.raises(CheckpointMismatchError, match=said):
        load_checkpoint(small(model), path)


def test_a_video_classifier_and_a_segmentation_network_refuse_each_others_files(tmp_path: Path) -> None:
    classifier = create_model("slowonly_r18", num_classes=4, width=8)
    path = save_official(classifier.state_dict(), tmp_path / "a.pt")
    with pytest.raises(
        CheckpointMismatchError, match=r"looks like: 3-D ResNet.*The model is: MATNet, two streams of 2-2-2-2"
    ):
        load_checkpoint(small(), path)
    with pytest.raises(
        CheckpointMismatchError, match=r"\(MATNet naming\) looks like: MATNet.*The model is: 3-D ResNet"
    ):
        load_checkpoint(classifier, save_official(matnet_names(small()), tmp_path / "b.pt"))
    save_matnet_pair(matnet_names(small()), tmp_path)
    with pytest.raises(
        CheckpointMismatchError, match=r"\(MATNet naming\) looks like: MATNet.*The model is: 3-D ResNet"
    ):
        load_checkpoint(classifier, tmp_path)


class Danger:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("part", ["encoder", "decoder"])
@pytest.mark.parametrize("kind", ["torch", "pickle"])
def test_code_in_either_file_is_refused_and_not_run(part: str, kind: str, tmp_path: Path) -> None:
    save_matnet_pair(matnet_names(small()), tmp_path)
    content = {"conv1_1.weight": torch.ones(1), "evil": Danger(tmp_path / "ran")}
    path = tmp_path / f"{part}_0.pt"
    if kind == "torch":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps({"evil": content["evil"]}))
    with pytest.raises(UnsafeCheckpointError, match=f"{part}_0.pt' was refused"):
        load_checkpoint(small(), tmp_path)
    assert not (tmp_path / "ran").exists()


def test_layouts_are_told_apart_by_their_names() -> None:
    assert detect_layout(matnet_names(small())) == "MATNet"
    assert detect_layout(fusionseg_names(small("fusionseg_r101"))) == "FusionSeg"
    assert detect_layout(small().state_dict()) == detect_layout(small("fusionseg_r101").state_dict()) == "staticdropout"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("matnet", "plain connections, gated fusion, boundary refinement"),
        ("matnet_nobar", "plain connections, gated fusion, no boundary refinement"),
        ("matnet_gated", "gated connections, gated fusion, boundary refinement"),
        ("matnet_ccg", "plain connections, convex fusion, boundary refinement"),
        ("matnet_noglobal", "plain connections, gated fusion without global gate, boundary refinement"),
    ],
)
def test_a_network_is_described_in_words(name: str, words: str) -> None:
    described = describe_weights(small(name).state_dict())
    assert described == f"MATNet, two streams of 2-2-2-2 basic blocks, {words}"


def test_fusionseg_is_described_in_words() -> None:
    assert describe_weights(small("fusionseg_r101").state_dict()) == "FusionSeg, two streams of 2-2-2-2 basic blocks"

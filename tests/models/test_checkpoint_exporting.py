# SPDX-License-Identifier: Apache-2.0
"""Our checkpoints become official files: the same tensors to the last bit, whole or not at all."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from official_names import NETWORKS, assert_same_tensors, official_weights, shapes
from torch import Tensor

from staticdropout.cli import main
from staticdropout.errors import CheckpointError, CheckpointMismatchError, OptionError, UnknownNameError
from staticdropout.models.checkpoints import export_file, load_checkpoint, to_own_names
from staticdropout.models.registry import create_model
from staticdropout.verbs import VERBS
from staticdropout.verbs.models import export_checkpoint


def save(content: Any, folder: Path, name: str = "ours.ckpt") -> Path:
    torch.save(content, folder / name)
    return folder / name


def exported(path: Path) -> dict[str, Tensor]:
    content: dict[str, dict[str, Tensor]] = torch.load(path, weights_only=True)
    assert content.keys() == {"model_state"}
    return content["model_state"]


def assert_equal(model: torch.nn.Module, other: torch.nn.Module) -> None:
    for (name, ours), theirs in zip(model.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs), name


@pytest.mark.parametrize("network", NETWORKS)
def test_an_official_file_trained_on_as_ours_is_exported_as_it_came(network: str, tmp_path: Path) -> None:
    official, (naming, _) = official_weights(network), NETWORKS[network]
    ours = {f"model.{name}": tensor for name, tensor in to_own_names(official).items()}
    path = save({"pytorch-lightning_version": "2.6", "state_dict": ours | {"loss.weight": torch.ones(1)}}, tmp_path)
    report = export_file(path, tmp_path / "out" / "official.pyth", naming)  # type: ignore[arg-type]
    assert_same_tensors(exported(tmp_path / "out" / "official.pyth"), official)
    assert report.tensors == len(official)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["official.pyth"]


@pytest.mark.parametrize("naming", ["slowfast", "pytorchvideo"])
@pytest.mark.parametrize("name", ["fastonly_r50", "x3d_xs"])
def test_a_model_in_full_size_is_exported_and_loaded_again(name: str, naming: Any, tmp_path: Path) -> None:
    model, other = create_model(name, 7), create_model(name, 7)
    if name == "x3d_xs":
        bn = model.get_submodule("res2.block0.shortcut.bn")
        bn.load_state_dict(bn.state_dict() | {"running_var": torch.full((24,), 1 - 1e-5)})
    path = save({"state_dict": {f"model.{k}": v for k, v in model.state_dict().items()}}, tmp_path)
    report = export_file(path, tmp_path / "official.pyth", naming)
    loaded = load_checkpoint(other, tmp_path / "official.pyth", allow=())
    assert_equal(other, model)
    assert name in report.models
    assert loaded.layout == {"slowfast": "SlowFast", "pytorchvideo": "PyTorchVideo"}[naming]
    dropped = name == "x3d_xs" and naming == "pytorchvideo"
    assert bool(report.notes) == bool(loaded.notes) == dropped


def test_the_naming_of_the_input_does_not_matter_nor_its_packaging(tmp_path: Path) -> None:
    blobs = {"conv1_w": torch.ones(8, 3, 5, 7, 7).numpy(), "pred_w": torch.ones(4, 256).numpy(), "lr": 0.1}
    (tmp_path / "caffe2.pkl").write_bytes(pickle.dumps({"blobs": blobs}, protocol=2))
    export_file(tmp_path / "caffe2.pkl", tmp_path / "official.pyth", "pytorchvideo")
    assert list(exported(tmp_path / "official.pyth")) == ["blocks.0.conv.weight", "blocks.5.proj.weight"]
    export_file(tmp_path / "official.pyth", tmp_path / "back.pyth", "slowfast")
    assert list(exported(tmp_path / "back.pyth")) == ["s1.pathway1_stem.conv.weight", "head.projection.weight"]


@pytest.mark.parametrize(("network", "head"), [("c2d_r50_8x8", 6), ("i3d_r50_8x8", 6), ("slow_r50_8x8", 5)])
def test_pooling_of_frames_is_known_from_the_registered_models_that_fit(
    network: str, head: int, tmp_path: Path
) -> None:
    report = export_file(save(shapes(network), tmp_path), tmp_path / "official.pyth", "pytorchvideo")
    assert NETWORKS[network][1] in report.models
    assert f"blocks.{head}.proj.weight" in exported(tmp_path / "official.pyth")


def test_a_named_model_must_fit(tmp_path: Path) -> None:
    path = save(create_model("fastonly_r50", 4).state_dict(), tmp_path)
    export_file(path, tmp_path / "official.pyth", "slowfast", "fastonly_r50")
    with pytest.raises(
        CheckpointMismatchError, match=r"ours.ckpt' cannot be exported: it does not fit slowonly_r50\. 26"
    ):
        export_file(path, tmp_path / "other.pyth", "slowfast", "slowonly_r50")
    with pytest.raises(UnknownNameError, match="Close matches: fastonly_r50"):
        export_file(path, tmp_path / "other.pyth", "slowfast", "fastonly")
    assert not (tmp_path / "other.pyth").exists()


def test_a_form_that_official_configs_do_not_have_is_noted(tmp_path: Path) -> None:
    path = save(to_own_names(official_weights("mvit_b_16x4_paper")), tmp_path)
    report = export_file(path, tmp_path / "official.pyth", "pytorchvideo")
    assert "not pooled in the last blocks" in report.notes[0]
    path = save(to_own_names(official_weights("x3d_m_ptv")), tmp_path)
    report = export_file(path, tmp_path / "official.pyth", "slowfast")
    assert "was written as the identity" in report.notes[0]


def test_what_cannot_be_exported_writes_nothing_and_says_why(tmp_path: Path) -> None:
    output = tmp_path / "official.pyth"
    nonlocal_blocks = save(to_own_names(official_weights("i3d_nln_r50_8x8")), tmp_path)
    with pytest.raises(CheckpointError, match=r"ours.ckpt' cannot be exported: .*no non-local blocks"):
        export_file(nonlocal_blocks, output, "pytorchvideo")
    segmentation = save({"encoder.appearance.conv1.weight": torch.ones(1)}, tmp_path)
    with pytest.raises(CheckpointError, match="segmentation network"):
        export_file(segmentation, output, "slowfast")
    path = save(create_model("fastonly_r50", 4).state_dict(), tmp_path)
    with pytest.raises(OptionError, match="is the file that is read"):
        export_file(path, path, "slowfast")
    with pytest.raises(OptionError, match="is a folder"):
        export_file(path, tmp_path, "slowfast")
    assert not output.exists()


def test_the_command_says_what_it_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = save(create_model("fastonly_r50", 4).state_dict(), tmp_path)
    export_checkpoint(str(path), str(tmp_path / "official.pyth"), naming="slowfast")
    assert "320 tensors written to" in (text := capsys.readouterr().out)
    assert "in the naming of slowfast: 3-D ResNet, 3-4-6-3 bottleneck blocks, width 8" in text


def test_the_command_refuses_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(VERBS["models"], "export", export_checkpoint)
    path = save(create_model("fastonly_r50", 4).state_dict(), tmp_path)
    with pytest.raises(SystemExit, match=r"error: .*TimeSformer has no 3-D ResNet"):
        main(["models", "export", str(path), str(tmp_path / "official.pyth"), "--naming", "timesformer"])

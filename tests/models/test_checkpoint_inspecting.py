# SPDX-License-Identifier: Apache-2.0
"""What a file is, is said without running anything in it, and which models it fits."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from official_names import LAYOUTS, NETWORKS, official_weights, shapes
from torch import Tensor, nn

from staticdropout.errors import CheckpointError, UnknownNameError, UnsafeCheckpointError
from staticdropout.models.checkpoints import inspect_file, print_inspection, to_own_names
from staticdropout.models.checkpoints.fitting import fit_models
from staticdropout.models.registry import create_model, list_models
from staticdropout.verbs.models import inspect_checkpoint

# All registered models of the same tensors.
SAME = {
    "slowonly_r18": {"slowonly_r18", "resnet3d_r18"},
    "slowonly_r50": {"slowonly_r50", "slowonly_r50_4x16", "resnet3d_r50"},
    "slowfast_r50_8x8": {"slowfast_r50_8x8", "slowfast_r50_16x8"},
    "x3d_m": {"x3d_xs", "x3d_s", "x3d_m"},
    "x3d_s": {"x3d_xs", "x3d_s", "x3d_m"},
}


def save(content: Any, folder: Path, name: str = "file.pyth") -> Path:
    torch.save(content, folder / name)
    return folder / name


def other_classes(weights: dict[str, Tensor], classes: int) -> dict[str, Tensor]:
    return {
        name: tensor.new_zeros(1).expand(classes, *tensor.shape[1:]) if name.startswith("head.fc.") else tensor
        for name, tensor in weights.items()
    }


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("classes", [400, 174])
def test_every_recorded_network_fits_its_models_and_no_others(network: str, classes: int) -> None:
    naming, name = NETWORKS[network]
    weights = other_classes(to_own_names(shapes(network)), classes)
    fits = fit_models(weights, LAYOUTS[naming])
    assert {fit.name for fit in fits if fit.fits} == SAME.get(name, {name})
    assert all(len(fit.comparison.fitting) > 0 and not fit.comparison.left_out for fit in fits if fit.fits)


@pytest.mark.parametrize("name", list_models("matnet*") + list_models("rtnet*") + list_models("fusionseg*"))
def test_every_segmentation_network_fits_itself(name: str) -> None:
    with torch.device("meta"):
        weights = create_model(name).state_dict()
    fits = {fit.name: fit for fit in fit_models(weights, "staticdropout")}
    assert fits[name].fits
    assert fits.keys() <= set(list_models("*")) - {"slowonly_r50"}


def test_what_the_models_would_do_to_the_weights_is_told() -> None:
    weights = to_own_names(shapes("mvit_b_16x4_crop64"))
    (fit,) = fit_models(weights, "SlowFast")
    assert fit.fits
    assert fit.notes == ("positions.spatial was resized from 16x16 to 56x56 places.",)
    (fit,) = fit_models(to_own_names(shapes("mvit_b_16x4_paper")), "SlowFast")
    assert "without pooling of keys and values" in fit.notes[0]
    (again,) = fit_models(to_own_names(shapes("mvit_base_16x4_ptv")), "PyTorchVideo")
    assert (again.fits, again.notes) == (True, ())  # the model that was tried has its own form again


def test_the_report_holds_what_else_is_in_the_file(tmp_path: Path) -> None:
    model = create_model("fastonly_r50", 48)
    content = {
        "epoch": np.int64(7),
        "cfg": "TRAIN:\n  ENABLE: true\n",
        "optimizer_state": {"state": {}, "param_groups": [1]},
        "scaler_state": {},
        "best": 0.5,
        "history": [1, 2],
        "mean": torch.ones(3),
        "name": "run 1",
        "model_state": model.state_dict(),
    }
    report = inspect_file(save(content, tmp_path))
    assert report.extras == {
        "epoch": "7",
        "cfg": "text of 2 lines",
        "optimizer_state": "dict of 2 (state, param_groups)",
        "scaler_state": "empty dict",
        "best": "0.5",
        "history": "list of 2",
        "mean": "tensor of shape (3,)",
        "name": "'run 1'",
    }
    assert (report.file_format, report.layout, report.family) == ("torch zip", "staticdropout", "3-D ResNet")
    assert (report.models, report.classes, report.tensors) == (("fastonly_r50",), 48, 320)
    assert report.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert inspect_file(save(model.state_dict(), tmp_path)).extras == {}


def test_a_file_without_a_last_layer_fits_with_a_fresh_one(tmp_path: Path) -> None:
    weights = {name: t for name, t in create_model("fastonly_r50", 4).state_dict().items() if "head" not in name}
    report = inspect_file(save(weights, tmp_path))
    assert (report.classes, report.models) == (None, ("fastonly_r50",))
    assert report.fits[0].comparison.left_out == ("head.fc.weight", "head.fc.bias")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda w: w.pop("res4.block1.conv_b.weight"), "1 missing in the file: res4.block1.conv_b.weight."),
        (lambda w: w.update({"extra": torch.ones(1)}), "1 not in the model: extra."),
        (lambda w: w.update({"stem.bn.bias": torch.ones(9)}), "1 of another shape: stem.bn.bias (9,) instead of (8,)."),
        (lambda w: w.update({"head.fc.weight": torch.ones(4, 99)}), "head.fc.weight (400, 99) instead of (400, 256)."),
        (lambda w: w.pop("head.fc.bias"), "1 missing in the file: head.fc.bias."),
    ],
)
def test_what_is_in_the_way_is_named_for_the_nearest_model(change: Any, said: str, tmp_path: Path) -> None:
    weights = dict(create_model("fastonly_r50", 4).state_dict())
    change(weights)
    report = inspect_file(save(weights, tmp_path))
    assert report.models == ()
    assert report.fits[0].name == "fastonly_r50"
    assert said in str(report.fits[0].comparison)


def test_files_that_no_model_takes_are_described_all_the_same(tmp_path: Path) -> None:
    report = inspect_file(save({"layer1.0.conv1.weight": torch.ones(4, 4, 1, 1)}, tmp_path))
    assert (report.layout, report.fits) == ("2-D ResNet", ())
    assert "inflate_from_timm" in report.obstacle
    report = inspect_file(save(nn.Linear(2, 3).state_dict(), tmp_path))
    assert (report.layout, report.family, report.fits) == ("unknown", "", ())
    assert report.architecture == "no network that is known here, 2 tensors"


def test_what_cannot_be_read_is_refused_and_nothing_of_it_runs(tmp_path: Path) -> None:
    with pytest.raises(UnsafeCheckpointError, match=r"argparse\.Namespace"):
        inspect_file(save({"model_state": {"a": torch.ones(1)}, "cfg": argparse.Namespace(a=1)}, tmp_path))
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        inspect_file(tmp_path / "absent.pyth")
    with pytest.raises(UnknownNameError, match="Close matches: fastonly_r50"):
        inspect_file(save({"a": torch.ones(1)}, tmp_path), "fastonly")


@pytest.mark.parametrize("which", ["", "encoder_3.pt", "decoder_3.pt"])
def test_a_network_in_two_files_is_one(which: str, tmp_path: Path) -> None:
    save({"conv1_1.weight": torch.ones(64, 3, 7, 7)}, tmp_path, "encoder_3.pt")
    save({"GC.conv_l1.weight": torch.ones(2)}, tmp_path, "decoder_3.pt")
    report = inspect_file(tmp_path / which)
    assert (report.layout, report.family, report.tensors) == ("MATNet", "segmentation", 2)
    assert report.path == str(tmp_path / "encoder_3.pt")
    assert (report.models, report.extras) == ((), {})


def test_one_model_can_be_asked_about_even_of_another_family(tmp_path: Path) -> None:
    path = save({"model_state": official_weights("x3d_s", shrink=10**9)}, tmp_path)
    assert inspect_file(path, "x3d_s").models == ("x3d_s",)
    report = inspect_file(path, "mvit_b_16x4")
    assert report.models == ()
    assert report.fits[0].comparison.missing
    assert report.fits[0].comparison.surplus


def test_the_command_prints_it_and_fails_where_nothing_fits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = save({"epoch": 3, "model_state": create_model("fastonly_r50", 48).state_dict()}, tmp_path)
    inspect_checkpoint(str(path))
    text = capsys.readouterr().out
    for said in ("torch zip", "staticdropout", "526,488 parameters", "48", "epoch", "fastonly_r50", "320 tensors"):
        assert said in text
    with pytest.raises(SystemExit) as caught:
        inspect_checkpoint(str(path), "slowonly_r50")
    assert caught.value.code == 1
    assert "Fits no model as it is" in (text := capsys.readouterr().out)
    assert "of another shape" in text


@pytest.mark.parametrize(
    ("weights", "said"),
    [({"a": torch.ones(1)}, "no family of networks"), ({"layer1.0.conv1.weight": torch.ones(1)}, "Not loaded by any")],
)
def test_the_text_says_why_no_model_was_tried(
    weights: Any, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    print_inspection(inspect_file(save(weights, tmp_path)))
    assert said in capsys.readouterr().out


def test_names_with_brackets_are_printed_as_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = dict(create_model("fastonly_r50", 4).state_dict())
    print_inspection(inspect_file(save({"[red]": "[bold]", "state_dict": weights}, tmp_path)))
    text = capsys.readouterr().out
    assert "[red]" in text
    assert "[bold]" in text


def test_building_models_to_try_leaves_the_random_state_alone() -> None:
    before = torch.random.get_rng_state()
    for network in ("slow_r18", "mvit_b_16x4_paper", "mvit_base_16x4_ptv"):
        fit_models(to_own_names(shapes(network)), "SlowFast")
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_checkpoint_of_ours_fits_the_model_with_the_arguments_that_it_names(tmp_path: Path) -> None:
    weights = {f"model.{name}": value for name, value in create_model("x3d_s", 4, width=8).state_dict().items()}
    content = {
        "pytorch-lightning_version": "2.6.0",
        "state_dict": weights,
        "hyper_parameters": {"model": "x3d_s", "num_classes": 4, "model_args": {"width": 8}},
    }
    report = inspect_file(save(content, tmp_path))
    assert report.models == ("x3d_s",)
    assert report.fits[0].notes == ("Built with model_args {width: 8}, as the file says.",)
    assert not inspect_file(save(content, tmp_path), "x3d_l").models
    for wrong in ("wide", 10**9, [1] * 5000):
        content["hyper_parameters"]["model_args"] = {"width": wrong}  # type: ignore[index] # a dict, as above
        assert not inspect_file(save(content, tmp_path)).models

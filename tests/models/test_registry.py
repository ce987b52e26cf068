# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from staticdropout.errors import OptionError, UnknownNameError
from staticdropout.models import registry
from staticdropout.models.registry import (
    ModelInfo,
    create_model,
    list_models,
    model_info,
    models_table,
    register_model,
)
from staticdropout.models.resnet3d import ResNet3d
from staticdropout.models.tables import print_models

NAMES = [
    "c2d_r50",
    "fastonly_r50",
    "i3d_nln_r50",
    "i3d_r50",
    "resnet3d_r18",
    "resnet3d_r50",
    "slowonly_r101",
    "slowonly_r18",
    "slowonly_r50",
    "slowonly_r50_4x16",
]
OTHERS = [
    "mvit_b_16x4",
    "slowfast_r101_16x8",
    "slowfast_r101_8x8",
    "slowfast_r18_4x16",
    "slowfast_r18_8x8",
    "slowfast_r50_16x8",
    "slowfast_r50_4x16",
    "slowfast_r50_8x8",
    "timesformer_divst_8x32",
    "x3d_l",
    "x3d_m",
    "x3d_s",
    "x3d_xs",
]
SEGMENTATION = [
    "fusionseg_r101",
    "matnet",
    "matnet_bidirectional",
    "matnet_ccg",
    "matnet_gated",
    "matnet_nobar",
    "matnet_noglobal",
    "rtnet_star",
]


def small_segmenter(name: str, **options: Any) -> nn.Module:
    return create_model(name, backbone="resnet18", backbone_args={"channels": (16, 32, 64, 128)}, width=16, **options)


def test_all_networks_are_listed() -> None:
    assert {*NAMES, *OTHERS, *SEGMENTATION} <= set(list_models())
    assert list_models("slowonly*") == ["slowonly_r101", "slowonly_r18", "slowonly_r50", "slowonly_r50_4x16"]
    assert list_models("nothing*") == []


@pytest.mark.parametrize("name", NAMES)
def test_the_stated_number_of_parameters_is_the_real_one(name: str) -> None:
    with torch.device("meta"):
        model = create_model(name, num_classes=400)
    assert sum(p.numel() for p in model.parameters()) == model_info(name).params


@pytest.mark.parametrize("name", SEGMENTATION)
def test_the_stated_number_of_parameters_of_a_segmentation_network_is_the_real_one(name: str) -> None:
    with torch.device("meta"):
        model = create_model(name)
    assert sum(p.numel() for p in model.parameters()) == model_info(name).params


@pytest.mark.parametrize("name", SEGMENTATION)
def test_every_segmentation_name_builds_a_network_that_runs_on_image_and_flow(name: str) -> None:
    assert model_info(name).task == "segmentation"
    with torch.inference_mode():
        outputs = small_segmenter(name).eval()(torch.randn(1, 3, 64, 64), torch.randn(1, 3, 64, 64))
    assert outputs["mask"].shape == (1, 1, 64, 64)


def test_segmentation_names_stand_for_what_the_paper_compares() -> None:
    def parts(name: str, **options: Any) -> tuple[str, bool, str, bool, bool]:
        model = small_segmenter(name, **options)
        attention, fuse = model.get_submodule("encoder.connect3.attention"), model.get_submodule("encoder.fuse2")
        gate, local = attention.gate is not None, getattr(fuse, "gate", None) is None
        return (
            str(attention.direction),
            gate,
            type(fuse).__name__,
            local,
            model.get_submodule("decoder").boundaries is not None,
        )

    assert parts("matnet") == ("uni", False, "GatedFusion", False, True)
    assert parts("matnet_nobar") == ("uni", False, "GatedFusion", False, False)
    assert parts("matnet_gated") == ("uni", True, "GatedFusion", False, True)
    assert parts("matnet_bidirectional") == ("bi", False, "GatedFusion", False, True)
    assert parts("rtnet_star") == ("bi", True, "GatedFusion", False, True)
    assert parts("matnet_ccg") == ("uni", False, "ConvexGatedFusion", True, True)
    assert parts("matnet_noglobal") == ("uni", False, "GatedFusion", True, True)
    assert parts("matnet_ccg", cross_connection="bi") == ("bi", False, "ConvexGatedFusion", True, True)


def test_a_classifier_needs_a_number_of_classes_and_a_segmentation_network_takes_none() -> None:
    with pytest.raises(OptionError, match="slowonly_r18 classifies clips and needs num_classes"):
        create_model("slowonly_r18")
    with pytest.raises(OptionError, match="matnet segments objects and has no classes, but num_classes=2 was given"):
        create_model("matnet", num_classes=2)


@pytest.mark.parametrize("name", NAMES)
def test_every_name_builds_a_network_that_runs_on_its_clips(name: str) -> None:
    model = create_model(name, num_classes=3, width=8, dropout=0.5).eval()
    with torch.inference_mode():
        assert model(torch.randn(1, 3, model_info(name).frames, 32, 32)).shape == (1, 3)


def test_arguments_win_over_what_the_name_stands_for() -> None:
    model = create_model("slowonly_r18", num_classes=3, block="basic", width=8, stem_kernel=3)
    assert isinstance(model, ResNet3d)
    assert model.head.fc.in_features == 64
    assert model.stem.conv.kernel_size[0] == 3


def test_the_papers_3d_resnet_is_the_slowonly_network() -> None:
    for depth in (18, 50):
        ours, slow = (create_model(f"{family}_r{depth}", 3, width=8) for family in ("resnet3d", "slowonly"))
        assert [(k, v.shape) for k, v in ours.state_dict().items()] == [
            (k, v.shape) for k, v in slow.state_dict().items()
        ]


def test_the_table_describes_every_model_in_one_line() -> None:
    table = {info.name: info for info in models_table()}
    names = {*NAMES, *OTHERS, *SEGMENTATION}
    assert names <= set(table)
    assert all(table[name].description and "\n" not in table[name].description for name in names)
    assert {table[name].task for name in (*NAMES, *OTHERS)} == {"classification"}
    assert table["slowfast_r50_8x8"].top1 == {"K400": 77.0, "SSv2": 61.7}
    assert "SLOWFAST_8x8_R50.pkl" in table["slowfast_r50_8x8"].checkpoint
    # no weights of these were published
    without = {name for name in (*NAMES, *OTHERS) if not table[name].checkpoint}
    assert without == {n for n in (*NAMES, *OTHERS) if "_r18" in n or n[:8] in ("fastonly", "resnet3d")} | {
        "slowonly_r101"
    }
    assert (table["fastonly_r50"].frames, table["fastonly_r50"].stride) == (32, 2)
    assert isinstance(model_info("c2d_r50"), ModelInfo)


def test_an_unknown_name_is_answered_with_close_ones() -> None:
    for ask in (lambda: create_model("slowonly_r5O", 3), lambda: model_info("slowonly_r5O")):
        with pytest.raises(UnknownNameError, match=r"no model called 'slowonly_r5O'.*slowonly_r50"):
            ask()


def test_a_model_of_ones_own_is_found_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    list_models()
    monkeypatch.setattr(registry, "_constructors", dict(registry._constructors))
    monkeypatch.setattr(registry, "_infos", dict(registry._infos))

    @register_model(frames=4, stride=1, crop=32)
    def my_linear(num_classes: int, **kwargs: Any) -> nn.Module:
        """Only a linear layer.

        More about it.
        """
        return nn.Linear(4, num_classes, **kwargs)

    model = create_model("my_linear", 2, bias=False)
    assert isinstance(model, nn.Linear)
    assert list(dict(model.named_parameters())) == ["weight"]
    assert model_info("my_linear").description == "Only a linear layer."


def test_a_name_that_is_taken_cannot_be_registered_again() -> None:
    with pytest.raises(ValueError, match="registered already"):

        @register_model(frames=8, stride=8)
        def slowonly_r50(num_classes: int) -> nn.Module:
            return nn.Linear(1, num_classes)


def test_classifiers_and_segmentation_networks_are_printed_apart(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    print_models()
    clips, _, pictures = capsys.readouterr().out.partition("video object segmentation")
    assert all(name in clips and name not in pictures for name in (*NAMES, *OTHERS))
    assert "77.0 K400, 61.7 SSv2" in clips
    assert "SLOWFAST_8x8_R50.pkl" in clips
    assert all(name in pictures and name not in clips for name in SEGMENTATION)
    assert "image + flow" in pictures
    assert "119.24 M" in pictures
    print_models("fusionseg*")
    out = capsys.readouterr().out
    assert "video classification" not in out
    assert "fusionseg_r101" in out
    with pytest.raises(UnknownNameError, match="no model called 'nothing"):
        print_models("nothing*")

# SPDX-License-Identifier: Apache-2.0
"""Our networks give, at every stage, what the official code gives with the same weights.

The JSON files hold the official state dict's names and shapes, a rule that fills it, an input, and statistics of every
stage.
"""

from __future__ import annotations

import json
import pickle
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from staticdropout.models.checkpoints import caffe2_to_slowfast, load_checkpoint
from staticdropout.models.registry import create_model, model_info

PARITY = Path(__file__).parent / "parity"
TOLERANCE = 2e-5  # of the recorded standard deviation of the stage
RESNETS = {
    "c2d_r50": "c2d_r50",
    "c2d_r50_8x8": "c2d_r50",
    "i3d_r50": "i3d_r50",
    "i3d_r50_8x8": "i3d_r50",
    "i3d_nln_r50_8x8": "i3d_nln_r50",
    "slow_r50": "slowonly_r50",
    "slow_r50_8x8": "slowonly_r50",
    "slow_r50_8x8_fullconv": "slowonly_r50",
    "slow_r18": "slowonly_r18",
    "fast_r50": "fastonly_r50",
    "slowfast_r50": "slowfast_r50_8x8",
    "slowfast_r50_8x8": "slowfast_r50_8x8",
    "slowfast_r50_4x16": "slowfast_r50_4x16",
    "slowfast_r18_4x16_paper": "slowfast_r18_4x16",
    "x3d_s": "x3d_s",
    "x3d_m": "x3d_m",
    "x3d_m_ptv": "x3d_m",
}
TRANSFORMERS = {
    "mvit_b_16x4_crop64": "mvit_b_16x4",
    "mvit_b_16x4_paper": "mvit_b_16x4",
    "mvit_base_16x4_ptv": "mvit_b_16x4",
    "timesformer_divst_8x32_in64": "timesformer_divst_8x32",
}
MODELS = {**RESNETS, **TRANSFORMERS}
MODULES = {
    "res2_pooled": "pool2",
    "head_conv5": "head.relu5",
    "pooled": "head.dropout",
    "logits": "head.fc",
    "stem_fused.slow": "fuse1",
    **{f"res{stage}_fused.slow": f"fuse{stage}" for stage in (2, 3, 4)},
    **{
        f"{stage}.{path}": f"{path}.{stage}"
        for path in ("slow", "fast")
        for stage in ("stem", "res2", "res3", "res4", "res5")
    },
    **{f"block{index:02}": f"blocks.{index}" for index in range(16)},
}
"""Our layers by the names of the stages in the files; layers of the same name as their stage are left out."""


def fixture(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((PARITY / f"{name}.json").read_text())
    return content


def rule(key: str, shape: list[int], gain: float) -> np.ndarray:
    """Fill one entry of a state dict from its name and shape alone, as the field `weights` of the files says."""
    leaf, rng = key.rpartition(".")[2], np.random.default_rng(zlib.crc32(key.encode("utf-8")))
    if leaf == "num_batches_tracked":
        return np.zeros(shape, dtype=np.int64)
    if leaf == "running_var":
        return rng.uniform(0.5, 1.5, size=shape).astype(np.float32)
    values = rng.standard_normal(shape)
    if leaf.startswith(("pos_embed", "cls_token", "time_embed")):
        values = 0.02 * values
    elif leaf in ("running_mean", "bias"):
        values = 0.1 * values
    elif len(shape) <= 1:
        values = 1 + 0.1 * values
    else:
        values = values * np.sqrt(gain / np.prod(shape[1:]))
    return values.astype(np.float32)


def official_weights(data: dict[str, Any]) -> dict[str, np.ndarray]:
    first = dict(data["aliases"])  # a tensor under two names has the values of the first
    return {key: rule(first.get(key, key), shape, data["weights"]["gain"]) for key, shape in data["state_dict"]}


def official_model(name: str, data: dict[str, Any]) -> nn.Module:
    """Build our model with the official head, whose pooling kernel is that of the crop in the files."""
    logits = data["source"]["repo"] != "facebookresearch/SlowFast" and "YorkUCVIL" not in data["source"]["repo"]
    options: dict[str, Any] = {"head_mode": "logits" if logits else "softmax"}
    if name in RESNETS:
        frames, crop = data["input"]["shape"][2], 64 if name.endswith("fullconv") else data["input"]["shape"][3]
        if name.startswith(("c2d", "i3d")):
            frames //= 2  # pooled after res2
        options["pool_size"] = (frames, crop // 32, crop // 32)
    elif name == "mvit_b_16x4_crop64":
        options["crop_size"] = 64
    return create_model(MODELS[name], num_classes=400, **options).eval()


def run(model: nn.Module, data: dict[str, Any]) -> dict[str, Tensor]:
    """Return the output of every stage that the file records."""
    outputs: dict[str, Tensor] = {}
    handles = []
    for stage in data["outputs"]:
        if stage == "embed":  # what the first block takes
            handles.append(
                model.get_submodule("blocks.0").register_forward_pre_hook(
                    lambda _module, inputs, stage=stage: outputs.__setitem__(stage, inputs[0])
                )
            )
        elif stage != "output":
            handles.append(
                model.get_submodule(MODULES.get(stage, stage)).register_forward_hook(
                    lambda _module, _inputs, output, stage=stage: outputs.__setitem__(stage, output)
                )
            )
    clip = np.random.default_rng(data["input"]["seed"]).standard_normal(data["input"]["shape"]).astype(np.float32)
    with torch.inference_mode():
        outputs["output"] = model(torch.from_numpy(clip))
    for handle in handles:
        handle.remove()
    return outputs


def assert_same(outputs: dict[str, Tensor], data: dict[str, Any]) -> None:
    assert outputs.keys() == data["outputs"].keys()
    for stage, recorded in data["outputs"].items():
        ours = outputs[stage].double()
        assert list(ours.shape) == recorded["shape"], stage
        axes = [axis for axis in range(ours.ndim) if axis not in (0, recorded["channel_axis"])]
        gap = (ours.mean(axes) if axes else ours).flatten()[:16]
        token = ours[0, 0, :16] if "token0_16" in recorded else ours.new_empty(0)
        values = torch.stack([ours.mean(), ours.std(correction=0), *gap, *token])
        known = [recorded["mean"], recorded["std"], *recorded["gap16"], *recorded.get("token0_16", [])]
        expected = torch.tensor(known, dtype=torch.float64)
        error = (values - expected).abs().max() / recorded["std"]
        assert error <= TOLERANCE, f"{stage} differs by {error:.1e} of its standard deviation"


@pytest.mark.parametrize("name", MODELS)
def test_every_stage_equals_the_official_one(name: str, tmp_path: Path) -> None:
    data = fixture(name)
    weights = {key: torch.from_numpy(value) for key, value in official_weights(data).items()}
    torch.save({"epoch": 1, "model_state": weights, "cfg": "text"}, tmp_path / "official.pyth")
    model = official_model(name, data)

    report = load_checkpoint(model, tmp_path / "official.pyth", allow=())

    assert report.left_out == report.ignored == ()
    assert report.loaded == len(model.state_dict())
    assert_same(run(model, data), data)


@pytest.mark.parametrize("name", MODELS)
def test_the_number_of_parameters_is_the_official_one(name: str) -> None:
    data = fixture(name)
    forms: dict[str, dict[str, Any]] = {
        "x3d_m_ptv": {"shortcut_norm": False},
        "mvit_b_16x4_crop64": {"crop_size": 64},
        "mvit_b_16x4_paper": {"last_key_pooling": False},
    }
    options = forms.get(name, {})
    with torch.device("meta"):
        model = create_model(MODELS[name], 400, **options)
    assert sum(p.numel() for p in model.parameters()) == data["num_parameters"]
    if not options:
        assert model_info(MODELS[name]).params == data["num_parameters"]


@pytest.mark.parametrize("name", ["i3d_nln_r50_8x8", "fast_r50", "slowfast_r50_8x8"])
def test_a_caffe2_file_gives_the_same_as_the_torch_file(name: str, tmp_path: Path) -> None:
    data = fixture(name)
    weights = official_weights(data)
    recorded = json.loads((PARITY / "ar_caffe2_names.json").read_text())
    names = dict(next(pairs for of, pairs in recorded.items() if ("nln" if name == "fast_r50" else name) in of))
    if name == "fast_r50":  # the fast pathway's blobs begin with t_
        names = {
            blob if "pred" in blob else f"t_{blob}": key.replace("pathway0", "pathway1") for blob, key in names.items()
        }
    blobs: dict[str, Any] = {blob: weights[key] for blob, key in names.items() if key in weights}
    blobs |= {"lr": np.float32(0.1), "model_iter": np.int64(7), "conv1_w_momentum": np.zeros(3, np.float32)}
    (tmp_path / "model.pkl").write_bytes(pickle.dumps({"blobs": blobs}, protocol=2))
    model = official_model(name, data)

    report = load_checkpoint(model, tmp_path / "model.pkl", allow=())

    assert (report.file_format, report.layout) == ("pickle", "caffe2")
    assert_same(run(model, data), data)


def test_every_recorded_caffe2_name_is_translated_as_the_official_converter_does() -> None:
    for pairs in json.loads((PARITY / "ar_caffe2_names.json").read_text()).values():
        assert {blob: caffe2_to_slowfast(blob) for blob, _ in pairs} == dict(pairs)


def test_the_default_head_gives_the_official_logits_at_the_training_crop(tmp_path: Path) -> None:
    data = fixture("slow_r18")
    torch.save({k: torch.from_numpy(v) for k, v in official_weights(data).items()}, tmp_path / "official.pyth")
    model = create_model("slowonly_r18", num_classes=400).eval()
    load_checkpoint(model, tmp_path / "official.pyth")
    logits, recorded = run(model, data)["output"], data["outputs"]["logits"]

    torch.testing.assert_close(logits[0, :16], torch.tensor(recorded["gap16"]), atol=2e-5 * recorded["std"], rtol=0)

# SPDX-License-Identifier: Apache-2.0
"""Our RTNets give, at every recorded tensor, what the official code gives with the same weights."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from segmentation_parity import (
    CASES,
    assert_like_recorded,
    official_input,
    official_weights,
    read_fixture,
    recorded,
    recording,
    save_official,
    uninitialised,
)
from torch import nn

from staticdropout.models.checkpoints import LoadReport, load_checkpoint
from staticdropout.models.registry import create_model, model_info

LAYERS = {
    **{f"layer{n},app_stream": f"encoder.connect{n + 1}[appearance]" for n in (1, 2, 3, 4)},
    **{f"layer{n},mot_stream": f"encoder.connect{n + 1}[motion]" for n in (1, 2, 3, 4)},
    **{f"layer{n},sensor_fusion": f"encoder.fuse{n + 1}" for n in (1, 2, 3)},
    "layer4,sensor_fusion": "decoder.decode5",
}
# The released code records the ResNet-34's stem after pooling, the ResNeXt-50's before the normalisation.
STEMS = {"rtnet34": "maxpool", "rtnet_rx50": "conv1"}
OUTPUTS = {
    f"{stream}_out{n}": name
    for n in (1, 2, 3, 4)
    for stream, name in (("spatial", "mask" if n == 1 else f"mask{n}"), ("temporal", f"motion_mask{n}"))
}


class Loaded(NamedTuple):
    name: str
    data: dict[str, Any]
    model: nn.Module
    report: LoadReport


@pytest.fixture(scope="module", params=STEMS)
def loaded(request: pytest.FixtureRequest) -> Loaded:
    """A network as released, with a file as its authors write it; once for all cases, because it is large."""
    name, data = request.param, read_fixture(request.param)
    options = {"released_batching": True, "released_size": True, "motion_decoder_in_eval": True}
    model = uninitialised(lambda: create_model(name, **options))
    with tempfile.TemporaryDirectory() as folder:  # not tmp_path, which would keep a gigabyte
        path = save_official(official_weights(data), Path(folder) / "model.pth")
        report = load_checkpoint(model, path)
    return Loaded(name, data, model, report)


def test_the_official_file_fills_the_network(loaded: Loaded) -> None:
    name, data, model, report = loaded
    assert report.layout == "RTNet"
    assert report.loaded == data["n_state_keys"] == len(model.state_dict())
    assert (report.left_out, report.ignored, report.dead) == ((), (), ())
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count == data["n_parameters"] == model_info(name).params


@pytest.mark.parametrize("case", CASES)
def test_every_recorded_tensor_agrees(loaded: Loaded, case: str) -> None:
    stem = STEMS[loaded.name]
    stems = {"conv1,app_stream": f"encoder.appearance.{stem}", "conv1,mot_stream": f"encoder.motion.{stem}"}
    with recording(loaded.model, {**LAYERS, **stems}) as tensors, torch.inference_mode():
        masks = loaded.model(*official_input(loaded.data, case))
    tensors |= {official: masks[ours].flatten(0, 1).sigmoid() for official, ours in OUTPUTS.items()}
    official = recorded(loaded.data, case)
    assert tensors.keys() == official.keys()
    for name, statistics in official.items():
        assert_like_recorded(name, tensors[name], statistics)

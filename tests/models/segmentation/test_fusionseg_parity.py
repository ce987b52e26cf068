# SPDX-License-Identifier: Apache-2.0
"""FusionSeg gives, at every recorded place, what the official network gives with the same weights."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch
from segmentation_parity import (
    CASES,
    assert_like_recorded,
    count_parameters,
    official_input,
    official_weights,
    read_fixture,
    recorded,
    recording,
    save_official,
    uninitialised,
)
from torch import Tensor, nn

from staticdropout.models import create_model, load_checkpoint, model_info
from staticdropout.models.checkpoints import LoadReport

NAME = "fusionseg_r101"
LAYERS = {
    "conv1,app_stream": "encoder.appearance.conv1",
    "conv1,mot_stream": "encoder.motion.conv1",
    **{f"layer{n},app_stream": f"encoder.connect{n + 1}[appearance]" for n in (1, 2, 3, 4)},
    **{f"layer{n},mot_stream": f"encoder.connect{n + 1}[motion]" for n in (1, 2, 3, 4)},
    "layer1,sensor_fusion": "encoder.fuse2",
    "layer4,sensor_fusion": "encoder.fuse5",
    "low_level_project": "head.early",
    "aspp": "aspp",
    "logits_stride4": "head",
}


class Loaded(NamedTuple):
    data: dict[str, Any]
    model: nn.Module
    report: LoadReport
    dead: dict[str, Tensor]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    data = read_fixture(NAME)
    weights = official_weights(data)
    file = save_official(weights, tmp_path_factory.mktemp(NAME) / "latest.pth", container="model_state", prefix="")
    model = uninitialised(lambda: create_model(NAME))
    report = load_checkpoint(model, file, allow=())
    file.unlink()  # half a gigabyte
    return Loaded(data, model, report, {name: weights[name] for name in report.dead})


@pytest.mark.parametrize("case", CASES)
def test_every_recorded_tensor_is_that_of_the_official_network(loaded: Loaded, case: str) -> None:
    with torch.inference_mode(), recording(loaded.model, LAYERS) as ours:
        outputs = loaded.model(*official_input(loaded.data, case))
    ours["logits"] = outputs["classes"]
    assert ours.keys() == recorded(loaded.data, case).keys()
    for name, official in recorded(loaded.data, case).items():
        assert_like_recorded(f"{case} {name}", ours[name], official)
    assert torch.equal(outputs["mask"], outputs["classes"].diff(dim=1))


def test_our_parameters_and_the_dead_ones_are_the_official_ones(loaded: Loaded) -> None:
    live = count_parameters(loaded.model.state_dict())
    assert live == model_info(NAME).params
    assert live + count_parameters(loaded.dead) == loaded.data["n_parameters"]
    assert set(loaded.report.dead) == set(loaded.data["unused_keys"])
    assert loaded.report.loaded == len(loaded.model.state_dict())

# SPDX-License-Identifier: Apache-2.0
"""MATNet and its variants give, at every recorded place, what the official networks give with the same weights."""

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
    save_matnet_pair,
    uninitialised,
)
from torch import Tensor, nn

from staticdropout.models import create_model, load_checkpoint, model_info
from staticdropout.models.checkpoints import LoadReport

MODELS = {
    "matnet": "matnet",
    "matnet_nobar": "matnet_nobar",
    "matnet_gated_uni": "matnet_gated",
    "matnet_gated_bidir": "rtnet_star",
    "matnet_ccg_uni": "matnet_ccg",
}
LAYERS = {
    "conv1,app_stream": "encoder.appearance.conv1",
    "conv1,mot_stream": "encoder.motion.conv1",
    **{f"layer{n},app_stream": f"encoder.connect{n + 1}[appearance]" for n in (1, 2, 3, 4)},
    **{f"layer{n},mot_stream": f"encoder.connect{n + 1}[motion]" for n in (1, 2, 3, 4)},
    **{f"layer{n},sensor_fusion": f"encoder.fuse{n + 1}" for n in (1, 2, 3, 4)},
    "decoder.GC": "decoder.context",
    "decoder.RF4": "decoder.refine4",
    "decoder.RF3": "decoder.refine3",
    "layerf,sensor_fusion": "decoder.refine2",
    "decoder.pred2": "decoder.predict",
}
BOUNDARY_LAYERS = {
    **{f"bdry{stage}_logits": f"decoder.boundaries.stage{stage}" for stage in (2, 3, 4, 5)},
    "concat_logits": "decoder.boundaries.fuse",
}


class Loaded(NamedTuple):
    data: dict[str, Any]
    model: nn.Module
    report: LoadReport
    dead: dict[str, Tensor]


@pytest.fixture(scope="module")
def known() -> dict[tuple[str, tuple[int, ...]], Tensor]:
    return {}


@pytest.fixture(scope="module", params=MODELS)
def loaded(request: pytest.FixtureRequest, known: Any, tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    data = read_fixture(request.param)
    weights = official_weights(data, known)
    folder = save_matnet_pair(weights, tmp_path_factory.mktemp(request.param))
    model = uninitialised(lambda: create_model(MODELS[request.param], mask_size=473))
    report = load_checkpoint(model, folder, allow=())
    for file in folder.iterdir():  # half a gigabyte
        file.unlink()
    return Loaded(data, model, report, {name: weights[name] for name in report.dead})


@pytest.mark.parametrize("case", CASES)
def test_every_recorded_tensor_is_that_of_the_official_network(loaded: Loaded, case: str) -> None:
    refined = "boundary2" in recorded(loaded.data, case)
    with torch.inference_mode(), recording(loaded.model, LAYERS | (BOUNDARY_LAYERS if refined else {})) as ours:
        logits = loaded.model(*official_input(loaded.data, case))
    ours |= {"boundary_fused" if name == "boundary" else name: value.sigmoid() for name, value in logits.items()}
    assert ours.keys() == recorded(loaded.data, case).keys()
    for name, official in recorded(loaded.data, case).items():
        assert_like_recorded(f"{case} {name}", ours[name], official)


def test_our_parameters_and_the_dead_ones_are_the_official_ones(loaded: Loaded) -> None:
    live = count_parameters(loaded.model.state_dict())
    assert live == model_info(MODELS[loaded.data["model"]]).params
    assert live + count_parameters(loaded.dead) == loaded.data["n_parameters"]
    assert set(loaded.report.dead) == set(loaded.data["unused_keys"])
    assert loaded.report.loaded == len(loaded.model.state_dict())

# SPDX-License-Identifier: Apache-2.0
"""Estimators against motion that is known."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn
from urllib.error import URLError

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torchvision.models import _api
from torchvision.models.optical_flow import raft_small

from staticdropout.datamodules.flow import ESTIMATORS, DisFlow, RaftFlow, get_estimator, list_estimators
from staticdropout.errors import (
    BatchError,
    CheckpointError,
    CheckpointMismatchError,
    OptionError,
    UnknownNameError,
)

Draw = Callable[..., NDArray[np.uint8]]


def to_frames(*pictures: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)


def no_download(*args: Any, **kwargs: Any) -> NoReturn:
    raise URLError("there is no network here")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of raft_small."""
    path = tmp_path_factory.mktemp("weights") / "raft.pth"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.save(raft_small().state_dict(), path)
    return path


@pytest.mark.parametrize("seed", [0, 1])
def test_dis_finds_a_known_warp(draw_texture: Draw, seed: int) -> None:
    # flow f from the first picture to the second: first(x) = second(x + f(x)), so the first is sampled from the second
    second = draw_texture(256, 256, seed)
    control = np.random.default_rng(seed).normal(0, 3, (2, 5, 5)).astype(np.float32)
    truth = np.stack([cv2.resize(component, (256, 256), interpolation=cv2.INTER_CUBIC) for component in control])
    y, x = np.mgrid[:256, :256]
    places = np.stack((y + truth[1], x + truth[0]))
    channels = [
        ndimage.map_coordinates(channel.astype(float), places, order=3) for channel in np.moveaxis(second, 2, 0)
    ]
    first = np.stack(channels, 2).clip(0, 255).round().astype(np.uint8)
    flow = DisFlow()(to_frames(first, second))[0].numpy()
    inside = (places >= 0).all(0) & (places <= 255).all(0)
    assert np.hypot(*truth).mean() > 2
    assert np.hypot(*(flow - truth))[inside].mean() < 0.6


def test_flow_points_to_the_right_and_downwards(draw_texture: Draw) -> None:
    picture = draw_texture(80, 90)
    frames = to_frames(*(picture[8 - 2 * i : 72 - 2 * i, 12 - 3 * i : 76 - 3 * i] for i in range(3)))
    flow = DisFlow()(frames)
    assert flow.shape == (2, 2, 64, 64)
    assert flow.dtype == torch.float32
    for pair in flow[:, :, 10:-10, 10:-10]:
        assert pair.flatten(1).median(1).values.tolist() == pytest.approx([3, 2], abs=0.1)


def test_dis_gives_the_same_bits_again_from_any_thread(draw_texture: Draw) -> None:
    frames = to_frames(*(draw_texture(70, 90, seed) for seed in range(3)))
    estimator = DisFlow()
    expected = estimator(frames)
    with ThreadPoolExecutor(4) as pool:
        assert all(torch.equal(flow, expected) for flow in pool.map(estimator, [frames] * 8))
    assert torch.equal(torch.cat([estimator(frames[:2]), estimator(frames[1:])]), expected)


@pytest.mark.parametrize("size", [(1, 1), (7, 200), (200, 5), (10, 10), (15, 46), (16, 16), (33, 47)])
def test_dis_takes_pictures_of_any_size(draw_texture: Draw, size: tuple[int, int]) -> None:
    picture = draw_texture(*size)
    flow = DisFlow()(to_frames(picture, picture))
    assert flow.shape == (1, 2, *size)
    assert flow.abs().max() < 0.01


def test_dis_does_not_remember_small_pictures(draw_texture: Draw) -> None:
    small = to_frames(draw_texture(30, 40, 0), draw_texture(30, 40, 1))
    large = to_frames(draw_texture(70, 90, 0), draw_texture(70, 90, 1))
    estimator = DisFlow()
    flows = [estimator(frames) for frames in (large, small, small, large)]
    assert torch.equal(flows[0], flows[3])
    assert torch.equal(flows[1], flows[2])


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("size", [(128, 136), (131, 129), (40, 150)])
def test_raft_extends_frames_by_their_border_and_cuts_the_flow_back(
    draw_texture: Draw, weights: Path, size: tuple[int, int]
) -> None:
    height, width = size
    pictures = [draw_texture(height, width, seed) for seed in range(3)]
    found = RaftFlow("raft_small", weights, updates=2)(to_frames(*pictures))
    assert found.shape == (2, 2, height, width)
    assert found.dtype == torch.float32
    assert not found.requires_grad
    network = raft_small().eval()
    network.load_state_dict(torch.load(weights, weights_only=True))
    below, right = (max(128, (side + 7) // 8 * 8) - side for side in size)
    margins = ((below // 2, below - below // 2), (right // 2, right - right // 2), (0, 0))
    padded = to_frames(*(np.pad(picture, margins, mode="edge") for picture in pictures)).float() / 255 * 2 - 1
    with torch.no_grad():
        expected = network(padded[1:2], padded[2:], num_flow_updates=2)[-1][0]
    expected = expected[:, below // 2 :, right // 2 :][:, :height, :width]
    torch.testing.assert_close(found[1], expected.cpu(), rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


def test_raft_refines_twenty_times_unless_told_otherwise(weights: Path) -> None:
    assert get_estimator("raft_small", weights).origin["updates"] == "20"
    assert RaftFlow("raft_small", weights, updates=7).origin["updates"] == "7"


def test_building_raft_leaves_the_global_generator_alone(weights: Path) -> None:
    before = torch.get_rng_state()
    RaftFlow("raft_small", weights)
    assert torch.equal(torch.get_rng_state(), before)


def test_nothing_is_downloaded_without_consent(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(_api, "load_state_dict_from_url", lambda url, **_: asked.append(url))
    for name in ("raft_small", "raft_large"):
        with pytest.raises(OptionError, match=rf"'{name}' needs weights.*download\.pytorch\.org.*'DEFAULT'"):
            get_estimator(name)
    assert not asked


def test_default_weights_come_from_torchvision(monkeypatch: pytest.MonkeyPatch, weights: Path) -> None:
    monkeypatch.setattr(_api, "load_state_dict_from_url", lambda url, **_: torch.load(weights, weights_only=True))
    estimator = get_estimator("raft_small", "DEFAULT")
    assert estimator.origin["weights"] == "Raft_Small_Weights.C_T_V2"


def test_a_download_that_fails_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_api, "load_state_dict_from_url", no_download)
    with pytest.raises(CheckpointError, match=r"no network here.*Fetch https://.*raft_large.* and pass its path"):
        get_estimator("raft_large", "DEFAULT")


def test_weights_of_another_network_are_named(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointMismatchError, match=r"raft\.pth' does not hold torchvision's weights of raft_large"):
        get_estimator("raft_large", weights)
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        get_estimator("raft_small", tmp_path / "nothing.pth")


@pytest.mark.parametrize("name", ["dis", "folder"])
def test_weights_where_there_are_none_are_refused(name: str) -> None:
    with pytest.raises(OptionError, match=f"'{name}'"):
        get_estimator(name, "raft.pth")


def test_folder_computes_nothing() -> None:
    with pytest.raises(OptionError, match="only reads flow"):
        get_estimator("folder")(torch.zeros(2, 3, 32, 32, dtype=torch.uint8))


@pytest.mark.parametrize(
    "frames",
    [
        torch.zeros(2, 3, 32, 32),
        torch.zeros(1, 3, 32, 32).byte(),
        torch.zeros(2, 32, 32, 3).byte(),
        torch.zeros(3, 9, 9),
    ],
)
def test_frames_of_another_kind_are_described(frames: Tensor, weights: Path) -> None:
    for estimator in (DisFlow(), RaftFlow("raft_small", weights)):
        with pytest.raises(BatchError, match=r"\(T, 3, H, W\) of uint8"):
            estimator(frames)


def test_estimators_are_found_by_name_and_others_can_join(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list_estimators() == ["dis", "folder", "raft_large", "raft_small"]
    with pytest.raises(UnknownNameError, match="Close matches: raft_small"):
        get_estimator("raft-small")
    with pytest.raises(UnknownNameError, match="RAFT network"):
        RaftFlow("raft_medium")
    with pytest.raises(OptionError, match="updates"):
        RaftFlow("raft_small", updates=0)
    monkeypatch.setitem(ESTIMATORS, "mine", DisFlow)
    assert "mine" in list_estimators()
    assert isinstance(get_estimator("mine"), DisFlow)

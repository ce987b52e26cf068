# SPDX-License-Identifier: Apache-2.0
"""Two processes: scores, curves and intervals are the same on both, and those of one process on the same clips."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from drill_runs import DrillServer, differences

Ends = list[dict[str, Any]]


def train(server: DrillServer, folder: Path, devices: int, **job: Any) -> Ends:
    """What each rank ends with."""
    folder = folder / f"{devices}"
    status = server.run(folder, "drill_ranks", devices=devices, **job)
    assert status == 0, (folder / "log.txt").read_text()
    return [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(devices)]


def check_agreement(first: dict[str, Any], second: dict[str, Any]) -> None:
    """Both ranks hold the same bits, except for what they drop."""
    for name in ("weights", "curves", "metrics", "shuffled"):
        assert differences(first[name], second[name]) == []
    own = {"drop_counts"}
    ours, theirs = (end["dropout"]["dropout"] for end in (first, second))
    same = ours.keys() - own
    assert differences({name: ours[name] for name in same}, {name: theirs[name] for name in same}) == []
    assert any(name.startswith("bias/") for name in first["metrics"])


def check_curves(pair: Ends, alone: Ends, intervals: bool = True) -> None:
    """Every number of every measurement is that of one process, to 1e-6: percent as shares of 1."""
    ours, theirs = pair[0]["curves"], alone[0]["curves"]
    assert ours.keys() == theirs.keys() == {"bias", "bias_some"}
    for name in ours:
        assert [record["step"] for record in ours[name]] == [record["step"] for record in theirs[name]]
        for record, reference in zip(ours[name], theirs[name], strict=True):
            assert record["layers"].keys() == reference["layers"].keys()
            for layer, numbers in record["layers"].items():
                for key, value in numbers.items():
                    if key.endswith("_interval") and not intervals:
                        continue
                    scale = 1 if key.startswith(("score", "num", "undefined")) else 100
                    expected = pytest.approx(reference["layers"][layer][key] / scale, rel=0, abs=1e-6, nan_ok=True)
                    assert value / scale == expected, (name, record["step"], layer, key)


def check_scores(pair: Ends, alone: Ends) -> None:
    ours, theirs = (ends[0]["dropout"]["dropout"] for ends in (pair, alone))
    assert bool((theirs["scores"] != 0).any())
    torch.testing.assert_close(ours["scores"], theirs["scores"], rtol=0, atol=1e-6)
    assert ours["num_clips"] == theirs["num_clips"]


@pytest.mark.parametrize("val", [23, 22], ids=["a repeated clip", "a last batch that is smaller"])
def test_scores_and_curves_under_dropout_are_those_of_one_process(
    server: DrillServer, tmp_path: Path, val: int
) -> None:
    pair, alone = (train(server, tmp_path, devices, val=val) for devices in (2, 1))
    check_agreement(*pair)
    check_curves(pair, alone)
    check_scores(pair, alone)
    assert [record["step"] for record in pair[0]["curves"]["bias"]] == [0, 1, 2, 3]
    assert pair[0]["curves"]["bias"][0]["layers"]["backbone.layer1"]["num_clips"] == val
    masks = [end["masks"] for end in pair]
    assert len(masks[0]) == len(masks[1]) == 3
    assert all(0 < mask.double().mean() < 1 for mask in masks[0] + masks[1])
    assert not any(torch.equal(mask, other) for mask, other in zip(*masks, strict=True))
    assert differences(pair[0]["shuffled"], alone[0]["shuffled"]) == []


def test_a_trained_network_has_the_curve_of_one_process(server: DrillServer, tmp_path: Path) -> None:
    pair, alone = (train(server, tmp_path, devices, val=23, trained=True) for devices in (2, 1))
    check_agreement(*pair)
    check_curves(pair, alone)
    check_scores(pair, alone)
    curve = pair[0]["curves"]["bias"]
    assert [record["step"] for record in curve] == list(range(7))
    shares = [record["layers"]["backbone.fc[input]"]["static"] for record in curve]
    assert max(shares) - min(shares) > 0.01  # training moves it by far more than the tolerance


def test_ranks_agree_where_each_has_running_statistics_of_its_own(server: DrillServer, tmp_path: Path) -> None:
    first, second = train(server, tmp_path, 2, val=23, normalised=True)
    # DDP gives all ranks the buffers of the first, so the network's own agree as well.
    check_agreement(first, second)
    assert len(first["curves"]["bias"]) == 4


def test_a_rank_without_clips_knows_the_measurement_of_the_other(server: DrillServer, tmp_path: Path) -> None:
    pair = train(server, tmp_path, 2, val=12, only_first=True)
    alone = train(server, tmp_path, 1, val=12, only_first=True)
    check_agreement(*pair)
    assert pair[0]["curves"]["bias"][0]["layers"]["backbone.layer1"]["num_clips"] == 12
    # Clips are numbered by rank, so that here every second group stays empty: the intervals are others.
    for ends in (pair, alone):
        del ends[0]["curves"]["bias_some"][:]
    check_curves(pair, alone, intervals=False)

# SPDX-License-Identifier: Apache-2.0
"""A full disk costs a warning and a delay: no training, no measurement, no good file."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from drill_runs import DrillServer, differences
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

STEPS = [0, 3, 6, 9, 12]
"""When is measured."""


def train(server: DrillServer, folder: Path, place: Path | None = None, **job: Any) -> dict[str, Any]:
    place = place or folder / "bias"
    status = server.run(folder, "drill_disk", place=str(place), **job)
    assert status == 0, (folder / "log.txt").read_text()
    result: dict[str, Any] = torch.load(folder / "result.pt", weights_only=True)
    result["complaints"] = [message for message in result["warnings"] if "could not be written" in message]
    return result


@pytest.fixture(scope="module")
def roomy(server: DrillServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return train(server, tmp_path_factory.mktemp("roomy"), spans=[], figures=True)


def names(*steps: int) -> set[str]:
    return {"bias.csv", *(f"measurements/fit_step_{step:08d}.json" for step in steps)}


def check(ended: dict[str, Any], roomy: dict[str, Any]) -> None:
    """Training went on as if nothing had happened, and in the end all files are there."""
    assert differences(ended["weights"], roomy["weights"]) == []
    assert differences(ended["history"], roomy["history"]) == []
    assert [record["step"] for record in ended["history"]] == STEPS
    expected = {name: content for name, content in roomy["files"].items() if name in ended["files"]}
    assert ended["files"] == expected
    assert names(*STEPS) <= expected.keys()


def test_what_a_full_disk_delays_is_written_when_there_is_space_again(
    server: DrillServer, roomy: dict[str, Any], tmp_path: Path
) -> None:
    ended = train(server, tmp_path, spans=[[2, 10]], figures=True)
    check(ended, roomy)
    assert ended["files"].keys() == roomy["files"].keys()
    before, during = ended["seen"]
    assert before.keys() == during.keys() == names(0) | {name for name in roomy["files"] if name.endswith(".png")}
    assert before == during  # the good ones stay, and there is nothing else, hidden or not
    assert len(ended["complaints"]) == 1  # for three measurements


def test_a_disk_that_is_full_again_is_complained_of_again(
    server: DrillServer, roomy: dict[str, Any], tmp_path: Path
) -> None:
    ended = train(server, tmp_path, spans=[[1, 4], [7, 10]])
    check(ended, roomy)
    assert [seen.keys() for seen in ended["seen"]] == [names(0), names(0), names(0, 3, 6), names(0, 3, 6)]
    assert len(ended["complaints"]) == 2


def test_a_disk_that_stays_full_leaves_the_last_good_files_and_a_finished_training(
    server: DrillServer, roomy: dict[str, Any], tmp_path: Path
) -> None:
    ended = train(server, tmp_path, spans=[[4, 100]])
    assert differences(ended["weights"], roomy["weights"]) == []
    assert differences(ended["history"], roomy["history"]) == []
    assert ended["files"] == ended["seen"][0]
    assert ended["files"].keys() == names(0, 3)
    assert len(ended["complaints"]) == 1


def test_a_folder_that_cannot_be_made_costs_one_warning(
    server: DrillServer, roomy: dict[str, Any], tmp_path: Path
) -> None:
    place = tmp_path / "file" / "bias"
    place.parent.write_text("in the way")
    ended = train(server, tmp_path, place, spans=[])
    assert differences(ended["weights"], roomy["weights"]) == []
    assert differences(ended["history"], roomy["history"]) == []
    assert len(ended["complaints"]) == 1


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of sixteen pages."""
    place = tmp_path / "tiny"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    if os.getuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a tiny file system takes root and the right to mount")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)  # noqa: S607 - whichever there is


def test_a_file_system_without_space_does_the_same(
    server: DrillServer, roomy: dict[str, Any], tmp_path: Path, tiny_disk: Path
) -> None:
    ended = train(server, tmp_path / "run", tiny_disk, spans=[[2, 10]], mounted=True)
    check(ended, roomy)
    assert [seen.keys() for seen in ended["seen"]] == [names(0), names(0)]
    assert ended["seen"][0] == ended["seen"][1]
    assert len(ended["complaints"]) == 1
    assert "No space left on device" in ended["complaints"][0]
    assert all(json.loads(content) for name, content in ended["files"].items() if name.endswith(".json"))


def test_a_figure_that_does_not_fit_costs_no_scalar_of_the_users(
    server: DrillServer, roomy: dict[str, Any], tmp_path: Path
) -> None:
    """TensorBoard writes in a thread that ends with its first failure, and every call after that raises it again."""
    options: dict[str, Any] = {"tensorboard": True, "figures": True, "measure_at_start": False}
    # Enough for every scalar, for the JSON and the CSV; too little for a figure.
    ended = train(server, tmp_path, spans=[[0, 10]], largest=20_000, **options)
    assert differences(ended["weights"], roomy["weights"]) == []
    assert [record["step"] for record in ended["history"]] == STEPS[1:]
    assert len([message for message in ended["warnings"] if "Training goes on" in message]) == 1
    scalars: dict[str, set[int]] = {}
    for events in tmp_path.rglob("events.out.tfevents.*"):
        accumulator = EventAccumulator(str(events)).Reload()
        for tag in accumulator.Tags()["scalars"]:
            scalars.setdefault(tag, set()).update(event.step for event in accumulator.Scalars(tag))
    assert scalars["train_loss"] == set(range(12))
    assert scalars["bias/backbone.layer1/static"] == set(STEPS[1:])

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import loading
import numpy as np
import pytest
import torch
from parts import loading_parts, loading_training, loading_videos, loading_ways
from parts.loading_training import Step
from PIL import Image

from staticdropout.datamodules import open_video, sample_clips, write_moving_shapes

WRITE = """
import sys; from pathlib import Path
from parts import loading_videos as videos
videos.HEIGHT, videos.WIDTH, videos.MEAN, videos.SPREAD, videos.SHORTEST = 48, 85, 12, 0, 1
videos.draw.__defaults__ = (48, 85)
root = Path(sys.argv[1])
videos.write_like_ssv2(root / "original", 1)
videos.rewrite(root / "original", root / "dense", interval=4)
videos.rewrite(root / "original", root / "small", short_side=32)
videos.write_frames(root / "original", root / "jpeg")
"""


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny video in all forms; by a process of its own, since PyAV cannot encode VP9 beside decord."""
    root = tmp_path_factory.mktemp("written")
    subprocess.run([sys.executable, "-c", WRITE, str(root)], cwd=Path(loading.__file__).parent, check=True)
    return root


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("shapes") / "shapes"
    return write_moving_shapes(
        root, 8, 2, 0, num_classes=2, num_frames=9, height=160, width=162, num_workers=2, progress=False
    )


def key_frames(path: Path) -> list[int]:
    import av

    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    return [number for number, packet in enumerate(packets) if packet.is_keyframe]


def test_generated_videos_have_the_size_and_the_key_frames_that_are_said(written: Path) -> None:
    original, dense, small = (
        written / form / loading_videos.VIDEOS / "1.webm" for form in ("original", "dense", "small")
    )
    video = open_video(original)
    assert (len(video), video.fps) == (12, 12)
    assert video.get_batch([0]).shape[1:3] == (48, 85)
    assert key_frames(original) == [0]
    assert key_frames(dense) == [0, 4, 8]
    assert open_video(small).get_batch([11]).shape[1:3] == (32, 56)
    assert json.loads((written / "dense/labels/train.json").read_text())[0]["id"] == "1"


def test_videos_encoded_again_and_frames_as_files_show_the_same(written: Path) -> None:
    original = open_video(written / "original" / loading_videos.VIDEOS / "1.webm").get_batch(range(12)).astype(float)
    dense = open_video(written / "dense" / loading_videos.VIDEOS / "1.webm").get_batch(range(12))
    jpeg = open_video(written / "jpeg/frames/1", reader="frames").get_batch(range(12))
    between = np.abs(original[1:] - original[:-1]).mean()
    for other in (dense, jpeg):
        assert np.abs(original - other).mean() < between / 2


def test_lengths_are_those_of_two_to_six_seconds_around_the_mean() -> None:
    drawn = loading_videos.lengths(400)
    assert 24 <= min(drawn) < max(drawn) <= 72
    assert abs(np.mean(drawn) - 46) < 2
    assert loading_videos.lengths(400) == drawn


@pytest.mark.parametrize("reader", [name for name in loading.available() if name != "frames"])
def test_the_plain_way_has_all_frames_of_a_video(shapes: Path, reader: str) -> None:
    path = next((shapes / loading_videos.VIDEOS).iterdir())
    frames = loading_ways.every_frame(path, reader)
    assert frames.dtype == torch.uint8
    expected = open_video(path, reader=reader).get_batch(range(9))
    assert torch.equal(frames.permute(0, 2, 3, 1), torch.from_numpy(expected))


def test_the_plain_way_has_all_frames_of_a_folder(tmp_path: Path) -> None:
    for number in range(3):
        Image.new("RGB", (8, 6), (number, 0, 0)).save(tmp_path / f"{number:04d}.png")
    assert loading_ways.every_frame(tmp_path, "frames")[:, 0, 0, 0].tolist() == [0, 1, 2]


def test_both_ways_give_clips_of_one_shape_from_the_same_videos(shapes: Path) -> None:
    data = loading_ways.data_module(shapes, "decord", 0)
    ours, plain = next(iter(data.train_dataloader())), next(iter(loading_ways.plain_loader(data, 0)))
    assert ours["video"].shape == plain["video"].shape == (8, 3, 8, 112, 112)
    assert sorted(ours["id"]) == sorted(plain["id"])
    assert loading_ways.epoch(data.train_dataloader())() == 8


def test_the_plain_way_takes_the_frames_that_its_draws_say(shapes: Path) -> None:
    data = loading_ways.data_module(shapes, "decord", 0)
    dataset = loading_ways.EveryFrame(data._datasets["train"].entries, "decord")
    torch.manual_seed(3)
    clip = dataset[0]["video"]
    torch.manual_seed(3)
    indices = sample_clips(9, 8, training=True)[0]
    expected = dataset.transform(loading_ways.every_frame(dataset.entries[0].path, "decord")[indices])
    assert torch.equal(clip, expected)


def test_gains_are_over_the_plain_way_and_over_the_original_videos() -> None:
    times = {
        "segments/original": [1.0, 2.0, 1.0],
        "every frame/original": [2.0, 4.0, 3.0],
        "segments/160 px high": [0.5, 0.5, 0.5],
        "window/original": [0.6, 0.6, 0.6],
        "window/160 px high": [0.3, 0.3, 0.3],
    }
    clips = dict.fromkeys(times, 10)
    sampled, plain, small, *window = loading.rows_of(times, clips, {}, reader="pyav", workers=2)
    assert (sampled["clips_per_s"], sampled["cpu_ms_a_clip"]) == (10, "")
    assert (sampled["speedup"], sampled["lowest"], sampled["highest"]) == (2, 2, 3)
    assert "over_original" not in sampled
    assert plain["clips_per_s"] == 3.3
    assert "speedup" not in plain
    assert small["over_original"] == 2
    assert "speedup" not in small
    assert [row.get("over_original") for row in window] == [None, 2]


def test_in_one_process_gains_are_of_processor_time() -> None:
    times = {"segments/jpeg": [1.0, 8.0], "every frame/jpeg": [9.0, 2.0]}  # a busy machine
    cpu = {"segments/jpeg": [0.5, 0.5], "every frame/jpeg": [1.0, 1.0]}
    sampled, plain = loading.rows_of(times, dict.fromkeys(times, 10), cpu, reader="frames", workers=0)
    assert (sampled["clips_per_s"], sampled["cpu_ms_a_clip"], plain["cpu_ms_a_clip"]) == (2.2, 50, 100)
    assert (sampled["speedup"], sampled["lowest"], sampled["highest"]) == (2, 2, 2)


def test_parts_are_shares_of_their_sum(shapes: Path) -> None:
    rounds = [{"open": 1.0, "decode": 9.0}, {"open": 3.0, "decode": 6.0}, {"open": 2.0, "decode": 8.0}]
    rows = loading_parts.shares(rounds, "pyav")
    assert [(row["part"], row["cpu_ms_a_clip"], row["share"]) for row in rows] == [("open", 2, 0.2), ("decode", 8, 0.8)]
    measured = loading_parts.measure_parts(shapes, "decord", repeats=1)
    assert [row["part"] for row in measured] == [*loading_parts.STEPS, loading_parts.REST]
    assert sum(row["share"] for row in measured) == pytest.approx(1, abs=0.01)


def test_the_share_of_waiting_is_that_of_all_time() -> None:
    rounds = [[Step(1.0, 0.1), Step(1.0, 0.1), Step(4.0, 1.0)], [Step(2.0, 0.4)]]
    row = loading_training.summary(rounds, [[Step(0.5, 0.0), Step(9.0, 0.0), Step(0.5, 0.0)], [Step(0.5, 0.0)]])
    ratios = {"over_memory": 3, "lowest": 2, "highest": 4}
    assert row == {"step_ms": 1500, "wait_ms": 400, "waiting_share": 0.2} | ratios


def test_batches_are_repeated_until_there_are_enough() -> None:
    assert [batch["n"] for batch in loading_training.Endless([{"n": 1}, {"n": 2}, {"n": 3}], 7)] == [
        1,
        2,
        3,
        1,
        2,
        3,
        1,
    ]
    assert [batch["n"] for batch in loading_training.Repeated([{"n": 1}, {"n": 2}], 3)] == [1, 2, 1]


def test_waiting_for_a_slow_loader_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([0.0, 1.0, 1.5, 2.0, 2.1, 3.1])  # starts and ends of three batches
    monkeypatch.setattr("parts.loading_training.time.perf_counter", lambda: next(now))
    watch = loading_training.Watch("cpu")
    for number in range(3):
        watch.on_train_batch_start(None, None, None, number)  # type: ignore[arg-type]
        watch.on_train_batch_end(None, None, None, None, number)  # type: ignore[arg-type]
    assert [tuple(round(value, 6) for value in step) for step in watch.steps] == [(1.0, 0.5), (1.1, 0.1)]

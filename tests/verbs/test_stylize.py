# SPDX-License-Identifier: Apache-2.0
"""``staticdropout data stylize``: the command, its config, several processes, and real data."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sequences import davis2016
from styled_copies import decoded, frames_in, hidden_in, pixels, rendered, stylize

from staticdropout import cli
from staticdropout.datamodules import write_moving_shapes
from staticdropout.datamodules.style_provenance import read_style_file
from staticdropout.datamodules.style_sources import list_videos
from staticdropout.models.stylization import PatchGenerator
from staticdropout.perturbations import StyleSet

VIDEOS = "20bn-something-something-v2"
REAL = Path(os.environ.get("STATICDROPOUT_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
CPU = ["--accelerator", "cpu", "--devices", "1", "--workers", "0", "--progress", "false"]

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("source") / "shapes"
    return write_moving_shapes(
        root, 2, 5, 1, num_classes=2, num_frames=6, height=32, width=40, num_workers=2, progress=False
    )


def run(root: Path, output: Path, *options: str) -> None:
    cli.main(["data", "stylize", str(root), str(output), *options, *CPU])


def test_the_command_writes_what_the_loader_of_the_data_set_reads(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(source, tmp_path / "out")
    names = [video.name for video in list_videos(source).videos]
    assert sorted(frames_in(tmp_path / "out")) == sorted(
        f"style_{k}/{name}/{number:06d}.jpg" for k in (1, 2, 3, 4) for name in names for number in range(1, 7)
    )
    found = read_style_file(tmp_path / "out")
    assert found is not None
    assert found["style_names"] == ["paint", "chalk", "neon", "relief"]
    assert found["style_hash"] == StyleSet(["paint", "chalk", "neon", "relief"]).hash
    assert found["source"] == str(source.resolve())
    assert "5 videos styled, 120 frames" in capsys.readouterr().out
    before = frames_in(tmp_path / "out")
    run(source, tmp_path / "out")
    assert "5 of 5 videos were there already" in capsys.readouterr().out
    assert frames_in(tmp_path / "out") == before


def test_styles_splits_and_pattern_are_options_and_a_style_can_be_added(source: Path, tmp_path: Path) -> None:
    options = ["--splits", "train,test", "--pattern", "{style}/{video}/f_{frame:03d}.png", "--first_frame", "0"]
    run(source, tmp_path / "out", "--styles", "neon", "--limit", "2", *options)
    assert len(frames_in(tmp_path / "out")) == 12
    run(source, tmp_path / "out", "--styles", "neon,relief", *options)
    found = frames_in(tmp_path / "out")
    names = [video.name for video in list_videos(source, splits=["train", "test"]).videos]
    assert len(names) == 3
    assert sorted(found) == sorted(
        f"{style}/{name}/f_{number:03d}.png" for style in ("neon", "relief") for name in names for number in range(6)
    )
    for name in names:
        for style in ("neon", "relief"):
            expected = rendered(decoded(source / VIDEOS / f"{name}.webm"), style)
            written = [pixels(tmp_path / "out" / style / name / f"f_{number:03d}.png") for number in range(6)]
            np.testing.assert_array_equal(np.stack(written), expected)


def test_the_packaged_config_does_the_same_as_the_command(source: Path, tmp_path: Path) -> None:
    stylize(source, tmp_path / "command", styles=["paint", "chalk", "neon", "relief"])
    options = [f"--data.root={source}", f"--data.output={tmp_path / 'config'}", "--data.num_workers=0"]
    cli.main(["predict", "--config", "stylize", *options, "--trainer.accelerator=cpu", "--trainer.devices=1"])
    assert frames_in(tmp_path / "config") == frames_in(tmp_path / "command")
    assert (tmp_path / "config/styles.json").read_bytes() == (tmp_path / "command/styles.json").read_bytes()


def test_sequences_go_to_the_folders_that_the_loader_of_davis_reads(tmp_path: Path) -> None:
    root = davis2016(tmp_path / "davis")
    run(root, tmp_path / "out", "--styles", "neon,relief", "--splits", "all")
    assert sorted(frames_in(tmp_path / "out")) == sorted(
        f"JPEGImages/{style}/{name}/{number:05d}.jpg"
        for style in ("neon", "relief")
        for name in ("bear", "dog", "swan")
        for number in range(5)
    )
    first = tmp_path / "out/JPEGImages/neon/bear/00000.jpg"
    assert Image.open(first).size == Image.open(root / "JPEGImages/480p/bear/00000.jpg").size


def test_a_network_in_a_file_is_a_style_by_its_name(source: Path, tmp_path: Path) -> None:
    network = PatchGenerator(blocks=1, filters=(4, 4, 4, 4, 4, 4)).eval()
    torch.save(network.state_dict(), tmp_path / "mine.pt")
    options = ["--pattern", "{style}/{video}/{frame}.png", "--limit", "1"]
    run(source, tmp_path / "out", "--styles", f"relief,{tmp_path / 'mine.pt'}", *options)
    (video,) = list_videos(source, limit=1).videos
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["mine", "relief", "styles.json"]
    frames = torch.from_numpy(decoded(video.path)).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad():
        expected = ((network(frames) + 1) * 127.5).permute(0, 2, 3, 1).numpy()
    written = np.stack([pixels(tmp_path / f"out/mine/{video.name}/{number}.png") for number in range(1, 7)])
    assert np.abs(written - expected).max() < 0.51
    before = read_style_file(tmp_path / "out")
    torch.save({name: value + 1 for name, value in network.state_dict().items()}, tmp_path / "mine.pt")
    with pytest.raises(SystemExit, match="other parameters of the style 'mine'"):
        run(source, tmp_path / "out", "--styles", f"relief,{tmp_path / 'mine.pt'}", *options)
    assert read_style_file(tmp_path / "out") == before


def test_two_processes_write_every_video_once_and_the_same_bytes_as_one(source: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    shutil.copytree(source, root)
    broken = list_videos(root).videos[2].path
    broken.write_bytes(b"\x1a\x45\xdf\xa3 not a video")
    output = tmp_path / "two"
    command = [
        sys.executable,
        "-m",
        "staticdropout",
        "data",
        "stylize",
        str(root),
        str(output),
        "--styles",
        "neon,relief",
    ]
    options = ["--accelerator", "cpu", "--devices", "2", "--workers", "0", "--threads", "1"]
    ended = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    _, one = stylize(root, tmp_path / "one")
    assert "process 1 of 2" in ended.stderr
    assert "4 videos styled, 48 frames" in ended.stdout  # of both: none was made twice
    assert ended.stdout.count("videos styled") == 1
    assert f"{one.num_videos} videos styled, {one.num_frames} frames" in ended.stdout
    assert frames_in(output) == frames_in(tmp_path / "one")
    assert (output / "skipped.csv").read_bytes() == (tmp_path / "one/skipped.csv").read_bytes()
    assert broken.stem in (output / "skipped.csv").read_text()
    assert hidden_in(output) == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--styles", "pant"], "no style called 'pant'"),
        (["--styles", "neon,neon"], "twice"),
        (["--layout", "ssv3"], "no layout called 'ssv3'"),
        (["--pattern", "style_{k}/{film}/{frame}.jpg"], "unknown field {film}"),
        (["--quality", "200"], "quality"),
        (["--reader", "ffmpeg"], "no video reader called 'ffmpeg'"),
    ],
)
def test_a_wrong_option_ends_with_one_sentence(options: list[str], said: str, source: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        run(source, tmp_path / "out", *options)
    assert said in str(ended.value)
    assert not (tmp_path / "out").exists()


def test_wrong_places_end_with_one_sentence(source: Path, tmp_path: Path) -> None:
    inside = tmp_path / "copy"
    shutil.copytree(source, inside)
    with pytest.raises(SystemExit, match="lies inside the data set"):
        run(inside, inside / "styled")
    with pytest.raises(SystemExit, match="No data set at"):
        run(tmp_path / "nowhere", tmp_path / "out")
    run(source, tmp_path / "out", "--styles", "neon", "--limit", "1")
    with pytest.raises(SystemExit, match=r"the styles neon instead of relief"):
        run(source, tmp_path / "out", "--styles", "relief", "--limit", "1")


def test_a_data_set_of_which_nothing_can_be_read_is_an_error(source: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    shutil.copytree(source, root)
    for file in (root / VIDEOS).iterdir():
        file.write_bytes(b"")
    with pytest.raises(SystemExit, match=r"None of the 5 videos.*the file is empty"):
        run(root, tmp_path / "out", "--styles", "neon")
    assert len((tmp_path / "out/skipped.csv").read_text().splitlines()) == 6


def test_hidden_files_are_no_videos_and_one_bad_name_costs_no_other_video(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "plain"
    root.mkdir()
    video = next((source / VIDEOS).iterdir())
    shutil.copy(video, root / "good.webm")
    for bad in ("._good.webm", ".hidden.webm", "back\\slash.webm"):
        shutil.copy(video, root / bad)
    run(root, tmp_path / "out", "--styles", "neon")
    said = capsys.readouterr().out
    assert "1 video styled, 6 frames" in said
    assert "1 skipped" in said
    assert "cannot be the name of a folder" in (tmp_path / "out/skipped.csv").read_text()
    assert [path.name for path in (tmp_path / "out/style_1").iterdir()] == ["good"]
    with pytest.raises(SystemExit, match="cannot be the name of a folder"):
        run(root, tmp_path / "other", "--styles", "neon", "--on_error", "raise")
    (root / "good").mkdir()
    shutil.copy(video, root / "good" / "goal.webm")
    with pytest.raises(SystemExit, match=r"begins with that of .*good\.webm"):
        run(root, tmp_path / "other", "--styles", "neon")
    assert not (tmp_path / "other").exists()


@pytest.mark.skipif(not (REAL / "ssv2_mini").is_dir(), reason=f"no real videos at {REAL} (STATICDROPOUT_TEST_DATA)")
def test_real_videos_come_out_styled_frame_by_frame(tmp_path: Path) -> None:
    root = REAL / "ssv2_mini"
    options = ["--pattern", "style_{k}/{video}/{frame:06d}.png", "--limit", "1", "--chunk_megapixels", "0.8"]
    run(root, tmp_path / "out", "--styles", "relief", *options)
    (video,) = list_videos(root, limit=1).videos
    frames, folder = decoded(video.path), tmp_path / "out" / "style_1" / video.name
    assert len(list(folder.iterdir())) == len(frames)
    shown = range(0, len(frames), 9)
    written = np.stack([pixels(folder / f"{number + 1:06d}.png") for number in shown])
    np.testing.assert_array_equal(written, rendered(frames[list(shown)], "relief"))


@pytest.mark.skipif(not (REAL / "davis16_mini").is_dir(), reason=f"no DAVIS at {REAL} (STATICDROPOUT_TEST_DATA)")
def test_real_sequences_keep_stems_and_size(tmp_path: Path) -> None:
    root = REAL / "davis16_mini"
    run(root, tmp_path / "out", "--styles", "relief", "--splits", "all", "--limit", "1")
    assert json.loads((tmp_path / "out/styles.json").read_text())["layout"] == "davis2016"
    (video,) = list_videos(root, splits=["all"], limit=1).videos
    folder = tmp_path / "out/JPEGImages/relief" / video.name
    assert sorted(path.name for path in folder.iterdir()) == [path.name for path in video.frames]
    assert {Image.open(path).size for path in folder.iterdir()} == {Image.open(path).size for path in video.frames}


def test_after_ctrl_c_it_says_how_to_go_on(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*args: object) -> None:
        raise KeyboardInterrupt

    handler = signal.getsignal(signal.SIGINT)  # which Lightning ignores from then on
    monkeypatch.setattr("staticdropout.lightning_modules.video_stylizer.VideoStylizer.predict_step", stop)
    with pytest.raises(SystemExit, match="the same command goes on"):
        run(source, tmp_path / "out")
    signal.signal(signal.SIGINT, handler)
    assert hidden_in(tmp_path / "out") == []


def test_styles_of_a_config_may_be_one_text_with_commas(source: Path, tmp_path: Path) -> None:
    options = {"data.root": source, "data.output": tmp_path / "out", "data.styles": "paint,relief", "data.limit": 1}
    more = {"data.num_workers": 0, "trainer.accelerator": "cpu", "trainer.devices": 1}
    more |= {"trainer.default_root_dir": tmp_path}
    cli.main(["predict", "--config", "stylize", *(f"--{name}={value}" for name, value in {**options, **more}.items())])
    found = read_style_file(tmp_path / "out")
    assert found is not None
    assert found["style_names"] == ["paint", "relief"]

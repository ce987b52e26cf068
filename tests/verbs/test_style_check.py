# SPDX-License-Identifier: Apache-2.0
"""``staticdropout styles check``: fit sets pass, unfit ones are told with the reason."""

from __future__ import annotations

import csv
import os
import re
import sys
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonargparse
import numpy as np
import pytest
import torch
from PIL import Image
from small_models import SMALL
from torch import Tensor, nn
from torch.nn import functional as F

from staticdropout.errors import (
    CheckpointError,
    DatasetNotFoundError,
    LayerNotFoundError,
    OptionError,
    UnknownNameError,
    VideoDecodeError,
)
from staticdropout.models import create_model
from staticdropout.perturbations import register_style
from staticdropout.perturbations.styles.registry import unregister_style
from staticdropout.verbs.style_check import check_styles
from staticdropout.verbs.style_network import build_network

DATA = Path(os.environ.get("STATICDROPOUT_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
DEFAULT = ("paint", "chalk", "neon", "relief")
CLIPS, FRAMES, SIZE = 8, 3, 96


def canvas(clip: Tensor) -> Tensor:
    """A texture that stands still while the scene moves, in other colours."""
    texture = torch.rand(clip.shape[-2:], generator=torch.Generator().manual_seed(0))
    return 1 - (0.5 * clip + 0.5 * texture)


def fireworks(clip: Tensor) -> Tensor:
    """New noise in every frame."""
    noise = torch.randn(clip.shape, generator=torch.Generator().manual_seed(0))
    return (0.4 + 0.2 * clip.flip(1) + 0.25 * noise).clamp(0, 1)


STYLES: dict[str, Callable[[Tensor], Tensor]] = {
    "canvas-of-tests": canvas,
    "fireworks-of-tests": fireworks,
    "hue-of-tests": lambda clip: clip[:, [1, 2, 0]],
    "negative-of-tests": lambda clip: 1 - clip,
    "same-of-tests": lambda clip: clip,
    "wall-of-tests": lambda clip: clip.new_tensor([0.9, 0.2, 0.1]).view(3, 1, 1, 1).expand(clip.shape),
}


class Named:
    """A function as a style."""

    temporal = False

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, clip: Tensor, *, seed: int = 0) -> Tensor:
        return STYLES[self.name](clip)


@pytest.fixture(autouse=True)
def styles_of_tests() -> Iterator[None]:
    for name in STYLES:
        register_style(name)(lambda name=name: Named(name))
    yield
    for name in STYLES:
        unregister_style(name)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of frames: grey textures with a cast of colour, which drift."""
    root = tmp_path_factory.mktemp("clips")
    for number in range(CLIPS):
        generator = torch.Generator().manual_seed(number)
        scene = torch.zeros(3, SIZE + 16, SIZE + 16)
        for cells in (3, 10, 30):
            grey, colour = (torch.rand(1, c, cells, cells, generator=generator) for c in (1, 3))
            scene += F.interpolate(grey + 0.3 * colour, SIZE + 16, mode="bicubic")[0] / cells**0.5
        scene = (scene - scene.amin()) / (scene.amax() - scene.amin()) * (0.5 + 0.5 * number / CLIPS)
        (root / f"video{number}").mkdir()
        for t in range(FRAMES):
            frame = (scene[:, 2 * t : 2 * t + SIZE, t : t + SIZE] * 255).byte().permute(1, 2, 0).numpy()
            Image.fromarray(frame).save(root / f"video{number}" / f"{t:03d}.png")
    return root


def check(data: Path, *styles: str, **options: Any) -> int:
    """The exit status."""
    settings: dict[str, Any] = {"num_clips": CLIPS, "num_frames": FRAMES, "stride": 1, "size": SIZE, "device": "cpu"}
    try:
        check_styles(data=str(data), styles=list(styles) or None, **{**settings, **options})
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def rows(path: Path) -> dict[str, dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return {row["style"]: row for row in csv.DictReader(file)}


def test_the_default_set_is_fit_and_all_numbers_are_printed_and_written(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = torch.get_rng_state()
    assert check(data, output=str(tmp_path / "a" / "styles.csv"), figure=str(tmp_path / "styles.png")) == 0
    assert torch.equal(torch.get_rng_state(), state)
    text = capsys.readouterr().out
    assert "Style set default" in text
    assert f"8 clips of 3 frames at 96x96, of 8 videos of {data}" in " ".join(text.split())  # long lines are broken
    assert re.search(r"source \+ noise +0\.\d\d +0\.\d{3} +1\.00 +1\.\d\d +1\.00 +(1\.00|0\.99) +-", text)
    assert "The style set default is fit for these clips." in text
    assert "Unfit" not in text
    table = rows(tmp_path / "a" / "styles.csv")
    assert list(table) == ["source + noise", *DEFAULT]
    for name in DEFAULT:
        assert float(table[name]["hellinger"]) > 0.8
        assert float(table[name]["flow_error_ratio"]) < 2
        assert float(table[name]["still_flicker_ratio"]) < 1
        assert float(table[name]["fps"]) > 0
        assert (table[name]["clips"], table[name]["skipped"], table[name]["crossed"]) == ("8", "0", "")
    for one, other in combinations(DEFAULT, 2):
        assert table[one][f"r_{other}"] == table[other][f"r_{one}"] != ""
    assert Image.open(tmp_path / "styles.png").size[0] == 700


def test_a_texture_that_stands_still_is_flagged_for_motion(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(data, "paint", "canvas-of-tests") == 1
    text = capsys.readouterr().out
    assert "Unfit: canvas-of-tests damages motion" in text
    assert "Unfit: paint" not in text
    assert re.search(r"canvas-of-tests .*! \d+\.\d\d", text)


def test_a_turn_of_hue_is_flagged_for_what_it_leaves(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(data, "hue-of-tests", "neon") == 1
    text = capsys.readouterr().out
    assert "Unfit: hue-of-tests keeps what single frames tell" in text
    assert "hue-of-tests damages motion" not in text


def test_noise_that_is_new_in_every_frame_is_flagged_for_flicker(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(data, "fireworks-of-tests") == 1
    assert "Unfit: fireworks-of-tests flickers" in capsys.readouterr().out


def test_two_styles_that_are_alike_make_the_set_unfit(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(data, "hue-of-tests", "same-of-tests") == 1
    text = capsys.readouterr().out
    assert re.search(r"Unfit: the styles are too much alike: mean r = 0\.\d\d over 1 pair,", text)
    assert "same-of-tests changes too little colour: its histogram is 0.00" in text


class Red(nn.Module):
    """One unit: mean red, times a weight; and a classifier that sees it."""

    def __init__(self, units: int = 1, num_classes: int = 2) -> None:
        super().__init__()
        self.body = nn.Linear(3, units, bias=False)
        self.fc = nn.Linear(units, num_classes)

    def forward(self, video: Tensor) -> Tensor:
        assert not self.training
        logits: Tensor = self.fc(self.body(video.mean((2, 3, 4))))
        return logits


def test_a_network_of_one_s_own_is_asked_with_its_weights_and_its_normalisation(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = ModuleType("their_project")
    vars(theirs)["Red"] = Red
    monkeypatch.setitem(sys.modules, "their_project", theirs)
    network = Red(units=2)
    network.body.weight.data = torch.tensor([[1.0, 0, 0], [0, 1.0, 0]])
    torch.save(network.state_dict(), tmp_path / "red.pt")
    output = tmp_path / "styles.csv"
    options = {"model": "their_project:Red", "model_args": {"units": 2}, "checkpoint": str(tmp_path / "red.pt")}
    assert check(data, "hue-of-tests", "negative-of-tests", output=str(output), **options) == 1
    table, text = rows(output), capsys.readouterr().out
    assert float(table["negative-of-tests"]["r_source"]) == pytest.approx(-1, abs=1e-4)
    frames = [np.asarray(Image.open(path)) / 255 for v in sorted(data.iterdir()) for path in sorted(v.iterdir())[::2]]
    red, green, blue = np.array(frames).mean((1, 2)).T
    expected = np.mean([np.corrcoef(red, green)[0, 1], np.corrcoef(green, blue)[0, 1]])
    assert float(table["hue-of-tests"]["r_source"]) == pytest.approx(expected, abs=1e-3)
    assert table["negative-of-tests"]["model"] == "their_project:Red"
    assert "Correlation r between styles: their_project:Red, what its classifier sees" in text
    assert "random weights" not in text
    shifted = build_network("their_project:Red", mean=[0.5, 0.5, 0.5], std=[0.25], model_args={"units": 3})
    shifted.module.load_state_dict({"body.weight": torch.eye(3)}, strict=False)
    np.testing.assert_allclose(shifted(torch.full((1, 3, 8, 8), 0.75)).numpy(), [[1, 1, 1]], atol=1e-6)


def test_a_network_of_the_registry_is_asked_at_its_size_and_random_weights_are_told(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"model": "slowonly_r18", "model_args": SMALL["slowonly_r18"], "model_frames": 4, "model_size": 64}
    check(data, "paint", "neon", layer="res3", **options)
    assert "slowonly_r18 has random weights" in " ".join(capsys.readouterr().out.split())
    weights = tmp_path / "weights.pt"
    torch.save(create_model("slowonly_r18", 5, **SMALL["slowonly_r18"]).state_dict(), weights)
    check(data, "paint", "neon", checkpoint=str(weights), num_classes=7, **options)
    text = " ".join(capsys.readouterr().out.split())
    assert "random weights" not in text
    assert "slowonly_r18, what its classifier sees" in text


class Deaf(Red):
    """A network that answers the same to everything."""

    def forward(self, video: Tensor) -> Tensor:
        return super().forward(0 * video)


class Nervous(Red):
    """A network that answers to what no eye sees."""

    def forward(self, video: Tensor) -> Tensor:
        return super().forward(1000 * video % 1)


@pytest.mark.parametrize(
    ("network", "said"), [(Deaf, "No unit of 1 varies"), (Nervous, "already between the source and itself")]
)
def test_networks_whose_answers_say_nothing_about_styles_are_told(
    network: type[Red], said: str, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = ModuleType("their_project")
    vars(theirs)["Net"] = network
    monkeypatch.setitem(sys.modules, "their_project", theirs)
    check(data, "paint", "neon", model="their_project:Net")
    text = capsys.readouterr().out
    assert said in text
    assert "nan" not in text


def test_a_style_that_paints_one_picture_whatever_the_clip_is_unfit(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(data / "video0", "wall-of-tests", size=48, output=str(tmp_path / "a.csv")) == 1
    text = capsys.readouterr().out
    assert "Unfit: wall-of-tests gives nearly the same picture for every frame" in text
    assert rows(tmp_path / "a.csv")["wall-of-tests"]["crossed"].startswith("flicker")


def test_where_neither_flow_nor_r_could_be_judged_nothing_is_called_fit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "flat").mkdir()
    for t in range(FRAMES):
        Image.new("RGB", (96, 96), (90, 90, 90 + 20 * t)).save(tmp_path / "flat" / f"{t}.png")
    assert check(tmp_path, "negative-of-tests") == 1
    text = capsys.readouterr().out
    assert "the error of flow and r could not be judged" in text
    assert "Unfit" not in text
    assert "is fit for these clips" not in text


def test_of_few_clips_correlations_are_not_judged(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check(data / "video0", "hue-of-tests")
    text = capsys.readouterr().out
    assert "1 clip is too few for correlations to be judged" in text
    assert "keeps what single frames tell" not in text
    assert ", r ≤" not in text
    assert check(data / "video0", "neon") == 0
    assert "is fit for these clips, as far as could be judged (not by r)." in capsys.readouterr().out


def test_in_clips_without_texture_the_error_of_flow_is_not_judged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for t in range(FRAMES):
        (tmp_path / "flat").mkdir(exist_ok=True)
        Image.new("RGB", (96, 96), (90, 90, 90 + t)).save(tmp_path / "flat" / f"{t}.png")
    check(tmp_path, "canvas-of-tests")
    text = capsys.readouterr().out
    assert "too little texture" in text
    assert "damages motion" not in text


def test_videos_that_cannot_be_read_are_counted_and_only_if_all_are_it_is_an_error(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "good").symlink_to(data / "video0")
    for name in ("bad", "worse"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.jpg").write_bytes(b"no picture")
    check(tmp_path, "paint")
    assert "2 videos could not be read, and no clip taken from there" in capsys.readouterr().out
    (tmp_path / "good").unlink()
    with pytest.raises(VideoDecodeError, match="none of its 2 videos can be read; the first"):
        check(tmp_path, "paint")


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"num_clips": 0}, OptionError, "num_clips=0 must be at least 1"),
        ({"num_frames": 1}, OptionError, "num_frames=1 must be at least 2"),
        ({"size": 20}, OptionError, "size=20"),
        ({"device": "abacus"}, OptionError, "Choose auto, cpu, cuda or mps"),
        ({"checkpoint": "a.pt"}, OptionError, "without a model"),
        ({"model": "slowfastt"}, UnknownNameError, "slowfast"),
        ({"model": "matnet"}, OptionError, "takes no clips"),
        ({"model": "nowhere_at_all:Net"}, OptionError, "cannot be imported: No module named"),
        ({"model": "torch.nn:Nett"}, OptionError, "cannot be imported"),
        ({"model": "builtins:dict"}, OptionError, "gave a dict"),
        ({"model": "slowonly_r18", "std": [0.0]}, OptionError, "std"),
        ({"model": "slowonly_r18", "mean": [0.0, 1.0]}, OptionError, "one number or three"),
        ({"model": "slowonly_r18", "checkpoint": "/nowhere.pt"}, CheckpointError, "nowhere.pt"),
        ({"model": "torch.nn:Flatten"}, LayerNotFoundError, r"nn\.Linear"),
        ({"output": "/dev/null/a.csv"}, OptionError, "cannot be written"),
    ],
)
def test_bad_options_are_told(data: Path, options: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        check(data, "paint", **{"num_clips": 1, **options})


def test_an_unknown_style_and_an_empty_place_are_told(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="paint"):
        check(data, "pain")
    with pytest.raises(DatasetNotFoundError, match="folders of"):
        check(tmp_path, "paint")


def test_the_command_line_takes_styles_with_commas_and_tells_of_its_exit_status(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*arguments: str) -> None:
        jsonargparse.auto_cli({"check": check_styles}, args=["check", *arguments], prog="staticdropout styles")

    shape = ["--num_clips=2", "--num_frames=3", "--stride=1", "--size=96", "--device=cpu"]
    run("--data", str(data), "--styles", "paint,neon", *shape, "--output", str(tmp_path / "a.csv"))
    assert list(rows(tmp_path / "a.csv")) == ["source + noise", "paint", "neon"]
    with pytest.raises(SystemExit) as end:
        run("--data", str(data), "--styles", "[canvas-of-tests]", *shape)
    assert end.value.code == 1
    capsys.readouterr()
    with pytest.raises(SystemExit, match="0"):
        run("--help")
    text = " ".join(capsys.readouterr().out.split())
    for part in ("--data DATA", "--styles", "exits with 1 where the set is unfit, 0 where it is fit"):
        assert part in text


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no real videos at {DATA} (STATICDROPOUT_TEST_DATA)")
def test_the_default_set_is_fit_for_real_clips(capsys: pytest.CaptureFixture[str]) -> None:
    assert check(DATA / "clips", num_clips=8, num_frames=8, stride=2, size=160) == 0
    assert "of 8 videos" in capsys.readouterr().out

# SPDX-License-Identifier: Apache-2.0
"""What is known of the styles of frames on disk, and which frames may be put beside which."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from staticdropout.datamodules.frame_patterns import FRAME_PATTERNS, FramePattern
from staticdropout.datamodules.style_provenance import (
    STYLE_FILE,
    claim_styles,
    describe_styles,
    read_style_file,
    styles_on_disk,
)
from staticdropout.errors import AnnotationError, DatasetExistsError, DatasetNotFoundError, OptionError
from staticdropout.perturbations import StyleSet, get_style

SSV2, DAVIS = FRAME_PATTERNS["ssv2"], FRAME_PATTERNS["davis"]
SETTINGS: dict[str, Any] = {"source": "/data", "target_fps": None, "short_side": None, "quality": 95}


def claim(root: Path, *names: Any, pattern: FramePattern = SSV2, seed: int = 0, **settings: Any) -> None:
    claim_styles(root, StyleSet(list(names), seed=seed), pattern, SETTINGS | settings)


def draw(root: Path, pattern: FramePattern, styles: list[str], videos: int = 2, shade: int = 0) -> None:
    for k, style in enumerate(styles, start=1):
        for video in range(videos):
            for number in range(2):
                frame: int | str = f"{number:05d}" if pattern.by_stem else number + 1
                path = pattern.path(root, style, k, f"video{video}", frame)
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (8, 8), (40 * k, 20 * video, 10 * number + shade)).save(path)


def test_the_file_says_how_frames_were_made(tmp_path: Path) -> None:
    claim(tmp_path, "paint", "neon", seed=3, target_fps=5.0)
    found, styles = read_style_file(tmp_path), StyleSet(["paint", "neon"], seed=3)
    assert found is not None
    assert (found["style_hash"], found["style_set"], found["seed"]) == (styles.hash, styles.name, 3)
    assert found["style_names"] == ["paint", "neon"]
    assert found["styles"][1] == {"name": "neon", "version": 1, "parameters": get_style("neon").parameters}  # type: ignore[attr-defined]
    assert (found["pattern"], found["first_frame"], found["target_fps"]) == (SSV2.text, 1, 5.0)


def test_the_same_settings_may_be_claimed_again_and_leave_the_file_alone(tmp_path: Path) -> None:
    claim(tmp_path, "paint", "neon")
    before = (tmp_path / STYLE_FILE).read_bytes()
    claim(tmp_path, "paint", "neon", source="/elsewhere")  # the data may have moved
    assert (tmp_path / STYLE_FILE).read_bytes() == before


def test_styles_may_be_added_at_the_end_and_fewer_asked_for(tmp_path: Path) -> None:
    claim(tmp_path, "paint", "neon")
    claim(tmp_path, "paint", "neon", "chalk")
    claim(tmp_path, "paint")
    found = read_style_file(tmp_path)
    assert found is not None
    assert found["style_names"] == ["paint", "neon", "chalk"]
    assert found["style_hash"] == StyleSet(["paint", "neon", "chalk"]).hash


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"names": ["neon", "paint"]}, ["paint,neon", "neon,paint"]),
        ({"names": ["paint", "chalk"]}, ["paint,neon", "paint,chalk"]),
        ({"names": ["paint", get_style("neon", sharpness=8.0)]}, ["other parameters of the style 'neon'"]),
        ({"pattern": FRAME_PATTERNS["release"]}, [SSV2.text, FRAME_PATTERNS["release"].text]),
        ({"pattern": FramePattern(SSV2.text, 0)}, ["first_frame 1 instead of 0"]),
        ({"seed": 1}, ["seed 0 instead of 1"]),
        ({"target_fps": 5.0}, ["target_fps None instead of 5.0"]),
        ({"short_side": 128}, ["short_side None instead of 128"]),
        ({"quality": 80}, ["quality 95 instead of 80"]),
    ],
)
def test_frames_of_another_kind_are_refused_with_both_named(
    change: dict[str, Any], named: list[str], tmp_path: Path
) -> None:
    claim(tmp_path, "paint", "neon")
    before = (tmp_path / STYLE_FILE).read_bytes()
    with pytest.raises(DatasetExistsError) as refused:
        claim(tmp_path, *change.pop("names", ["paint", "neon"]), **change)
    assert all(name in str(refused.value) for name in named), refused.value
    assert (tmp_path / STYLE_FILE).read_bytes() == before


def test_frames_of_unknown_origin_are_not_added_to(tmp_path: Path) -> None:
    draw(tmp_path, SSV2, ["paint"])
    with pytest.raises(DatasetExistsError, match=r"style_1/video0.*no styles\.json"):
        claim(tmp_path, "paint")
    assert not (tmp_path / STYLE_FILE).exists()
    claim(tmp_path, "paint", pattern=DAVIS)  # these are elsewhere


def test_two_styles_of_one_name_do_not_share_a_folder(tmp_path: Path) -> None:
    twins = [get_style("neon"), get_style("neon", sharpness=8.0)]
    with pytest.raises(OptionError, match="do not differ in their names"):
        claim(tmp_path, *twins, pattern=DAVIS)
    claim(tmp_path, *twins)  # by number they differ


@pytest.mark.parametrize("seed", [0, 3])
def test_a_choice_of_styles_has_the_hash_of_its_style_set_however_many_styles_there_are(
    seed: int, tmp_path: Path
) -> None:
    twin = get_style("neon", sharpness=8.0)
    claim(tmp_path, "paint", "chalk", "neon", "relief", seed=seed)
    for choice in ([1, 3], [3, 1], [2], [1, 2, 3, 4]):
        names = ("paint", "chalk", "neon", "relief")
        chosen = [(number, names[number - 1]) for number in choice]
        before = describe_styles(tmp_path, chosen, SSV2)
        assert before["style_hash"] == StyleSet([name for _, name in chosen], seed=seed).hash
        assert before["style_set"] == StyleSet([name for _, name in chosen], seed=seed).name
        claim(tmp_path, *names, twin, seed=seed)
        assert describe_styles(tmp_path, chosen, SSV2) == before
        (tmp_path / STYLE_FILE).unlink()
        claim(tmp_path, *names, seed=seed)
    claim(tmp_path, *names, twin, seed=seed)
    mixed = describe_styles(tmp_path, [(5, "neon"), (1, "paint")], SSV2)
    assert mixed["style_hash"] == StyleSet([twin, "paint"], seed=seed).hash


@pytest.mark.parametrize(
    "wrong", [{"first_frame": "x"}, {"first_frame": -1}, {"target_fps": "5"}, {"seed": 1.5}, {"styles": ["paint"]}]
)
def test_a_file_with_values_of_another_kind_is_refused(wrong: dict[str, Any], tmp_path: Path) -> None:
    claim(tmp_path, "paint")
    content = json.loads((tmp_path / STYLE_FILE).read_text())
    (tmp_path / STYLE_FILE).write_text(json.dumps(content | wrong))
    with pytest.raises(AnnotationError, match=STYLE_FILE):
        read_style_file(tmp_path)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"style_names": ["a"], "styles": []}'])
def test_a_damaged_file_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / STYLE_FILE).write_text(content)
    with pytest.raises(AnnotationError, match=STYLE_FILE):
        read_style_file(tmp_path)


def test_styles_are_those_of_the_file_or_those_whose_folders_are_there(tmp_path: Path) -> None:
    claim(tmp_path / "own", "paint", "neon")
    assert styles_on_disk(tmp_path / "own", SSV2) == ((1, "paint"), (2, "neon"))
    draw(tmp_path / "numbered", SSV2, ["a"] * 11)
    assert styles_on_disk(tmp_path / "numbered", SSV2) == tuple((k, f"style_{k}") for k in range(1, 12))
    draw(tmp_path / "named", DAVIS, ["Zuzka1", "Lynx"])
    assert styles_on_disk(tmp_path / "named", DAVIS) == ((1, "Lynx"), (2, "Zuzka1"))
    with pytest.raises(DatasetNotFoundError, match="style_"):
        styles_on_disk(tmp_path / "named", SSV2)


def test_own_frames_are_described_by_the_file_whichever_frames_there_are(tmp_path: Path) -> None:
    claim(tmp_path, "paint", "neon")
    described = describe_styles(tmp_path, styles_on_disk(tmp_path, SSV2), SSV2)
    styles = StyleSet(["paint", "neon"])
    assert described == {"style_set": styles.name, "style_names": ["paint", "neon"], "style_hash": styles.hash}
    one = describe_styles(tmp_path, [(2, "neon")], SSV2)
    assert one["style_names"] == ["neon"]
    assert one["style_hash"] != described["style_hash"]
    for unknown in ([(1, "neon")], [(3, "chalk")]):
        with pytest.raises(OptionError, match="has no style"):
            describe_styles(tmp_path, unknown, SSV2)


def test_frames_of_others_are_described_by_their_content(tmp_path: Path) -> None:
    names = ["Lynx", "Zuzka1"]
    for folder, shade in (("one", 0), ("other", 100)):
        draw(tmp_path / folder, DAVIS, names, shade=shade)
    shutil.copytree(tmp_path / "one", tmp_path / "copy")
    hashes = {
        folder: describe_styles(tmp_path / folder, [(1, "Lynx"), (2, "Zuzka1")], DAVIS)["style_hash"]
        for folder in ("one", "copy", "other")
    }
    assert hashes["one"] == hashes["copy"] != hashes["other"]
    turned = describe_styles(tmp_path / "one", [(1, "Zuzka1"), (2, "Lynx")], DAVIS)["style_hash"]
    assert turned != hashes["one"]
    with pytest.raises(DatasetNotFoundError, match="no frames in the style 'Maruska640'"):
        describe_styles(tmp_path / "one", [(1, "Maruska640")], DAVIS)


def test_the_file_is_plain_json(tmp_path: Path) -> None:
    claim(tmp_path, "paint")
    assert json.loads((tmp_path / STYLE_FILE).read_text())["source"] == "/data"

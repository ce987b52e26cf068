# SPDX-License-Identifier: Apache-2.0
"""``staticdropout data check`` on data sets of actions."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
from action_data import activitynet, diving48, kinetics, something_else, write_clip, write_text

from staticdropout import cli
from staticdropout.datamodules import VIDEO_LAYOUTS, KineticsDataModule, detect_video_layout, video_source
from staticdropout.errors import OptionError, UnknownNameError

BUILDERS: dict[str, Callable[[Path], Path]] = {
    "activitynet": activitynet,
    "diving48": diving48,
    "kinetics": kinetics,
    "something_else": something_else,
}
ENTRIES = {
    "activitynet": {"train": 3, "validation": 1, "test": 1},
    "diving48": {"train": 3, "test": 2},
    "kinetics": {"train": 4, "validation": 2},
    "something_else": {"train": 3, "validation": 2},
}


def check(root: Path, *options: str) -> int:
    """The exit status of the command."""
    try:
        cli.main(["data", "check", str(root), "--min_frames=5", "--workers=0", *options])
    except SystemExit as end:
        return int(str(end.code))  # a message is no number: the command went wrong
    return 0


@pytest.mark.parametrize("layout", BUILDERS)
def test_a_sound_data_set_is_recognised_and_has_a_row_for_each_split(
    layout: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = BUILDERS[layout](tmp_path / "data")
    assert detect_video_layout(root) == layout
    for options in ([], [f"--layout={layout}"]):
        assert check(root, *options) == 0
        lines = [line.strip("│ ").split("│") for line in capsys.readouterr().out.splitlines() if "│" in line]
        expected = [[split, str(count), str(count), "0", "0", "0"] for split, count in ENTRIES[layout].items()]
        assert [[cell.strip() for cell in line] for line in lines] == expected


def test_missing_short_and_unreadable_videos_are_told_apart_and_written_to_the_csv(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = kinetics(tmp_path / "k")
    (root / "train" / "aaaaaaaaaaa_000005_000015.mp4").unlink()
    (root / "train" / "bbbbbbbbbbb_000417_000427.mp4").write_bytes(b"damaged")
    write_clip(root / "val" / "eeeeeeeeeee_000008_000018.mp4", frames=3)
    assert check(root, f"--output={tmp_path / 'findings.csv'}") == 1
    with (tmp_path / "findings.csv").open(newline="") as file:
        found = [(row["split"], row["id"], row["problem"]) for row in csv.DictReader(file)]
    assert found == [
        ("train", "aaaaaaaaaaa_000005_000015", "missing"),
        ("train", "bbbbbbbbbbb_000417_000427", "unreadable"),
        ("validation", "eeeeeeeeeee_000008_000018", "short"),
    ]
    assert "aaaaaaaaaaa_000005_000015: missing" in capsys.readouterr().out


def test_segments_are_judged_by_their_own_frames(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = activitynet(tmp_path / "anet")
    write_clip(root / "videos" / "v_aaaaaaaaaaa.mp4", frames=18)  # the second segment is frames 15 to 20
    write_clip(root / "videos" / "v_ccccccccccc.mp4", frames=8)  # its only segment begins at frame 10
    assert check(root) == 1
    out = capsys.readouterr().out
    assert "train aaaaaaaaaaa/1: short (3 frames, fewer than 5)" in out
    assert "validation ccccccccccc/0: unreadable (no frame of it lies in 1 to 2 seconds" in out
    assert "aaaaaaaaaaa/0" not in out


def test_annotations_and_videos_elsewhere_are_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = something_else(tmp_path / "ssv2")
    (root / "something_else").rename(tmp_path / "splits")
    (root / "20bn-something-something-v2").rename(tmp_path / "clips")
    assert check(root, f"--labels_dir={tmp_path / 'splits'}", f"--video_dir={tmp_path / 'clips'}") == 0
    assert "validation" in capsys.readouterr().out


def test_a_list_that_stands_for_all_splits_is_checked_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_clip(tmp_path / "clips" / "a.mp4")
    write_text(tmp_path / "list.txt", ["clips/a.mp4 3"])
    assert check(tmp_path) == 0
    assert "train" not in capsys.readouterr().out


def test_an_unknown_layout_is_refused_with_close_matches(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="Close matches: kinetics"):
        cli.main(["data", "check", str(tmp_path), "--layout=kinetic"])
    with pytest.raises(UnknownNameError, match="diving48"):
        video_source("diving", tmp_path)


@pytest.mark.parametrize("layout", VIDEO_LAYOUTS)
def test_a_folder_without_the_annotations_of_a_layout_is_an_error_that_names_them(layout: str, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"error: No data set at .*expected"):
        cli.main(["data", "check", str(tmp_path), f"--layout={layout}"])


def test_the_real_data_sets_are_told_apart(real_data: Path) -> None:
    found = {folder.name: detect_video_layout(folder) for folder in sorted(real_data.iterdir()) if folder.is_dir()}
    assert found["ssv2_mini"] == "ssv2"
    assert found["kinetics_mini"] == "kinetics"
    assert {found[name] for name in ("clips", "davis16_mini", "davis17_mini", "moca_mini", "robust")} == {None}
    annotations = {folder.name: detect_video_layout(folder) for folder in (real_data / "annotations").iterdir()}
    assert {name: layout for name, layout in annotations.items() if layout} == {
        "activitynet": "activitynet",
        "ssv2": "ssv2",
    }


def test_a_folder_of_no_known_layout_is_answered_with_all_of_them(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"of videos: diving48.*kinetics; of segmentation: davis2016.*--layout"):
        cli.main(["data", "check", str(tmp_path)])
    with pytest.raises(SystemExit, match="Check the path given as labels_dir"):
        cli.main(["data", "check", str(tmp_path), "--labels_dir", str(tmp_path / "nowhere")])


def test_crops_larger_than_the_shorter_side_are_named_by_their_options(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"short_side=32 must not be below .* eval_crop_size=256 in evaluation"):
        KineticsDataModule(str(tmp_path), crop_size=32, short_side=32, eval_crop_size=256)

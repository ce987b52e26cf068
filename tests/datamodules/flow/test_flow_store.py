# SPDX-License-Identifier: Apache-2.0
"""Where flow lies."""

from __future__ import annotations

from pathlib import Path

import pytest

from staticdropout.datamodules.flow import find_flow, flow_folder, flow_path, frame_pairs, missing_flow
from staticdropout.errors import OptionError


def put(path: Path, content: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_places_have_the_official_names() -> None:
    assert flow_path("flow", "bear", "00003") == Path("flow/FlowImages_gap1/bear/00003.png")
    assert flow_path("flow", "bear", "00003", -1) == Path("flow/FlowImages_gap-1/bear/00003.png")
    assert flow_path("flow", "bear", "00003", 2, "flo") == Path("flow/Flows_gap2/bear/00003.flo")
    assert flow_folder("flow") == Path("flow/FlowImages_gap1")


def test_flow_is_found_in_the_official_folders_first(tmp_path: Path) -> None:
    assert find_flow(tmp_path, "bear", "0") is None
    plain = put(tmp_path / "bear" / "0.png")
    assert find_flow(tmp_path, "bear", "0") == plain
    vectors = put(tmp_path / "Flows_gap1" / "bear" / "0.flo")
    assert find_flow(tmp_path, "bear", "0") == vectors
    picture = put(tmp_path / "FlowImages_gap1" / "bear" / "0.png")
    assert find_flow(tmp_path, "bear", "0") == picture
    assert find_flow(tmp_path, "bear", "0", suffixes=(".flo",)) == vectors
    assert find_flow(tmp_path, "bear", "0", suffixes=(".flo", ".png")) == vectors


@pytest.mark.parametrize("suffix", [".png", ".flo", ".jpg", ".jpeg"])
def test_plain_folders_hold_forward_flow_in_any_format(tmp_path: Path, suffix: str) -> None:
    file = put(tmp_path / "bear" / f"0{suffix}")
    assert find_flow(tmp_path, "bear", "0") == file
    assert find_flow(tmp_path, "bear", "0", gap=-1) is None


def test_forward_and_backward_flow_are_not_mixed_up(tmp_path: Path) -> None:
    file = put(tmp_path / "FlowImages_gap-1" / "bear" / "0.png")
    assert find_flow(tmp_path, "bear", "0") is None
    assert find_flow(tmp_path, "bear", "0", -1) == file


def test_an_empty_file_or_a_folder_is_no_flow(tmp_path: Path) -> None:
    put(tmp_path / "FlowImages_gap1" / "bear" / "0.png", b"")
    (tmp_path / "bear" / "0.png").mkdir(parents=True)
    assert find_flow(tmp_path, "bear", "0") is None


def test_pairs_end_where_the_sequence_ends() -> None:
    sequences = [("a", [Path(f"{i}.jpg") for i in range(4)]), ("one", [Path("0.jpg")]), ("none", [])]
    pairs = [(p.frame.stem, p.other.stem, p.gap) for p in frame_pairs(sequences, (1, -2))]
    assert pairs == [("0", "1", 1), ("1", "2", 1), ("2", "3", 1), ("2", "0", -2), ("3", "1", -2)]
    assert all(p.sequence == "a" for p in frame_pairs(sequences))


def test_missing_flow_is_what_find_flow_does_not_find(tmp_path: Path) -> None:
    sequences = [(name, [Path(f"{i}.jpg") for i in range(3)]) for name in ("a", "b")]
    put(flow_path(tmp_path, "a", "0"))
    put(flow_path(tmp_path, "b", "1", -1))
    missing = [(p.sequence, p.frame.stem, p.gap) for p in missing_flow(sequences, tmp_path, (1, -1))]
    assert missing == [("a", "1", 1), ("a", "1", -1), ("a", "2", -1), ("b", "0", 1), ("b", "1", 1), ("b", "2", -1)]
    assert len(missing_flow(sequences, tmp_path, (1, -1), suffixes=(".flo",))) == 8


@pytest.mark.parametrize("gaps", [(0,), (1, 0), (1.0,), ("1",)])
def test_impossible_gaps_are_refused(gaps: tuple[int, ...]) -> None:
    with pytest.raises(OptionError, match="gaps must be whole numbers other than 0"):
        frame_pairs([], gaps)

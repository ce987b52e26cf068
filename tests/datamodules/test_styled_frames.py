# SPDX-License-Identifier: Apache-2.0
"""Pairs of styled clips from frames on disk: what is read, in which order, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from action_data import write_json
from PIL import Image
from styled_data import MARKED, marks, ssv2_labels, write_marked
from torch.utils.data import DataLoader

from staticdropout.datamodules.frame_patterns import FRAME_PATTERNS, FramePattern
from staticdropout.datamodules.styled_frames import StyledFramesDataModule
from staticdropout.datamodules.styled_pairs import square
from staticdropout.errors import AnnotationError, DatasetNotFoundError, OptionError, VideoDecodeError

VIDEOS = {"10": 30, "11": 7, "12": 9, "13": 24}
SMALL: dict[str, Any] = {
    "pattern": MARKED.text,
    "num_frames": 4,
    "window": 16,
    "short_side": 12,
    "crop_size": 8,
    "num_workers": 0,
}
STATIC, DYNAMIC = 0, 1


@pytest.fixture(scope="module")
def styled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_marked(tmp_path_factory.mktemp("styled"), VIDEOS)


def module(root: Path, **options: Any) -> StyledFramesDataModule:
    data = StyledFramesDataModule(str(root), **{**SMALL, **options})
    data.setup("validate")
    return data


def batches(root: Path, **options: Any) -> list[dict[str, Any]]:
    loader = module(root, **options).val_dataloader()
    assert isinstance(loader, DataLoader)
    return list(loader)


def items(root: Path, **options: Any) -> list[dict[str, Any]]:
    """The pairs one by one."""
    return [
        {name: value[row] for name, value in batch.items() if name != "skipped"}
        for batch in batches(root, **options)
        for row in range(len(batch["id"]))
    ]


def test_batches_hold_both_sides_factor_and_seed_of_every_seed_one_after_the_other(styled: Path) -> None:
    found = batches(styled)
    assert len(found) == 6  # three videos that are long enough, four seeds, two pairs a batch
    first = found[0]
    assert first["video"].shape == first["paired_video"].shape == (2, 3, 4, 8, 8)
    assert first["video"].dtype == first["paired_video"].dtype == torch.uint8
    assert first["factor"].dtype == first["seed"].dtype == first["label"].dtype == torch.int64
    assert [seed for batch in found for seed in batch["seed"].tolist()] == [1] * 3 + [2] * 3 + [3] * 3 + [4] * 3
    assert [name for batch in found for name in batch["id"]] == ["10", "12", "13"] * 4
    assert set(torch.cat([batch["factor"] for batch in found]).tolist()) == {STATIC, DYNAMIC}
    assert "skipped" not in first


def test_what_is_read_is_what_the_protocol_has_drawn(styled: Path) -> None:
    data = module(styled, seeds=range(1, 9))
    videos = [(name, frames) for name, frames in VIDEOS.items() if frames >= 8]
    drawn = [pair for seed in range(1, 9) for pair in data.protocol.draw(videos, seed)]
    found = items(styled, seeds=range(1, 9))
    assert len(drawn) == len(found) == 24
    for pair, item in zip(drawn, found, strict=True):
        order = pair.order or range(4)
        assert marks(item["video"], 0) == list(pair.frames_a)
        assert marks(item["paired_video"], 0) == [pair.frames_b[place] for place in order]
        assert marks(item["video"], 1) == [pair.style_a] * 4
        assert marks(item["paired_video"], 1) == [pair.style_b] * 4
        assert (item["factor"], item["id"]) == (pair.factor, pair.name)
        assert marks(item["video"], 2) == [list(VIDEOS).index(pair.name)] * 4


def test_a_static_pair_is_one_style_in_another_order_and_a_dynamic_pair_one_order_in_two_styles(styled: Path) -> None:
    for item in items(styled, seeds=range(1, 9)):
        frames = [marks(item[side], 0) for side in ("video", "paired_video")]
        styles = [marks(item[side], 1)[0] for side in ("video", "paired_video")]
        if item["factor"] == STATIC:
            assert sorted(frames[0]) == sorted(frames[1])
            assert styles[0] == styles[1]
        else:
            assert frames[0] == frames[1]
            assert styles[0] != styles[1]


def test_videos_come_in_the_order_of_the_annotations_with_their_labels(styled: Path, tmp_path: Path) -> None:
    source = ssv2_labels(tmp_path, {"13": 1, "99": 0, "11": 0, "10": 0})
    found = items(styled, source_root=str(source), seeds=(1,))
    assert [(item["id"], int(item["label"])) for item in found] == [("13", 1), ("10", 0)]
    data = module(styled, source_root=str(source), num_examples=1)
    assert data.pair_protocol["pairs_per_seed"] == 1
    assert data.class_names == ("Moving something down", "Moving something up")
    unscored = items(styled, source_root=str(source), seeds=(1,), use_labels=False)
    assert [int(item["label"]) for item in unscored] == [-1, -1]
    assert {int(item["label"]) for item in items(styled)} == {-1}


def test_the_authors_folder_of_diving48_counts_frames_from_zero_and_keeps_its_list_beside_them(tmp_path: Path) -> None:
    pattern = FramePattern("style_{k}/{video}/image_{frame:05d}.png", first_frame=0)
    write_marked(tmp_path, {"b_1": 12, "a_1": 9}, pattern=pattern)
    entries = [
        {"vid_name": name, "label": label, "start_frame": 0, "end_frame": frames}
        for name, label, frames in (("b_1", 5, 12), ("a_1", 2, 9), ("gone", 1, 80))
    ]
    write_json(tmp_path / "Diving48_V2_test.json", entries)
    found = items(tmp_path, pattern=pattern.text, seeds=(1, 2, 3))
    assert [(item["id"], int(item["label"])) for item in found[:2]] == [("b_1", 5), ("a_1", 2)]
    assert any(0 in marks(item["video"], 0) for item in found)


def test_activitynet_shows_the_first_segment_at_five_frames_a_second(tmp_path: Path) -> None:
    pattern = FramePattern("style_{k}/v_{video}/{frame:06d}.png")
    write_marked(tmp_path, {"aaaaaaaaaaa": 60, "bbbbbbbbbbb": 40}, pattern=pattern)
    videos = {
        name: {"duration": 12.0, "subset": "validation", "num_frames": 60, "annotations": segments}
        for name, segments in {
            "bbbbbbbbbbb": [{"segment": [0.5, 1.0], "label": "Surfing"}, {"segment": [1.0, 6.0], "label": "Archery"}],
            "aaaaaaaaaaa": [{"segment": [1.3, 6.0], "label": "Surfing"}, {"segment": [7.0, 8.0], "label": "Archery"}],
        }.items()
    }
    write_json(tmp_path / "activitynet_v13.json", {"database": videos})
    (item,) = items(tmp_path, pattern=pattern.text, seeds=(1,), window=32, num_frames=32)
    assert item["id"] == "aaaaaaaaaaa"
    assert int(item["label"]) == 1  # in alphabetical order
    assert marks(item["video"], 0) == [*range(6, 30), *range(6, 14)]  # from 1.3 s to 6 s, and around
    (faster,) = items(tmp_path, pattern=pattern.text, seeds=(1,), window=32, num_frames=32, fps=7.5)
    assert marks(faster["video"], 0) == list(range(9, 41))
    content = {"style_set": "mine", "style_names": list("abcd"), "style_hash": "abc", "pattern": pattern.text}
    file = write_json(tmp_path / "styles.json", {**content, "first_frame": 1, "styles": [{}] * 4, "target_fps": None})
    with pytest.raises(OptionError, match="--target_fps 5"):
        module(tmp_path)
    file.unlink()
    odd = {"oddities": ["any_short_segment"], "seeds": (1,)}
    with pytest.raises(AnnotationError, match="None of the 2 videos"):
        module(tmp_path, pattern=pattern.text, **odd)


def test_frames_are_resized_by_the_shorter_side_without_antialiasing_and_cut_at_the_centre() -> None:
    picture = (torch.rand(3, 30, 47, generator=torch.Generator().manual_seed(0)) * 255).round().to(torch.uint8)
    expected = torch.nn.functional.interpolate(picture[None].float(), (12, int(47 / 30 * 12)), mode="bilinear")[0]
    left = round((expected.shape[-1] - 10) / 2)
    found = square(picture, 12, 10)
    assert (found.float() - expected[:, 1:11, left : left + 10]).abs().max() <= 1
    assert square(torch.zeros(3, 40, 20, dtype=torch.uint8), 10, 10).shape == (3, 10, 10)


def test_independent_pathways_give_slow_clips_too(styled: Path) -> None:
    (batch, *_) = batches(styled, num_frames=8, slow_frames=4, oddities=["independent_pathways"], seeds=(1,))
    assert batch["video"].shape == batch["paired_video"].shape == (2, 3, 8, 8, 8)
    assert batch["slow"].shape == batch["paired_slow"].shape == (2, 3, 4, 8, 8)
    for row, factor in enumerate(batch["factor"].tolist()):
        slow, paired = (marks(batch[name][row], 0) for name in ("slow", "paired_slow"))
        assert sorted(slow) == sorted(paired)
        assert (slow == paired) == (factor == DYNAMIC)


def test_styles_are_chosen_by_name_number_or_count(styled: Path) -> None:
    def styles_of(**options: Any) -> set[int]:
        found = items(styled, seeds=range(1, 13), **options)
        return {style for item in found for side in ("video", "paired_video") for style in marks(item[side], 1)}

    assert styles_of() == {0, 1, 2, 3}
    assert styles_of(styles=2) == {0, 1}
    assert styles_of(styles=["style_4", 2]) == {1, 3}
    told = module(styled, styles=["style_4", "2"]).pair_protocol
    assert told["style_names"] == ["style_4", "style_2"]
    assert told["num_styles"] == 2
    for wrong in (["style_9", "1"], ["1"], ["1", "1"], 7, -1, 0, 1, "style_1"):
        with pytest.raises(OptionError, match="style"):
            module(styled, styles=wrong)


def test_the_convention_of_the_folder_is_found_without_being_told(tmp_path: Path) -> None:
    for name, layout in (("release", "auto"), ("ssv2", "auto"), ("diving48", "none"), ("activitynet", "auto")):
        pattern = FRAME_PATTERNS[name]
        root = write_marked(tmp_path / name, {"10": 12, "11": 9}, pattern=pattern)
        found = module(root, pattern=None, layout=layout, seeds=(1,))
        (batch,) = found.val_dataloader()
        assert [video[-2:] for video in batch["id"]] == ["10", "11"]
        assert found.pair_protocol["num_styles"] == 4


def test_the_protocol_carries_the_hash_of_the_frames_or_that_of_styles_json(styled: Path, tmp_path: Path) -> None:
    told = module(styled, oddities=["extra_batch"]).pair_protocol
    assert told["protocol"] == "kowal-action"
    assert told["seeds"] == [1, 2, 3, 4]
    assert told["oddities"] == ["extra_batch"]
    assert module(styled, oddities="extra_batch").pair_protocol["oddities"] == ["extra_batch"]
    assert told["pairs_per_seed"] == 3
    assert (told["short_side"], told["crop_size"]) == (12, 8)
    assert json.loads(json.dumps(told)) == told
    assert module(styled).pair_protocol["style_hash"] == told["style_hash"]
    other = write_marked(tmp_path / "other", {"10": 30}, styles=4, size=(13, 16))
    assert module(other).pair_protocol["style_hash"] != told["style_hash"]
    named = write_marked(tmp_path / "named", {"10": 30}, styles=2)
    content = {"style_set": "mine", "style_names": ["x", "y"], "style_hash": "abc", "pattern": MARKED.text}
    write_json(named / "styles.json", {**content, "first_frame": 1, "styles": [{"name": "x"}, {"name": "y"}]})
    told = module(named, pattern=None).pair_protocol
    assert (told["style_set"], told["style_hash"], told["style_names"]) == ("mine", "abc", ["x", "y"])


def test_different_numbers_of_frames_in_two_styles_are_refused_with_both(tmp_path: Path) -> None:
    root = write_marked(tmp_path, {"10": 12, "11": 12})
    (root / "style_3" / "11" / "000012.png").unlink()
    with pytest.raises(AnnotationError, match=r"(?s)'11' has 12 frames in .*style_1.* and 11 in .*style_3"):
        module(root, on_error="raise")
    # what is not needed is not looked at
    assert module(root, num_examples=1, on_error="raise").pair_protocol["pairs_per_seed"] == 1


def test_a_video_that_is_not_whole_is_left_out_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = write_marked(tmp_path, dict.fromkeys(("10", "11", "12", "13", "14", "15"), 12))
    shutil.rmtree(root / "style_2" / "11")
    (root / "style_4" / "12" / "000005.png").unlink()
    (root / "style_4" / "12" / "000013.png").touch()  # as many as in the others
    for style in range(1, 5):
        (root / f"style_{style}" / "13" / "000007.png").unlink()
    (root / "style_1" / "14" / "0000012.png").touch()  # a number twice
    with caplog.at_level("INFO"):
        data = module(root, seeds=(1,))
    assert sorted(data.left_out) == ["11", "12", "13", "14"]
    assert "12 frames" in data.left_out["11"]
    assert "0 in" in data.left_out["11"]
    assert "frame 8" in data.left_out["13"]
    assert "where 7 is expected" in data.left_out["13"]
    assert "4 of 6 videos are left out" in caplog.text
    assert data.left_out["11"] in caplog.text
    assert "1 more" in caplog.text
    (batch,) = data.val_dataloader()
    assert batch["id"] == ["10", "15"]
    for name in ("10", "15"):
        shutil.rmtree(root / "style_3" / name)
    with pytest.raises(AnnotationError, match=r"6 are not whole.*Video '10' has 12 frames"):
        module(root)
    for video in (root / "style_3").iterdir():
        shutil.rmtree(video)
    with pytest.raises(DatasetNotFoundError, match="no videos in the style 'style_3'"):
        module(root)
    assert module(root, styles=["style_1", "style_4"], seeds=(1,)).pair_protocol["pairs_per_seed"] == 3


def test_the_first_number_is_that_of_styles_json_where_there_is_one(tmp_path: Path) -> None:
    root = write_marked(tmp_path, {"10": 12, "11": 12})
    for style in range(1, 5):
        (root / f"style_{style}" / "11" / "000001.png").unlink()
    assert not module(root).left_out  # nothing says that there was one
    content = {"style_set": "mine", "style_names": list("abcd"), "style_hash": "abc", "pattern": MARKED.text}
    write_json(root / "styles.json", {**content, "first_frame": 1, "styles": [{}] * 4})
    data = module(root)
    assert list(data.left_out) == ["11"]
    assert "frame 2" in data.left_out["11"]


@pytest.mark.parametrize(
    ("there", "given", "advice"),
    [
        ("release", "ssv2", "set --data.pattern release"),
        ("ssv2", "release", "set --data.pattern ssv2"),
        ("activitynet", "diving48", "set --data.pattern ssv2"),
        ("release", "activitynet", "set --data.pattern release"),
        ("style_{k}/{video}/x{frame:03d}.png", "ssv2", "set --data.pattern 'style_{k}/{video}/x{frame:03d}.png'"),
    ],
)
def test_a_pattern_that_no_file_fits_is_answered_with_an_example_and_one_that_does(
    there: str, given: str, advice: str, tmp_path: Path
) -> None:
    pattern = FramePattern.of(there)
    root = write_marked(tmp_path, {"a/10": 9, "a/11": 9}, styles=2, pattern=pattern, names=("x", "y"))
    with pytest.raises(OptionError) as refused:
        module(root, pattern=given)
    example = pattern.path("", "x", 1, "a/10", pattern.first_frame).as_posix()
    for said in (FRAME_PATTERNS[given].text, example, advice):
        assert said in str(refused.value)
    assert not module(root, pattern=there).left_out


def test_styles_without_any_picture_are_no_data_set(tmp_path: Path) -> None:
    for style in (1, 2):
        (tmp_path / f"style_{style}" / "10").mkdir(parents=True)
    with pytest.raises(DatasetNotFoundError, match="no pictures"):
        module(tmp_path)


def test_a_broken_frame_skips_its_pairs_and_is_counted_or_raises(tmp_path: Path) -> None:
    root = write_marked(tmp_path, {"10": 12, "11": 12, "12": 12})
    for style in range(1, 5):
        for frame in (root / f"style_{style}" / "11").iterdir():
            frame.write_bytes(b"no picture")
    found = batches(root, seeds=(1,), batch_size=3)
    assert found[0]["id"] == ["10", "12"]
    assert len(found[0]["video"]) == len(found[0]["paired_video"]) == len(found[0]["factor"]) == 2
    assert [name for name, _ in found[0]["skipped"]] == ["11"]
    (_, empty, _) = batches(root, seeds=(1,), batch_size=1)
    assert empty["paired_video"].shape == (0, 3, 4, 8, 8)
    assert empty["factor"].shape == (0,)
    with pytest.raises(VideoDecodeError, match="11"):
        batches(root, seeds=(1,), on_error="raise")


def test_where_no_frame_can_be_read_it_is_an_error_after_all(tmp_path: Path) -> None:
    root = write_marked(tmp_path, {"10": 12})
    for frame in root.rglob("*.png"):
        frame.write_bytes(b"no picture")
    with pytest.raises(VideoDecodeError, match="none of the 4 pairs"):
        batches(root)


def test_what_cannot_be_measured_is_refused(styled: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="validate"):
        StyledFramesDataModule(str(styled), **SMALL).setup("fit")
    with pytest.raises(OptionError, match="setup"):
        StyledFramesDataModule(str(styled), **SMALL).val_dataloader()
    with pytest.raises(AnnotationError, match="at least 99 frames"):
        module(styled, min_frames=99)
    with pytest.raises(DatasetNotFoundError, match="styled frames"):
        module(tmp_path)
    with pytest.raises(DatasetNotFoundError, match="annotation"):
        module(styled, source_root=str(tmp_path))
    with pytest.raises(DatasetNotFoundError, match="None of the 1 videos"):
        module(styled, source_root=str(ssv2_labels(tmp_path / "other", {"77": 0})))
    for options in ({"crop_size": 20}, {"fps": 0}, {"batch_size": 0}, {"pattern": "nothing"}):
        with pytest.raises(OptionError):
            module(styled, **options)


def test_a_frame_that_has_gone_since_they_were_counted_is_a_skip(tmp_path: Path) -> None:
    root = write_marked(tmp_path, {"10": 12, "11": 12})
    data = module(root, seeds=(1,))
    for style in range(1, 5):
        for frame in list((root / f"style_{style}" / "11").iterdir())[1:]:
            frame.unlink()
    (batch,) = data.val_dataloader()
    assert batch["id"] == ["10"]
    assert "1 frames" in batch["skipped"][0][1]


def test_a_picture_in_grey_is_read_as_colour(tmp_path: Path) -> None:
    root = write_marked(tmp_path, {"10": 12})
    for frame in root.rglob("*.png"):
        Image.new("L", (16, 12), 7).save(frame)
    (first, *_) = items(root)
    assert (first["video"] == 7).all()


def test_another_number_of_styles_than_the_papers_is_told(styled: Path) -> None:
    with pytest.warns(UserWarning, match="There are 2 styles, and the paper's protocol has 4"):
        module(styled, styles=2)


def test_the_data_set_that_was_stylised_is_asked_for_by_its_option(styled: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFoundError, match=r"--data\.source_root, or null where they lie beside the styles"):
        module(styled, source_root=str(tmp_path / "none"), layout="ssv2")

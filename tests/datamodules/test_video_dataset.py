# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from staticdropout.datamodules import Entry, EvalTransform, TrainTransform, VideoCollate, VideoDataset
from staticdropout.errors import ReaderNotAvailableError, VideoDecodeError


def entries(root: Path) -> list[Entry]:
    files = sorted((root / "20bn-something-something-v2").iterdir(), key=lambda file: int(file.stem))
    return [Entry(file.stem, file, label % 2) for label, file in enumerate(files[:5])]


def training(root: Path, **options: Any) -> VideoDataset:
    transform = TrainTransform(24, short_side=(24, 28))
    return VideoDataset(entries(root), transform, num_frames=4, training=True, **options)


def evaluation(root: Path, **options: Any) -> VideoDataset:
    transform = EvalTransform(24, short_side=24)
    return VideoDataset(entries(root), transform, num_frames=4, **options)


def damage(root: Path, *ids: str) -> None:
    for video_id in ids:
        (root / "20bn-something-something-v2" / f"{video_id}.webm").write_bytes(b"damaged")


def test_an_item_is_a_uint8_clip_with_its_label_and_id(shapes_root: Path) -> None:
    for dataset in (training(shapes_root), evaluation(shapes_root)):
        item = dataset[1]
        assert set(item) == {"video", "label", "id"}
        assert item["video"].shape == dataset.item_shape == (3, 4, 24, 24)
        assert item["video"].dtype == torch.uint8
        assert (item["label"], item["id"]) == (1, "2")


def test_evaluation_items_are_always_the_same_and_training_items_vary_with_torchs_seed(shapes_root: Path) -> None:
    fixed, varied = evaluation(shapes_root), training(shapes_root)
    assert torch.equal(fixed[0]["video"], fixed[0]["video"])
    torch.manual_seed(0)
    first, other = varied[0]["video"], varied[0]["video"]
    torch.manual_seed(0)
    assert torch.equal(varied[0]["video"], first)
    assert not torch.equal(first, other)


def test_views_are_clips_times_crops_with_the_crops_of_a_clip_together(shapes_root: Path) -> None:
    def dataset(num_clips: int, num_crops: int) -> VideoDataset:
        transform = EvalTransform(24, short_side=24, num_crops=num_crops)
        return VideoDataset(entries(shapes_root), transform, num_frames=4, num_clips=num_clips)

    both = dataset(2, 3)
    views = both[0]["video"]
    assert views.shape == both.item_shape == (6, 3, 4, 24, 24)
    clips = dataset(2, 1)[0]["video"]
    assert clips.shape == (2, 3, 4, 24, 24)
    assert torch.equal(views[[1, 4]], clips)  # the middle crop is the centre crop
    assert dataset(1, 3)[0]["video"].shape == (3, 3, 4, 24, 24)


def test_an_unreadable_video_raises_when_told_to(root: Path) -> None:
    damage(root, "2")
    for dataset in (training(root, on_error="raise"), evaluation(root, on_error="raise")):
        with pytest.raises(VideoDecodeError, match=r"2\.webm"):
            dataset[1]


def test_in_training_the_next_readable_entry_takes_the_place_of_unreadable_ones(root: Path) -> None:
    damage(root, "4", "5")
    item = training(root, on_error="skip")[3]
    assert item["id"] == "1"  # the list goes round at its end
    assert item["label"] == 0
    assert [video_id for video_id, _ in item["skipped"]] == ["4", "5"]
    assert all(reason for _, reason in item["skipped"])


def test_in_evaluation_an_unreadable_video_is_left_out(root: Path) -> None:
    damage(root, "2")
    dataset = evaluation(root, on_error="skip")
    for _ in range(2):  # before and after something was read
        item = dataset[1]
        assert "video" not in item
        assert [video_id for video_id, _ in item["skipped"]] == ["2"]
    assert "skipped" not in dataset[2]


@pytest.mark.parametrize("build", [training, evaluation])
def test_a_split_without_a_single_readable_video_raises_even_when_skipping(root: Path, build: Any) -> None:
    damage(root, "1", "2", "3", "4", "5")
    with pytest.raises(VideoDecodeError, match="none of the 5 videos of this split"):
        build(root, on_error="skip")[0]


def test_a_reader_that_is_not_installed_is_not_skipped(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*args: object, **options: object) -> None:
        raise ReaderNotAvailableError("not installed")

    monkeypatch.setattr("staticdropout.datamodules.video_dataset.open_video", absent)
    with pytest.raises(ReaderNotAvailableError):
        training(root, on_error="skip")[0]


def test_a_missing_video_is_skipped_like_an_unreadable_one(root: Path) -> None:
    (root / "20bn-something-something-v2" / "1.webm").unlink(missing_ok=True)
    dataset = evaluation(root, on_error="skip")
    dataset.entries = [Entry("1", root / "1.webm", 0), *dataset.entries]
    assert dataset[0]["skipped"] == [("1", "there is no such file")]


def test_collate_joins_what_was_read_and_lists_what_was_not() -> None:
    clip = torch.zeros(3, 2, 4, 4, dtype=torch.uint8)
    collate = VideoCollate((3, 2, 4, 4))
    good = {"video": clip, "label": 5, "id": "7"}
    replaced = {"video": clip + 1, "label": 6, "id": "8", "skipped": [("1", "empty"), ("2", "empty")]}
    gone = {"label": 0, "id": "3", "skipped": [("3", "damaged")]}
    batch = collate([good, gone, replaced])
    assert batch["video"].shape == (2, 3, 2, 4, 4)
    assert batch["label"].tolist() == [5, 6]
    assert batch["label"].dtype == torch.int64
    assert batch["id"] == ["7", "8"]
    assert batch["skipped"] == [("3", "damaged"), ("1", "empty"), ("2", "empty")]


def test_a_batch_has_no_skipped_entry_when_nothing_was_skipped() -> None:
    item = {"video": torch.zeros(3, 2, 4, 4, dtype=torch.uint8), "label": 5, "id": "7"}
    assert set(VideoCollate((3, 2, 4, 4))([item])) == {"video", "label", "id"}


def test_a_batch_of_which_nothing_could_be_read_has_size_zero_and_the_usual_shape() -> None:
    batch = VideoCollate((6, 3, 2, 4, 4))([{"label": 0, "id": "3", "skipped": [("3", "damaged")]}])
    assert batch["video"].shape == (0, 6, 3, 2, 4, 4)
    assert batch["video"].dtype == torch.uint8
    assert batch["label"].shape == (0,)

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import itertools
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from staticdropout.datamodules import MovingShapesDataModule, open_video, write_moving_shapes
from staticdropout.datamodules.shape_drawing import APPEARANCES, MOTIONS, draw_clip
from staticdropout.errors import DatasetExistsError

VIDEOS = "20bn-something-something-v2"
TINY: dict[str, Any] = {"num_frames": 4, "height": 16, "width": 32, "num_classes": 2, "progress": False}


def write(root: Path, num_train: int = 2, num_val: int = 1, num_test: int = 1, **options: Any) -> Path:
    return write_moving_shapes(root, num_train, num_val, num_test, **{**TINY, **options})


def draw(motion: int, looks: int = 0, seed: int = 0, num_frames: int = 9) -> np.ndarray[Any, np.dtype[np.int64]]:
    rng = np.random.default_rng(seed)
    clip = draw_clip(MOTIONS[motion], APPEARANCES[looks], num_frames=num_frames, height=36, width=40, rng=rng)
    return clip.astype(np.int64)


def test_the_layout_is_the_official_one(shapes_root: Path) -> None:
    labels = shapes_root / "labels"
    names = json.loads((labels / "labels.json").read_text())
    assert names == {"Pushing something from left to right": "0", "Pushing something from right to left": "1"}
    for split, size in (("train", 6), ("validation", 4)):
        entries = json.loads((labels / f"{split}.json").read_text())
        assert len(entries) == size
        for entry in entries:
            assert set(entry) == {"id", "label", "template", "placeholders"}
            assert isinstance(entry["id"], str)
            assert entry["template"].replace("[", "").replace("]", "") in names
            assert entry["placeholders"][0] in entry["label"]
            assert (shapes_root / VIDEOS / f"{entry['id']}.webm").is_file()
    assert all(set(entry) == {"id"} for entry in json.loads((labels / "test.json").read_text()))
    assert len((labels / "test-answers.csv").read_text().splitlines()) == 3


def test_templates_are_worded_as_in_the_official_list(real_data: Path) -> None:
    official = json.loads((real_data / "annotations/ssv2/something-something-v2-labels.json").read_text())
    assert {motion.template.replace("[", "").replace("]", "") for motion in MOTIONS} <= set(official)


def test_the_first_frame_is_the_same_whatever_the_motion() -> None:
    first = [draw(motion)[0] for motion in range(len(MOTIONS))]
    assert all(np.array_equal(first[0], other) for other in first[1:])


@pytest.mark.parametrize("motion", range(len(MOTIONS) - 1))
def test_every_motion_but_holding_moves_something(motion: int) -> None:
    clip = draw(motion)
    assert all(np.abs(after - before).max() > 20 for before, after in itertools.pairwise(clip))


def test_holding_moves_nothing() -> None:
    clip = draw(len(MOTIONS) - 1)
    assert (clip == clip[0]).all()


@pytest.mark.parametrize("motion", range(len(MOTIONS)))
@pytest.mark.parametrize("frame", [4, 8])
def test_brightness_of_single_frames_is_distributed_alike_in_all_classes(motion: int, frame: int) -> None:
    # position, size and angle show in where a frame is dark; compared with the class that stands still
    def statistics(number: int, first: int) -> np.ndarray[Any, np.dtype[np.float64]]:
        clips = np.stack([draw(number, 6, seed)[frame] for seed in range(first, first + 150)])
        dark = clips.sum(axis=-1) < 300
        return np.stack([dark.sum(axis=(1, 2)), dark[:, :, :20].sum(axis=(1, 2)), dark[:, :18].sum(axis=(1, 2))])

    for ours, still in zip(statistics(motion, 0), statistics(len(MOTIONS) - 1, 1000), strict=True):
        assert stats.ks_2samp(ours, still).pvalue > 1e-4


def test_opposite_motions_go_opposite_ways() -> None:
    def shift(motion: int, axis: int) -> int:
        """By how many pixels the object's profile along an axis has moved after two of nine frames, going round."""
        clip = draw(motion)
        profiles = np.abs(clip - np.median(clip, axis=0)).sum(axis=(1 if axis == 1 else 2, 3))
        period = profiles.shape[1]
        best = int(np.argmax([np.roll(profiles[0], s) @ profiles[2] for s in range(period)]))
        return int((best + period // 2) % period - period // 2)

    assert shift(0, axis=1) > 0 > shift(1, axis=1)  # right, left
    assert shift(3, axis=0) > 0 > shift(2, axis=0)  # down, up


def test_looks_follow_the_class_in_training_as_often_as_asked_and_not_in_validation(tmp_path: Path) -> None:
    root = write(tmp_path / "shapes", 120, 120, 0, num_classes=4, correlation=0.8, num_frames=1)

    def share(split: str) -> float:
        entries = json.loads((root / "labels" / f"{split}.json").read_text())
        own = {motion.template: looks.name for motion, looks in zip(MOTIONS, APPEARANCES, strict=True)}
        assert set(Counter(entry["template"] for entry in entries).values()) == {30}  # classes are balanced
        return float(np.mean([own[entry["template"]] == entry["placeholders"][0] for entry in entries]))

    assert share("train") == pytest.approx(0.8 + 0.2 / 4, abs=0.1)
    assert share("validation") == pytest.approx(1 / 4, abs=0.12)


def test_a_second_call_with_the_same_parameters_leaves_everything_as_it_is(tmp_path: Path) -> None:
    root = write(tmp_path / "shapes")
    times = {file: file.stat().st_mtime_ns for file in root.rglob("*")}
    write(tmp_path / "shapes")
    assert {file: file.stat().st_mtime_ns for file in root.rglob("*")} == times


def test_other_parameters_need_another_folder_or_leave_to_overwrite(tmp_path: Path) -> None:
    root = write(tmp_path / "shapes")
    with pytest.raises(DatasetExistsError, match=r"num_train 2 instead of 3.*overwrite"):
        write(root, 3)
    write(root, 3, overwrite=True)
    assert len(json.loads((root / "labels/train.json").read_text())) == 3


def test_a_folder_with_other_files_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(DatasetExistsError, match="Choose another folder"):
        write(tmp_path, overwrite=True)
    assert (tmp_path / "thesis.tex").is_file()


def test_an_interrupted_call_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("staticdropout.datamodules.shape_writing.draw_clip", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "shapes")
    assert list(tmp_path.iterdir()) == []


def test_the_same_seed_draws_the_same_pictures_and_another_seed_others(tmp_path: Path) -> None:
    def pictures(name: str, seed: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
        root = write(tmp_path / name, seed=seed)
        return np.stack([open_video(root / VIDEOS / f"{i}.webm").get_batch(range(4)) for i in (1, 2, 3)])

    first = pictures("first", 0)
    np.testing.assert_array_equal(pictures("again", 0), first)
    assert not np.array_equal(pictures("other", 1), first)


def test_encoder_warnings_do_not_reach_the_terminal(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "shapes")
    assert "VP90" not in capfd.readouterr().err


@pytest.mark.parametrize("wrong", [{"num_classes": 9}, {"correlation": 1.5}, {"height": 33}, {"width": 72}])
def test_parameters_out_of_range_are_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        write(tmp_path / "shapes", **wrong)


def test_the_data_module_writes_once_and_reads_the_official_layout(tmp_path: Path) -> None:
    module = MovingShapesDataModule(
        str(tmp_path / "runs" / "shapes"),
        num_train=4,
        num_val=2,
        num_test=0,
        num_classes=4,
        clip_frames=6,
        height=32,
        width=32,
        num_frames=4,
        crop_size=24,
        short_side=24,
        batch_size=2,
        num_workers=0,
    )
    assert module.num_classes == 4  # known before anything is written
    module.prepare_data()
    module.setup()
    batch = next(iter(module.train_dataloader()))
    assert batch["video"].shape == (2, 3, 4, 24, 24)
    written = tuple(json.loads((module.root / "labels/labels.json").read_text()))
    assert written == module.class_names
    assert [len(b["id"]) for b in module.test_dataloader()] == [2]  # no test clips: validation

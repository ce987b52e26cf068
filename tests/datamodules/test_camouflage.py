# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import functools
import itertools
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage, stats

from staticdropout.datamodules.camouflage import CamouflageDataModule
from staticdropout.datamodules.camouflage_drawing import KINDS, DrawnSequence, Kind, draw_sequence
from staticdropout.datamodules.camouflage_writing import write_camouflage
from staticdropout.errors import DatasetExistsError, OptionError, UnknownNameError

PICTURES, MASKS, LISTS = "JPEGImages/480p", "Annotations/480p", "ImageSets/480p"
TINY: dict[str, Any] = {"num_frames": 2, "height": 48, "width": 64, "progress": False}
SEEDS = range(24)

Array = NDArray[np.float64]


def write(root: Path, num_train: int = 3, num_val: int = 2, **options: Any) -> Path:
    return write_camouflage(root, num_train, num_val, **{**TINY, **options})


@functools.cache
def draw(
    kind: Kind, seed: int, num_frames: int = 2, height: int = 96, width: int = 160, distractor: bool = False
) -> DrawnSequence:
    rng = np.random.default_rng(seed)
    return draw_sequence(kind, num_frames=num_frames, height=height, width=width, distractor=distractor, rng=rng)


def files_of(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def centres(masks: NDArray[np.uint8]) -> Array:
    """Centres of mass (T, 2), (x, y)."""
    return np.array([ndimage.center_of_mass(mask)[::-1] for mask in masks])


def estimated_flow(drawn: DrawnSequence, frame: int = 0) -> Array:
    estimator = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    first, second = (cv2.cvtColor(drawn.frames[frame + i], cv2.COLOR_RGB2GRAY) for i in (0, 1))
    found = estimator.calc(first, second, np.zeros((*first.shape, 2), np.float32))
    return np.moveaxis(np.asarray(found, np.float64), -1, 0)


# --- what is drawn


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("distractor", [False, True])
def test_shapes_and_types_are_those_described(kind: Kind, distractor: bool) -> None:
    drawn = draw(kind, 0, 3, 48, 80, distractor)
    assert [part.shape for part in drawn] == [(3, 48, 80, 3), (3, 48, 80), (2, 2, 48, 80)]
    assert [part.dtype.name for part in drawn] == ["uint8", "uint8", "float32"]
    assert set(np.unique(drawn.masks)) == {0, 1}


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_generator_draws_the_same_and_another_seed_draws_others(kind: Kind) -> None:
    first, again = (
        draw_sequence(kind, num_frames=2, height=48, width=64, rng=np.random.default_rng(0)) for _ in range(2)
    )
    for ours, theirs in zip(first, again, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert not np.array_equal(first.frames, draw(kind, 1, 2, 48, 64).frames)


@pytest.mark.parametrize(("height", "width", "num_frames"), [(48, 48, 40), (96, 160, 40), (120, 64, 20)])
@pytest.mark.parametrize("seed", range(4))
def test_the_object_is_whole_and_in_the_picture_in_every_frame(
    height: int, width: int, num_frames: int, seed: int
) -> None:
    masks = draw("salient", seed, num_frames, height, width).masks
    rim = np.ones(masks.shape[1:], bool)
    rim[1:-1, 1:-1] = False
    assert not masks[:, rim].any()
    assert all(ndimage.label(mask)[1] == 1 for mask in masks)
    areas = masks.sum(axis=(1, 2))
    assert areas.max() - areas.min() <= 0.1 * areas.mean()  # it moves, but neither grows nor shrinks


def test_objects_are_of_several_sizes_and_all_over_the_picture() -> None:
    masks = np.stack([draw("camouflaged", seed).masks[0] for seed in SEEDS])
    shares = masks.mean(axis=(1, 2))
    assert shares.min() > 0.02
    assert shares.max() < 0.2
    assert shares.max() > 1.7 * shares.min()
    x, y = centres(masks).T
    assert x.min() < 160 / 3 < 160 * 2 / 3 < x.max()
    assert y.min() < 96 * 0.42 < 96 * 0.58 < y.max()


@pytest.mark.parametrize("seed", range(6))
def test_flow_inside_the_mask_is_how_the_mask_moves(seed: int) -> None:
    drawn = draw("camouflaged", seed, 12)
    steps = np.diff(centres(drawn.masks), axis=0)
    for step, flow, mask in zip(steps, drawn.flow, drawn.masks[:-1], strict=True):
        inside = flow[:, mask > 0]
        assert np.ptp(inside, axis=1).max() == 0  # it moves rigidly
        np.testing.assert_allclose(step, inside[:, 0], atol=0.15)  # pixels make the centre of mass inexact


@pytest.mark.parametrize("seed", range(6))
def test_object_and_background_move_at_their_speeds_and_differently(seed: int) -> None:
    drawn = draw("camouflaged", seed, 25)
    for flow, mask in zip(drawn.flow, drawn.masks[:-1], strict=True):
        inside, outside = (flow[:, mask == value].astype(np.float64) for value in (1, 0))
        assert np.ptp(outside, axis=1).max() == 0
        assert 1 <= np.hypot(*inside[:, 0]) <= 3
        assert 0.3 <= np.hypot(*outside[:, 0]) <= 1.01
        assert np.hypot(*(inside[:, 0] - outside[:, 0])) > 1


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_move_as_the_flow_says(kind: Kind) -> None:
    drawn = draw(kind, 3, 4)
    y, x = np.mgrid[0:96, 0:160].astype(np.float32)
    for number, flow in enumerate(drawn.flow):
        following = cv2.remap(drawn.frames[number + 1], x + flow[0], y + flow[1], cv2.INTER_CUBIC)
        unmoved = drawn.frames[number + 1]
        # away from the rims, where pixels come and go
        inside = ndimage.binary_erosion(drawn.masks[number], iterations=6)
        outside = ~ndimage.binary_dilation(drawn.masks[number], iterations=10)
        outside[:4], outside[-4:], outside[:, :4], outside[:, -4:] = False, False, False, False
        for region in (inside, outside):
            frame = drawn.frames[number].astype(np.float64)[region]
            assert np.abs(following[region] - frame).mean() < 0.3 * np.abs(unmoved[region] - frame).mean()


def test_optical_flow_finds_both_motions() -> None:
    errors, inside, differences = [], [], []
    for seed in SEEDS:
        drawn = draw("camouflaged", seed)
        flow, mask = estimated_flow(drawn), drawn.masks[0] > 0
        error = np.hypot(*(flow - drawn.flow[0]))
        errors.append(np.median(error))
        inside.append(np.median(error[mask]))
        difference = np.median(flow[:, mask], axis=1) - np.median(flow[:, ~mask], axis=1)
        differences.append(np.hypot(*difference))
    assert max(errors) < 0.5
    assert np.median(inside) < 0.75
    assert np.median(differences) > 1


# --- what a single frame tells


def auc(values: Array, region: NDArray[np.bool_]) -> float:
    """Probability that a pixel of the region has a larger value than one elsewhere: 0.5 where they are alike."""
    inside, outside = region.sum(), (~region).sum()
    return float(
        (stats.rankdata(values.ravel())[region.ravel()].sum() - inside * (inside + 1) / 2) / (inside * outside)
    )


def clues(frame: NDArray[np.uint8]) -> dict[str, Array]:
    """What eyes and first layers of networks look for: colour, contrast, edges, fine detail."""
    grey = frame.astype(np.float64).mean(axis=-1)
    mean = cv2.blur(grey, (5, 5))
    return {
        "brightness": mean,
        "redness": cv2.blur(frame[..., 0].astype(np.float64) - frame[..., 2], (5, 5)),
        "contrast": np.sqrt(np.maximum(cv2.blur(grey**2, (5, 5)) - mean**2, 0)),
        "edges": np.hypot(*np.gradient(grey)),
        "detail": np.abs(cv2.Laplacian(grey, cv2.CV_64F)),
    }


def found(frames_and_masks: list[tuple[NDArray[np.uint8], NDArray[np.bool_]]]) -> dict[str, tuple[float, float]]:
    """How far from chance each clue tells the object, or the band of 2 pixels along its rim, from the rest.

    For each clue the mean over frames of AUC - 0.5 (a bias that a model could learn) and of its amount (which also
    counts what differs from frame to frame in sign, such as brightness).
    """
    scores: dict[str, list[float]] = {}
    for frame, mask in frames_and_masks:
        band = ndimage.binary_dilation(mask) & ~ndimage.binary_erosion(mask)
        for name, values in clues(frame).items():
            scores.setdefault(f"{name} inside", []).append(auc(values, mask) - 0.5)
            scores.setdefault(f"{name} at the rim", []).append(auc(values, band) - 0.5)
    return {name: (float(np.mean(score)), float(np.mean(np.abs(score)))) for name, score in scores.items()}


def first_frames(kind: Kind) -> list[tuple[NDArray[np.uint8], NDArray[np.bool_]]]:
    return [(drawn.frames[0], drawn.masks[0] > 0) for drawn in (draw(kind, seed) for seed in SEEDS)]


def test_no_clue_of_a_single_frame_finds_a_camouflaged_object() -> None:
    for name, (bias, amount) in found(first_frames("camouflaged")).items():
        assert abs(bias) < 0.05, name
        assert amount < 0.08, name


def test_the_same_clues_find_every_salient_object() -> None:
    scores = found(first_frames("salient"))
    for name in ("brightness inside", "redness inside"):
        assert scores[name][1] > 0.35, name
    for name in ("contrast inside", "edges inside", "detail inside", "contrast at the rim", "detail at the rim"):
        assert abs(scores[name][0]) > 0.08, name


def test_the_same_clues_find_the_rim_of_texture_that_was_cut_out_and_pasted() -> None:
    pasted = [
        (np.where(mask[..., None], np.roll(frame, (48, 80), (0, 1)), frame), mask)
        for frame, mask in first_frames("camouflaged")
    ]
    scores = found(pasted)
    assert scores["detail at the rim"][0] > 0.12
    assert scores["edges at the rim"][0] > 0.05


def test_sharpness_does_not_depend_on_the_fraction_of_a_pixel_moved() -> None:
    drawn = draw("camouflaged", 0, 12)
    detail = [clues(frame)["detail"][mask > 0].mean() for frame, mask in zip(drawn.frames, drawn.masks, strict=True)]
    assert np.ptp(detail) < 0.06 * np.mean(detail)  # interpolation would blur it by a quarter at half a pixel


# --- the distractor


def coloured(frames: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Where (T, H, W) the hue and saturation of frames are far from those of the background."""
    blurred = np.stack([cv2.blur(frame.astype(np.float64), (7, 7)) for frame in frames])
    chroma = blurred - blurred.mean(axis=-1, keepdims=True)  # without the brightness, which varies in the texture
    return np.asarray(np.linalg.norm(chroma - np.median(chroma, axis=(0, 1, 2)), axis=-1) > 25)


@pytest.mark.parametrize("seed", range(6))
def test_a_distractor_is_seen_moves_with_the_background_and_is_not_the_object(seed: int) -> None:
    drawn = draw("camouflaged", seed, 6, distractor=True)
    seen = coloured(drawn.frames)
    assert (seen.sum(axis=(1, 2)) > 150).all()
    assert not (seen & (drawn.masks > 0)).any()
    pan = drawn.flow[:, :, 0, 0]  # a corner is background
    np.testing.assert_allclose(np.diff(centres(seen.astype(np.uint8)), axis=0), pan, atol=0.3)


def test_distractors_look_like_salient_objects_in_size_and_colour() -> None:
    objects = [coloured(draw("salient", seed).frames[:1]).sum() for seed in SEEDS]
    distractors = [coloured(draw("camouflaged", seed, distractor=True).frames[:1]).sum() for seed in SEEDS]
    assert stats.ks_2samp(objects, distractors).pvalue > 0.01


@pytest.mark.parametrize("seed", range(6))
def test_a_salient_object_is_seen_where_the_mask_is_and_a_camouflaged_one_is_not(seed: int) -> None:
    salient, camouflaged = draw("salient", seed, 6), draw("camouflaged", seed, 6)
    seen, masks = coloured(salient.frames), salient.masks > 0
    assert (seen & masks).sum() / (seen | masks).sum() > 0.75
    assert not coloured(camouflaged.frames).any()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"num_frames": 1}, "num_frames must be at least 2"),
        ({"height": 40}, "at least 48 pixels; got 40 and 64"),
        ({"width": 0}, "at least 48 pixels"),
    ],
)
def test_what_cannot_be_drawn_is_refused(wrong: dict[str, int], message: str) -> None:
    size = {"num_frames": 2, "height": 48, "width": 64, **wrong}
    with pytest.raises(OptionError, match=message):
        draw_sequence("salient", **size, rng=np.random.default_rng(0))  # type: ignore[arg-type]


def test_an_unknown_kind_is_named() -> None:
    with pytest.raises(UnknownNameError, match=r"'camouflage'.*camouflaged"):
        draw_sequence("camouflage", num_frames=2, height=48, width=64, rng=np.random.default_rng(0))  # type: ignore[arg-type]


# --- what is written


def test_the_layout_is_the_official_one(tmp_path: Path) -> None:
    root = write(tmp_path / "camouflage", 3, 3)
    line = re.compile(r"/JPEGImages/480p/(\w+)/(\d{5})\.jpg /Annotations/480p/\1/\2\.png ")  # with a space at the end
    names: dict[str, list[str]] = {}
    for split, expected in (("train", 6), ("val", 6), ("trainval", 12)):
        text = (root / LISTS / f"{split}.txt").read_text()
        assert text.endswith(" \n")
        entries = text.removesuffix("\n").split("\n")
        assert len(entries) == expected
        assert all(line.fullmatch(entry) for entry in entries)
        names[split] = [entry.split("/")[3] for entry in entries]
        for entry in entries:
            picture, mask = (Image.open(root / part.lstrip("/")) for part in entry.split())
            assert (picture.format, picture.mode, picture.size) == ("JPEG", "RGB", (64, 48))
            assert (mask.format, mask.mode, mask.size) == ("PNG", "L", (64, 48))
            assert set(np.unique(np.asarray(mask))) == {0, 255}
    assert list(dict.fromkeys(names["train"])) == ["camouflaged_000", "salient_000", "camouflaged_001"]
    assert list(dict.fromkeys(names["val"])) == ["camouflaged_002", "salient_001", "camouflaged_003"]
    assert names["trainval"] == names["train"] + names["val"]
    assert {path.name for path in (root / PICTURES).iterdir()} == set(names["trainval"])


def test_files_hold_what_is_drawn(tmp_path: Path) -> None:
    root = write(tmp_path / "camouflage", 2, 1, num_frames=3)
    drawn = draw_sequence("salient", num_frames=3, height=48, width=64, rng=np.random.default_rng((0, 0, 1)))
    for number in range(3):
        mask = np.asarray(Image.open(root / MASKS / "salient_000" / f"{number:05d}.png"))
        np.testing.assert_array_equal(mask, drawn.masks[number] * 255)
        picture = np.asarray(Image.open(root / PICTURES / "salient_000" / f"{number:05d}.jpg")).astype(np.int64)
        assert np.abs(picture - drawn.frames[number]).mean() < 2.5


def test_as_many_camouflaged_sequences_as_asked_have_distractors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, bool]] = []

    def record(kind: Kind, *, distractor: bool, **options: Any) -> DrawnSequence:
        calls.append((kind, distractor))
        return draw_sequence(kind, distractor=distractor, **options)

    monkeypatch.setattr("staticdropout.datamodules.camouflage_writing.draw_sequence", record)
    for share, expected in ((0.0, 0), (0.5, 3), (1.0, 6)):
        calls.clear()
        write(tmp_path / str(share), 8, 4, distractors=share)
        assert sum(distractor for _, distractor in calls) == expected
        assert ("salient", True) not in calls


def test_the_same_seed_writes_the_same_files_and_another_seed_others(tmp_path: Path) -> None:
    first = files_of(write(tmp_path / "first"))
    assert files_of(write(tmp_path / "again", num_workers=1)) == first
    other = files_of(write(tmp_path / "other", seed=1))
    assert other.keys() == first.keys()
    assert all(other[name] != first[name] for name in first if name.startswith(PICTURES))


def test_more_validation_leaves_the_training_split_as_it_is(tmp_path: Path) -> None:
    few, many = files_of(write(tmp_path / "few", 3, 1)), files_of(write(tmp_path / "many", 3, 4))
    assert {name: many[name] for name in few if not name.startswith((LISTS, "camouflage.json"))}.items() <= few.items()
    assert many[f"{LISTS}/train.txt"] == few[f"{LISTS}/train.txt"]


def test_all_sequences_differ(tmp_path: Path) -> None:
    files = files_of(write(tmp_path / "camouflage", 4, 4))
    pictures = [content for name, content in files.items() if name.endswith("00000.jpg")]
    assert len(pictures) == 8
    assert all(first != second for first, second in itertools.combinations(pictures, 2))


def test_a_second_call_with_the_same_parameters_leaves_everything_as_it_is(tmp_path: Path) -> None:
    root = write(tmp_path / "camouflage")
    (root / "FlowImages_gap1").mkdir()  # flow is kept beside the pictures
    times = {file: file.stat().st_mtime_ns for file in root.rglob("*")}
    write(root)
    assert {file: file.stat().st_mtime_ns for file in root.rglob("*")} == times


def test_other_parameters_need_another_folder_or_leave_to_overwrite(tmp_path: Path) -> None:
    root = write(tmp_path / "camouflage")
    (root / "FlowImages_gap1").mkdir()
    with pytest.raises(DatasetExistsError, match=r"num_train 3 instead of 2.*overwrite"):
        write(root, 2)
    assert (root / PICTURES / "camouflaged_001").is_dir()
    write(root, 2, overwrite=True)
    assert len((root / LISTS / "train.txt").read_text().splitlines()) == 4
    assert not (root / "FlowImages_gap1").exists()  # it was the flow of other pictures


@pytest.mark.parametrize("name", ["thesis.tex", "camouflage.json"])
def test_a_folder_with_other_files_is_never_replaced(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("years of work")
    with pytest.raises(DatasetExistsError, match="Choose another folder"):
        write(tmp_path, overwrite=True)
    assert (tmp_path / name).read_text() == "years of work"


def test_a_file_in_place_of_the_folder_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "camouflage").write_text("years of work")
    with pytest.raises(DatasetExistsError, match="Choose another folder"):
        write(tmp_path / "camouflage", overwrite=True)


def test_an_interrupted_call_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("staticdropout.datamodules.camouflage_writing.draw_sequence", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "camouflage")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"num_train": 0}, "num_train and num_val must be at least 1; got 0 and 2"),
        ({"num_val": -1}, "num_train and num_val must be at least 1"),
        ({"num_frames": 1}, "num_frames must be at least 2"),
        ({"height": 47}, "at least 48 pixels"),
        ({"distractors": 1.5}, r"distractors must be a share in \[0, 1\]; got 1.5"),
        ({"seed": -1}, "seed must be 0 or more"),
    ],
)
def test_parameters_out_of_range_are_refused_before_anything_is_written(
    tmp_path: Path, wrong: dict[str, Any], message: str
) -> None:
    with pytest.raises(OptionError, match=message):
        write(tmp_path / "camouflage", **wrong)
    assert list(tmp_path.iterdir()) == []


# --- the data module


def module(root: Path, **options: Any) -> CamouflageDataModule:
    tiny = {"num_train": 2, "num_val": 2, "num_frames": 3, "height": 48, "width": 64, "size": (48, 64)}
    return CamouflageDataModule(str(root), **{**tiny, "batch_size": 2, "num_workers": 0, **options})


def test_the_data_module_writes_once_and_reads_frames_flow_and_masks(tmp_path: Path) -> None:
    data = module(tmp_path / "runs" / "camouflage")
    data.prepare_data()
    data.setup()
    batch = next(iter(data.train_dataloader()))
    assert batch["image"].shape == batch["flow"].shape == (2, 3, 48, 64)
    assert batch["mask"].shape == (2, 1, 48, 64)
    assert batch["mask"].any()
    times = {file: file.stat().st_mtime_ns for file in Path(data.hparams["root"]).rglob("*.jpg")}
    again = module(tmp_path / "runs" / "camouflage")
    again.prepare_data()
    assert {file: file.stat().st_mtime_ns for file in Path(data.hparams["root"]).rglob("*.jpg")} == times
    again.setup("validate")
    batches = list(again.val_dataloader())
    assert [name for batch in batches for name in batch["sequence"]] == ["camouflaged_001"] * 2 + ["salient_001"] * 2


def test_the_data_module_refuses_other_parameters_than_those_in_the_folder(tmp_path: Path) -> None:
    module(tmp_path / "camouflage", flow="folder").prepare_data()
    with pytest.raises(DatasetExistsError, match="seed 0 instead of 1"):
        module(tmp_path / "camouflage", flow="folder", data_seed=1).prepare_data()

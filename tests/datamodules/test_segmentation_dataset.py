# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import itertools
import pickle
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sequences import (
    HEIGHT,
    MAKERS,
    SPEED,
    WIDTH,
    davis2016,
    davis2017,
    moca_boxes,
    square_mask,
    write_flow,
    write_picture,
)

from staticdropout.datamodules import (
    SegmentationDataset,
    SegmentationEvalTransform,
    SegmentationTrainTransform,
    VideoSequence,
    collate_frames,
    list_sequences,
)
from staticdropout.datamodules.frame_selection import FrameRef, flow_runs, hashed_partner, partners, select_frames
from staticdropout.errors import AnnotationError, DatasetNotFoundError, OptionError, VideoDecodeError
from staticdropout.perturbations.flow_colours import colour_to_flow

SIZE = (HEIGHT, WIDTH)


def dataset(root: Path, split: str = "val", training: bool = False, **options: Any) -> SegmentationDataset:
    transform = SegmentationTrainTransform(SIZE) if training else SegmentationEvalTransform(options.pop("size", SIZE))
    folder = options.pop("flow_dir", root)
    return SegmentationDataset(list_sequences(root, split=split), transform, folder, training=training, **options)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """DAVIS 2016 with five frames in a sequence, and the true flow in both directions."""
    folder = davis2016(tmp_path_factory.mktemp("generated") / "DAVIS")
    for split in ("train", "val"):
        write_flow(folder, list_sequences(folder, split=split), (1, -1))
    return folder


@pytest.fixture
def root(original: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed as a test likes."""
    return Path(shutil.copytree(original, tmp_path / "DAVIS"))


def test_evaluation_gives_every_frame_with_flow_in_order(root: Path) -> None:
    data = dataset(root, size=(24, 40))
    items = [data[index] for index in range(len(data))]
    assert [item["id"] for item in items] == [f"swan/{i:05d}" for i in range(4)]
    for position, item in enumerate(items):
        assert (item["sequence"], item["position"], item["num_frames"]) == ("swan", position, 5)
        assert item["image"].shape == item["flow"].shape == (3, 24, 40)
        assert item["mask"].shape == (1, 24, 40)
        assert {item[name].dtype for name in ("image", "flow", "mask", "annotation")} == {torch.uint8}
        assert np.array_equal(item["annotation"].numpy(), square_mask(position))
        assert set(item["mask"].flatten().tolist()) == {0, 1}


def test_the_flow_is_the_colour_picture_on_disk(root: Path) -> None:
    item = dataset(root)[2]
    flow = colour_to_flow(item["flow"].float() / 255, max_flow=SPEED)
    expected = torch.from_numpy(square_mask(2)) * float(SPEED)
    assert torch.allclose(flow[0], expected, atol=1e-3)
    assert torch.allclose(flow[1], torch.zeros(SIZE), atol=1e-3)


def test_flow_can_be_drawn_at_one_scale_or_in_other_colours(root: Path) -> None:
    drawn = dataset(root, max_flow=2 * SPEED)[0]["flow"].float() / 255
    assert float(colour_to_flow(drawn, max_flow=2 * SPEED)[0].max()) == pytest.approx(SPEED, rel=0.02)
    assert dataset(root, flow_encoding="hsv")[0]["flow"][:, 0, 0].tolist() == [0, 0, 0]


def test_training_takes_frames_with_mask_and_flow_only(tmp_path: Path) -> None:
    root = MAKERS["tao_vos"](tmp_path)
    write_flow(root, list_sequences(root))
    data = dataset(root, "train", training=True)
    assert [ref.id for ref in data.refs] == [
        f"{video}/{stem}" for video in ("LaSOT/cat-2", "YFCC100M/v_1") for stem in ("frame0001", "frame0061")
    ]
    assert "annotation" not in data[0]
    evaluated = dataset(root, "train")
    assert len(evaluated) == 8
    assert evaluated[1]["annotation"] is None
    assert int(evaluated[1]["mask"].sum()) == 0


def test_every_nth_frame_is_taken_of_each_sequence(root: Path) -> None:
    data = dataset(root, "train", training=True, every=3)
    assert [ref.id for ref in data.refs] == ["bear/00000", "bear/00003", "dog/00000", "dog/00003"]


def test_training_items_stay_aligned(root: Path) -> None:
    torch.manual_seed(0)
    data = dataset(root, "train", training=True)
    for item in (data[index] for index in range(4)):
        mask = item["mask"][0] == 1
        moving = item["flow"].amin(0) < 128
        assert float((mask & moving).sum()) > 0.8 * float((mask | moving).sum())


def test_pairs_have_forward_and_backward_flow_and_leave_out_both_ends(root: Path) -> None:
    data = dataset(root, clip_frames=2)
    assert [ref.id for ref in data.refs] == ["swan/00001", "swan/00002", "swan/00003"]
    item = data[0]
    assert item["image"].shape == (2, 3, *SIZE)
    assert item["flow"].shape == (2, 6, *SIZE)
    assert item["mask"].shape == (2, 1, *SIZE)
    assert np.array_equal(item["annotation"].numpy(), square_mask(1))
    assert np.array_equal(item["mask"][0, 0].numpy(), square_mask(1))
    flow = colour_to_flow(item["flow"].reshape(2, 2, 3, *SIZE).float() / 255, max_flow=SPEED)
    for index in range(2):
        on = item["mask"][index, 0] == 1
        assert flow[index, 0, 0][on].mean() == pytest.approx(SPEED, rel=0.01)
        assert flow[index, 1, 0][on].mean() == pytest.approx(-SPEED, rel=0.01)


def position_of(mask: torch.Tensor) -> int:
    """The position of a frame, from where its square is."""
    return (int(mask.sum(0).nonzero()[0]) - 4) // SPEED


def test_in_evaluation_the_second_frame_is_another_one_and_always_the_same(root: Path) -> None:
    def pairs(**options: Any) -> list[tuple[int, int]]:
        data = dataset(root, clip_frames=2, **options)
        return [
            (position_of(item["mask"][0, 0]), position_of(item["mask"][1, 0]))
            for item in (data[index] for index in range(len(data)))
        ]

    found = pairs()
    assert [first for first, _ in found] == [1, 2, 3]
    assert all(first != second and 1 <= second <= 3 for first, second in found)
    assert pairs() == found
    assert len({tuple(pairs(pair_seed=seed)) for seed in range(8)}) > 1


def test_in_training_the_second_frame_is_drawn_anew_within_reach(root: Path) -> None:
    data = SegmentationDataset(
        list_sequences(root), SegmentationEvalTransform(SIZE), root, training=True, clip_frames=2, max_offset=1
    )
    torch.manual_seed(0)
    seconds = [position_of(data[1]["mask"][1, 0]) for _ in range(30)]  # offsets -1 and 0
    assert set(seconds) == {1, 2}
    torch.manual_seed(0)
    assert [position_of(data[1]["mask"][1, 0]) for _ in range(30)] == seconds


def video(length: int, masked: set[int] | None = None, name: str = "v") -> VideoSequence:
    frames = tuple(Path(f"{index:05d}.jpg") for index in range(length))
    masks = tuple(f.with_suffix(".png") if masked is None or i in masked else None for i, f in enumerate(frames))
    return VideoSequence(name, frames, masks)


def test_partners_are_at_the_offsets_of_the_reference_code() -> None:
    ref = FrameRef(video(200), 100)
    offsets = [position - 100 for position in partners(ref, 10, (1, -1), training=False)]
    assert offsets == [offset for offset in range(-10, 10) if offset]
    assert [p - 100 for p in partners(ref, 40, (1, -1), training=True)] == list(range(-40, 40))
    assert partners(FrameRef(video(200), 1), 10, (1, -1), training=False) == list(range(2, 11))
    assert partners(FrameRef(video(200, {100, 103, 150}), 100), 40, (1, -1), training=True) == [100, 103]
    assert partners(FrameRef(video(3), 1), 10, (1, -1), training=False) == [1]


def test_hashed_partners_spread_over_the_candidates_and_know_nothing_of_other_frames() -> None:
    refs = select_frames([video(400)])
    drawn = [hashed_partner(ref, range(19)) for ref in refs]
    counts = np.bincount(drawn, minlength=19)
    assert counts.min() > 5
    assert counts.max() < 45
    assert [hashed_partner(ref, range(19)) for ref in refs[::-1]] == drawn[::-1]


@pytest.mark.parametrize("gap", [1, -1])
@pytest.mark.parametrize("positions", [{1}, {1, 2, 3}, {1, 4, 5, 8}, {2, 4, 6}])
def test_runs_give_the_flow_of_the_frames_in_use_and_no_other(gap: int, positions: set[int]) -> None:
    sequence = video(10)
    runs = flow_runs([FrameRef(sequence, position) for position in sorted(positions) * 2], gap)
    pairs = [pair for _, frames in runs for pair in itertools.pairwise(frames)]
    starts = [int((before if gap == 1 else after).stem) for before, after in pairs]
    assert sorted(starts) == sorted(positions)
    assert all(int(after.stem) - int(before.stem) == 1 for before, after in pairs)


def test_needed_flow_covers_what_any_pair_may_draw(root: Path) -> None:
    data = dataset(root, "train", training=True, clip_frames=2, every=3)
    assert [ref.id for ref in data.refs] == ["bear/00001", "dog/00001"]
    needed = {gap: sorted(len(frames) for _, frames in runs) for gap, runs in data.needed_flow().items()}
    assert needed == {1: [4, 4], -1: [4, 4]}  # positions 1, 2 and 3 of both sequences


def test_a_mask_of_another_size_is_named_with_both_sizes(root: Path) -> None:
    file = root / "Annotations/480p/swan/00001.png"
    write_picture(file, square_mask(1, HEIGHT, WIDTH - 1) * 255)
    data = dataset(root)
    for call in (lambda: data[1], data.check):
        with pytest.raises(
            AnnotationError, match=r"swan/00001\.png' is 63x48 pixels, but its frame 00001\.jpg is 64x48"
        ):
            call()
    assert data[0]["id"] == "swan/00000"


def test_masks_of_another_size_can_be_resized_with_one_warning(root: Path) -> None:
    for position in (1, 2):
        file = root / f"Annotations/480p/swan/{position:05d}.png"
        write_picture(file, square_mask(position).repeat(2, 0).repeat(2, 1) * 255)
    data = dataset(root, on_size_mismatch="resize")
    with pytest.warns(UserWarning, match=r"2 masks are resized.*128x96") as caught:
        data.check()
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(data[1]["annotation"].numpy(), square_mask(1))


@pytest.mark.parametrize("gap", [1, -1])
def test_missing_flow_is_named_with_the_command_that_makes_it(root: Path, gap: int) -> None:
    (root / f"FlowImages_gap{gap}/swan/00002.png").unlink()
    data = dataset(root, clip_frames=2)
    for call in (lambda: data[1], data.check):
        with pytest.raises(
            DatasetNotFoundError, match=rf"FlowImages_gap{gap}/swan/00002\.png.*staticdropout data flow"
        ):
            call()


def test_flow_in_pixels_serves_as_well(root: Path, tmp_path: Path) -> None:
    from staticdropout.datamodules.flow import flow_path, write_flo

    for position in range(4):
        flow = np.stack([square_mask(position) * float(SPEED), np.zeros(SIZE)]).astype(np.float32)
        write_flo(flow_path(tmp_path / "flo", "swan", f"{position:05d}", 1, "flo"), flow)
    assert torch.equal(dataset(root, flow_dir=tmp_path / "flo")[3]["flow"], dataset(root)[3]["flow"])


def test_an_unreadable_picture_is_named(root: Path) -> None:
    (root / "JPEGImages/480p/swan/00001.jpg").write_bytes(b"damaged")
    with pytest.raises(VideoDecodeError, match=r"swan/00001\.jpg"):
        dataset(root)[1]


def test_nothing_to_use_is_an_error(tmp_path: Path) -> None:
    root = davis2016(tmp_path, number=2)
    with pytest.raises(AnnotationError, match=r"None of 1 sequences has a frame with flow.*three frames"):
        dataset(root, clip_frames=2).check()


def test_negatives_are_read_warped_along_and_zero_where_there_are_none(root: Path, tmp_path: Path) -> None:
    for name in ("bear", "dog"):
        for position in range(5):
            write_picture(tmp_path / "hed" / name / f"{position:05d}.png", square_mask(position) * 200)
    data = dataset(root, "train", training=True, negatives_dir=tmp_path / "hed")
    data.check()
    item = data[0]
    assert item["negatives"].shape == item["mask"].shape
    assert float(item["negatives"][item["mask"] == 1].float().mean()) > 150
    empty = dataset(root, "train", training=True, with_negatives=True)[0]["negatives"]
    assert empty.shape == (1, *SIZE)
    assert int(empty.sum()) == 0
    (tmp_path / "hed/dog/00002.png").unlink()
    with pytest.raises(DatasetNotFoundError, match=r"dog/00002\.png.*hard negatives"):
        data.check()


def test_boxes_come_with_their_frame_size_and_motion_and_stand_in_for_masks(tmp_path: Path) -> None:
    root = moca_boxes(tmp_path)
    write_flow(root, list_sequences(root))
    csv = root / "annotations.csv"
    csv.write_text("".join(line for line in csv.read_text().splitlines(keepends=True) if "moth/00003" not in line))
    data = dataset(root)
    data.check()
    item = data[1]
    assert item["box"].tolist() == [140, 180, 320, 240]
    assert item["box_size"].tolist() == [720, 1280]
    assert item["annotation"] is None
    assert np.array_equal(item["mask"][0].numpy(), square_mask(1))
    batch = collate_frames([data[1], data[7]])
    assert batch["box"].shape == (2, 4)
    assert batch["box"].dtype == torch.float32
    assert batch["box"][1].isnan().all()
    assert batch["box_size"].dtype == batch["motion"].dtype == torch.int64
    assert batch["motion"].tolist() == [1, -1]


def test_annotations_are_all_masks_with_void_as_background(tmp_path: Path) -> None:
    root = davis2017(tmp_path)
    values = square_mask(0)
    values[0, :10], values[1, :10] = 255, 7
    write_picture(root / "Annotations/480p/bear/00000.png", values, palette=True)
    found = list(dataset(root, "train").annotations())
    assert len(found) == 10
    assert {mask.dtype for mask in found} == {np.dtype(np.uint8)}
    assert (int(found[0][0].sum()), int(found[0][1].sum())) == (0, 10)
    assert np.array_equal(found[4], square_mask(4))


def test_annotations_in_training_are_those_of_the_frames_in_use(tmp_path: Path) -> None:
    root = davis2016(tmp_path, number=12)
    data = dataset(root, "train", training=True, every=3)
    assert [ref.position for ref in data.refs] == [0, 3, 6, 9] * 2
    found = list(data.annotations())
    assert len(found) == 8
    assert all(np.array_equal(mask, square_mask(ref.position)) for mask, ref in zip(found, data.refs, strict=True))
    assert len(list(dataset(root, "train", every=3).annotations())) == 24


def test_a_mask_that_cannot_be_read_is_named_by_annotations(root: Path) -> None:
    (root / "Annotations/480p/swan/00003.png").write_bytes(b"damaged")
    with pytest.raises(VideoDecodeError, match=r"swan/00003\.png"):
        list(dataset(root).annotations())


def test_collating_stacks_pixels_and_keeps_annotations_as_a_list(root: Path) -> None:
    data = dataset(root)
    batch = collate_frames([data[0], data[3]])
    assert batch["image"].shape == (2, 3, *SIZE)
    assert batch["position"].tolist() == [0, 3]
    assert batch["num_frames"].tolist() == [5, 5]
    assert batch["position"].dtype == batch["num_frames"].dtype == torch.int64
    assert batch["id"] == ["swan/00000", "swan/00003"]
    assert [mask.shape for mask in batch["annotation"]] == [SIZE, SIZE]


def test_a_data_set_can_be_sent_to_workers_that_are_spawned(root: Path) -> None:
    data = pickle.loads(pickle.dumps(dataset(root)))
    assert data[0]["id"] == "swan/00000"


@pytest.mark.parametrize(
    "options", [{"clip_frames": 3}, {"every": 0}, {"max_offset": 0}, {"on_size_mismatch": "ignore"}]
)
def test_impossible_options_are_refused_by_name(root: Path, options: dict[str, Any]) -> None:
    (name,) = options
    with pytest.raises(OptionError, match=name):
        dataset(root, **options)


def test_real_masks_and_frames_fit_except_the_one_of_judo(real_data: Path, tmp_path: Path) -> None:
    root = real_data / "davis17_mini"
    videos = list_sequences(root)
    for one in videos:
        for frame in one.frames[:-1]:
            path = tmp_path / "FlowImages_gap1" / one.name / f"{frame.stem}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (854, 480), "white").save(path)
    with pytest.raises(AnnotationError, match=r"judo/00005\.png' is 853x480 pixels, .*854x480"):
        dataset(root, flow_dir=tmp_path).check()
    data = dataset(root, flow_dir=tmp_path, on_size_mismatch="resize")
    item = next(data[index] for index, ref in enumerate(data.refs) if ref.id == "judo/00005")
    assert item["annotation"].shape == (480, 854)
    assert 0 < float(item["annotation"].float().mean()) < 0.5

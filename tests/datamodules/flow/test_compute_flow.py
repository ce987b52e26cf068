# SPDX-License-Identifier: Apache-2.0
"""The flow of whole data sets: only what is missing, whole files, one method to a folder."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.models.optical_flow import raft_small

from staticdropout.datamodules.flow import (
    DisFlow,
    FlowReport,
    compute_flow,
    find_flow,
    flow_path,
    missing_flow,
    read_flow,
    read_flow_picture,
    read_provenance,
    write_flow_picture,
)
from staticdropout.errors import (
    AnnotationError,
    DatasetNotFoundError,
    OptionError,
    UnknownNameError,
    VideoDecodeError,
)

Sequence = tuple[str, list[Path]]
Make = Callable[..., Sequence]


class Counting(DisFlow):
    """Counts its calls; what it is called is up to the test."""

    def __init__(self, name: str = "dis") -> None:
        super().__init__()
        self.name, self.calls = name, 0

    def __call__(self, frames: Tensor) -> Tensor:
        self.calls += 1
        return super().__call__(frames)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_pair_gets_its_file(make_sequence: Make, tmp_path: Path) -> None:
    sequences = [make_sequence("dog"), make_sequence("cat", length=3, height=41, width=33, seed=1)]
    report = compute_flow(sequences, tmp_path / "flow", progress=False)
    assert report == FlowReport(written=5, present=0)
    names = {f"FlowImages_gap1/dog/{i:05d}.png" for i in range(3)} | {
        f"FlowImages_gap1/cat/{i:05d}.png" for i in range(2)
    }
    assert set(files(tmp_path / "flow")) == names | {"FlowImages_gap1/flow.json"}
    assert read_flow_picture(flow_path(tmp_path / "flow", "cat", "00000")).shape == (41, 33, 3)
    assert not missing_flow(sequences, tmp_path / "flow")


def test_flow_leads_forwards_and_backwards(make_sequence: Make, tmp_path: Path) -> None:
    dog = make_sequence(height=64, width=96)
    report = compute_flow([dog], tmp_path / "flow", gaps=(1, -1, 2), file_format="flo", progress=False)
    assert report.written == 3 + 3 + 2
    for gap, stem in ((1, "00000"), (-1, "00003"), (2, "00001")):
        flow = read_flow(flow_path(tmp_path / "flow", "dog", stem, gap, "flo"))
        assert np.median(flow[0, 12:-12, 12:-12]) == pytest.approx(gap, abs=0.1)
    assert find_flow(tmp_path / "flow", "dog", "00003") is None
    assert find_flow(tmp_path / "flow", "dog", "00000", -1) is None


def test_flow_is_that_of_the_estimator(make_sequence: Make, tmp_path: Path) -> None:
    name, frames = make_sequence()
    compute_flow([(name, frames)], tmp_path / "flow", file_format="flo", progress=False)
    compute_flow([(name, frames)], tmp_path / "png", max_flow=5, progress=False)
    pictures = [torch.from_numpy(np.array(Image.open(frame))).permute(2, 0, 1) for frame in frames]
    for frame, expected in zip(frames, DisFlow()(torch.stack(pictures)).numpy(), strict=False):
        np.testing.assert_array_equal(read_flow(flow_path(tmp_path / "flow", name, frame.stem, 1, "flo")), expected)
        drawn = flow_path(tmp_path / "png", name, frame.stem)
        np.testing.assert_allclose(read_flow(drawn), expected, atol=0.02 * 5)


def test_only_what_is_missing_is_computed(make_sequence: Make, tmp_path: Path) -> None:
    dog, estimator = make_sequence(length=6), Counting()
    assert compute_flow([dog], tmp_path / "flow", estimator, progress=False) == (5, 0)
    before = files(tmp_path / "flow")
    for stem in ("00001", "00004"):
        flow_path(tmp_path / "flow", "dog", stem).unlink()
    flow_path(tmp_path / "flow", "dog", "00002").write_bytes(b"")  # what another tool leaves when it is killed
    assert compute_flow([dog], tmp_path / "flow", estimator, progress=False) == (3, 2)
    assert estimator.calls == 8
    assert files(tmp_path / "flow") == before
    assert compute_flow([dog], tmp_path / "flow", estimator, progress=False) == (0, 5)
    assert estimator.calls == 8


def test_flow_that_lies_elsewhere_counts_as_present(make_sequence: Make, tmp_path: Path) -> None:
    name, frames = make_sequence()
    for frame in frames[:-1]:
        write_flow_picture(tmp_path / "flow" / name / f"{frame.stem}.png", np.zeros((2, 30, 40)))
    assert compute_flow([(name, frames)], tmp_path / "flow", progress=False) == (0, 3)
    # but vectors cannot be had from pictures
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert compute_flow([(name, frames)], tmp_path / "flow", file_format="flo", progress=False) == (3, 0)


def test_any_number_of_workers_gives_the_same_bits(make_sequence: Make, tmp_path: Path) -> None:
    sequences = [make_sequence("dog", height=60, width=90), make_sequence("cat", height=50, width=70, seed=3)]
    for workers in (0, 1, 2, 5):
        report = compute_flow(sequences, tmp_path / str(workers), gaps=(1, -1), num_workers=workers, progress=False)
        assert report.written == 12
    expected = files(tmp_path / "1")
    assert len(expected) == 14
    assert all(files(tmp_path / str(workers)) == expected for workers in (0, 2, 5))


def test_two_runs_at_once_do_no_harm(make_sequence: Make, tmp_path: Path) -> None:
    dog = make_sequence(length=12)
    compute_flow([dog], tmp_path / "alone", num_workers=1, progress=False)

    def run(_: int) -> FlowReport:
        return compute_flow([dog], tmp_path / "flow", num_workers=2, progress=False)

    with ThreadPoolExecutor(3) as pool:
        reports = list(pool.map(run, range(3)))
    assert files(tmp_path / "flow") == files(tmp_path / "alone")
    assert all(sum(report) == 11 for report in reports)
    assert sum(report.written for report in reports) >= 11


def test_a_full_disk_leaves_no_half_file_and_the_next_run_goes_on(
    make_sequence: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dog, calls = make_sequence(length=6), 0

    def fills_up(handle: int) -> None:
        nonlocal calls
        calls += 1
        if calls > 3:  # flow.json and two pictures
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fills_up)
        with pytest.raises(OSError, match="No space left"):
            compute_flow([dog], tmp_path / "flow", num_workers=1, progress=False)
    left = files(tmp_path / "flow")
    assert len(left) == 3
    for name in left:
        if name.endswith(".png"):
            assert read_flow_picture(tmp_path / "flow" / name).shape == (30, 40, 3)
    assert compute_flow([dog], tmp_path / "flow", progress=False) == (3, 2)


@pytest.mark.parametrize("workers", [1, 3])
def test_an_unreadable_frame_is_named_with_the_next_step(make_sequence: Make, tmp_path: Path, workers: int) -> None:
    name, frames = make_sequence()
    frames[2].write_bytes(frames[2].read_bytes()[:100])
    with pytest.raises(VideoDecodeError, match=r"00002\.png.*Extract the frames"):
        compute_flow([(name, frames)], tmp_path / "flow", num_workers=workers, progress=False)
    frames[2].unlink()
    with pytest.raises(VideoDecodeError, match=r"00002\.png.*No such file"):
        compute_flow([(name, frames)], tmp_path / "flow", num_workers=workers, progress=False)


def test_frames_of_two_sizes_are_named(make_sequence: Make, tmp_path: Path) -> None:
    name, frames = make_sequence()
    Image.new("RGB", (40, 31)).save(frames[1])
    with pytest.raises(VideoDecodeError, match=r"00001\.png.*40x31 pixels, but its neighbour 00000\.png 40x30"):
        compute_flow([(name, frames)], tmp_path / "flow", num_workers=1, progress=False)


def test_grey_and_palette_frames_are_read_as_colour(make_sequence: Make, tmp_path: Path) -> None:
    name, frames = make_sequence()
    for frame, mode in zip(frames, ("L", "P", "RGBA", "RGB"), strict=True):
        Image.open(frame).convert(mode).save(frame)
    assert compute_flow([(name, frames)], tmp_path / "flow", progress=False).written == 3


def test_flow_json_says_how_the_flow_was_made(make_sequence: Make, tmp_path: Path) -> None:
    dog = make_sequence()
    compute_flow([dog], tmp_path, gaps=(1, -1), max_flow=20, encoding="hsv", progress=False)
    said = json.loads((tmp_path / "FlowImages_gap-1" / "flow.json").read_text())
    assert said.pop("library").startswith("opencv ")
    assert said == {"method": "dis", "encoding": "hsv", "max_flow": 20, "gap": -1}
    with Image.open(flow_path(tmp_path, "dog", "00000")) as picture:
        assert picture.info["flow_method"] == "dis"


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        ({"method": Counting("farneback")}, "method 'dis' instead of 'farneback'"),
        ({"encoding": "hsv"}, "encoding 'middlebury' instead of 'hsv'"),
        ({"max_flow": 20.0}, "max_flow None instead of 20.0"),
    ],
)
def test_flow_of_two_kinds_is_not_mixed(
    make_sequence: Make, tmp_path: Path, options: dict[str, object], difference: str
) -> None:
    dog = make_sequence()
    compute_flow([dog], tmp_path / "flow", progress=False)
    before = files(tmp_path / "flow")
    with pytest.warns(UserWarning, match=f"{difference}.*It is complete, so it is used as it is"):
        assert compute_flow([dog], tmp_path / "flow", progress=False, **options) == (0, 3)  # type: ignore[arg-type]
    more = [dog, make_sequence("cat")]
    with pytest.raises(OptionError, match=f"{difference}.*not mixed: choose another flow_dir"):
        compute_flow(more, tmp_path / "flow", progress=False, **options)  # type: ignore[arg-type]
    assert files(tmp_path / "flow") == before


def test_adding_to_flow_of_unknown_origin_is_warned_of(make_sequence: Make, tmp_path: Path) -> None:
    dog = make_sequence()
    write_flow_picture(flow_path(tmp_path / "flow", "dog", "00000"), np.zeros((2, 30, 40)))
    with pytest.warns(UserWarning, match="1 flow files are there that nothing says the origin of.*with 'dis'"):
        assert compute_flow([dog], tmp_path / "flow", progress=False) == (2, 1)


def test_a_damaged_flow_json_is_named(make_sequence: Make, tmp_path: Path) -> None:
    dog, file = make_sequence(), tmp_path / "flow" / "FlowImages_gap1" / "flow.json"
    file.parent.mkdir(parents=True)
    for content in ("{", "[]", "{}"):
        file.write_text(content)
        with pytest.raises(AnnotationError, match=r"flow\.json"):
            compute_flow([dog], tmp_path / "flow", progress=False)


def test_folder_accepts_what_is_there_and_names_what_is_not(make_sequence: Make, tmp_path: Path) -> None:
    name, frames = make_sequence(length=7)
    with pytest.raises(DatasetNotFoundError, match=r"does not exist.*dog/00000\.png.*and 3 more.*'dis'"):
        compute_flow([(name, frames)], tmp_path / "flow", "folder", progress=False)
    compute_flow([(name, frames)], tmp_path / "flow", progress=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert compute_flow([(name, frames)], tmp_path / "flow", "folder", progress=False) == (0, 6)


@pytest.mark.usefixtures("one_thread")
def test_raft_computes_with_the_weights_of_a_file(make_sequence: Make, tmp_path: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.save(raft_small().state_dict(), tmp_path / "raft.pth")
    dog = make_sequence(length=3)
    weights = tmp_path / "raft.pth"
    assert compute_flow([dog], tmp_path / "flow", "raft_small", weights=weights, progress=False) == (2, 0)
    said = read_provenance(tmp_path / "flow" / "FlowImages_gap1")
    assert said is not None
    assert said["method"] == "raft_small"
    assert said["weights"] == f"sha256 {hashlib.sha256(weights.read_bytes()).hexdigest()[:16]}"
    assert said["updates"] == "20"
    # all is there: the weights are not even needed
    assert compute_flow([dog], tmp_path / "flow", "raft_small", progress=False) == (0, 2)


def test_wrong_options_are_named_before_anything_is_written(make_sequence: Make, tmp_path: Path) -> None:
    dog = make_sequence()
    with pytest.raises(UnknownNameError, match="no flow method called 'diss'"):
        compute_flow([dog], tmp_path / "flow", "diss", progress=False)
    with pytest.raises(UnknownNameError, match="no file format of flow called 'jpg'"):
        compute_flow([dog], tmp_path / "flow", file_format="jpg", progress=False)  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match="no flow encoding called 'rgb'"):
        compute_flow([dog], tmp_path / "flow", encoding="rgb", progress=False)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="num_workers"):
        compute_flow([dog], tmp_path / "flow", num_workers=-1, progress=False)
    with pytest.raises(OptionError, match="max_flow"):
        compute_flow([dog], tmp_path / "flow", max_flow=0, progress=False)
    with pytest.raises(OptionError, match="needs weights"):
        compute_flow([dog], tmp_path / "flow", "raft_small", progress=False)
    assert not (tmp_path / "flow").exists()


def test_the_threads_of_the_caller_stay_as_they_were(make_sequence: Make, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    state = torch.get_rng_state()
    compute_flow([make_sequence()], tmp_path / "flow", num_workers=2, progress=False)
    assert torch.get_num_threads() == before
    assert torch.equal(torch.get_rng_state(), state)
    with ThreadPoolExecutor(1) as pool:  # threads to come have it as well
        assert pool.submit(torch.get_num_threads).result() == before


def test_the_progress_bar_is_quiet_when_asked(
    make_sequence: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dog = make_sequence()
    compute_flow([dog], tmp_path / "quiet", progress=False)
    captured = capsys.readouterr()
    assert captured.out + captured.err == ""
    compute_flow([dog], tmp_path / "shown", progress=True)
    shown = capsys.readouterr().err
    assert "Flow (dis)" in shown
    assert "pair/s" in shown


def test_real_frames_get_flow_that_explains_them(real_data: Path, tmp_path: Path) -> None:
    folder = real_data / "davis16_mini" / "JPEGImages" / "480p"
    frames = sorted((folder / "libby").glob("*.jpg"))[:3]
    if not frames:
        pytest.skip(f"there are no frames in {folder / 'libby'}")
    assert compute_flow([("libby", frames)], tmp_path, gaps=(1, -1), file_format="flo", progress=False).written == 4
    first, second = (np.asarray(Image.open(frame).convert("L"), dtype=np.float32) for frame in frames[:2])
    flow = read_flow(flow_path(tmp_path, "libby", frames[0].stem, 1, "flo"))
    assert flow.shape == (2, *first.shape)
    y, x = np.mgrid[: first.shape[0], : first.shape[1]]
    rows = np.clip((y + flow[1]).round().astype(int), 0, first.shape[0] - 1)
    columns = np.clip((x + flow[0]).round().astype(int), 0, first.shape[1] - 1)
    assert np.abs(second[rows, columns] - first).mean() < 0.6 * np.abs(second - first).mean()

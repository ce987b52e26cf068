# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from action_data import FPS, FRAMES, frame_numbers, write_clip

from staticdropout.datamodules import Entry, EvalTransform, Span, TrainTransform, VideoDataset
from staticdropout.errors import VideoDecodeError


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip") / "1.mp4")


def dataset(*entries: Entry, training: bool = False, **options: Any) -> VideoDataset:
    transform = TrainTransform(16, 16) if training else EvalTransform(16, 16)
    return VideoDataset(entries, transform, training=training, **{"num_frames": 4, **options})


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        (Span(0.0, 1.0), range(10)),
        (Span(0.5, 0.6), range(5, 6)),
        (Span(0.55, 0.56), range(5, 6)),  # within one frame: it is what is shown then
        (Span(0.55, 0.75), range(5, 8)),
        (Span(-3.0, 0.2), range(2)),
        (Span(2.0, 99.0), range(20, 24)),
        (Span(2.4, 3.0), range(24, 24)),
        (Span(1.0, 1.0), range(10, 10)),
        (Span(2.0, 1.0), range(20, 20)),
        (Span(3, 7, "frames"), range(3, 7)),
        (Span(20, 99, "frames"), range(20, 24)),
        (Span(24, 30, "frames"), range(24, 24)),
    ],
    ids=str,
)
def test_a_span_holds_the_frames_that_are_shown_in_it(span: Span, expected: range) -> None:
    assert span.frames(24, fps=10.0) == expected


def test_the_borders_of_spans_that_follow_each_other_share_no_frame_whatever_rounding_does() -> None:
    for fps in (10.0, 24.0, 25.0, 30000 / 1001):
        for frame in range(1, 300):
            border = frame / fps
            assert Span(0, border).frames(400, fps) == range(frame)
            assert Span(border, 400 / fps).frames(400, fps) == range(frame, 400)


def test_an_entry_is_a_whole_video_unless_it_has_a_span() -> None:
    assert Entry("1", Path("1.mp4"), 0).span is None


@pytest.mark.parametrize("sampling", ["segment", "dense", "window"])
def test_frames_are_taken_from_inside_the_span_only(clip: Path, sampling: Any) -> None:
    for span in (Span(0.5, 1.2), Span(5, 12, "frames")):
        entry = Entry("1", clip, 0, span)
        for training in (False, True):
            data = dataset(entry, training=training, sampling=sampling, num_frames=4)
            seen = {frame for _ in range(30) for frame in frame_numbers(data[0]["video"])}
            assert seen <= set(range(5, 12))
            assert len(seen) >= 4


def test_a_span_is_sampled_as_a_video_of_its_frames_alone_would_be(clip: Path) -> None:
    found = frame_numbers(dataset(Entry("1", clip, 0, Span(10, 18, "frames")))[0]["video"])
    assert found == [10 + frame for frame in (1, 3, 4, 6)]  # the official midpoints of 8 frames
    several = dataset(Entry("1", clip, 0, Span(10, 18, "frames")), sampling="dense", num_clips=2)[0]["video"]
    assert [frame_numbers(one) for one in several] == [[10, 11, 12, 13], [14, 15, 16, 17]]


def test_a_span_beyond_the_video_ends_with_it(clip: Path) -> None:
    assert frame_numbers(dataset(Entry("1", clip, 0, Span(2.0, 99.0)))[0]["video"]) == [20, 21, 22, 22]


@pytest.mark.parametrize("span", [Span(2.4, 9.0), Span(1.0, 1.0), Span(24, 30, "frames")])
def test_a_span_without_a_frame_is_an_unreadable_video(clip: Path, span: Span) -> None:
    data = dataset(Entry("1/0", clip, 0, span), Entry("1/1", clip, 0))
    with pytest.raises(VideoDecodeError, match=rf"no frame of it lies in .* {FRAMES} frames, {FPS:g} a second"):
        data[0]
    data.on_error = "skip"
    assert [name for name, _ in data[0]["skipped"]] == ["1/0"]


@pytest.mark.parametrize(
    ("target_fps", "expected"),
    [
        (None, [6, 9, 13, 17]),  # the window of 12 frames in the middle of 24, at 6 + 11 / 3 * i
        (FPS, [6, 9, 13, 17]),
        (3 * FPS, [10, 11, 12, 13]),  # 4 frames, since the video has a third of the rate
        (FPS / 2, [0, 7, 15, 23]),  # 24 frames
    ],
)
def test_the_stride_counts_frames_of_the_target_rate(clip: Path, target_fps: float | None, expected: list[int]) -> None:
    options: dict[str, Any] = {"sampling": "window", "stride": 3, "target_fps": target_fps}
    assert frame_numbers(dataset(Entry("1", clip, 0), **options)[0]["video"]) == expected


def test_a_video_whose_header_tells_no_rate_is_unreadable_where_the_rate_is_needed(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Timeless:
        fps = float("nan")

        def __len__(self) -> int:
            return FRAMES

        def get_batch(self, indices: Any) -> Any:
            return torch.zeros(len(indices), 32, 40, 3, dtype=torch.uint8).numpy()

    monkeypatch.setattr("staticdropout.datamodules.video_dataset.open_video", lambda *args, **options: Timeless())
    entry = Entry("1", clip, 0)
    with pytest.raises(VideoDecodeError, match="target_fps null"):
        dataset(entry, sampling="dense", target_fps=30.0)[0]
    assert dataset(entry, sampling="dense")[0]["video"].shape == (3, 4, 16, 16)

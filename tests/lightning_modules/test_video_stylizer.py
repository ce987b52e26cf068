# SPDX-License-Identifier: Apache-2.0
"""VideoStylizer: what predict gives is the style of each frame, rounded, whatever the chunk and the precision."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from styled_copies import rendered
from torch import Tensor

from staticdropout.errors import BatchError, OptionError
from staticdropout.lightning_modules.video_stylizer import VideoStylizer
from staticdropout.perturbations import StyleSet

STYLES = ["paint", "chalk", "neon", "relief"]


@pytest.fixture
def frames() -> np.ndarray:
    coarse = np.random.default_rng(0).integers(0, 256, (7, 6, 8, 3), dtype=np.uint8)
    return np.kron(coarse, np.ones((1, 4, 4, 1), np.uint8))


def chunk(frames: np.ndarray, *styles: int) -> dict[str, Any]:
    return {"video": torch.from_numpy(frames.copy()).permute(3, 0, 1, 2)[None], "styles": list(styles)}


def test_each_style_that_is_wanted_is_that_style_of_each_frame_rounded(frames: np.ndarray) -> None:
    found = VideoStylizer(STYLES).predict_step(chunk(frames, 3, 0), 0)
    assert list(found) == [3, 0]
    for style, pictures in found.items():
        assert pictures.dtype == torch.uint8
        np.testing.assert_array_equal(pictures.numpy(), rendered(frames, STYLES[style]))


def test_chunks_and_the_whole_give_the_same_frames(frames: np.ndarray) -> None:
    module = VideoStylizer(STYLES)
    whole = module.predict_step(chunk(frames, 0, 1, 2, 3), 0)
    parts = [module.predict_step(chunk(frames[start : start + 3], 0, 1, 2, 3), 0) for start in (0, 3, 6)]
    for style, pictures in whole.items():
        assert torch.equal(torch.cat([part[style] for part in parts]), pictures)


def test_a_lower_precision_of_the_trainer_does_not_change_the_frames(frames: np.ndarray) -> None:
    module = VideoStylizer(STYLES)
    expected = module.predict_step(chunk(frames, 0, 1, 2, 3), 0)
    with torch.autocast("cpu", torch.bfloat16):
        found = module.predict_step(chunk(frames, 0, 1, 2, 3), 0)
    assert all(torch.equal(found[style], expected[style]) for style in range(4))


def test_the_seed_turns_the_colours(frames: np.ndarray) -> None:
    one, other = (VideoStylizer(["neon"], seed=seed).predict_step(chunk(frames, 0), 0)[0] for seed in (0, 1))
    assert not torch.equal(one, other)


def test_values_outside_the_range_are_cut_and_not_wrapped(frames: np.ndarray) -> None:
    class Bright:
        name, temporal = "bright", False

        def __call__(self, clip: Tensor, *, seed: int = 0) -> Tensor:
            return clip * 4 - 1

    module = VideoStylizer([Bright()])  # type: ignore[list-item]
    found = module.predict_step(chunk(frames, 0), 0)[0].numpy()
    np.testing.assert_array_equal(found, np.clip(4 * frames.astype(int) - 255, 0, 255))


def test_a_video_that_could_not_be_read_has_no_frames() -> None:
    assert VideoStylizer(["neon"]).predict_step({"id": "7", "skipped": [("7", "broken")]}, 0) == {}


@pytest.mark.parametrize("video", [torch.zeros(2, 3, 1, 4, 4, dtype=torch.uint8), torch.zeros(1, 3, 1, 4, 4)])
def test_something_else_than_one_video_of_bytes_is_refused(video: Tensor) -> None:
    with pytest.raises(BatchError, match="one video at a time"):
        VideoStylizer(["neon"]).predict_step({"video": video, "styles": [0]}, 0)


def test_styles_come_from_the_data_module_and_may_not_contradict_it(frames: np.ndarray) -> None:
    def set_up(module: VideoStylizer, styles: StyleSet | None) -> VideoStylizer:
        data = SimpleNamespace() if styles is None else SimpleNamespace(style_set=styles)
        module.trainer = SimpleNamespace(datamodule=data)  # type: ignore[assignment]
        module.setup("predict")
        return module

    wanted = StyleSet(["relief", "neon"])
    assert set_up(VideoStylizer(), wanted).style_set is wanted
    assert set_up(VideoStylizer(["relief", "neon"]), wanted).style_set is wanted
    with pytest.raises(OptionError, match=r"neon, relief.*relief, neon"):
        set_up(VideoStylizer(["neon", "relief"]), wanted)
    with pytest.raises(OptionError, match=wanted.hash):
        set_up(VideoStylizer(["relief", "neon"], seed=1), wanted)
    with pytest.raises(MisconfigurationException, match="no styles"):
        set_up(VideoStylizer(), None).predict_step(chunk(frames, 0), 0)


@pytest.mark.parametrize(
    ("cores", "before", "processes", "expected"),
    [(2, 2, 1, 1), (16, 16, 1, 12), (16, 16, 4, 3), (16, 2, 1, 2), (1, 1, 4, 1)],
)
def test_threads_leave_cores_to_readers_and_writers_and_are_put_back(
    cores: int, before: int, processes: int, expected: int, monkeypatch: pytest.MonkeyPatch, frames: np.ndarray
) -> None:
    seen: list[int] = []

    class Watching:
        name, temporal = "watching", False

        def __call__(self, clip: Tensor, *, seed: int = 0) -> Tensor:
            seen.append(torch.get_num_threads())
            if clip.max() == 0:
                raise RuntimeError("any")
            return clip

    module = VideoStylizer([Watching()])  # type: ignore[list-item]
    module.trainer = SimpleNamespace(num_devices=processes, datamodule=None)  # type: ignore[assignment]
    module.setup("predict")
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(cores), raising=False)
    own = torch.get_num_threads()
    try:
        torch.set_num_threads(before)
        module.predict_step(chunk(frames, 0), 0)
        with pytest.raises(RuntimeError, match="any"):
            module.predict_step(chunk(np.zeros_like(frames), 0), 0)
        assert (seen, torch.get_num_threads()) == ([expected, expected], before)
    finally:
        torch.set_num_threads(own)

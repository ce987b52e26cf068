# SPDX-License-Identifier: Apache-2.0
"""Batches of strangers: the guess is right, or the error says which argument to set."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from staticdropout.callbacks import VideoInputs
from staticdropout.errors import BatchError, OptionError

VIDEO = torch.rand(2, 3, 8, 10, 12, generator=torch.Generator().manual_seed(0))
LABEL = torch.tensor([1, 3])


@dataclass
class Sample:
    frames: Tensor
    target: Tensor


@pytest.mark.parametrize(
    "batch",
    [
        VIDEO,
        (VIDEO, LABEL),
        [LABEL, VIDEO],
        {"video": VIDEO, "label": LABEL},
        {"pixel_values": VIDEO, "labels": LABEL},
        {"whatever": VIDEO, "y": LABEL, "mask": torch.ones(2)},
        {"depth": VIDEO + 1, "clip": VIDEO},
        Sample(VIDEO, LABEL),
    ],
)
def test_the_video_is_guessed(batch: Any) -> None:
    assert VideoInputs().find(batch) is VIDEO


@pytest.mark.parametrize(
    "batch", [(VIDEO, LABEL), {"video": VIDEO, "label": LABEL}, {"x": VIDEO, "y": LABEL.tolist()}, Sample(VIDEO, LABEL)]
)
def test_the_labels_are_guessed(batch: Any) -> None:
    assert torch.equal(VideoInputs().labels(batch), LABEL)


@pytest.mark.parametrize("path", ["inputs.clip", "inputs.more.0"])
def test_an_entry_is_named_by_a_path(path: str) -> None:
    batch = {"inputs": {"clip": VIDEO, "more": [VIDEO]}, "other": VIDEO + 1}
    assert VideoInputs(video=path).find(batch) is VIDEO


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({"label": LABEL, "text": ["a", "b"]}, r"holds \{label: int64 \(2,\), text: \[str, str\]\}.*video=\.\.\."),
        ([[VIDEO, VIDEO[:, :, ::4]], LABEL], "No video in the batch"),
        ({"left": VIDEO, "right": VIDEO}, "No video in the batch"),
        ((VIDEO, VIDEO + 1, LABEL), "No video in the batch"),
        ((VIDEO[:, 0], LABEL), "No video in the batch"),
    ],
)
def test_without_a_video_the_error_shows_the_batch_and_the_argument(batch: Any, message: str) -> None:
    with pytest.raises(BatchError, match=message):
        VideoInputs().find(batch)


def test_a_named_entry_that_is_missing_is_reported() -> None:
    with pytest.raises(BatchError, match="no entry 'clip'"):
        VideoInputs(video="clip").find({"video": VIDEO})


def test_missing_labels_are_reported() -> None:
    with pytest.raises(BatchError, match=r"label=\.\.\."):
        VideoInputs().labels({"video": VIDEO})


@pytest.mark.parametrize(("layout", "time"), [("BCTHW", 2), ("BTCHW", 1), ("BTHWC", 1)])
@pytest.mark.parametrize("kind", ["float", "uint8", "normalised"])
def test_pixels_and_back_for_every_layout_and_range(layout: Any, time: int, kind: str) -> None:
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
    options = {"mean": mean, "std": std} if kind == "normalised" else {}
    source = VIDEO
    if kind == "uint8":
        source = (VIDEO * 255).round().byte()
    elif kind == "normalised":
        source = (VIDEO - torch.tensor(mean).view(1, 3, 1, 1, 1)) / torch.tensor(std).view(1, 3, 1, 1, 1)
    stored = source.permute(["BCTHW".index(axis) for axis in layout])
    inputs = VideoInputs(**options)  # type: ignore[arg-type]
    assert inputs.time_dim(stored) == time
    pixels = inputs.pixels(stored)
    torch.testing.assert_close(pixels, VIDEO, rtol=0, atol=0.003 if kind == "uint8" else 1e-6)
    restored = inputs.restore(pixels, like=stored)
    assert restored.dtype == stored.dtype
    torch.testing.assert_close(restored, stored, rtol=0, atol=0 if kind == "uint8" else 1e-5)


def test_an_ambiguous_layout_has_to_be_told() -> None:
    video = torch.rand(2, 3, 3, 8, 8)
    with pytest.raises(BatchError, match="2 dimensions have size 3"):
        VideoInputs().time_dim(video)
    assert VideoInputs(layout="BTCHW").time_dim(video) == 1


@pytest.mark.parametrize("bad", [VIDEO * 4 - 2, VIDEO * 255, VIDEO * float("nan")])
def test_values_that_are_no_pixels_are_refused_with_the_range_found(bad: Tensor) -> None:
    with pytest.raises(BatchError, match=r"found values from .* to .*mean=\.\.\., std=\.\.\."):
        VideoInputs().pixels(bad)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mean": [0.5]}, "belong together"),
        ({"mean": [0.4, 0.4], "std": [0.2, 0.2]}, "one number a channel, found 2 and 2"),
        ({"mean": [0.4] * 3, "std": [0.2, 0.0, 0.2]}, "must be positive"),
    ],
)
def test_wrong_means_and_deviations_are_refused_at_once(options: Any, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        VideoInputs(**options)


def test_a_call_that_fails_inside_the_model_shows_the_video_and_the_argument() -> None:
    module = WithoutForward("model")
    module.model.forward = nn.Conv2d(3, 4, 3).forward  # type: ignore[union-attr]
    with pytest.raises(BatchError, match=r"float32 \(2, 3, 8, 10, 12\).*forward="):
        VideoInputs().call(module, VIDEO, None)


class Inner(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(1, 1)

    def forward(self, video: Tensor) -> str:
        return "inner"


class WithoutForward(LightningModule):
    def __init__(self, *names: str) -> None:
        super().__init__()
        for name in names:
            setattr(self, name, Inner())
        self.loss = nn.CrossEntropyLoss()


@pytest.mark.parametrize("names", [("anything",), ("teacher", "model")])
def test_a_module_without_forward_is_called_through_its_network(names: tuple[str, ...]) -> None:
    assert VideoInputs().call(WithoutForward(*names), VIDEO, None) == "inner"


def test_an_unclear_network_has_to_be_told() -> None:
    module = WithoutForward("teacher", "student")
    with pytest.raises(BatchError, match="any of teacher, student"):
        VideoInputs().call(module, VIDEO, None)

    def student(module: Any, video: Any, batch: Any) -> Any:
        return module.student(video)

    told = VideoInputs(forward=student)
    assert told.call(module, VIDEO, None) == "inner"


@pytest.mark.parametrize(
    "output",
    [torch.ones(2, 4), {"logits": torch.ones(2, 4), "z": torch.ones(2, 9)}, SimpleNamespace(logits=torch.ones(2, 4))],
)
def test_logits_are_found_in_what_models_return(output: Any) -> None:
    assert VideoInputs.logits(output).shape == (2, 4)


def test_an_output_without_logits_is_described() -> None:
    with pytest.raises(BatchError, match="found float32"):
        VideoInputs.logits(torch.ones(2, 4, 7, 7))


def test_ids_are_read_where_there_are_any() -> None:
    assert VideoInputs().ids({"video": VIDEO, "id": ["a", "b"]}) == ["a", "b"]
    assert VideoInputs().ids({"video": VIDEO, "id": torch.tensor([4, 5])}) == ["4", "5"]
    assert VideoInputs().ids((VIDEO, LABEL)) is None

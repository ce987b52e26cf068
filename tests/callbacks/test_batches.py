# SPDX-License-Identifier: Apache-2.0
"""Batches of strangers: the guess is right, or the error says which argument to set."""

from __future__ import annotations

from collections import OrderedDict, UserDict, namedtuple
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
OTHER = VIDEO.flip(0)
MASK = torch.ones(2, 1, 8, 10, 12)
GREY = VIDEO[:, :1]
LABEL = torch.tensor([1, 3])
SLOW = VIDEO[:, :, ::4]


@dataclass
class Sample:
    frames: Tensor
    target: Tensor


@dataclass(frozen=True, slots=True)
class Slotted:
    clip: Tensor
    y: Tensor


class WithSlots:
    __slots__ = ("clips", "labels", "unset")

    def __init__(self, clips: Tensor, labels: Tensor) -> None:
        self.clips, self.labels = clips, labels


class LikeTensorDict:
    """Has keys and items, but is no Mapping."""

    def __init__(self, **parts: Any) -> None:
        self._parts = parts

    def keys(self) -> Any:
        return self._parts.keys()

    def __getitem__(self, key: str) -> Any:
        return self._parts[key]


Pair = namedtuple("Pair", ["video", "label"])

BATCHES: dict[str, Any] = {
    "tuple": (VIDEO, LABEL),
    "list, label first": [LABEL, VIDEO],
    "dict": {"video": VIDEO, "label": LABEL},
    "Hugging Face": UserDict({"pixel_values": VIDEO, "labels": LABEL}),
    "other names": {"whatever": VIDEO, "y": LABEL, "mask": torch.ones(2)},
    "OrderedDict": OrderedDict(x=VIDEO, targets=LABEL),
    "no Mapping": LikeTensorDict(rgb=VIDEO, class_id=LABEL),
    "dataclass": Sample(VIDEO, LABEL),
    "frozen dataclass with slots": Slotted(VIDEO, LABEL),
    "class with slots": WithSlots(VIDEO, LABEL),
    "named tuple": Pair(VIDEO, LABEL),
    "namespace": SimpleNamespace(clip=VIDEO, label=LABEL),
    "nested": {"inputs": {"clip": VIDEO}, "meta": {"label": LABEL, "fps": [25.0, 25.0]}},
    "tuple of dicts": ({"frames": VIDEO}, {"label": LABEL}),
    "torchvision's Kinetics": (VIDEO, torch.rand(2, 1, 400), LABEL),
    "PyTorchVideo": {"video": VIDEO, "label": LABEL, "video_index": LABEL, "clip_index": LABEL, "aug_index": LABEL},
    "depth beside it": {"depth": OTHER, "clip": VIDEO, "label": LABEL},
    "flow and mask beside it": (VIDEO[:, :2], VIDEO, MASK, LABEL),
    "mask of booleans beside it": (GREY.expand(2, 3, 8, 10, 12) > 0.5, VIDEO, LABEL),
    "a target that is a video": ({"video": VIDEO, "label": LABEL}, OTHER),
}


@pytest.mark.parametrize("kind", BATCHES)
def test_video_and_labels_are_guessed(kind: str) -> None:
    assert VideoInputs().find(BATCHES[kind]) is VIDEO
    assert torch.equal(VideoInputs().labels(BATCHES[kind]), LABEL)


def test_a_batch_may_be_the_video_itself() -> None:
    assert VideoInputs().find(VIDEO) is VIDEO


@pytest.mark.parametrize(
    ("batch", "path"),
    [
        ({"inputs": {"clip": VIDEO, "more": [OTHER]}, "other": OTHER}, "inputs.clip"),
        ({"inputs": {"clip": OTHER, "more": [VIDEO]}, "other": OTHER}, "inputs.more.0"),
        ({"a.b": VIDEO, "a": {"b": OTHER}}, "a.b"),
        ({"a": {"clip": OTHER}, "b": (VIDEO, LABEL)}, "b.0"),
        ((OTHER, VIDEO), 1),
        ((OTHER, VIDEO), -1),
        (Pair(OTHER, VIDEO), 1),
        ({0: OTHER, 1: VIDEO}, 1),
        (WithSlots(VIDEO, OTHER), "clips"),
    ],
)
def test_an_entry_is_named_by_a_path(batch: Any, path: str | int) -> None:
    assert VideoInputs(video=path).find(batch) is VIDEO


def test_what_is_no_5d_tensor_is_made_one_by_a_function() -> None:
    frames = list(VIDEO.unbind(2))
    inputs = VideoInputs(video=lambda batch: torch.stack(batch["frames"], 2), label="y")
    assert torch.equal(inputs.find({"frames": frames, "y": LABEL}), VIDEO)
    assert torch.equal(inputs.labels({"frames": frames, "y": LABEL}), LABEL)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({"label": LABEL, "text": ["a", "b"]}, r"holds \{label: int64 \(2,\), text: \[str, str\]\}.*video=\.\.\."),
        ((VIDEO[:, 0], LABEL), "No video in the batch.*function of the batch"),
        ({"frames": list(VIDEO.unbind(2))}, "No video in the batch.*function of the batch"),
        ({"image": VIDEO[:, :, 0], "flow": VIDEO[:, :, 0]}, "FlowTriplets"),
        ({"left": VIDEO, "right": OTHER}, r"left \(float32 \(2, 3, 8, 10, 12\)\), right .*VideoInputs\(video='left'\)"),
        ((VIDEO, OTHER, LABEL), r"may be the video: 0 .*, 1 .*video='0'"),
        ({"video": VIDEO, "clip": OTHER, "x": OTHER}, "video .*, clip .*, x .*video='video'"),
        ({"a": {"video": VIDEO}, "b": {"video": OTHER}}, r"a\.video .*, b\.video .*video='a\.video'"),
        ({"views": [VIDEO, OTHER]}, r"views\.0 .*, views\.1"),
        ({"slow": SLOW, "fast": VIDEO}, r"slow .*, fast .*forward=.*if it takes more than one"),
        ((MASK, GREY, LABEL), "may be the video: 0 .*, 1"),
    ],
)
def test_without_a_clear_video_the_error_shows_the_batch_and_the_argument(batch: Any, message: str) -> None:
    with pytest.raises(BatchError, match=message):
        VideoInputs().find(batch)


@pytest.mark.parametrize(
    ("path", "message"),
    [("clip", "no entry 'clip'"), ("video.0", "no entry"), (7, "no entry '7'"), ("label", r"found int64 \(2,\)")],
)
def test_a_named_entry_that_is_missing_or_no_video_is_reported(path: str | int, message: str) -> None:
    with pytest.raises(BatchError, match=message):
        VideoInputs(video=path).find({"video": VIDEO, "label": LABEL})


def test_a_video_that_requires_grad_is_found_without_its_graph() -> None:
    video = VIDEO.clone().requires_grad_()
    found = VideoInputs().find((video, LABEL))
    assert not found.requires_grad
    assert torch.equal(found, video)


@pytest.mark.parametrize(
    "labels",
    [
        LABEL.tolist(),
        LABEL.view(2, 1),
        LABEL.int(),
        LABEL.double(),
        nn.functional.one_hot(LABEL, 5),
        nn.functional.one_hot(LABEL, 5).float(),
        torch.tensor([[0.02, 0.94, 0.02, 0.02], [0.02, 0.02, 0.02, 0.94]]),
    ],
)
def test_labels_are_read_however_they_are_written(labels: Any) -> None:
    assert torch.equal(VideoInputs().labels({"video": VIDEO, "target": labels}), LABEL)
    assert torch.equal(VideoInputs(label="mine").labels({"video": VIDEO, "mine": labels, "y": OTHER}), LABEL)


def test_labels_beside_the_video_come_first() -> None:
    batch = {"a": {"video": OTHER, "y": LABEL + 1}, "b": {"video": VIDEO, "y": LABEL}}
    assert torch.equal(VideoInputs(video="b.video").labels(batch), LABEL)


@pytest.mark.parametrize(
    "batch",
    [
        {"video": VIDEO},
        (VIDEO, LABEL, LABEL + 5),
        {"video": VIDEO, "label": LABEL, "target": LABEL + 5},
        {"video": VIDEO, "label": {"verb": LABEL, "noun": LABEL + 5}},
        {"video": VIDEO, "label": torch.tensor([1, 2, 3])},
        {"video": VIDEO, "label": torch.tensor([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]])},
        {"video": VIDEO, "label": torch.tensor([0.5, 2.0])},
        {"video": VIDEO, "ids": LABEL},
        (VIDEO, torch.rand(2, 4)),
    ],
)
def test_labels_that_are_missing_or_unclear_are_reported(batch: Any) -> None:
    with pytest.raises(BatchError, match=r"No class labels.*VideoInputs\(label=\.\.\.\)"):
        VideoInputs().labels(batch)


def test_a_named_label_that_is_none_is_reported() -> None:
    with pytest.raises(BatchError, match=r"label=\.\.\."):
        VideoInputs(label="text").labels({"video": VIDEO, "text": ["a", "b"], "label": LABEL})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mean": [0.5]}, "belong together"),
        ({"mean": [0.4, 0.4], "std": [0.2, 0.2]}, "one number a channel, found 2 and 2"),
        ({"mean": [0.4] * 3, "std": [0.2, 0.0, 0.2]}, "must be positive"),
        ({"layout": "BCHWT"}, "layout='BCHWT' is not one of BCTHW, BTCHW, BTHWC"),
    ],
)
def test_wrong_options_are_refused_at_once(options: Any, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        VideoInputs(**options)


class Inner(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(1, 1)

    def forward(self, video: Tensor) -> Any:
        return video


class Project(LightningModule):
    """No forward of its own."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model


def test_a_call_that_fails_inside_the_model_shows_the_video_and_the_argument() -> None:
    with pytest.raises(BatchError, match=r"Conv2d could not be called .*float32 \(2, 3, 8, 10, 12\).*forward="):
        VideoInputs().call(Project(nn.Conv2d(3, 4, 3)), VIDEO, None)


class ByName(Inner):
    def forward(self, head_mask: Any = None, pixel_values: Any = None) -> Any:
        assert head_mask is None
        return pixel_values


class TakesAll(Inner):
    def forward(self, **inputs: Any) -> Any:  # type: ignore[override]
        (value,) = inputs.values()
        return value


@pytest.mark.parametrize("model", [ByName(), TakesAll(), Inner()])
def test_a_model_is_called_by_the_name_of_the_entry_if_it_takes_that(model: nn.Module) -> None:
    assert VideoInputs().call(Project(model), OTHER, {"pixel_values": VIDEO, "labels": LABEL}) is OTHER


@pytest.mark.parametrize("container", [list, tuple])
def test_pathways_are_made_anew_from_the_perturbed_clip(container: Any) -> None:
    batch = (container([SLOW, VIDEO]), LABEL)
    assert VideoInputs().find(batch) is VIDEO
    slow, fast = VideoInputs().call(Project(Inner()), OTHER[:1], batch)
    assert fast.data_ptr() == OTHER.data_ptr()
    assert torch.equal(slow, OTHER[:1, :, ::4])


def test_pathways_that_follow_no_rule_are_left_to_the_user() -> None:
    batch = {"video": [VIDEO[:, :, [0, 1]], VIDEO], "label": LABEL}
    with pytest.raises(BatchError, match=r"2 and 8 frames.*forward="):
        VideoInputs().call(Project(Inner()), OTHER, batch)

    def first_two(module: Any, video: Tensor, batch: Any) -> Any:
        return module.model([video[:, :, :2], video])

    told = VideoInputs(forward=first_two)
    slow, _ = told.call(Project(Inner()), OTHER, batch)
    assert torch.equal(slow, OTHER[:, :, :2])


def test_inputs_of_a_triplet_function_are_handed_on_as_they_are() -> None:
    class Two(Inner):
        def forward(self, left: Any, right: Any) -> Any:  # type: ignore[override]
            return left, right

    both = VideoInputs().call(Project(Two()), (VIDEO, OTHER), {"unrelated": 1})
    assert both == (VIDEO, OTHER)
    assert VideoInputs().call(Project(Two()), {"right": OTHER, "left": VIDEO}, None) == (VIDEO, OTHER)
    assert VideoInputs().call(Project(Inner()), [VIDEO, OTHER], ([SLOW, VIDEO], LABEL)) == [VIDEO, OTHER]


@pytest.mark.parametrize(
    "output",
    [
        torch.ones(2, 4),
        {"logits": torch.ones(2, 4), "z": torch.ones(2, 9)},
        SimpleNamespace(logits=torch.ones(2, 4)),
        OrderedDict(loss=torch.ones(()), logits=torch.ones(2, 4), hidden_states=(torch.ones(2, 9),)),
        (torch.ones(2, 4), torch.ones(2, 8, 9)),
        Pair(None, torch.ones(2, 4)),
    ],
)
def test_logits_are_found_in_what_models_return(output: Any) -> None:
    assert VideoInputs.logits(output).shape == (2, 4)


@pytest.mark.parametrize("output", [torch.ones(2, 4, 7, 7), torch.ones(2, 1), (torch.ones(2, 4), torch.ones(2, 9))])
def test_an_output_without_clear_logits_is_described(output: Any) -> None:
    with pytest.raises(BatchError, match=r"found .*float32.*forward="):
        VideoInputs.logits(output)


def test_ids_are_read_where_there_are_any() -> None:
    assert VideoInputs().ids({"video": VIDEO, "id": ["a", "b"]}) == ["a", "b"]
    assert VideoInputs().ids({"video": VIDEO, "id": torch.tensor([4, 5])}) == ["4", "5"]
    assert VideoInputs().ids({"inputs": {"video": VIDEO, "id": ("c", "d")}, "id": ["a", "b"]}) == ["c", "d"]
    assert VideoInputs().ids({"video": VIDEO, "id": torch.tensor(4)}) is None
    assert VideoInputs().ids((VIDEO, LABEL)) is None
    assert VideoInputs().ids(VIDEO) is None

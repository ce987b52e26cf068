# SPDX-License-Identifier: Apache-2.0
"""A step that prepares the video before it calls the model is noticed; augmentation is not."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from toys import ToyClassifier, ToyNet, count_hooks, fit

from staticdropout.callbacks import VideoInputs
from staticdropout.callbacks.call_check import CallCheck


class Checking(Callback):
    """Does what the callbacks do."""

    def __init__(self, inputs: VideoInputs | None = None) -> None:
        self.check = CallCheck(inputs or VideoInputs(), "Checking")

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self.check.watch(pl_module, batch)
        assert count_hooks(pl_module) <= 1

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        self.check.finish()
        assert count_hooks(pl_module) == 0


class Prepares(ToyClassifier):
    """Has no forward of its own, and may do something first."""

    forward = LightningModule.forward

    def __init__(self, prepare: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.prepare = prepare

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self.backbone(self.prepare(batch["video"])), batch["label"])

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        return


PREPARES: dict[str, Callable[[Tensor], Tensor]] = {
    "normalised for Kinetics": lambda video: (video - 0.45) / 0.225,
    "normalised for ImageNet": lambda video: (video - 0.48) / 0.2,
    "scaled": lambda video: video * 255,
    "from -1 to 1": lambda video: video * 2 - 1,
    "smaller": lambda video: video[..., ::2, ::2],
    "fewer frames": lambda video: video[:, :, ::2],
    "turned": lambda video: video.movedim(2, 4).contiguous(),
    "centred in place": lambda video: video.sub_(0.45).div_(0.225),
}
AUGMENTS: dict[str, Callable[[Tensor], Tensor]] = {
    "nothing": lambda video: video,
    "flipped": lambda video: video.flip(4),
    "mixed": lambda video: 0.5 * video + 0.5 * video.flip(0),
    "twice": lambda video: torch.cat([video, video.flip(4)])[: len(video)],
    "noise": lambda video: video + 0.05 * torch.randn_like(video),
    "brighter": lambda video: (1.1 * video).clamp(max=1),
    "half": lambda video: video.half().float(),
}


@pytest.mark.parametrize("how", PREPARES)
def test_a_video_that_a_step_prepares_is_noticed(how: str, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"Your step calls the model with floats .*Checking .*forward=") as caught:
        fit(tmp_path, [Checking()], Prepares(PREPARES[how]), max_epochs=1)
    assert len([one for one in caught if "Your step" in str(one.message)]) == 1


def quiet(tmp_path: Path, module: LightningModule, checking: Checking) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Your step")
        fit(tmp_path, [checking], module, max_epochs=1)


@pytest.mark.parametrize("how", AUGMENTS)
def test_augmentation_is_no_reason_to_warn(how: str, tmp_path: Path) -> None:
    quiet(tmp_path, Prepares(AUGMENTS[how]), Checking())


def test_what_forward_prepares_needs_no_word(tmp_path: Path) -> None:
    class InForward(ToyClassifier):
        def forward(self, video: Tensor) -> Tensor:
            return super().forward((video - 0.45) / 0.225)

    quiet(tmp_path, InForward(), Checking())


def test_with_forward_given_nothing_is_compared(tmp_path: Path) -> None:
    def as_in_the_step(module: Any, video: Tensor, batch: Any) -> Any:
        return module.backbone((video - 0.45) / 0.225)

    inputs = VideoInputs(forward=as_in_the_step)
    quiet(tmp_path, Prepares(PREPARES["normalised for Kinetics"]), Checking(inputs))


@pytest.mark.parametrize("in_place", [True, False])
def test_compiled_networks_are_left_alone(in_place: bool, tmp_path: Path) -> None:
    module = Prepares(PREPARES["scaled"])
    if in_place:
        module.backbone.compile(backend="eager")
    else:
        module.backbone = torch.compile(ToyNet(), backend="eager")  # type: ignore[assignment]
    quiet(tmp_path, module, Checking())


def test_a_batch_that_cannot_be_read_is_said_elsewhere() -> None:
    check = CallCheck(VideoInputs(), "Checking")
    check.watch(ToyClassifier(), {"text": "none"})
    check.finish()


def test_pathways_are_compared_like_any_video() -> None:
    class TwoPathways(LightningModule):
        def forward(self, pathways: list[Tensor]) -> Tensor:
            return pathways[0].sum()

    module, fast = TwoPathways(), torch.rand(2, 3, 8, 6, 6)
    for factor, expected in ((1, 0), (4, 1)):
        check = CallCheck(VideoInputs(), "Checking")
        check.watch(module, ([fast[:, :, ::4], fast], torch.tensor([0, 1])))
        module([factor * fast[:, :, ::4], factor * fast])
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            check.finish()
        assert len(caught) == expected

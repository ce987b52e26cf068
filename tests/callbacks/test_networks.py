# SPDX-License-Identifier: Apache-2.0
"""Which network of a LightningModule is called, and how; whatever lies beside it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from staticdropout.callbacks.networks import called_network, classifier_of, video_argument
from staticdropout.errors import BatchError, LayerNotFoundError


def net(width: int = 4) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(width, 2))


class ArcFace(nn.Module):
    """A loss with weights."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2, 4))


class Project(LightningModule):
    def __init__(self, **parts: nn.Module) -> None:
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)


class WithForward(Project):
    def forward(self, video: Tensor) -> Any:
        return None


def frozen(network: nn.Module) -> nn.Module:
    return copy.deepcopy(network).requires_grad_(False)


BESIDE: dict[str, Callable[[nn.Module], dict[str, nn.Module]]] = {
    "nothing": lambda network: {},
    "loss": lambda network: {"loss": nn.CrossEntropyLoss(weight=torch.ones(2))},
    "loss with weights": lambda network: {"criterion": ArcFace()},
    "metrics": lambda network: {"top1": MulticlassAccuracy(2), "rest": MetricCollection([MulticlassAccuracy(2)])},
    "averaged model": lambda network: {"averages": AveragedModel(network)},
    "timm's average": lambda network: {"averages": ModelEmaV3(network)},
    "frozen copy": lambda network: {"second": frozen(network)},
    "copy called ema": lambda network: {"ema_model": copy.deepcopy(network)},
    "transform": lambda network: {"augment": nn.Identity()},
}


@pytest.mark.parametrize("beside", BESIDE)
@pytest.mark.parametrize("name", ["model", "resnet", "net"])
@pytest.mark.parametrize("first", [True, False])
def test_the_network_is_found_with_its_classifier(beside: str, name: str, first: bool) -> None:
    network = net()
    parts = {name: network} | BESIDE[beside](network)
    parts = parts if first else dict(reversed(parts.items()))
    assert called_network(Project(**parts)) is network
    assert classifier_of(Project(**parts)) == f"{name}.1"
    assert classifier_of(WithForward(**parts)) == f"{name}.1"


def test_a_student_is_told_from_its_teacher_by_name() -> None:
    teacher, student = net(), net()
    assert called_network(Project(teacher=teacher, student=student)) is student
    assert called_network(Project(teacher=teacher, model=student)) is student


def test_a_module_with_a_forward_is_called_itself() -> None:
    module = WithForward(backbone=net(), head=nn.Linear(2, 2))
    assert called_network(module) is module
    assert classifier_of(module) == "head"


def test_a_compiled_network_is_found_under_its_plain_name() -> None:
    network: Any = torch.compile(net(), backend="eager")
    assert called_network(Project(model=network)) is network
    assert classifier_of(Project(model=network)) == "model.1"


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"left": net(), "right": net()}, "its networks are left, right"),
        ({"model": net(8), "head": nn.Linear(4, 2)}, "its networks are model, head"),
        ({"backbone": net(8), "teacher": frozen(net())}, "its networks are backbone, teacher"),
        ({"pool": nn.Flatten()}, "no part of it has parameters"),
    ],
)
def test_an_unclear_network_has_to_be_told(parts: dict[str, nn.Module], message: str) -> None:
    with pytest.raises(BatchError, match=rf"Project has no forward\(\), and {message}.*forward="):
        called_network(Project(**parts))


def test_without_a_linear_layer_there_is_no_classifier() -> None:
    with pytest.raises(LayerNotFoundError, match=r"nn\.Linear"):
        classifier_of(Project(model=nn.Conv2d(3, 2, 1)))


def model(forward: Callable[..., Any]) -> nn.Module:
    module = nn.Module()
    module.forward = forward
    return module


@pytest.mark.parametrize(
    ("forward", "name", "expected"),
    [
        (lambda x: None, "video", None),
        (lambda video: None, "video", None),
        (lambda x, y=None: None, None, None),
        (lambda *args, **kwargs: None, "video", None),
        (lambda input_ids=None, pixel_values=None: None, "pixel_values", "pixel_values"),
        (lambda input_ids=None, pixel_values=None: None, None, None),
        (lambda *, clip: None, None, "clip"),
        (lambda y=None, *, clip: None, None, "clip"),
        (lambda **inputs: None, "clip", "clip"),
    ],
)
def test_the_video_goes_to_the_argument_of_its_name_or_to_the_first(
    forward: Callable[..., Any], name: str | None, expected: str | None
) -> None:
    assert video_argument(model(forward), name) == expected


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:FutureWarning")
def test_a_scripted_network_is_called_by_position() -> None:
    scripted = torch.jit.script(nn.Linear(2, 2))
    assert video_argument(scripted, None) is None


@pytest.mark.parametrize(
    ("forward", "name", "message"),
    [
        (lambda video, mask: None, "video", "needs mask besides the video"),
        (lambda x, video=None: None, "video", "needs x besides the video"),
        (lambda image, flow: None, None, "needs flow besides"),
        (lambda audio: None, "video", "argument audio may be the video or another part"),
        (lambda batch: None, "video", "argument batch may be the video or another part"),
    ],
)
def test_a_network_that_needs_more_has_to_be_called_by_the_user(
    forward: Callable[..., Any], name: str | None, message: str
) -> None:
    with pytest.raises(BatchError, match=rf"{message}.*forward=lambda module, video, batch"):
        video_argument(model(forward), name, others=["audio", "batch"])

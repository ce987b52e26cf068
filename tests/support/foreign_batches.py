# SPDX-License-Identifier: Apache-2.0
"""The same clips as strangers pack them: containers, pixels and layouts, and a model that undoes pixels and layout."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from staticdropout.callbacks import VideoInputs
from staticdropout.callbacks.bias_measurement import BiasMeasurement
from staticdropout.errors import BatchError
from staticdropout.metrics import LayerBias
from staticdropout.perturbations import Triplet, VideoTriplets

CLASSES = 4
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
KINETICS = (0.45, 0.45, 0.45), (0.225, 0.225, 0.225)


def clips(count: int = 12, frames: int = 6, size: int = 12) -> tuple[Tensor, Tensor]:
    """Clips (B, 3, T, H, W) whose pixels are whole 255ths, and labels."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, frames, 4, 4, generator=generator)
    video = nn.functional.interpolate(coarse, size=(frames, size, size), mode="trilinear")
    return (video * 255).round() / 255, torch.arange(count) % CLASSES


class Pixels(NamedTuple):
    """A way to hold pixels in [0, 1]: there, back, and what the errors should ask for."""

    encode: Callable[[Tensor], Tensor]
    decode: Callable[[Tensor], Tensor]
    answers: dict[str, Any]


def _normalised(mean: Any, std: Any) -> Pixels:
    """Scaled by constants; floats (B, 3, T, H, W) go in."""
    shift, scale = (torch.tensor(values).view(1, -1, 1, 1, 1) for values in (mean, std))
    return Pixels(lambda x: (x - shift) / scale, lambda x: x * scale + shift, {"mean": mean, "std": std})


PIXELS: dict[str, Pixels] = {
    "unit": Pixels(lambda x: x, lambda x: x, {}),
    "uint8": Pixels(lambda x: (x * 255).round().byte(), lambda x: x.float() / 255, {}),
    "imagenet": _normalised(*IMAGENET),
    "kinetics": _normalised(*KINETICS),
    "to 255": _normalised([0.0], [1 / 255]),
    "from -1 to 1": _normalised([0.5], [0.5]),
}

LAYOUTS = ("BCTHW", "BTCHW", "BTHWC")


def laid_out(video: Tensor, layout: str) -> Tensor:
    """(B, C, T, H, W) in another order."""
    return video.permute(["BCTHW".index(axis) for axis in layout]).contiguous()


@dataclass
class DataClass:
    """A batch with attributes."""

    frames: Tensor
    labels: Tensor


@dataclass(frozen=True, slots=True)
class Frozen:
    """A batch without ``__dict__``."""

    clip: Tensor
    target: Tensor


class Pair(NamedTuple):
    """A batch by name and number."""

    data: Tensor
    y: Tensor


class Container(NamedTuple):
    """A way to pack a batch, and what the errors should ask for."""

    pack: Callable[[Tensor, Tensor], Any]
    answers: dict[str, Any]


def _first_view(batch: Any) -> Tensor:
    view: Tensor = batch["views"][0][:, 0]
    return view


def _two_views(video: Tensor, label: Tensor) -> dict[str, Any]:
    return {"views": [video[:, None], video[:, None]]}


CONTAINERS: dict[str, Container] = {
    "tensor": Container(lambda video, label: video, {}),
    "tuple": Container(lambda video, label: (video, label), {}),
    "list": Container(lambda video, label: [label, video], {}),
    "dict": Container(lambda video, label: {"video": video, "label": label}, {}),
    "Hugging Face": Container(lambda video, label: OrderedDict(pixel_values=video, labels=label), {}),
    "unusual names": Container(lambda video, label: {"anything": video, "kind": label}, {}),
    "nested": Container(lambda video, label: {"inputs": {"rgb": video}, "meta": [label]}, {}),
    "dataclass": Container(DataClass, {}),
    "frozen with slots": Container(Frozen, {}),
    "named tuple": Container(Pair, {}),
    "namespace": Container(lambda video, label: SimpleNamespace(clips=video, y=label), {}),
    "with a mask": Container(lambda video, label: (torch.ones_like(video)[:, :2, :2, :, :2], video, label), {}),
    "several loaders": Container(
        lambda video, label: {"a": (video, label), "b": (video.flip(0), label)}, {"video": "a.0"}
    ),
    "two videos": Container(lambda video, label: (video.flip(0), video, label), {"video": 1}),
    "views": Container(_two_views, {"video": _first_view}),
}


class Stranger(LightningModule):
    """Takes videos as they lie in its batches, and knows what they are."""

    def __init__(self, pixels: str = "unit", layout: str = "BCTHW", frames: int = 6) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.pixels, self.order = pixels, [layout.index(axis) for axis in "BCTHW"]
        self.layer1 = nn.Sequential(nn.Conv3d(3, 8, 3, padding=1), nn.ReLU(inplace=True))
        self.layer2 = nn.Sequential(nn.Conv3d(8, 12, (min(frames, 3), 3, 3), stride=(1, 2, 2)), nn.ReLU(inplace=True))
        self.fc = nn.Linear(12, CLASSES)

    def forward(self, stored: Tensor) -> Tensor:
        video = PIXELS[self.pixels].decode(stored.permute(self.order))
        logits: Tensor = self.fc(self.layer2(self.layer1(video - 0.5)).mean((3, 4)).amax(2))
        return logits

    reading: Callable[[Any], tuple[Tensor, Tensor]] = staticmethod(lambda batch: batch)
    """Video and labels of a batch; its author knows where they are."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        video, label = self.reading(batch)
        loss = nn.functional.cross_entropy(self(video), label)
        self.log("train_loss", loss, batch_size=len(label))
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self(self.reading(batch)[0])

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.01)


LAYERS = ("layer1", "layer2", "fc[input]")


def packed(container: str, pixels: str, layout: str, batch_size: int = 6) -> list[Any]:
    """The clips as batches."""
    video, label = clips()
    stored = laid_out(PIXELS[pixels].encode(video), layout)
    rows = [slice(start, start + batch_size) for start in range(0, len(label), batch_size)]
    return [CONTAINERS[container].pack(stored[part], label[part]) for part in rows]


def loader(container: str, pixels: str, layout: str, batch_size: int = 6) -> DataLoader[Any]:
    """The same from a data set of single clips."""
    video, label = clips()
    stored = laid_out(PIXELS[pixels].encode(video), layout)

    def collate(rows: list[int]) -> Any:
        return CONTAINERS[container].pack(stored[rows], label[rows])

    numbers: Any = range(len(label))
    return DataLoader(numbers, batch_size, collate_fn=collate)


class InBytes(VideoTriplets):
    """Triplets of pixels that are whole 255ths: all that a model of bytes can be shown."""

    def __call__(self, video: Tensor, keys: Any = None) -> Triplet:
        """Round the triplets."""
        return Triplet(*((side * 255).round() / 255 for side in super().__call__(video, keys)))


def measured(
    trainer: Trainer,
    module: LightningModule,
    batches: list[Any],
    inputs: VideoInputs,
    triplets: VideoTriplets | None = None,
) -> dict[str, LayerBias]:
    """The bias of all layers, as BiasMonitor measures it."""
    measurement = BiasMeasurement(LAYERS, triplets or VideoTriplets(), inputs, num_clips=1000, num_groups=3)
    for batch in batches:
        measurement.add(trainer, module, batch)
    return measurement.compute(trainer, module)


def following_the_advice(attempt: Callable[[VideoInputs], Any], answers: dict[str, Any]) -> tuple[Any, set[str]]:
    """Do what a user does: set what the error names, and try again, until it works."""
    given: dict[str, Any] = {}
    while True:
        try:
            return attempt(VideoInputs(**given)), set(given)
        except BatchError as error:
            message = str(error)
            asked = {name: answer for name, answer in answers.items() if f"{name}=" in message and name not in given}
            assert asked, f"the error names no argument that would help: {message}"
            given |= asked

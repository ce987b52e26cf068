# SPDX-License-Identifier: Apache-2.0
"""Containers x pixels x layouts: guessed, or fixed by the arguments that the errors name; always the same numbers."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from foreign_batches import (
    CONTAINERS,
    LAYERS,
    LAYOUTS,
    PIXELS,
    InBytes,
    Stranger,
    clips,
    following_the_advice,
    laid_out,
    loader,
    measured,
    packed,
)
from lightning.pytorch import Trainer
from torch import Tensor
from toys import count_hooks, make_trainer

from staticdropout.callbacks import BiasMonitor, StaticDropout, VideoInputs
from staticdropout.errors import BatchError
from staticdropout.metrics import LayerBias
from staticdropout.perturbations import VideoTriplets

pytestmark = [
    pytest.mark.filterwarnings("ignore:The bias was measured on 12 clips only:UserWarning"),
    pytest.mark.filterwarnings("ignore:You defined a .validation_step. but have no:UserWarning"),
]


@cache
def bare_trainer() -> Trainer:
    return Trainer(accelerator="cpu", devices=1, logger=False, enable_checkpointing=False, enable_progress_bar=False)


@cache
def plain(in_bytes: bool = False) -> dict[str, LayerBias]:
    triplets = InBytes() if in_bytes else VideoTriplets()
    return measured(bare_trainer(), Stranger(), packed("dict", "unit", "BCTHW"), VideoInputs(), triplets)


def assert_same(
    found: dict[str, LayerBias], expected: dict[str, LayerBias] | None = None, tolerance: float = 1e-4
) -> None:
    assert list(found) == list(LAYERS)
    for layer, bias in (expected or plain()).items():
        assert int(found[layer].num_clips) == 12
        torch.testing.assert_close(found[layer].unit_scores, bias.unit_scores, rtol=0, atol=tolerance)
        torch.testing.assert_close(found[layer].shares, bias.shares, rtol=0, atol=100 * tolerance)  # in percent


def test_the_plain_case_has_something_to_compare() -> None:
    scores = torch.cat([bias.unit_scores for bias in plain().values()], 1)
    assert scores.isfinite().all()
    assert scores.std() > 0.1
    in_bytes = torch.cat([bias.unit_scores for bias in plain(in_bytes=True).values()], 1)
    assert 1e-4 < (scores - in_bytes).abs().max() < 0.01  # what bytes cost


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("pixels", PIXELS)
@pytest.mark.parametrize("container", CONTAINERS)
def test_the_same_clips_give_the_same_numbers(container: str, pixels: str, layout: str) -> None:
    answers = CONTAINERS[container].answers | PIXELS[pixels].answers
    module, batches = Stranger(pixels, layout), packed(container, pixels, layout)
    found, used = following_the_advice(lambda inputs: measured(bare_trainer(), module, batches, inputs), answers)
    assert used == set(answers)
    assert_same(found, plain(in_bytes=pixels == "uint8"))


def halves(video: Tensor) -> list[tuple[Tensor, Tensor]]:
    return [(video[:6], torch.arange(6)), (video[6:], torch.arange(6))]


@pytest.mark.parametrize(
    "stored",
    [
        lambda video: video.to(memory_format=torch.channels_last_3d),
        lambda video: video.transpose(3, 4).contiguous().transpose(3, 4),
        lambda video: torch.cat([video, video], 4)[..., : video.shape[4]],
        lambda video: video.clone().requires_grad_(),
    ],
)
def test_order_in_memory_and_gradients_change_nothing(stored: Callable[[Tensor], Tensor]) -> None:
    batches = halves(stored(clips()[0]))
    assert_same(measured(bare_trainer(), Stranger(), batches, VideoInputs()))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 0.01), (torch.bfloat16, 0.1)])
def test_half_precision_costs_no_more_than_its_rounding(dtype: torch.dtype, tolerance: float) -> None:
    batches = halves(clips()[0].to(dtype))
    found = measured(bare_trainer(), Stranger().to(dtype), batches, VideoInputs())
    assert_same(found, tolerance=tolerance)


def test_a_clip_of_three_frames_needs_its_layout() -> None:
    video = clips(frames=3)[0]
    batches, module = halves(laid_out(video, "BTCHW")), Stranger(layout="BTCHW", frames=3)
    found, used = following_the_advice(
        lambda inputs: measured(bare_trainer(), module, batches, inputs), {"layout": "BTCHW"}
    )
    assert used == {"layout"}
    told = VideoInputs(layout="BCTHW")
    assert_same(found, measured(bare_trainer(), Stranger(frames=3), halves(video), told))


def test_grey_clips_are_measured_as_colour_clips_turned_grey() -> None:
    video, module = clips()[0], Stranger()
    weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1, 1)

    def in_grey(module: Any, video: Tensor, batch: Any) -> Any:
        return module((video * weights).sum(1, keepdim=True).expand(-1, 3, -1, -1, -1))

    def as_they_are(module: Any, video: Tensor, batch: Any) -> Any:
        return module(video.expand(-1, 3, -1, -1, -1))

    grey = (video * weights).sum(1, keepdim=True)
    found = measured(bare_trainer(), module, halves(grey), VideoInputs(forward=as_they_are))
    alike = grey.expand(-1, 3, -1, -1, -1)
    assert_same(found, measured(bare_trainer(), module, halves(alike), VideoInputs(forward=in_grey)))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("pixels", PIXELS)
def test_static_dropout_asks_for_no_range_and_finds_the_same_scores(tmp_path: Path, pixels: str, layout: str) -> None:
    scores = []
    for kind, order in (("unit", "BCTHW"), (pixels, layout)):
        callback = StaticDropout(rate=0.0, seed=0)
        data = loader("tuple", kind, order, batch_size=12)
        make_trainer(tmp_path, [callback], max_epochs=1, limit_val_batches=0).fit(Stranger(kind, order), data)
        assert callback.dropout is not None
        scores.append(callback.dropout.scores)
    torch.testing.assert_close(scores[0], scores[1], rtol=0, atol=1e-5)
    assert scores[0].isfinite().all()
    assert scores[0].std() > 0.01


READINGS: dict[str, Callable[[Any], tuple[Tensor, Tensor]]] = {
    "tensor": lambda batch: (batch, torch.zeros(len(batch)).long()),
    "list": lambda batch: (batch[1], batch[0]),
    "dict": lambda batch: (batch["video"], batch["label"]),
    "Hugging Face": lambda batch: (batch["pixel_values"], batch["labels"]),
    "nested": lambda batch: (batch["inputs"]["rgb"], batch["meta"][0]),
    "dataclass": lambda batch: (batch.frames, batch.labels),
    "named tuple": lambda batch: batch,
    "namespace": lambda batch: (batch.clips, batch.y),
    "with a mask": lambda batch: batch[1:],
    "several loaders": lambda batch: batch["a"],
    "two videos": lambda batch: batch[1:],
}


@pytest.mark.parametrize("container", READINGS)
def test_a_trainer_goes_through_with_both_callbacks(container: str, tmp_path: Path) -> None:
    data, answers = loader(container, "kinetics", "BTCHW"), CONTAINERS[container].answers
    inputs = VideoInputs(**answers, **PIXELS["kinetics"].answers)
    dropping = StaticDropout(rate=0.5, every_n_steps=1, inputs=VideoInputs(**answers), seed=0)
    watching = BiasMonitor(layers=LAYERS, inputs=inputs, num_groups=3, figures=False, verbose=False)
    module = Stranger("kinetics", "BTCHW")
    module.reading = READINGS[container]
    trainer = make_trainer(tmp_path, [dropping, watching], max_epochs=1)
    trainer.fit(module, data, data)
    assert torch.isfinite(trainer.callback_metrics["train_loss"])
    assert dropping.dropout is not None
    assert dropping.dropout.scores.isfinite().all()
    assert int(dropping.dropout.num_clips) == 12
    assert int(dropping.dropout.num_masks) == 2
    start, end = watching.history
    assert start["step"] == 0
    assert end["step"] == 2
    for layer, bias in plain().items():
        assert start["layers"][layer]["static"] == pytest.approx(float(bias.shares[0]), abs=0.01)
        assert start["layers"][layer]["dynamic"] == pytest.approx(float(bias.shares[1]), abs=0.01)
    assert count_hooks(module) == 0


def test_a_training_on_several_loaders_names_one(tmp_path: Path) -> None:
    both = {name: loader("tuple", "unit", "BCTHW") for name in ("a", "b")}
    module = Stranger()
    module.reading = READINGS["several loaders"]
    with pytest.raises(BatchError, match=r"a\.0 .*, b\.0 .*video='a\.0'"):
        make_trainer(tmp_path, [StaticDropout()], max_epochs=1).fit(module, both)
    told = StaticDropout(inputs=VideoInputs(video="a.0"))
    make_trainer(tmp_path, [told], max_epochs=1).fit(module, both)
    assert told.dropout is not None
    assert int(told.dropout.num_clips) == 6

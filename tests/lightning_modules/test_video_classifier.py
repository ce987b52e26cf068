# SPDX-License-Identifier: Apache-2.0
"""VideoClassifier: pixels in, losses, accuracies, schedules, views, bad input."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from timm.scheduler.cosine_lr import CosineLRScheduler
from torch import Tensor, nn
from torch.utils.data import DataLoader
from toys import Clips, ToyClassifier, loader_of, make_trainer

from staticdropout.callbacks import ShuffleConfusion
from staticdropout.errors import AnnotationError, BatchError, CheckpointMismatchError, OptionError, UnknownNameError
from staticdropout.lightning_modules import VideoClassifier
from staticdropout.models import create_model

TINY: dict[str, Any] = {"model": "resnet3d_r18", "num_classes": 4, "model_args": {"width": 8, "block": "basic"}}


def tiny(**options: Any) -> VideoClassifier:
    torch.manual_seed(0)
    return VideoClassifier(**(TINY | options))


class FixedLogits(nn.Module):
    """Says the class whose number is in the first pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, video: Tensor) -> Tensor:
        said = (video[:, 0, 0, 0, 0] * 10).round().long()
        return 5 * self.scale * nn.functional.one_hot(said, 4).float()


def fixed(**options: Any) -> VideoClassifier:
    return VideoClassifier(FixedLogits(), num_classes=4, mean=[0.0] * 3, std=[1.0] * 3, **options)


def said_and_true(said: list[int], true: list[int]) -> DataLoader[Any]:
    return loader_of(
        [
            {"video": torch.full((3, 2, 4, 4), s / 10), "label": t, "id": str(t)}
            for s, t in zip(said, true, strict=True)
        ],
        3,
    )


def test_uint8_pixels_become_floats_on_the_device_and_are_normalised_in_forward() -> None:
    module, video = tiny().eval(), torch.randint(0, 256, (2, 3, 4, 32, 32), dtype=torch.uint8)
    batch = module.on_after_batch_transfer({"video": video, "label": torch.zeros(2).long()}, 0)
    torch.testing.assert_close(batch["video"], video.float() / 255)
    expected = module.model((video.float() / 255 - 0.45) / 0.225)
    torch.testing.assert_close(module(batch["video"]), expected)


def test_accuracies_are_counted_right(tmp_path: Path) -> None:
    module = fixed()
    loader = said_and_true([0, 0, 1, 1, 2, 3, 3], [0, 1, 1, 1, 1, 3, 0])
    (result,) = make_trainer(tmp_path).validate(module, loader, verbose=False)
    assert result["val/top1"] == pytest.approx(100 * 4 / 7)
    assert result["val/top5"] == 100
    # Class 0: 1 of 2, class 1: 2 of 4, class 2: no clip, class 3: 1 of 1.
    assert result["val/class_mean"] == pytest.approx(100 * (0.5 + 0.5 + 1) / 3)
    assert module.class_accuracy is not None
    torch.testing.assert_close(module.class_accuracy, torch.tensor([50.0, 50.0, math.nan, 100.0]), equal_nan=True)


def test_label_smoothing_reaches_the_loss(tmp_path: Path) -> None:
    loader = said_and_true([0, 1, 2], [0, 1, 2])
    plain, smooth = (
        make_trainer(tmp_path).validate(fixed(label_smoothing=s), loader, verbose=False)[0] for s in (0.0, 0.1)
    )
    logits = 5 * torch.eye(4)[:3]
    assert plain["val/loss"] == pytest.approx(float(nn.functional.cross_entropy(logits, torch.arange(3))))
    assert smooth["val/loss"] > plain["val/loss"]


def test_views_are_averaged_in_testing(tmp_path: Path) -> None:
    views = torch.stack([torch.full((3, 2, 4, 4), s / 10) for s in (1, 1, 2)])
    loader = loader_of([{"video": views, "label": 1, "id": "a"}], 1)
    module = fixed()
    (result,) = make_trainer(tmp_path).test(module, loader, verbose=False)
    assert result["test/top1"] == 100
    predictions: Any = make_trainer(tmp_path).predict(module, loader)
    (predicted,) = predictions
    single = (5 * torch.eye(4)).softmax(-1)
    torch.testing.assert_close(predicted["probabilities"][0], (2 * single[1] + single[2]) / 3)


def test_it_learns(tmp_path: Path) -> None:
    module = tiny(optimizer=partial(torch.optim.Adam, lr=3e-3))
    loader = DataLoader(Clips(32, 4, 32), 8, shuffle=True)
    trainer = make_trainer(tmp_path, max_epochs=6)
    trainer.fit(module, loader, DataLoader(Clips(32, 4, 32), 8))
    assert trainer.callback_metrics["train/top1"] > 60
    assert {"train/loss", "val/top1", "val/top5", "val/class_mean"} <= set(trainer.callback_metrics)


def rates(folder: Path, scheduler: Any, epochs: int, **options: Any) -> list[float]:
    from lightning.pytorch import Callback

    class Note(Callback):
        def __init__(self) -> None:
            self.seen: list[float] = []

        def on_train_batch_start(self, trainer: Any, *args: Any) -> None:
            self.seen.append(trainer.optimizers[0].param_groups[0]["lr"])

    note = Note()
    module = fixed(optimizer=partial(torch.optim.SGD, lr=0.1), lr_scheduler=scheduler)
    loader = said_and_true([0, 1, 2] * 4, [0, 1, 2] * 4)
    make_trainer(folder, [note], max_epochs=epochs, **options).fit(module, loader)
    return note.seen


def slowfast_rate(epoch: float, epochs: int = 30, warmup: int = 3, base: float = 0.1, start: float = 0.08) -> float:
    """The recipe, stated independently: linear from start to base, then half a cosine over all epochs."""
    if epoch < warmup:
        return start + (base - start) * epoch / warmup
    return base * (1 + math.cos(math.pi * epoch / epochs)) / 2


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_papers_schedule_is_set_at_fractions_of_an_epoch(tmp_path: Path, accumulate: int) -> None:
    scheduler = partial(CosineLRScheduler, t_initial=30, warmup_t=3, warmup_lr_init=0.08)
    seen = rates(tmp_path, scheduler, 30, accumulate_grad_batches=accumulate)
    expected = [slowfast_rate((batch // accumulate * accumulate) / 4) for batch in range(120)]
    assert seen == pytest.approx(expected, abs=1e-9)


def test_schedulers_of_torch_step_once_an_epoch(tmp_path: Path) -> None:
    seen = rates(tmp_path, partial(torch.optim.lr_scheduler.ExponentialLR, gamma=0.5), 3)
    assert seen == pytest.approx([0.1] * 4 + [0.05] * 4 + [0.025] * 4)


def test_normalisation_layers_are_not_decayed_by_default() -> None:
    module = tiny()
    optimizer = module.configure_optimizers()
    assert [group["weight_decay"] for group in optimizer.param_groups] == [1e-4, 0.0]
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.1]
    assert optimizer.param_groups[0]["nesterov"]


def test_standard_dropout_is_an_option_of_named_models() -> None:
    assert any(isinstance(part, nn.Dropout) and part.p == 0.4 for part in tiny(dropout=0.4).modules())
    with pytest.raises(ValueError, match="models by name"):
        fixed(dropout=0.4)


def test_a_checkpoint_is_loaded_strictly_and_its_head_may_differ(tmp_path: Path) -> None:
    source = create_model("resnet3d_r18", 9, width=8, block="basic")
    torch.save({"state_dict": source.state_dict()}, tmp_path / "nine.pth")
    module = tiny(checkpoint=str(tmp_path / "nine.pth"))
    assert torch.equal(module.model.state_dict()["stem.conv.weight"], source.state_dict()["stem.conv.weight"])
    with pytest.raises(CheckpointMismatchError):
        tiny(checkpoint=str(tmp_path / "nine.pth"), model_args={"width": 16, "block": "basic"})


def test_imagenet_weights_are_inflated_from_a_file(tmp_path: Path) -> None:
    flat = timm.create_model("resnet18", pretrained=False)
    torch.save(flat.state_dict(), tmp_path / "resnet18.pth")
    module = tiny(model_args={"block": "basic"}, inflate="resnet18", inflate_weights=str(tmp_path / "resnet18.pth"))
    torch.testing.assert_close(module.model.state_dict()["stem.conv.weight"].sum(2), flat.state_dict()["conv1.weight"])
    with pytest.raises(ValueError, match="3-D ResNets"):
        fixed(inflate="resnet18")


def test_its_own_checkpoints_come_back_without_running_code(tmp_path: Path) -> None:
    module, trainer = tiny(), make_trainer(tmp_path, max_epochs=1)
    trainer.fit(module, DataLoader(Clips(8, 4, 32), 4))
    trainer.save_checkpoint(tmp_path / "own.ckpt")
    again = VideoClassifier.load_from_checkpoint(tmp_path / "own.ckpt", weights_only=True, **TINY)
    assert all(
        torch.equal(a, b) for a, b in zip(module.state_dict().values(), again.state_dict().values(), strict=True)
    )
    as_start = tiny(checkpoint=str(tmp_path / "own.ckpt"))
    assert torch.equal(as_start.model.get_parameter("head.fc.weight"), module.model.get_parameter("head.fc.weight"))


def test_an_evaluation_batch_of_which_nothing_could_be_read_is_passed_over(tmp_path: Path) -> None:
    empty = {
        "video": torch.zeros(0, 3, 2, 4, 4),
        "label": torch.zeros(0).long(),
        "id": [],
        "skipped": [("a", "broken")],
    }
    batches = [empty, {"video": torch.zeros(1, 3, 2, 4, 4), "label": torch.zeros(1).long(), "id": ["b"]}]
    with pytest.warns(UserWarning, match="1 val videos could not be read"):
        (result,) = make_trainer(tmp_path).validate(fixed(), loader_of(batches, None), verbose=False)
    assert result["val/top1"] == 100


@pytest.mark.parametrize(
    ("batch", "error", "message"),
    [
        ({"video": torch.rand(2, 3, 2, 4, 4), "label": torch.tensor([0, 4])}, AnnotationError, "Label 4 in the data"),
        ({"clip": torch.rand(2, 3, 2, 4, 4)}, BatchError, r"found \['clip'\]"),
        ([torch.rand(2, 3, 2, 4, 4)], BatchError, "found list"),
    ],
)
def test_bad_batches_get_their_own_error(tmp_path: Path, batch: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make_trainer(tmp_path).validate(fixed(), loader_of([batch], None), verbose=False)


def test_an_unknown_model_is_reported_with_close_names() -> None:
    with pytest.raises(UnknownNameError, match="slowonly_r50"):
        VideoClassifier("slowonly_50")


def confusions(module: VideoClassifier) -> list[tuple[float, int]]:
    found = [callback for callback in module.configure_callbacks() if isinstance(callback, ShuffleConfusion)]
    return [(callback.weight, callback.every_n_steps) for callback in found]


def test_the_confusion_of_shuffled_clips_is_an_option() -> None:
    assert confusions(tiny()) == []
    assert confusions(tiny(shuffle_confusion=0.5)) == [(0.5, 1)]
    assert confusions(tiny(shuffle_confusion=0.5, shuffle_confusion_every=4)) == [(0.5, 4)]
    assert tiny(shuffle_confusion=0.5).hparams["shuffle_confusion"] == 0.5
    with pytest.raises(OptionError, match="every_n_steps=0"):
        tiny(shuffle_confusion=0.5, shuffle_confusion_every=0)
    with pytest.raises(OptionError, match="weight=-1"):
        tiny(shuffle_confusion=-1)


def test_the_option_trains_as_the_callback_does(tmp_path: Path) -> None:
    weights = []
    for options, callbacks in (
        ({}, []),
        ({"shuffle_confusion": 2.0, "shuffle_confusion_every": 2}, []),
        ({}, [ShuffleConfusion(2.0, 2)]),
        ({"shuffle_confusion": 2.0, "shuffle_confusion_every": 2}, [ShuffleConfusion(2.0, 2)]),
    ):
        module = tiny(**options, optimizer=partial(torch.optim.SGD, lr=0.01))
        torch.manual_seed(1)
        trainer = make_trainer(tmp_path, callbacks, max_epochs=1, num_sanity_val_steps=0, limit_val_batches=0)
        trainer.fit(module, DataLoader(Clips(16, 4, 32), 4))
        weights.append(torch.cat([part.detach().flatten() for part in module.parameters()]))
    assert not torch.equal(weights[0], weights[1])
    assert torch.equal(weights[1], weights[2])
    assert torch.equal(weights[1], weights[3])


def test_two_trainings_of_one_trainer_have_one_confusion(tmp_path: Path) -> None:
    module = tiny(shuffle_confusion=1.0, optimizer=partial(torch.optim.SGD, lr=0.01))
    trainer = make_trainer(tmp_path, max_epochs=1, limit_train_batches=1)
    for epochs in (1, 2):
        trainer.fit_loop.max_epochs = epochs
        trainer.fit(module, DataLoader(Clips(8, 4, 32), 4))
        assert sum(isinstance(callback, ShuffleConfusion) for callback in trainer.callbacks) == 1  # type: ignore[attr-defined]


def fit_once_more(trainer: Trainer, module: LightningModule) -> list[ShuffleConfusion]:
    """One epoch more; the confusions that the Trainer has then."""
    trainer.fit_loop.max_epochs = trainer.current_epoch + 1
    trainer.fit(module, DataLoader(Clips(8, 4, 32), 4))
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return [callback for callback in callbacks if isinstance(callback, ShuffleConfusion)]


def test_the_confusion_that_a_module_brought_goes_on_with_it_whatever_its_weight_is_now(tmp_path: Path) -> None:
    module, trainer = tiny(shuffle_confusion=1.0, optimizer=partial(torch.optim.SGD, lr=0.01)), make_trainer(tmp_path)
    (brought,) = fit_once_more(trainer, module)
    brought.weight = 0.5
    trainer.validate(module, DataLoader(Clips(4, 4, 32), 4), verbose=False)
    assert fit_once_more(trainer, module) == [brought]
    assert brought.weight == 0.5


@pytest.mark.parametrize(("wanted", "found"), [(0.0, []), (2.0, [2.0]), (1.0, [1.0]), (None, [])])
def test_a_module_is_not_trained_with_the_confusion_of_another(
    tmp_path: Path, wanted: float | None, found: list[float]
) -> None:
    optimizer = partial(torch.optim.SGD, lr=0.01)
    trainer = make_trainer(tmp_path, limit_train_batches=1)
    first = tiny(shuffle_confusion=1.0, optimizer=optimizer)
    (brought,) = fit_once_more(trainer, first)
    second = ToyClassifier() if wanted is None else tiny(shuffle_confusion=wanted, optimizer=optimizer)
    now = fit_once_more(trainer, second)
    assert [callback.weight for callback in now] == found
    assert brought not in now


def test_a_module_that_no_longer_asks_is_no_longer_confused(tmp_path: Path) -> None:
    module = tiny(shuffle_confusion=1.0, optimizer=partial(torch.optim.SGD, lr=0.01))
    trainer = make_trainer(tmp_path, limit_train_batches=1)
    assert fit_once_more(trainer, module)
    module.shuffle_confusion = 0.0
    assert not fit_once_more(trainer, module)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda callback: pickle.loads(pickle.dumps(callback))])
def test_a_copy_of_the_confusion_that_a_module_brought_is_the_users(
    tmp_path: Path, duplicate: Callable[[ShuffleConfusion], ShuffleConfusion]
) -> None:
    module = tiny(shuffle_confusion=1.0, optimizer=partial(torch.optim.SGD, lr=0.01))
    (brought,) = (callback for callback in module.configure_callbacks() if isinstance(callback, ShuffleConfusion))
    given = duplicate(brought)
    other = tiny(optimizer=partial(torch.optim.SGD, lr=0.01))
    assert fit_once_more(make_trainer(tmp_path, [given], limit_train_batches=1), other) == [given]


def test_another_confusion_in_the_trainer_is_refused(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, [ShuffleConfusion(0.3)])
    with pytest.raises(
        OptionError, match=r"weight 1\.0 every 1 steps, but the Trainer has .* weight 0\.3.*Say it once"
    ):
        trainer.fit(tiny(shuffle_confusion=1.0), DataLoader(Clips(8, 4, 32), 4))


def test_channels_last_changes_the_layout_and_not_the_numbers() -> None:
    torch.manual_seed(0)
    usual = VideoClassifier("slowonly_r18", num_classes=3, model_args={"width": 8}).double()
    wanted = VideoClassifier("slowonly_r18", num_classes=3, model_args={"width": 8}, channels_last=True).double()
    wanted.load_state_dict(usual.state_dict())
    layouts = []
    first = next(part for part in wanted.modules() if isinstance(part, nn.Conv3d))
    first.register_forward_pre_hook(lambda module, args: layouts.append(args[0].clone()))
    clip = torch.rand(2, 3, 4, 32, 32, dtype=torch.float64)
    assert torch.allclose(usual.eval()(clip), wanted.eval()(clip), atol=1e-9)
    assert layouts[0].is_contiguous(memory_format=torch.channels_last_3d)
    weights = [weight for weight in wanted.parameters() if weight.ndim == 5]
    assert weights
    assert all(weight.is_contiguous(memory_format=torch.channels_last_3d) for weight in weights)

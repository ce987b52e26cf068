# SPDX-License-Identifier: Apache-2.0
"""ShuffleConfusion in a Trainer: the right gradients, exact, and gone without a trace."""

from __future__ import annotations

import copy
import csv
import itertools
import math
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from confusion_toys import (
    Gradients,
    KeepGradients,
    PlainClassifier,
    assert_close,
    by_hand,
    confused,
    gradients,
    seeded_plain,
)
from confusion_toys import clips as toy_clips
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader
from toys import (
    Clips,
    ResumableLoader,
    ToyClassifier,
    ToyNet,
    count_hooks,
    fit,
    loader_of,
    loaders,
    make_trainer,
    same_weights,
)
from trainer_watch import NotedInputs, Smooth, seeded

from staticdropout.callbacks import DropoutFreeFinetune, ShuffleConfusion, StaticDropout, VideoInputs
from staticdropout.errors import BatchError, OptionError
from staticdropout.perturbations import shuffled_by_key


def every_step(weight: float = 2.0, **options: Any) -> ShuffleConfusion:
    return ShuffleConfusion(weight, **({"every_n_steps": 1, "seed": 7} | options))


def test_the_gradient_is_that_of_the_loss_and_the_weighted_confusion(tmp_path: Path) -> None:
    _, (found,) = confused(tmp_path, [every_step()])
    assert_close(found, by_hand(seeded_plain(), range(8), 2.0, 7))


def test_the_weight_is_multiplied_by_the_interval_so_that_the_pressure_stays(tmp_path: Path) -> None:
    _, (found,) = confused(tmp_path, [ShuffleConfusion(0.5, every_n_steps=4, seed=7)])
    assert_close(found, by_hand(seeded_plain(), range(8), 2.0, 7))


class Alone(Callback):
    """Keeps the gradient of every step together with that of the loss alone."""

    def __init__(self) -> None:
        self.differ: list[bool] = []

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        number = trainer.global_step
        batch = toy_clips(range(8 * number, 8 * number + 8))
        twin = copy.deepcopy(pl_module)
        twin.zero_grad()
        cross_entropy(twin(batch["video"]), batch["label"]).backward()  # type: ignore[no-untyped-call]
        pairs = zip(gradients(pl_module).values(), gradients(twin).values(), strict=True)
        self.differ.append(any(not torch.allclose(one, other, atol=1e-7) for one, other in pairs))


def test_every_nth_step_has_the_term_and_the_others_are_plain(tmp_path: Path) -> None:
    alone = Alone()
    confused(tmp_path, [ShuffleConfusion(1.0, every_n_steps=3), alone], length=48)
    assert alone.differ == [True, False, False, True, False, False]


def test_the_schedule_can_be_overridden(tmp_path: Path) -> None:
    class Late(ShuffleConfusion):
        def should_confuse(self, step: int) -> bool:
            return step > 3

    alone = Alone()
    confused(tmp_path, [Late(1.0), alone], length=48)
    assert alone.differ == [False] * 4 + [True] * 2


def test_a_weight_that_is_changed_counts_from_the_next_step_on(tmp_path: Path) -> None:
    class Controller(Callback):
        def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
            callback.weight = 0.0 if trainer.global_step < 3 else 1.0

    callback, alone = every_step(), Alone()
    confused(tmp_path, [callback, Controller(), alone], length=40)
    assert alone.differ == [True, False, False, True, True]


@pytest.mark.parametrize("named", [True, False], ids=["clips with ids", "clips without"])
@pytest.mark.parametrize("every", [1, 2])
def test_accumulated_batches_give_the_gradients_of_large_ones(tmp_path: Path, named: bool, every: int) -> None:
    module: type[ToyClassifier] = PlainClassifier if named else Nameless
    runs = []
    for accumulate in (1, 2, 4):
        callback = every_step(every_n_steps=every)
        options = {"accumulate_grad_batches": accumulate, "batch_size": 8 // accumulate}
        runs.append(confused(tmp_path, [callback], seeded_plain(module), 24, **options)[1])
    assert [len(run) for run in runs] == [3, 3, 3]
    for run in runs[1:]:
        for found, expected in zip(run, runs[0], strict=True):
            assert_close(found, expected)
    if named:
        assert_close(runs[1][0], by_hand(seeded_plain(), range(8), 2.0 * every, 7))


class Nameless(PlainClassifier):
    """Its batches have no names of clips."""

    def on_after_batch_transfer(self, batch: dict[str, Any], dataloader_idx: int) -> dict[str, Any]:
        return {name: batch[name] for name in ("video", "label")}


def test_all_batches_of_an_accumulated_step_have_the_term(tmp_path: Path) -> None:
    inputs = NotedInputs()
    confused(tmp_path, [every_step(every_n_steps=2, inputs=inputs)], None, 48, 4, accumulate_grad_batches=3)
    assert [note.step for note in inputs.notes] == [0, 0, 0, 2, 2, 2]


class AsDict(PlainClassifier):
    """Returns a dict."""

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Any:
        return {"loss": super().training_step(batch, batch_idx), "clips": batch["id"]}

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        assert set(outputs) == {"loss", "clips"}
        assert outputs["clips"] == batch["id"]
        self.ended = True


def test_the_loss_in_a_dict_gets_the_term_and_the_rest_stays(tmp_path: Path) -> None:
    module, (found,) = confused(tmp_path, [every_step()], seeded_plain(AsDict))
    assert_close(found, by_hand(seeded_plain(), range(8), 2.0, 7))
    assert isinstance(module, AsDict)
    assert module.ended


class SkipsSecond(PlainClassifier):
    """Skips its second batch."""

    def __init__(self) -> None:
        super().__init__()
        self.passes = 0

    def forward(self, video: Tensor) -> Tensor:
        self.passes += 1
        return super().forward(video)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Any:
        return None if batch_idx == 1 else super().training_step(batch, batch_idx)


def test_a_batch_that_the_module_skips_is_skipped(tmp_path: Path) -> None:
    module, steps = confused(tmp_path, [every_step()], seeded_plain(SkipsSecond), 24)
    assert isinstance(module, SkipsSecond)
    assert module.passes == 4
    assert [bool(found) for found in steps] == [True, False, True]


class Manual(PlainClassifier):
    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False


def test_manual_optimization_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(MisconfigurationException, match=r"manual optimization Manual calls.*confusion_loss"):
        confused(tmp_path, [every_step()], Manual())
    module = Manual()
    make_trainer(tmp_path, [every_step()]).validate(module, loaders()[1], verbose=False)  # nothing to refuse


def test_weight_zero_leaves_training_bit_identical(tmp_path: Path) -> None:
    plain, _ = fit(tmp_path)
    without, _ = fit(tmp_path, [ShuffleConfusion(0.0, every_n_steps=1)])
    assert same_weights(plain, without)
    assert not same_weights(plain, fit(tmp_path, [ShuffleConfusion(1.0, every_n_steps=1)])[0])


class RandomNumbers(Callback):
    """Draws a number at the end of every batch."""

    def __init__(self) -> None:
        self.drawn: list[float] = []

    def on_train_batch_end(self, *args: Any) -> None:
        self.drawn.append(float(torch.rand(())))


def test_shuffling_draws_nothing_from_the_global_random_state(tmp_path: Path) -> None:
    drawn = []
    for callbacks in ([], [every_step()]):
        numbers = RandomNumbers()
        confused(tmp_path, [*callbacks, numbers], length=24)
        drawn.append(numbers.drawn)
    assert drawn[0] == drawn[1]


def statistics(module: LightningModule) -> list[Tensor]:
    return [buffer.clone() for name, buffer in module.named_buffers() if "running" in name or "tracked" in name]


def layer_by_layer(net: ToyNet, video: Tensor, shuffled: Tensor) -> tuple[Tensor, Tensor]:
    """Logits of both, normalised by the statistics of the first, layer by layer."""
    for layer in (net.layer1, net.layer2):
        assert isinstance(layer, nn.Sequential)
        conv, norm, activation = layer
        assert isinstance(norm, nn.BatchNorm3d)
        video, shuffled = conv(video), conv(shuffled)
        mean = video.mean((0, 2, 3, 4), keepdim=True)
        deviation = ((video - mean).square().mean((0, 2, 3, 4), keepdim=True) + norm.eps).sqrt()
        weight, bias = norm.weight.view(1, -1, 1, 1, 1), norm.bias.view(1, -1, 1, 1, 1)
        shuffled = activation((shuffled - mean) / deviation * weight + bias)
        video = activation(norm(video))
    return net.fc(video.mean((2, 3, 4))), net.fc(shuffled.mean((2, 3, 4)))


def normalised_by_hand(use: str) -> tuple[Gradients, list[Tensor]]:
    """Gradients and running statistics of one step of the toy with batch normalisation."""
    module, batch = seeded(), toy_clips(range(8))
    shuffled = shuffled_by_key(batch["video"], batch["id"], "7/0")
    if use == "unshuffled":
        logits, confused_logits = layer_by_layer(module.backbone, batch["video"], shuffled)
        kept = statistics(module)
    else:
        logits = module(batch["video"])
        kept = statistics(module)
        confused_logits = module(shuffled)
        kept = statistics(module) if use == "update" else kept
    loss = cross_entropy(logits, batch["label"]) + 2 * cross_entropy(confused_logits, torch.full((8, 4), 0.25))
    loss.backward()  # type: ignore[no-untyped-call]
    return gradients(module), kept


@pytest.mark.parametrize("use", ["unshuffled", "batch", "update"])
def test_shuffled_clips_are_normalised_as_asked(tmp_path: Path, use: Any) -> None:
    module = seeded()
    _, (found,) = confused(tmp_path, [every_step(batch_norm=use)], module)
    expected, buffers = normalised_by_hand(use)
    assert_close(found, expected, rtol=1e-3, atol=1e-6)
    for ours, theirs in zip(statistics(module), buffers, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert count_hooks(module) == 0


def test_running_statistics_stay_those_of_a_training_without_it(tmp_path: Path) -> None:
    runs = []
    for uses in ([], ["unshuffled"], ["batch"], ["update"]):
        module = seeded()
        module.lr = 0.0
        callbacks = [every_step(batch_norm=use) for use in uses]
        runs.append(statistics(confused(tmp_path, callbacks, module, 24)[0]))
    same = [all(torch.equal(one, other) for one, other in zip(runs[0], run, strict=True)) for run in runs]
    assert same == [True, True, True, False]


class TwoPathways(PlainClassifier):
    """Takes a slow and a fast pathway in a tuple batch, as projects with SlowFast do."""

    def forward(self, pathways: list[Tensor]) -> Any:  # type: ignore[override]
        slow, fast = pathways
        assert torch.equal(slow, fast[:, :, ::2])
        return super().forward(fast) + super().forward(slow)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss: Tensor = cross_entropy(self(batch[0]), batch[1])
        return loss


class Pathways(Clips):
    """Clips in which a shuffled slow pathway can be told from an unshuffled one."""

    def __getitem__(self, index: int) -> Any:
        item = super().__getitem__(index)
        return [item["video"][:, ::2], item["video"]], item["label"]


def test_all_pathways_of_a_clip_are_shuffled_as_one(tmp_path: Path) -> None:
    module = seeded_plain(TwoPathways)
    keep = KeepGradients()
    make_trainer(tmp_path, [every_step(), keep], max_epochs=1).fit(module, DataLoader(Pathways(8), 8))
    reference, batch = seeded_plain(TwoPathways), toy_clips(range(8))
    shuffled = shuffled_by_key(batch["video"], range(8), "7/0")
    loss = cross_entropy(reference([batch["video"][:, :, ::2], batch["video"]]), batch["label"])
    uniform = torch.full((8, 4), 0.25)
    (loss + 2 * cross_entropy(reference([shuffled[:, :, ::2], shuffled]), uniform)).backward()  # type: ignore[no-untyped-call]
    assert_close(keep.steps[0], gradients(reference))


class Normalises(ToyClassifier):
    """Prepares its batch in place before it calls its network, and has no forward."""

    forward = LightningModule.forward

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        batch[0].sub_(0.5).div_(0.05)
        return cross_entropy(self.backbone(batch[0]), batch[1])


def pairs() -> DataLoader[Any]:
    return loader_of([(item["video"], item["label"]) for item in (Clips()[number] for number in range(16))], 8)


def test_a_step_that_prepares_its_clips_is_warned_of_and_can_be_followed(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="but ShuffleConfusion calls it with what the batch holds"):
        make_trainer(tmp_path, [every_step()], max_epochs=1).fit(Normalises(), pairs())
    seen: list[float] = []

    def forward(module: Any, video: Tensor, batch: Any) -> Any:
        seen.append(float(video.mean()))
        return module.backbone((video - 0.5) / 0.05)

    trainer = make_trainer(tmp_path, [every_step(inputs=VideoInputs(forward=forward))], max_epochs=1)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*calls it with what the batch")
        trainer.fit(Normalises(), pairs())
    assert all(0.2 < mean < 0.8 for mean in seen)  # shuffled before the step prepared its clips in place
    assert len(seen) == 2


@pytest.mark.parametrize("first", [True, False])
def test_the_extra_pass_is_thinned_by_static_dropout_whatever_the_order(tmp_path: Path, first: bool) -> None:
    def run(order: bool) -> tuple[LightningModule, StaticDropout]:
        dropout = StaticDropout(0.5, every_n_steps=2, seed=5)
        both: list[Callback] = [every_step(every_n_steps=2), dropout]
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message=".*calls it with what the batch")
            module, _ = confused(tmp_path, both if order else both[::-1], seeded(), 48)
        return module, dropout

    module, dropout = run(first)
    assert dropout.dropout is not None
    assert int(dropout.dropout.num_masks) == 6 + 3
    assert dropout._num_probes == 3
    assert same_weights(module, run(True)[0])


def test_it_goes_on_where_training_ends_without_dropout(tmp_path: Path) -> None:
    inputs = NotedInputs()
    confused(tmp_path, [every_step(inputs=inputs), DropoutFreeFinetune(1)], length=16, max_epochs=2)
    assert [note.step for note in inputs.notes] == [0, 1, 2, 3]


def rows(folder: Path, name: str) -> list[tuple[int, float]]:
    found = csv.DictReader((folder / "metrics.csv").open())
    return [(int(row["step"]), float(row[name])) for row in found if row.get(name)]


@pytest.mark.parametrize(
    ("interval", "every", "accumulate", "steps"),
    [(1, 2, 1, [0, 2, 4]), (4, 1, 1, [0, 4]), (3, 2, 1, [0, 4]), (50, 1, 1, [0]), (0, 1, 1, []), (1, 2, 2, [0, 2])],
)
def test_it_logs_with_the_trainer_and_not_more_often(
    tmp_path: Path, interval: int, every: int, accumulate: int, steps: list[int]
) -> None:
    options = {"log_every_n_steps": interval, "accumulate_grad_batches": accumulate}
    logger = CSVLogger(tmp_path, name="", version="")
    callback = every_step(every_n_steps=every)
    fit(tmp_path, [callback], seeded(), logger=logger, max_epochs=1, **options)
    logger.save()
    if not steps:
        assert not (tmp_path / "metrics.csv").exists() or not rows(tmp_path, "shuffle_confusion/loss")
        return
    losses = rows(tmp_path, "shuffle_confusion/loss")
    assert [step for step, _ in losses] == steps
    assert all(value >= math.log(4) for _, value in losses)
    largest = rows(tmp_path, "shuffle_confusion/largest_probability")
    assert [step for step, _ in largest] == steps
    assert all(0.25 <= value <= 1 for _, value in largest)


def test_what_is_logged_is_of_the_shuffled_clips_before_the_weight(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path, name="", version="")
    confused(tmp_path, [every_step(5.0)], None, 8, 4, accumulate_grad_batches=2, logger=logger)
    batch = toy_clips(range(8))
    logits = seeded_plain()(shuffled_by_key(batch["video"], batch["id"], "7/0")).detach()
    expected = float(cross_entropy(logits, torch.full((8, 4), 0.25)))
    assert rows(tmp_path, "shuffle_confusion/loss")[0] == pytest.approx((0, expected), rel=1e-5)
    largest = float(logits.softmax(1).amax(1).mean())
    assert rows(tmp_path, "shuffle_confusion/largest_probability")[0] == pytest.approx((0, largest), rel=1e-5)


def test_predictions_on_shuffled_clips_become_uniform(tmp_path: Path) -> None:
    for name, weight in (("weak", 1e-6), ("strong", 3.0)):
        logger = CSVLogger(tmp_path, name="", version=name)
        fit(tmp_path, [every_step(weight)], seeded(), logger=logger, max_epochs=8)
    last = {name: rows(tmp_path / name, "shuffle_confusion/largest_probability")[-1][1] for name in ("weak", "strong")}
    assert last["weak"] > 0.6
    assert last["strong"] < 0.4


@pytest.mark.parametrize("step", [1, 3, 8])
def test_resuming_in_the_middle_of_an_epoch_is_exact(tmp_path: Path, step: int) -> None:
    def run(number: int, resume: Path | None) -> tuple[LightningModule, ShuffleConfusion, list[Any]]:
        torch.manual_seed(number)  # not that of the first training
        inputs = NotedInputs()
        callback = ShuffleConfusion(1.0, every_n_steps=2, inputs=inputs)
        saver = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=step, save_top_k=-1)
        module = seeded()
        torch.manual_seed(number)
        logger = CSVLogger(tmp_path, name="", version=f"{number}")
        options: dict[str, Any] = {"enable_checkpointing": True, "log_every_n_steps": 3, "logger": logger}
        trainer = make_trainer(tmp_path, [callback, saver], **options)
        trainer.fit(module, ResumableLoader(Clips(), 8), ckpt_path=resume, weights_only=True)
        return module, callback, rows(tmp_path / f"{number}", "shuffle_confusion/loss")

    whole, first, logged = run(1, None)
    resumed, second, later = run(2, tmp_path / f"step={step}.ckpt")
    assert same_weights(whole, resumed)
    assert second.seed == first.seed
    assert later == [row for row in logged if row[0] >= step]


def test_the_state_is_plain_and_other_verbs_leave_it_alone(tmp_path: Path) -> None:
    callback = every_step(seed=None)
    fit(tmp_path, [callback, ModelCheckpoint(tmp_path, save_last=True)], enable_checkpointing=True)
    assert callback.state_dict() == {"seed": 3, "last_logged": 11}
    other = every_step()
    trainer = make_trainer(tmp_path, [other])
    trainer.validate(ToyClassifier(), loaders()[1], ckpt_path=str(tmp_path / "last.ckpt"), verbose=False)
    assert other.state_dict() == {"seed": 7, "last_logged": None}


def test_a_callback_used_again_starts_anew(tmp_path: Path) -> None:
    used = ShuffleConfusion(1.0, every_n_steps=2)
    first, _ = fit(tmp_path, [used])
    again, _ = fit(tmp_path, [used])
    assert same_weights(first, again)
    torch.manual_seed(11)
    assert "training_step" not in vars(again)


def test_another_seed_shuffles_otherwise_and_so_does_another_step(tmp_path: Path) -> None:
    seen: list[Tensor] = []

    def forward(module: Any, video: Tensor, batch: Any) -> Any:
        seen.append(video.clone())
        return module(video)

    module = seeded_plain()
    module.lr = 0.0
    for seed in (1, 2):
        callback = every_step(seed=seed, inputs=VideoInputs(forward=forward))
        trainer = make_trainer(tmp_path, [callback], max_epochs=2)
        trainer.fit(module, DataLoader(Clips(8), 8))
    assert not any(torch.equal(one, other) for one, other in itertools.pairwise(seen))
    assert not torch.equal(seen[0], seen[2])


def in_training(module: LightningModule) -> bool:
    return "training_step" in vars(module) or count_hooks(module) > 0


def duplicates() -> list[Callable[[Any], Any]]:
    return [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))]


class Copier(Callback):
    """Copies the module in the midst of a step that has the term."""

    def __init__(self, duplicate: Callable[[Any], Any]) -> None:
        self.duplicate = duplicate
        self.twin: Any = None

    def on_before_zero_grad(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        assert in_training(pl_module)
        if self.twin is None:
            self.twin = self.duplicate(pl_module)


@pytest.mark.parametrize("duplicate", duplicates(), ids=["deepcopy", "pickle"])
def test_a_copy_from_the_midst_of_training_has_its_own_step_alone(
    tmp_path: Path, duplicate: Callable[[Any], Any]
) -> None:
    copier = Copier(duplicate)
    module, _ = confused(tmp_path, [every_step(), copier], length=24)
    assert not in_training(module)
    twin = copier.twin
    assert twin.training_step.__self__ is twin
    keep = KeepGradients()
    make_trainer(tmp_path, [keep], max_epochs=1).fit(duplicate(twin), DataLoader(Clips(8), 8))
    batch = toy_clips(range(8))
    reference = seeded_plain()
    reference.load_state_dict(twin.state_dict())
    cross_entropy(reference(batch["video"]), batch["label"]).backward()  # type: ignore[no-untyped-call]
    assert_close(keep.steps[0], gradients(reference))


def test_a_step_of_the_instance_comes_back(tmp_path: Path) -> None:
    module = seeded_plain()

    def step(batch: Any, batch_idx: int) -> Tensor:
        return cross_entropy(module(batch["video"]), batch["label"])

    module.training_step = step  # type: ignore[method-assign]
    _, (found,) = confused(tmp_path, [every_step()], module)
    assert vars(module)["training_step"] is step
    assert_close(found, by_hand(seeded_plain(), range(8), 2.0, 7))


class StandsInToo(Callback):
    """Puts something before the step of its own, and never takes it away."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        step = pl_module.training_step

        def wrapped(*args: Any) -> Any:
            return step(*args)

        pl_module.training_step = wrapped  # type: ignore[method-assign]


def test_what_stands_in_later_is_left_there_and_no_term_is_added_any_more(tmp_path: Path) -> None:
    module, _ = confused(tmp_path, [every_step(), StandsInToo()])
    assert in_training(module)
    module.load_state_dict(seeded_plain().state_dict())
    _, (found,) = confused(tmp_path, [], module)
    assert_close(found, by_hand(seeded_plain(), range(8), 0.0, 7))


def test_the_module_has_its_step_back_after_an_error(tmp_path: Path) -> None:
    class Fails(PlainClassifier):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            raise RuntimeError("boom")

    module, callback = Fails(), every_step()
    with pytest.raises(RuntimeError, match="boom"):
        confused(tmp_path, [callback], module)
    assert not in_training(module)
    _, (found,) = confused(tmp_path, [callback])
    assert_close(found, by_hand(seeded_plain(), range(8), 2.0, 7))


class Answers(PlainClassifier):
    """Answers in some other form."""

    def __init__(self, form: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.form = form

    def forward(self, video: Tensor) -> Any:
        return self.form(super().forward(video))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return cross_entropy(self.backbone(batch["video"]), batch["label"])


def answering(form: Callable[[Tensor], Any]) -> Answers:
    torch.manual_seed(0)
    return Answers(form)


@pytest.mark.parametrize(
    ("form", "found"),
    [
        (lambda logits: logits[:, :1], r"float32 \(8, 1\)"),
        (lambda logits: logits[:, None].expand(-1, 3, -1), r"float32 \(8, 3, 4\)"),
        (lambda logits: (logits, logits), r"\[float32 \(8, 4\), float32 \(8, 4\)\]"),
        (lambda logits: None, "NoneType"),
    ],
)
def test_an_output_without_class_scores_is_refused_with_the_next_step(
    tmp_path: Path, form: Callable[[Tensor], Any], found: str
) -> None:
    match = rf"no class scores in the model's output: {found}.*ShuffleConfusion\(output=lambda"
    with pytest.raises(BatchError, match=match):
        confused(tmp_path, [every_step()], answering(form))


def test_what_output_makes_is_checked_too(tmp_path: Path) -> None:
    with pytest.raises(BatchError, match=r"what output=\.\.\. makes.*float32 \(8,\)"):
        confused(tmp_path, [every_step(output=lambda output: output.sum(1))])


@pytest.mark.parametrize(
    ("form", "output"),
    [
        (lambda logits: (logits, logits), lambda output: output[1]),
        (lambda logits: logits.softmax(1), torch.log),
        (lambda logits: {"logits": logits, "features": logits}, None),
    ],
)
def test_outputs_of_other_forms_can_be_read(tmp_path: Path, form: Callable[[Tensor], Any], output: Any) -> None:
    _, (found,) = confused(tmp_path, [every_step(output=output)], answering(form))
    assert_close(found, by_hand(seeded_plain(), range(8), 2.0, 7), rtol=1e-3, atol=1e-6)


def test_clips_of_one_frame_and_batches_without_video_are_refused(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, [every_step()], max_epochs=1)
    with pytest.raises(BatchError, match="cannot be shuffled"):
        trainer.fit(seeded_plain(), DataLoader(Clips(8, frames=1), 8))
    with pytest.raises(BatchError, match="No video in the batch"):
        make_trainer(tmp_path, [every_step()]).fit(seeded_plain(), loader_of([torch.zeros(3)]))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"weight": -1.0}, "weight=-1.0"),
        ({"weight": math.nan}, "weight=nan"),
        ({"weight": math.inf}, "weight=inf"),
        ({"every_n_steps": 0}, "every_n_steps=0"),
        ({"batch_norm": "running"}, "batch_norm='running'"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], named: str) -> None:
    with pytest.raises(OptionError, match=named):
        ShuffleConfusion(**options)


class Closures(PlainClassifier):
    """Its optimizer asks for the loss of a batch several times."""

    def configure_optimizers(self) -> Any:
        return torch.optim.LBFGS(self.parameters(), lr=0.1, max_iter=4)


def test_an_optimizer_that_asks_again_gets_the_same_shuffles(tmp_path: Path) -> None:
    seen: list[Tensor] = []

    def forward(module: Any, video: Tensor, batch: Any) -> Any:
        seen.append(video.clone())
        return module(video)

    confused(tmp_path, [every_step(inputs=VideoInputs(forward=forward))], seeded_plain(Closures))
    assert len(seen) > 1
    assert all(torch.equal(seen[0], video) for video in seen)


def test_a_layer_in_eval_mode_stays_in_it_with_its_statistics(tmp_path: Path) -> None:
    module = seeded(Smooth)
    frozen = module.backbone.layer1[1]
    assert isinstance(frozen, nn.BatchNorm3d)

    class Freeze(Callback):
        def on_train_epoch_start(self, *args: Any) -> None:
            frozen.eval()

    before = statistics(module)[:3]
    confused(tmp_path, [every_step(), Freeze()], module, 24)
    assert all(torch.equal(one, other) for one, other in zip(before, statistics(module)[:3], strict=True))
    assert not frozen.training

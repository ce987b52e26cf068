# SPDX-License-Identifier: Apache-2.0
"""What ``ShuffleConfusion`` does with each feature of a Trainer."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

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
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import (
    GradientAccumulationScheduler,
    LearningRateFinder,
    ModelCheckpoint,
    StochasticWeightAveraging,
    WeightAveraging,
)
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.plugins import MixedPrecision
from lightning.pytorch.strategies import FSDPStrategy, ModelParallelStrategy
from lightning.pytorch.tuner.tuning import Tuner
from lightning.pytorch.utilities.combined_loader import CombinedLoader
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader
from toys import ToyClassifier, count_hooks, fit, loaders, make_trainer, same_weights
from trainer_watch import Note, NotedInputs, in_order, names, seeded

from staticdropout.callbacks import ShuffleConfusion, VideoInputs
from staticdropout.errors import BatchError, OptionError


class Term(ShuffleConfusion):
    """Notes which clips are shuffled at which step, and in which type the model answers."""

    def __init__(self, weight: float = 2.0, every_n_steps: int = 1, video: str | None = None, **options: Any) -> None:
        inputs = NotedInputs(video=video)
        super().__init__(weight, every_n_steps, inputs, **({"seed": 7} | options))
        self.notes: list[Note] = inputs.notes
        self.types: list[torch.dtype] = []

    def _logits(self, output: Any) -> Tensor:
        logits = super()._logits(output)
        self.types.append(logits.dtype)
        return logits

    @property
    def state_key(self) -> str:
        return "ShuffleConfusion"

    @property
    def steps(self) -> list[int]:
        return [note.step for note in self.notes]


def expected(weight: float = 2.0) -> Gradients:
    return by_hand(seeded_plain(), range(8), weight, 7)


def halved(precision: str) -> dict[str, Any]:
    """On the CPU Lightning turns 16-mixed into bf16-mixed unless it is given the plugin."""
    if precision != "16-mixed":
        return {"precision": precision}
    return {"plugins": [MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=256.0))]}


@pytest.mark.cell('precision="bf16-mixed"', "ShuffleConfusion")
@pytest.mark.cell('precision="16-mixed"', "ShuffleConfusion")
@pytest.mark.cell('precision="bf16-true"', "ShuffleConfusion")
@pytest.mark.cell('precision="64-true"', "ShuffleConfusion")
@pytest.mark.parametrize(
    ("precision", "kind", "tolerance"),
    [
        ("bf16-mixed", torch.bfloat16, 0.05),
        ("16-mixed", torch.float16, 0.01),
        ("bf16-true", torch.bfloat16, 0.1),
        ("64-true", torch.float64, 1e-4),
    ],
)
def test_the_term_is_computed_as_the_loss_is(
    tmp_path: Path, precision: str, kind: torch.dtype, tolerance: float
) -> None:
    term = Term()
    module, (found,) = confused(tmp_path, [term], None, **halved(precision))
    assert term.types == [kind]
    theirs = expected()
    for name, value in found.items():
        error = (value.double() - theirs[name]).norm() / theirs[name].norm()
        assert float(error) < tolerance, name
    assert all(bool(part.isfinite().all()) for part in module.parameters())


@pytest.mark.cell('precision="16-mixed"', "ShuffleConfusion")
def test_a_step_that_the_gradient_scaler_skips_counts_and_the_term_is_in_the_scaled_loss(tmp_path: Path) -> None:
    term = Term(every_n_steps=2)
    plugin = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=2.0**60))
    module, _ = confused(tmp_path, [term], None, 32, plugins=[plugin])
    assert same_weights(module, seeded_plain())
    assert term.steps == [0, 2]


@pytest.fixture
def _forget_what_was_compiled() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def whole(module: ToyClassifier) -> Any:
    return torch.compile(module, backend="eager")


def network(module: ToyClassifier) -> Any:
    module.backbone.compile(backend="eager", fullgraph=True)
    return module


def network_that_has_run(module: ToyClassifier) -> Any:
    module = network(module)
    with torch.no_grad():
        module.eval()(torch.rand(8, 3, 6, 12, 12))
    return module.train()


@pytest.mark.usefixtures("_forget_what_was_compiled")
@pytest.mark.cell("torch.compile", "ShuffleConfusion")
@pytest.mark.cell("torch.compile(fullgraph=True)", "ShuffleConfusion")
@pytest.mark.parametrize(
    ("how", "use"),
    [(whole, "unshuffled"), (network, "unshuffled"), (network, "batch"), (network_that_has_run, "unshuffled")],
)
def test_compiled_modules_get_the_gradients_of_eager_ones(
    tmp_path: Path, how: Callable[[ToyClassifier], Any], use: Any
) -> None:
    plain, eager = seeded(), KeepGradients()
    make_trainer(tmp_path, [Term(every_n_steps=2, batch_norm=use), eager], max_epochs=1).fit(plain, in_order(24))
    module, compiled = seeded(), KeepGradients()
    trainer = make_trainer(tmp_path, [Term(every_n_steps=2, batch_norm=use), compiled], max_epochs=1)
    trainer.fit(how(module), in_order(24))
    for ours, theirs in zip(compiled.steps, eager.steps, strict=True):
        assert_close(ours, theirs, rtol=1e-3, atol=1e-5)
    for one, other in zip(module.buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.cell("GradientAccumulationScheduler", "ShuffleConfusion")
def test_a_schedule_of_accumulation_is_followed(tmp_path: Path) -> None:
    term = Term(every_n_steps=2)
    confused(
        tmp_path, [term, GradientAccumulationScheduler({0: 1, 1: 3})], None, 24, 4, max_epochs=2
    )  # six steps of one batch, then two of three
    assert term.steps == [0, 2, 4, 6, 6, 6]


class Norms(PlainClassifier):
    """Keeps the norm of its gradients as the optimizer gets them."""

    def __init__(self) -> None:
        super().__init__()
        self.clipped: list[Gradients] = []

    def optimizer_step(self, *args: Any, **options: Any) -> None:
        super().optimizer_step(*args, **options)
        self.clipped.append(gradients(self))


@pytest.mark.cell("gradient_clip_val", "ShuffleConfusion")
def test_the_gradient_of_loss_and_term_is_clipped_as_one(tmp_path: Path) -> None:
    module = seeded_plain(Norms)
    confused(tmp_path, [Term()], module, gradient_clip_val=0.01)
    assert isinstance(module, Norms)
    theirs = expected()
    norm = torch.cat([value.flatten() for value in theirs.values()]).norm()
    assert_close(module.clipped[0], {name: value * 0.01 / norm for name, value in theirs.items()}, rtol=1e-3)


class Pairs(PlainClassifier):
    """Trains on a dict of batches."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return super().training_step(batch["a"], batch_idx)


@pytest.mark.cell("several training loaders", "ShuffleConfusion")
def test_the_clips_of_the_named_loader_are_shuffled(tmp_path: Path) -> None:
    term, keep = Term(video="a.video"), KeepGradients()
    train = CombinedLoader({"a": in_order(8), "b": in_order(24)}, "max_size_cycle")
    make_trainer(tmp_path, [term, keep], max_epochs=1).fit(seeded_plain(Pairs), train)
    assert term.notes == [(step, names(range(8))) for step in range(3)]
    assert_close(keep.steps[0], expected())
    with pytest.raises(BatchError, match=r"a\.video.*b\.video.*VideoInputs\(video="):
        make_trainer(tmp_path, [Term()]).fit(seeded_plain(Pairs), {"a": in_order(), "b": in_order()})


@pytest.mark.cell("a smaller last batch", "ShuffleConfusion")
@pytest.mark.cell("batches of one clip", "ShuffleConfusion")
@pytest.mark.parametrize(("length", "batch_size", "last"), [(20, 8, range(16, 20)), (3, 1, range(2, 3))])
def test_a_batch_of_any_size_has_the_mean_over_its_clips(
    tmp_path: Path, length: int, batch_size: int, last: range
) -> None:
    module = seeded_plain()
    module.lr = 0.0
    _, steps = confused(tmp_path, [Term()], module, length, batch_size)
    assert_close(steps[-1], by_hand(seeded_plain(), last, 2.0, 7, step=2))


@pytest.mark.cell("overfit_batches", "ShuffleConfusion")
def test_the_few_batches_are_shuffled_anew_in_every_step(tmp_path: Path) -> None:
    seen: list[Tensor] = []

    def forward(module: Any, video: Tensor, batch: Any) -> Any:
        seen.append(video.clone())
        return module(video)

    callback = ShuffleConfusion(1.0, 1, VideoInputs(forward=forward))
    make_trainer(tmp_path, [callback], overfit_batches=1, max_epochs=3).fit(seeded_plain(), in_order())
    assert len(seen) == 3
    assert not torch.equal(seen[0], seen[1])
    torch.testing.assert_close(seen[0].sum(2), seen[2].sum(2))  # the same frames


@pytest.mark.cell("fast_dev_run", "ShuffleConfusion")
def test_a_run_for_debugging_has_the_term_and_leaves_nothing(tmp_path: Path) -> None:
    term = Term(every_n_steps=4)
    fit(tmp_path, [term], seeded(), logger=CSVLogger(tmp_path), fast_dev_run=True)
    assert term.steps == [0]
    assert not list(tmp_path.iterdir())


class Bytes(LightningDataModule):
    """Gives bytes and turns them into pixels on the device."""

    def train_dataloader(self) -> DataLoader[Any]:
        return in_order(8)

    def on_before_batch_transfer(self, batch: dict[str, Any], dataloader_idx: int) -> dict[str, Any]:
        return batch | {"video": (batch["video"] * 200).byte()}

    def on_after_batch_transfer(self, batch: dict[str, Any], dataloader_idx: int) -> dict[str, Any]:
        return batch | {"video": batch["video"] / 200}


@pytest.mark.cell("LightningDataModule with transfer hooks", "ShuffleConfusion")
def test_what_the_hooks_of_a_data_module_return_is_shuffled(tmp_path: Path) -> None:
    keep = KeepGradients()
    make_trainer(tmp_path, [Term(), keep], max_epochs=1).fit(seeded_plain(), datamodule=Bytes())
    assert_close(keep.steps[0], expected(), rtol=0.2, atol=2e-3)  # bytes are coarser


class TakesIterator(PlainClassifier):
    def training_step(self, dataloader_iter: Any) -> Tensor:  # type: ignore[override]
        batch, _, _ = next(dataloader_iter)
        return cross_entropy(self(batch["video"]), batch["label"])


@pytest.mark.cell("training_step(dataloader_iter)", "ShuffleConfusion")
def test_a_step_that_fetches_its_own_batches_is_told_why_it_cannot_be_confused(tmp_path: Path) -> None:
    module = seeded_plain(TakesIterator)
    with pytest.raises(BatchError, match=r"ShuffleConfusion found no batch.*dataloader_iter"):
        make_trainer(tmp_path, [Term()]).fit(module, in_order())
    assert "training_step" not in vars(module)


class Complete(ToyClassifier):
    """Has every kind of step."""

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.log("test_loss", self(batch["video"]).square().mean())

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        logits: Tensor = self(batch["video"])
        return logits


@pytest.mark.cell("trainer.validate, trainer.test, trainer.predict", "ShuffleConfusion")
@pytest.mark.parametrize("verb", ["validate", "test", "predict"])
def test_nothing_is_done_outside_fit(tmp_path: Path, verb: str) -> None:
    results = []
    for callbacks in ([], [Term()]):
        run = getattr(make_trainer(tmp_path, callbacks), verb)
        results.append(run(seeded(Complete), loaders()[1], **({} if verb == "predict" else {"verbose": False})))
    assert repr(results[0]) == repr(results[1])


@pytest.mark.cell("fit called twice", "ShuffleConfusion")
def test_the_same_trainer_goes_on_and_a_new_one_starts_anew(tmp_path: Path) -> None:
    term, module = Term(every_n_steps=4), seeded()
    trainer = make_trainer(tmp_path, [term], max_epochs=1)
    trainer.fit(module, in_order())
    trainer.fit_loop.max_epochs = 2
    trainer.fit(module, in_order())
    assert term.steps == [0, 4, 8]
    make_trainer(tmp_path, [term], max_epochs=1).fit(module, in_order())
    assert term.steps == [0, 4, 8, 0, 4]
    assert "training_step" not in vars(module)


@pytest.mark.cell('ckpt_path="last"', "ShuffleConfusion")
@pytest.mark.cell("ModelCheckpoint", "ShuffleConfusion")
@pytest.mark.parametrize("first", [True, False])
def test_the_last_checkpoint_goes_on_with_seed_and_rhythm(tmp_path: Path, first: bool) -> None:
    runs = [Term(every_n_steps=4, seed=None), Term(every_n_steps=4, seed=99)]
    for epochs, term in enumerate(runs, 1):
        saver = ModelCheckpoint(tmp_path, save_last=True)
        options: dict[str, Any] = {"max_epochs": epochs, "enable_checkpointing": True, "ckpt_path": "last"}
        fit(tmp_path, [term, saver] if first else [saver, term], seeded(), **options)
    assert [term.steps for term in runs] == [[0, 4], [8]]
    assert [term.seed for term in runs] == [3, 3]


@pytest.mark.cell("a checkpoint made without the callbacks", "ShuffleConfusion")
def test_a_checkpoint_that_does_not_know_it_is_gone_on_with(tmp_path: Path) -> None:
    saver = ModelCheckpoint(tmp_path, save_last=True)
    fit(tmp_path, [saver], seeded(), max_epochs=1, enable_checkpointing=True)
    term = Term(every_n_steps=4)
    fit(tmp_path, [term], seeded(), ckpt_path=tmp_path / "last.ckpt")
    assert term.steps == [8]


@pytest.mark.cell("deterministic=True", "ShuffleConfusion")
@pytest.mark.cell("detect_anomaly=True", "ShuffleConfusion")
@pytest.mark.parametrize("option", ["deterministic", "detect_anomaly"])
def test_trainings_repeat_in_every_bit_and_no_anomaly_is_found(tmp_path: Path, option: str) -> None:
    try:
        runs = [fit(tmp_path, [Term()], seeded(), max_epochs=1, **{option: strict})[0] for strict in (True, True)]
    finally:
        torch.use_deterministic_algorithms(False)
    assert same_weights(*runs)
    assert same_weights(runs[0], fit(tmp_path, [Term()], seeded(), max_epochs=1)[0])


@pytest.mark.cell("profiler", "ShuffleConfusion")
def test_the_profiler_tells_shuffling_from_the_step(tmp_path: Path) -> None:
    term = Term()
    _, trainer = fit(tmp_path, [term], seeded(), max_epochs=1, profiler="simple")
    durations: dict[str, list[float]] = trainer.profiler.recorded_durations  # type: ignore[attr-defined]
    assert len(durations[f"[Callback]{term.state_key}.on_train_batch_start"]) == 6
    assert len(durations["[Strategy]SingleDeviceStrategy.training_step"]) == 6


@pytest.mark.cell("Tuner.lr_find, Tuner.scale_batch_size, LearningRateFinder", "ShuffleConfusion")
def test_searches_are_left_alone(tmp_path: Path) -> None:
    term, module = Term(), seeded()
    trainer = make_trainer(tmp_path, [term])
    Tuner(trainer).lr_find(module, *loaders(), num_training=3, update_attr=False)
    assert (term.steps, same_weights(module, seeded())) == ([], True)
    fit(tmp_path, [term, LearningRateFinder(num_training_steps=3, update_attr=False)], seeded(), max_epochs=1)
    assert term.steps == [0, 1, 2, 3, 4, 5]


@pytest.mark.cell("WeightAveraging, StochasticWeightAveraging", "ShuffleConfusion")
@pytest.mark.parametrize("average", [WeightAveraging, lambda: StochasticWeightAveraging(0.01, swa_epoch_start=1)])
def test_averaging_works_and_at_weight_zero_is_bit_identical(tmp_path: Path, average: Callable[[], Callback]) -> None:
    plain, _ = fit(tmp_path, [average()], seeded())
    assert same_weights(plain, fit(tmp_path, [Term(0.0), average()], seeded())[0])
    modules = [fit(tmp_path, callbacks, seeded())[0] for callbacks in ([Term(), average()], [average(), Term()])]
    assert same_weights(*modules)
    assert not same_weights(plain, modules[0])
    assert "training_step" not in vars(modules[0])


class Brings(PlainClassifier):
    def configure_callbacks(self) -> list[Callback]:
        return [Term()]


@pytest.mark.cell("configure_callbacks of the module", "ShuffleConfusion")
def test_a_module_can_bring_it_along(tmp_path: Path) -> None:
    _, (found,) = confused(tmp_path, [], seeded_plain(Brings))
    assert_close(found, expected())


@pytest.mark.cell("two of them in one Trainer", "ShuffleConfusion")
def test_two_of_them_are_refused_by_lightning(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="more than one stateful callback of type `ShuffleConfusion`"):
        make_trainer(tmp_path, [ShuffleConfusion(), ShuffleConfusion(2.0)])


class OtherTerm(Term):
    """One more, with a state of its own."""

    @property
    def state_key(self) -> str:
        return "OtherTerm"


@pytest.mark.cell("two of them in one Trainer", "ShuffleConfusion")
@pytest.mark.parametrize("decorated", [False, True])
def test_two_classes_of_them_add_both_terms(tmp_path: Path, decorated: bool) -> None:
    both = [Term(0.5), OtherTerm(1.5)]
    module, (found,) = confused(tmp_path, both, seeded_plain(Decorated if decorated else PlainClassifier))
    assert_close(found, expected())
    assert [term.steps for term in both] == [[0], [0]]
    assert "training_step" not in vars(module)


def logged(step: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(step)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return step(*args, **kwargs)

    return wrapper


class Decorated(PlainClassifier):
    @logged
    def training_step(self, batch: Any) -> Tensor:
        return super().training_step(batch, 0)


class Recomputed(ToyClassifier):
    """Saves memory by computing its activations again."""

    def __init__(self) -> None:
        super().__init__()
        self.reentrant: bool | None = None

    def forward(self, video: Tensor) -> Tensor:
        if self.reentrant is None:
            return super().forward(video)
        video = video.clone().requires_grad_()  # without which a reentrant checkpoint has no gradients
        logits: Tensor = checkpoint(super().forward, video, use_reentrant=self.reentrant)
        return logits


def recomputed(reentrant: bool | None) -> Recomputed:
    module = cast("Recomputed", seeded(Recomputed))
    module.reentrant = reentrant
    return module


@pytest.mark.cell("activation checkpointing", "ShuffleConfusion")
@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointed_normalisations_are_refused_unless_their_statistics_are_updated(
    tmp_path: Path, reentrant: bool
) -> None:
    _, plain = confused(tmp_path, [Term(batch_norm="update")], recomputed(None))
    _, found = confused(tmp_path, [Term(batch_norm="update")], recomputed(reentrant))
    assert_close(found[0], plain[0])
    uses: tuple[Any, ...] = ("unshuffled", "batch")
    for use in uses:
        module = recomputed(reentrant)
        with pytest.raises(OptionError, match=r'Found a BatchNorm3d .* under activation checkpointing.*"update"'):
            confused(tmp_path, [Term(batch_norm=use)], module)
        assert "training_step" not in vars(module)
        assert count_hooks(module) == 0


@pytest.mark.cell("FSDP, ModelParallelStrategy, DeepSpeed", "ShuffleConfusion")
@pytest.mark.parametrize("strategy", [FSDPStrategy, ModelParallelStrategy])
def test_strategies_that_split_the_model_are_refused_in_fit_alone(strategy: Any) -> None:
    trainer = cast("Trainer", SimpleNamespace(strategy=strategy()))
    with pytest.raises(MisconfigurationException, match=rf"ShuffleConfusion does not support {strategy.__name__}"):
        ShuffleConfusion().setup(trainer, ToyClassifier(), "fit")
    for stage in ("validate", "test", "predict"):
        ShuffleConfusion().setup(trainer, ToyClassifier(), stage)


class TwoOptimizers(PlainClassifier):
    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def configure_optimizers(self) -> Any:
        return [torch.optim.SGD(part.parameters(), lr=0.1) for part in (self.backbone.layer1, self.backbone.fc)]


@pytest.mark.cell("manual optimization, several optimizers", "ShuffleConfusion")
def test_optimization_by_hand_is_refused_before_training(tmp_path: Path) -> None:
    with pytest.raises(MisconfigurationException, match="manual optimization"):
        make_trainer(tmp_path, [Term()]).fit(TwoOptimizers(), in_order())


@pytest.mark.cell("Trainer(barebones=True), logger=False", "ShuffleConfusion")
@pytest.mark.filterwarnings("ignore:You are trying to `self.log:UserWarning")
def test_the_term_needs_no_logger(tmp_path: Path) -> None:
    runs: list[LightningModule] = []
    kinds: list[dict[str, Any]] = [{"barebones": True}, {"logger": False, "enable_checkpointing": False}]
    for options in kinds:
        term, module = Term(), seeded_plain()
        trainer = Trainer(accelerator="cpu", max_epochs=1, callbacks=[term], default_root_dir=tmp_path, **options)
        trainer.fit(module, in_order(16))
        assert term.steps == [0, 1]
        runs.append(module)
    assert same_weights(*runs)


def test_batches_of_the_toy_are_what_the_references_are_made_of() -> None:
    batch = next(iter(in_order(8)))
    assert torch.equal(batch["video"], toy_clips(range(8))["video"])

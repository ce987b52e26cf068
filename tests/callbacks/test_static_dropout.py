# SPDX-License-Identifier: Apache-2.0
"""StaticDropout in a Trainer: installed from outside, exact, and gone without a trace."""

from __future__ import annotations

import copy
import pickle
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader
from toys import Clips, ResumableLoader, ToyClassifier, count_hooks, fit, loader_of, loaders, make_trainer, same_weights

from staticdropout.callbacks import BiasMonitor, ShuffledValidation, StaticDropout
from staticdropout.errors import BatchError, LayerNotFoundError, OptionError
from staticdropout.perturbations import VideoTriplets

Saved = dict[str, Any]


class Recorder(Callback):
    """Keeps the input of the classifier at every training step, after what was dropped."""

    def __init__(self) -> None:
        self.inputs: list[Tensor] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        def keep(module: Any, args: Any) -> None:
            if module.training:
                self.inputs.append(args[0].detach().clone())

        assert isinstance(pl_module, ToyClassifier)
        pl_module.backbone.fc.register_forward_pre_hook(keep)


def test_rate_zero_and_the_monitors_leave_training_bit_identical(tmp_path: Path) -> None:
    plain, _ = fit(tmp_path / "plain")
    watched, _ = fit(
        tmp_path / "watched",
        [
            StaticDropout(rate=0.0, every_n_steps=1),
            BiasMonitor(layers=["backbone.layer*", "backbone.fc[input]"], num_clips=24, verbose=False),
            ShuffledValidation(verbose=False),
        ],
    )
    assert same_weights(plain, watched)


def test_a_positive_rate_changes_training(tmp_path: Path) -> None:
    assert not same_weights(fit(tmp_path)[0], fit(tmp_path, [StaticDropout(rate=0.5)])[0])


def test_the_share_of_channels_is_dropped_for_every_clip_at_the_classifier(tmp_path: Path) -> None:
    recorder = Recorder()
    fit(tmp_path, [StaticDropout(rate=0.5), recorder])
    assert len(recorder.inputs) == 12
    # The toy drops features as well (nn.Dropout), so there are at least as many zeros as StaticDropout makes.
    assert all(((batch == 0).sum(1) >= 8).all() for batch in recorder.inputs)
    assert len({tuple(row.tolist()) for row in recorder.inputs[0] == 0}) > 1


class ChannelsLast(ToyClassifier):
    """Classifies every position with channels last, as the heads of SlowFast and PyTorchVideo do."""

    def forward(self, video: Tensor) -> Tensor:
        maps = self.backbone.layer2(self.backbone.layer1(video)).mean((3, 4), keepdim=True)
        logits: Tensor = self.backbone.fc(maps.permute(0, 2, 3, 4, 1)).mean((1, 2, 3))
        return logits


def test_classifiers_on_maps_with_channels_last_lose_channels_too(tmp_path: Path) -> None:
    recorder, callback = Recorder(), StaticDropout(rate=0.5)
    fit(tmp_path, [callback, recorder], ChannelsLast())
    assert callback.dropout is not None
    assert callback.dropout.num_channels == 16
    assert all(((batch == 0).flatten(1, 3).all(1).sum(1) >= 8).all() for batch in recorder.inputs)


@pytest.mark.parametrize("layer", ["backbone.layer1.1", "backbone.layer2"])
def test_a_probe_sees_every_channel_also_with_batch_statistics(tmp_path: Path, layer: str) -> None:
    callback = StaticDropout(rate=0.5, layer=layer, probe_mode="train", every_n_steps=1)
    fit(tmp_path, [callback])
    assert callback.dropout is not None
    assert int(callback.dropout.num_masks) == 12  # one a training step, none in the 24 passes of the probes


def test_a_callback_used_again_starts_anew(tmp_path: Path) -> None:
    used = StaticDropout(rate=0.5, every_n_steps=3)
    fit(tmp_path, [used])
    again, _ = fit(tmp_path, [used])
    fresh = StaticDropout(rate=0.5, every_n_steps=3)
    assert same_weights(again, fit(tmp_path, [fresh])[0])
    assert used._num_probes == fresh._num_probes == 4


def test_it_works_in_mixed_precision(tmp_path: Path) -> None:
    callback = StaticDropout(rate=0.5, every_n_steps=3)
    _, trainer = fit(tmp_path, [callback], precision="bf16-mixed")
    assert callback.dropout is not None
    assert callback.dropout.scores.isfinite().all()
    assert torch.isfinite(trainer.callback_metrics["train_loss"])


class States(Callback):
    """Compares everything that must not change before and after each probe."""

    def __init__(self, probe: StaticDropout) -> None:
        self.probe = probe
        self.compared = 0
        original = probe._probe

        def watched(trainer: Trainer, pl_module: LightningModule, batch: Any) -> None:
            before = self.states(pl_module)
            original(trainer, pl_module, batch)
            after = self.states(pl_module)
            assert all(np.array_equal(x, y) for x, y in zip(before, after, strict=True))
            assert pl_module.training
            self.compared += 1

        probe._probe = watched  # type: ignore[method-assign]

    @staticmethod
    def states(module: LightningModule) -> list[Any]:
        numpy_state = np.random.get_state(legacy=True)  # noqa: NPY002 - the global state is the point
        assert isinstance(numpy_state, tuple)
        return [
            *(value.clone().numpy() for value in module.state_dict().values()),
            torch.get_rng_state().numpy(),
            numpy_state[1],
            np.array(hash(random.getstate())),
        ]


@pytest.mark.parametrize("norm", [nn.BatchNorm3d, nn.InstanceNorm3d])
@pytest.mark.parametrize("mode", ["eval", "train"])
def test_a_probe_leaves_running_statistics_and_random_states_alone(tmp_path: Path, mode: Any, norm: Any) -> None:
    callback = StaticDropout(rate=0.5, every_n_steps=2, probe_mode=mode)
    states = States(callback)
    module = ToyClassifier()
    module.backbone.layer1[1] = norm(8, track_running_stats=True)
    fit(tmp_path, [callback, states], module)
    assert states.compared == 6


def test_static_minus_dynamic_scores_are_those_of_the_triplets_of_the_batch(tmp_path: Path) -> None:
    triplets = VideoTriplets(styles=["chalk", "neon"], seed=3)
    callback = StaticDropout(
        rate=0.5, score="static_minus_dynamic", triplets=triplets, every_n_steps=100, min_clips=1, seed=7
    )
    torch.manual_seed(0)
    module = ToyClassifier().eval()
    batch = next(iter(DataLoader(Clips(12), 12)))
    with torch.no_grad():
        features = [
            module.backbone.layer2(module.backbone.layer1(member)).mean((2, 3, 4)).double()
            for member in triplets(batch["video"], [f"7/0/{name}" for name in batch["id"]])
        ]
    expected = [
        np.corrcoef(features[0][:, i], features[1][:, i])[0, 1]
        - np.corrcoef(features[0][:, i], features[2][:, i])[0, 1]
        for i in range(16)
    ]
    make_trainer(tmp_path, [callback], max_steps=1).fit(module.train(), DataLoader(Clips(12), 12))
    assert callback.dropout is not None
    # A channel that never fires has no score, which counts as 0.
    assert callback.dropout.scores.numpy() == pytest.approx(np.nan_to_num(expected), abs=1e-5)
    assert np.isfinite(expected).sum() > 10


def test_probe_modes_differ_by_batch_statistics(tmp_path: Path) -> None:
    scores = []
    for mode in ("eval", "train"):
        callback = StaticDropout(rate=0.0, every_n_steps=3, probe_mode=mode)
        fit(tmp_path, [callback])
        assert callback.dropout is not None
        scores.append(callback.dropout.scores)
    in_eval, in_train = scores
    assert not torch.allclose(in_eval, in_train)


@pytest.mark.parametrize(("accumulate", "expected"), [(1, [0, 3, 6, 9]), (2, [0, 3])])
def test_probes_are_counted_in_optimizer_steps(tmp_path: Path, accumulate: int, expected: list[int]) -> None:
    steps = []

    class Counting(StaticDropout):
        def _probe(self, trainer: Trainer, pl_module: LightningModule, batch: Any) -> None:
            steps.append(trainer.global_step)
            super()._probe(trainer, pl_module, batch)

    fit(tmp_path, [Counting(rate=0.5, every_n_steps=3)], accumulate_grad_batches=accumulate)
    assert steps == expected


def test_the_schedule_can_be_overridden(tmp_path: Path) -> None:
    class Never(StaticDropout):
        def should_probe(self, step: int) -> bool:
            return step == 4

    callback = Never(rate=0.5)
    fit(tmp_path, [callback])
    assert callback.dropout is not None
    assert int(callback.dropout.num_clips) == 8


def save_at(step: int, folder: Path) -> ModelCheckpoint:
    return ModelCheckpoint(folder, filename="{step}", every_n_train_steps=step, save_top_k=-1)


@pytest.mark.parametrize(("step", "score"), [(2, "static"), (5, "static"), (9, "static"), (5, "static_minus_dynamic")])
def test_resuming_in_the_middle_of_an_epoch_is_exact(tmp_path: Path, step: int, score: Any) -> None:
    def callbacks() -> list[Callback]:
        return [StaticDropout(rate=0.5, every_n_steps=3, score=score), save_at(step, tmp_path)]

    options = {"enable_checkpointing": True, "deterministic": True}
    whole_callbacks = callbacks()
    whole = _fit_in_order(tmp_path, whole_callbacks, None, options)
    resumed_callbacks = callbacks()
    resumed = _fit_in_order(tmp_path, resumed_callbacks, tmp_path / f"step={step}.ckpt", options)
    assert same_weights(whole, resumed)
    first, second = whole_callbacks[0], resumed_callbacks[0]
    assert isinstance(first, StaticDropout)
    assert isinstance(second, StaticDropout)
    for left, right in zip(_flat(first.state_dict()), _flat(second.state_dict()), strict=True):
        assert torch.equal(left, right) if isinstance(left, Tensor) else left == right


class NoDropoutToy(ToyClassifier):
    """The toy without nn.Dropout, whose random state a checkpoint does not hold."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone.dropout.p = 0.0


def _fit_in_order(folder: Path, callbacks: list[Callback], ckpt_path: Path | None, options: Saved) -> LightningModule:
    torch.manual_seed(0)
    module = NoDropoutToy()
    train, val = loaders()
    trainer = make_trainer(folder, callbacks, **options)
    trainer.fit(module, ResumableLoader(train.dataset, 8), val, ckpt_path=ckpt_path)
    return module


def _flat(state: Any) -> list[Any]:
    return [leaf for value in state.values() for leaf in _flat(value)] if isinstance(state, dict) else [state]


def test_the_state_is_tensors_and_plain_values_and_loads_without_running_code(tmp_path: Path) -> None:
    callback = StaticDropout(rate=0.5, every_n_steps=2)
    fit(tmp_path, [callback, save_at(4, tmp_path)], enable_checkpointing=True)
    content = torch.load(tmp_path / "step=4.ckpt", weights_only=True)
    state = content["callbacks"][callback.state_key]
    assert state["num_channels"] == 16
    assert all(isinstance(leaf, Tensor | int) for leaf in _flat(state))
    assert set(content["state_dict"]) == set(ToyClassifier().state_dict())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("scores", [("static", "static_minus_dynamic"), ("static_minus_dynamic", "static")])
def test_a_checkpoint_of_another_score_is_refused_with_the_next_step(tmp_path: Path, scores: tuple[Any, Any]) -> None:
    before, after = scores
    first = [StaticDropout(rate=0.5, score=before), save_at(6, tmp_path)]
    fit(tmp_path, first, enable_checkpointing=True, max_epochs=1)
    with pytest.raises(OptionError, match=f"Resume with score='{before}'"):
        fit(tmp_path, [StaticDropout(rate=0.5, score=after)], ckpt_path=tmp_path / "step=6.ckpt")


def test_a_checkpoint_without_the_callback_can_be_continued_with_it(tmp_path: Path) -> None:
    fit(tmp_path, [save_at(4, tmp_path)], enable_checkpointing=True)
    callback = StaticDropout(rate=0.5)
    fit(tmp_path, [callback], ckpt_path=tmp_path / "step=4.ckpt")
    assert callback.dropout is not None
    assert int(callback.dropout.num_clips) == 8


@pytest.mark.parametrize("failure", ["none", "step", "interrupt"])
def test_no_hook_is_left_behind(tmp_path: Path, failure: str) -> None:
    class Failing(Callback):
        def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
            if trainer.global_step == 3 and failure != "none":
                raise KeyboardInterrupt if failure == "interrupt" else RuntimeError("boom")

    module = ToyClassifier()
    trainer = make_trainer(tmp_path, [StaticDropout(rate=0.5), Failing()])
    try:
        trainer.fit(module, *loaders())
    except (RuntimeError, SystemExit, KeyboardInterrupt):
        assert failure != "none"
    assert count_hooks(module) == 0
    pickle.dumps(copy.deepcopy(module))


@pytest.mark.parametrize("layer", [None, "backbone.layer2"])
@pytest.mark.parametrize("how", [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))])
def test_a_copy_made_in_the_midst_of_training_drops_nothing(tmp_path: Path, layer: str | None, how: Any) -> None:
    copies: list[Any] = []

    class Teacher(Callback):
        def on_train_batch_start(self, trainer: Trainer, pl_module: ToyClassifier, batch: Any, batch_idx: int) -> None:  # type: ignore[override]
            copies.append(how(pl_module.backbone))

    callback = StaticDropout(rate=0.5, layer=layer, every_n_steps=1, min_clips=1)
    fit(tmp_path, [callback, Teacher()], max_epochs=1)
    teacher = copies[-1].train()
    teacher.dropout.p = 0.0
    seen: list[Tensor] = []
    teacher.fc.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    teacher(torch.rand(4, 3, 6, 12, 12))
    assert not (seen[0] == 0).any()


def test_it_is_the_identity_outside_training(tmp_path: Path) -> None:
    callback = StaticDropout(rate=0.5)
    module, trainer = fit(tmp_path, [callback])
    alone = make_trainer(tmp_path).validate(module, loaders()[1], verbose=False)
    assert trainer.validate(module, loaders()[1], verbose=False) == alone


def test_two_of_them_work_on_two_layers_with_states_of_their_own(tmp_path: Path) -> None:
    first, second = StaticDropout(rate=0.5, layer="backbone.layer1"), StaticDropout(rate=0.25)
    assert first.state_key != second.state_key
    fit(tmp_path, [first, second, save_at(4, tmp_path)], enable_checkpointing=True)
    assert first.dropout is not None
    assert second.dropout is not None
    assert (first.dropout.num_channels, second.dropout.num_channels) == (8, 16)
    assert first.dropout.statistics()["dropped_share"] == 0.5
    assert second.dropout.statistics()["dropped_share"] == 0.25


@pytest.mark.parametrize("before", [True, False])
def test_it_works_in_compiled_models(tmp_path: Path, before: bool) -> None:
    module = ToyClassifier()
    module.backbone.dropout.p = 0.0
    module.backbone.compile(backend="eager")
    if before:  # compiled and run before any hook exists
        module(torch.rand(2, 3, 6, 12, 12))
        torch.compiler.reset()
    recorder = Recorder()
    fit(tmp_path, [StaticDropout(rate=0.5), recorder], module)
    assert recorder.inputs
    assert all(((batch == 0).sum(1) >= 8).all() for batch in recorder.inputs)


def test_the_log_tells_whether_the_rule_is_active(tmp_path: Path) -> None:
    fit(tmp_path, [StaticDropout(rate=0.5, every_n_steps=4)], logger=CSVLogger(tmp_path, name="", version=""))
    lines = (tmp_path / "metrics.csv").read_text().splitlines()
    names = {
        "score_mean", "score_p10", "score_p50", "score_p90", "inclusion_ratio", "dropped_share", "dropped_ratio",
        "dropped_score_excess", "undefined",
    }  # fmt: skip
    columns = lines[0].split(",")
    assert {f"static_dropout/{name}" for name in names} <= set(columns)
    share = [line.split(",")[columns.index("static_dropout/dropped_share")] for line in lines[1:]]
    assert [value for value in share if value] == ["0.0", "0.5", "0.5"]


def test_the_seed_of_seed_everything_decides_the_masks(tmp_path: Path) -> None:
    same = [fit(tmp_path, [StaticDropout(rate=0.5)])[0] for _ in range(2)]
    assert same_weights(*same)
    assert not same_weights(same[0], fit(tmp_path, [StaticDropout(rate=0.5, seed=99)])[0])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"layer": "backbone.layr1"}, LayerNotFoundError, r"Close matches: .*backbone\.layer1"),
        ({"layer": "backbone.layer*"}, ValueError, "matches 2 layers"),
        ({"layer": "backbone.layer1[0]"}, ValueError, "only a whole output"),
    ],
)
def test_a_wrong_layer_is_reported_before_training(
    tmp_path: Path, options: Saved, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        fit(tmp_path, [StaticDropout(**options)])


@pytest.mark.parametrize(
    "options",
    [{"rate": 1.5}, {"every_n_steps": 0}, {"probe_mode": "both"}, {"sampling": "no"}, {"score": "joint"}],
)
def test_wrong_options_are_refused_at_once(options: Saved) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        StaticDropout(**options)


def test_a_batch_without_a_video_is_described(tmp_path: Path) -> None:
    class Text(ToyClassifier):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            loss: Tensor = self.backbone.fc(batch["features"]).sum()
            return loss

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            return

    data = loader_of([{"features": torch.rand(16)} for _ in range(8)], 4)
    with pytest.raises(BatchError, match=r"holds \{features: float32 \(4, 16\)\}"):
        make_trainer(tmp_path, [StaticDropout()]).fit(Text(), data)


def test_clips_of_one_frame_cannot_be_shuffled(tmp_path: Path) -> None:
    data = loader_of([{"video": torch.rand(3, 1, 12, 12), "label": 0} for _ in range(8)], 4)
    with pytest.raises(BatchError, match="frame"):
        make_trainer(tmp_path, [StaticDropout()]).fit(ToyClassifier(), data)

# SPDX-License-Identifier: Apache-2.0
"""``precision``: both callbacks compute as training does, and keep their moments in float64."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.plugins import MixedPrecision
from torch.utils.data import DataLoader
from toys import Clips, count_hooks, fit, loaders, make_trainer, same_weights
from trainer_watch import LAYER, AtClassifier, Still, Watched, both, seeded, watch

HALF = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16, "bf16-true": torch.bfloat16, "16-true": torch.float16}


def scaler(scale: float = 256.0) -> torch.amp.GradScaler:
    return torch.amp.GradScaler("cpu", init_scale=scale)


def options(precision: str) -> dict[str, Any]:
    """For a Trainer; on the CPU Lightning turns 16-mixed into bf16-mixed unless it is given the plugin."""
    if precision == "16-mixed":
        return {"plugins": [MixedPrecision("16-mixed", "cpu", scaler())]}
    return {"precision": precision}


def types_of(module: LightningModule) -> set[tuple[str, torch.dtype]]:
    """In which type a convolution answers in training, in probes, and in validation with its measurement."""
    types: set[tuple[str, torch.dtype]] = set()

    def note(part: Any, args: Any, output: torch.Tensor) -> None:
        when = "training" if module.training else "probe" if module.trainer.training else "validation"
        types.add((when, output.dtype))

    module.get_submodule("backbone.layer1.0").register_forward_hook(note)
    return types


def run(folder: Path, **trainer: Any) -> tuple[Watched, AtClassifier, set[tuple[str, torch.dtype]]]:
    watched, recorder, module = watch(measure_at_start=False), AtClassifier(), seeded()
    types = types_of(module)
    fit(folder, [*both(watched), recorder], module, max_epochs=1, **trainer)
    assert count_hooks(module) == 1  # the one of this test
    return watched, recorder, types


@pytest.mark.cell('precision="bf16-mixed"', "StaticDropout")
@pytest.mark.cell('precision="16-mixed"', "StaticDropout")
@pytest.mark.cell('precision="bf16-true"', "StaticDropout")
@pytest.mark.cell('precision="16-true"', "StaticDropout")
@pytest.mark.parametrize("precision", HALF)
def test_probes_and_masks_are_in_half_precision_and_scores_in_float64(tmp_path: Path, precision: str) -> None:
    watched, recorder, types = run(tmp_path, **options(precision))
    single, plain, _ = run(tmp_path)
    assert types == {(when, HALF[precision]) for when in ("training", "probe", "validation")}
    assert {batch.dtype for batch in recorder.seen} == {HALF[precision]}
    assert watched.probes == single.probes == [0, 2, 4]
    assert torch.equal(recorder.seen[0] == 0, plain.seen[0] == 0)
    assert {count for batch in recorder.dropped for count in batch} == {8}
    assert watched.scores().dtype == torch.float64
    assert not torch.equal(watched.scores(), single.scores())
    torch.testing.assert_close(watched.scores(), single.scores(), rtol=0, atol=0.05)


@pytest.mark.cell('precision="16-mixed"', "StaticDropout")
def test_a_step_that_the_gradient_scaler_skips_counts_as_a_step(tmp_path: Path) -> None:
    watched, module = watch(), seeded()
    plugin = MixedPrecision("16-mixed", "cpu", scaler(2.0**60))
    fit(tmp_path, both(watched), module, max_epochs=1, plugins=[plugin])
    assert torch.equal(module.backbone.fc.weight, seeded().backbone.fc.weight)
    assert watched.probes == [0, 2, 4]
    assert watched.scores().isfinite().all()


def measure(folder: Path, **trainer: Any) -> tuple[Watched, set[tuple[str, torch.dtype]]]:
    watched, module = watch(), seeded()
    types = types_of(module)
    make_trainer(folder, both(watched), **trainer).validate(module, loaders()[1], verbose=False)
    return watched, types


@pytest.mark.cell('precision="bf16-mixed"', "BiasMonitor")
@pytest.mark.cell('precision="16-mixed"', "BiasMonitor")
@pytest.mark.cell('precision="bf16-true"', "BiasMonitor")
@pytest.mark.cell('precision="16-true"', "BiasMonitor")
@pytest.mark.parametrize("precision", HALF)
def test_bias_is_measured_in_half_precision_and_merged_in_float64(tmp_path: Path, precision: str) -> None:
    (watched, types), (single, _) = measure(tmp_path, **options(precision)), measure(tmp_path)
    assert types == {("validation", HALF[precision])}
    found, expected = watched.monitor.latest[LAYER], single.monitor.latest[LAYER]
    assert found.unit_scores.dtype == torch.float64
    assert not torch.equal(found.unit_scores, expected.unit_scores)
    torch.testing.assert_close(found.unit_scores, expected.unit_scores, rtol=0, atol=0.05)


@pytest.mark.cell('precision="64-true"', "StaticDropout")
def test_double_precision_gives_the_scores_and_masks_of_single_precision(tmp_path: Path) -> None:
    (watched, recorder, types), (single, plain, _) = run(tmp_path, precision="64-true"), run(tmp_path)
    assert types == {(when, torch.float64) for when in ("training", "probe", "validation")}
    assert {batch.dtype for batch in recorder.seen} == {torch.float64}
    for ours, theirs in zip(recorder.seen, plain.seen, strict=True):
        assert torch.equal(ours == 0, theirs == 0)
    torch.testing.assert_close(watched.scores(), single.scores(), rtol=0, atol=1e-4)


@pytest.mark.cell('precision="64-true"', "BiasMonitor")
def test_double_precision_gives_the_bias_of_single_precision(tmp_path: Path) -> None:
    (watched, types), (single, _) = measure(tmp_path, precision="64-true"), measure(tmp_path)
    assert types == {("validation", torch.float64)}
    found, expected = watched.monitor.latest[LAYER], single.monitor.latest[LAYER]
    torch.testing.assert_close(found.unit_scores, expected.unit_scores, rtol=0, atol=1e-4)
    torch.testing.assert_close(found.shares, expected.shares, rtol=0, atol=1e-3)


class Surroundings(Clips):
    """Notes under which settings its clips are made."""

    def __init__(self) -> None:
        super().__init__(8)
        self.seen: set[tuple[torch.dtype, bool]] = set()

    def __getitem__(self, index: int) -> dict[str, Any]:
        self.seen.add((torch.get_default_dtype(), torch.is_autocast_enabled("cpu")))
        return super().__getitem__(index)


@pytest.mark.cell('precision="bf16-mixed"', "BiasMonitor")
@pytest.mark.cell('precision="bf16-true"', "BiasMonitor")
@pytest.mark.cell('precision="64-true"', "BiasMonitor")
@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true", "64-true"])
def test_clips_measured_before_training_are_made_as_those_of_the_validation_loop(
    tmp_path: Path, precision: str
) -> None:
    watched, data = watch(num_groups=2), Surroundings()
    trainer: Trainer = make_trainer(tmp_path, both(watched), max_epochs=1, precision=precision)
    trainer.fit(seeded(Still), loaders()[0], DataLoader(data, 8))
    assert data.seen == {(torch.float32, False)}
    assert watched.static()[0] == watched.static()[1]


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-true", "64-true"])
def test_training_at_rate_zero_is_bit_identical_in_every_precision(tmp_path: Path, precision: str) -> None:
    plain, _ = fit(tmp_path, module=seeded(), max_epochs=1, precision=precision)
    watched, _ = fit(tmp_path, both(watch(rate=0.0)), seeded(), max_epochs=1, precision=precision)
    assert same_weights(plain, watched)
